//! `loopscope reproduce`: whole experiments, end to end. What is done is not done again.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;

use super::estimate::{self, EstimateArg};
use super::progress::Terminal;
use crate::error::Result;
use crate::experiment::{Experiment, Folders, PresetSource, ShippedPreset, cores, estimate_preset};
use crate::files;
use crate::report::summary;

#[derive(Args)]
pub(super) struct ReproduceArgs {
    /// What to do: laptop (the systematic experiment at the size of a laptop), quick (the same at its smallest, no science
    /// claimed), depth-laptop (chains of many hops: curricula, iterations at inference, halting, and the shortcut),
    /// depth-quick (the same at its smallest), paper-systematic and paper-depth (the paper's own settings, for a cluster),
    /// or a file of your own, ending in .toml
    #[arg(long, default_value = "laptop", value_name = "PRESET")]
    preset: PresetSource,
    /// Print a preset as TOML, to be edited and run as --preset FILE.toml, and do nothing else
    #[arg(long, value_name = "NAME", conflicts_with_all = ["preset", "out", "seed"])]
    print_preset: Option<ShippedPreset>,
    /// Folder for everything [default: checkpoints/PRESET and figures/PRESET]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Seed of data, models and analyses, over the preset's; another one is another experiment, in folders of its own
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    device: super::DeviceArg,
    #[command(flatten)]
    estimate: EstimateArg,
}

pub(super) fn run(args: &ReproduceArgs) -> Result<()> {
    if let Some(preset) = args.print_preset {
        out!("{}", preset.text().trim_end());
        return Ok(());
    }
    let began = Instant::now();
    let name = args.preset.experiment_name(args.seed)?;
    let folders = match &args.out {
        Some(out) => Folders {
            runs: out.join("checkpoints"),
            figures: out.join("figures"),
        },
        None => Folders {
            runs: Path::new("checkpoints").join(&name),
            figures: Path::new("figures").join(&name),
        },
    };
    let preset = args.preset.read(args.seed)?;
    if args.estimate.estimate {
        let jobs = cores().min(preset.runs().len());
        let device = args.device.device.open()?;
        estimate::print(&estimate_preset(&preset, &device, estimate::threads_of(jobs))?, jobs)?;
        out!("what is measured on the runs afterwards is not in it");
        return Ok(());
    }
    let experiment = Experiment::open(name, preset, folders, args.device.device.open()?)?;
    let outcome = experiment.run(&Terminal::new(), &super::stop_flag())?;
    let summary = summary(&experiment, &outcome);
    let Folders { runs, figures } = &experiment.folders;
    files::write(&figures.join("summary.md"), summary.as_bytes())?;
    out!("\n{summary}");
    out!("checkpoints: {}\nfigures:     {}", runs.display(), figures.display());
    out!("this sitting took {:.0} s", began.elapsed().as_secs_f64());
    Ok(())
}
