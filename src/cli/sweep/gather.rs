//! `loopscope sweep gather`: what the runs of a sweep gave.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::{Which, failed_points};
use crate::cli::DeviceArg;
use crate::cli::analyses::say_files;
use crate::cli::print::print_table;
use crate::cli::progress::counted_work;
use crate::error::Result;
use crate::figure::Look;
use crate::measure::Table;
use crate::sweep::gather::{Gathered, MethodPlace, MethodRequest, Where, check_parquet, select};
use crate::sweep::{Plan, SweepData};
use crate::wording::counted;

#[derive(Args)]
pub struct GatherArgs {
    #[command(flatten)]
    which: Which,
    /// Only points with this value of a key that varies in the plan; of a key that is given twice, points with either value
    #[arg(long = "where", value_name = "KEY=VALUE")]
    wanted: Vec<Where>,
    /// Folder for tables and figures [default: gathered/ in the sweep's folder, with --where gathered-KEY=VALUE/]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Put the results of this method together too, with seeds as the unit: found in results/ of the sweep's folder, else measured on
    /// the end of training of every finished point; perhaps with arguments, as in "lens --iterations 1..8"
    #[arg(long, value_name = "METHOD")]
    method: Vec<MethodRequest>,
    /// Write the table as Parquet too, in a build with the feature `parquet`
    #[arg(long)]
    parquet: bool,
    /// Training steps on a linear axis instead of a logarithmic one
    #[arg(long)]
    linear: bool,
    /// Seed of the relabelings of log-rank tests and of bootstraps
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    device: DeviceArg,
    #[command(flatten)]
    look: Look,
}

pub(super) fn run(args: &GatherArgs) -> Result<()> {
    let sweep = &args.which.sweep;
    if args.parquet {
        check_parquet()?;
    }
    let whole = Plan::read(sweep, args.which.plan)?;
    let plan = select(&whole, &args.wanted)?;
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| sweep.join(default_out(&args.wanted)));
    let data = SweepData::new(sweep);
    let mut gathered = Gathered::read(&data, &plan, args.seed);
    if !args.wanted.is_empty() {
        let count = format!("{} of {}", plan.points.len(), counted(whole.points.len(), "point"));
        gathered
            .notes
            .insert(0, format!("{count}: those with {}", words(&args.wanted)));
    }
    for note in &gathered.notes {
        tracing::warn!("{note}");
    }
    gathered.write(&out)?;
    if args.parquet {
        gathered.write_parquet(&out)?;
        out!("{}/gather.parquet", out.display());
    }
    out!("{}/{{gather,curves,survival,effects}}.csv, gather.json", out.display());
    for (name, figure) in gathered.figures(!args.linear) {
        let pages = figure.write(&out, name, &args.look)?;
        out!("{}/{}", out.display(), args.look.files(name, pages));
    }
    print_stages(&gathered)?;
    let device = args.device.device.open()?;
    let mut failed = gathered.failed.clone();
    for method in &args.method {
        let place = MethodPlace {
            data: &data,
            plan: &plan,
            out: &out,
            device: &device,
            seed: args.seed,
            look: &args.look,
            progress: Some(counted_work),
        };
        let of_method = method.gather(&place)?;
        for note in &of_method.notes {
            tracing::warn!("{}: {note}", of_method.name);
        }
        print_table(&of_method.table)?;
        out!("{}", of_method.intervals);
        let name = of_method.name;
        say_files(&out, &format!("{name}-over-seeds"), &args.look, of_method.pages);
        out!("{}/{name}-runs.csv", out.display());
        failed.extend(of_method.failed);
    }
    failed_points(failed)
}

fn words(wanted: &[Where]) -> String {
    let wanted: Vec<String> = wanted.iter().map(Where::to_string).collect();
    wanted.join(", ")
}

// So that a part of a plan does not take the place of the whole.
fn default_out(wanted: &[Where]) -> String {
    let in_a_name = |c: char| {
        if c.is_alphanumeric() || "-_.=".contains(c) {
            c
        } else {
            '-'
        }
    };
    let parts = std::iter::once("gathered".to_owned()).chain(wanted.iter().map(Where::to_string));
    parts.collect::<Vec<_>>().join("-").chars().map(in_a_name).collect()
}

// How many runs reached each stage, and when half of them had.
#[derive(Serialize)]
struct StageRow<'a> {
    stage: &'a str,
    group: &'a str,
    reached: usize,
    runs: usize,
    median_step: Option<f64>,
}

fn print_stages(gathered: &Gathered) -> Result<()> {
    let curves = gathered
        .stages
        .iter()
        .flat_map(|times| times.curves.iter().map(move |curve| (times, curve)));
    let rows: Vec<_> = curves
        .map(|(times, curve)| {
            let row = StageRow {
                stage: &times.stage.name,
                group: &curve.group,
                reached: curve.reached,
                runs: curve.runs,
                median_step: curve.median,
            };
            let cells = vec![
                row.stage.to_owned(),
                row.group.to_owned(),
                format!("{} of {}", row.reached, row.runs),
                row.median_step
                    .map_or_else(|| "–".to_owned(), |median| format!("{median:.0}")),
            ];
            (row, cells)
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    print_table(&Table::of_cells(
        &["stage", "runs with", "reached", "median step"],
        rows,
    )?)
}
