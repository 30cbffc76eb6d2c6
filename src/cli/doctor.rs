//! `loopscope doctor`: what this machine has, and what presets will take on it.

use clap::Args;
use serde::Serialize;

use super::estimate::{bytes, hours, threads_of};
use super::print::{print_table, printing, record};
use super::progress::Counter;
use crate::doctor::{Cuda, GemmPeak, Machine, PresetCost, SMALL_PRESETS};
use crate::error::Result;
use crate::experiment::{PresetSource, ShippedPreset};
use crate::measure::Table;
use crate::wording::counted;

#[derive(Args)]
pub(super) struct DoctorArgs {
    /// Estimate every preset that comes with the program, which takes minutes
    #[arg(long, conflicts_with = "preset")]
    all: bool,
    /// Presets to estimate, separated by commas; each takes from some seconds to a minute [default: quick, laptop and depth-quick]
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    preset: Vec<ShippedPreset>,
}

// All of it, as data.
#[derive(Serialize)]
struct Findings<'a> {
    #[serde(flatten)]
    machine: &'a Machine,
    gemm: &'a GemmPeak,
    presets: &'a [PresetCost],
}

pub(super) fn run(args: &DoctorArgs) -> Result<()> {
    let machine = Machine::look();
    let gemm = GemmPeak::measure()?;
    say_machine(&machine, &gemm);
    let presets: &[ShippedPreset] = match (args.all, &args.preset[..]) {
        (true, _) => &ShippedPreset::ALL,
        (false, []) => &SMALL_PRESETS,
        (false, named) => named,
    };
    let costs = estimates(presets)?;
    if printing().json {
        return record(&Findings {
            machine: &machine,
            gemm: &gemm,
            presets: &costs,
        });
    }
    out!("");
    print_table(&Table::of_cells(
        &["preset", "runs", "training", "disk", "memory"],
        costs.iter().map(row),
    )?)?;
    out!(
        "training alone, as many runs at once as there are cores; loopscope reproduce --preset NAME --estimate has it run by run"
    );
    if presets.len() < ShippedPreset::ALL.len() {
        out!("--all estimates all {}", counted(ShippedPreset::ALL.len(), "preset"));
    }
    Ok(())
}

fn estimates(presets: &[ShippedPreset]) -> Result<Vec<PresetCost>> {
    err!(
        "timing training steps of {}, some seconds for each kind of run",
        counted(presets.len(), "preset")
    );
    let mut counter = Counter::new("presets", 0, presets.len());
    let mut costs = Vec::new();
    for shipped in presets {
        counter.at(costs.len(), presets.len());
        let preset = PresetSource::Shipped(*shipped).read(None)?;
        let jobs = crate::experiment::cores().min(preset.runs().len());
        costs.push(PresetCost::estimate(shipped.name(), &preset, jobs, threads_of(jobs))?);
    }
    Ok(costs)
}

fn say_machine(machine: &Machine, gemm: &GemmPeak) {
    let unknown = || "not told by this system".to_owned();
    out!("loopscope      {}, {}", machine.loopscope, machine.build);
    out!("CPU            {}, {}", machine.cpu, counted(machine.cores, "core"));
    out!(
        "instructions   {}; models run on {}, matrix products by {}",
        machine.instruction_sets.join(", "),
        machine.backend,
        machine.matmul
    );
    out!(
        "f32 GEMM       peak {:.0} GFLOP/s on one thread, {:.0} on {}",
        gemm.one_thread_gflops,
        gemm.all_cores_gflops,
        counted(machine.cores, "thread")
    );
    out!(
        "memory         {}, of which {} available",
        machine.memory_bytes.map_or_else(unknown, bytes),
        machine.available_bytes.map_or_else(unknown, bytes)
    );
    match &machine.cuda {
        Cuda::NotBuilt => out!("CUDA           not in this build; cargo install --path . --features cuda has it"),
        Cuda::Works => out!("CUDA           cuda:0 can be used"),
        Cuda::Fails(reason) => out!("CUDA           in this build, but cuda:0 cannot be used: {reason}"),
    }
}

fn row(cost: &PresetCost) -> (&PresetCost, Vec<String>) {
    let memory = match cost.fits {
        Some(false) => format!("{} (more than is available)", bytes(cost.memory_bytes)),
        _ => bytes(cost.memory_bytes),
    };
    let cells = vec![
        cost.preset.to_owned(),
        cost.runs.to_string(),
        hours(cost.seconds),
        bytes(cost.disk_bytes),
        memory,
    ];
    (cost, cells)
}
