//! `loopscope reproduce`: whole experiments, end to end. What is done is not done again.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Instant;

use candle_core::Device;
use clap::Args;

use super::estimate::{self, EstimateArg};
use super::progress::Terminal;
use crate::error::{Error, Result};
use crate::experiment::{
    EstimatedRuns, Experiment, Folders, Outcome, PresetSource, ShippedPreset, cores, estimate_preset, unknown_preset,
};
use crate::figure::Look;
use crate::files;
use crate::report::{HeldClaims, study_summary, summary};
use crate::study::StudySource;
use crate::wording::choices;

#[derive(Args)]
pub(super) struct ReproduceArgs {
    /// What to do: laptop (the systematic experiment at the size of a laptop), quick (the same at its smallest, no science
    /// claimed), depth-laptop (chains of many hops: curricula, iterations at inference, halting, and the shortcut),
    /// depth-quick (the same at its smallest), claims (the paper's claims over several seeds of both; its parts alone are
    /// claims-systematic and claims-depth), paper-systematic and paper-depth (the paper's own settings, for a cluster), or a
    /// file of your own, ending in .toml
    #[arg(long, default_value = "laptop", value_name = "PRESET")]
    preset: Source,
    /// Print a preset as TOML, to be edited and run as --preset FILE.toml, and do nothing else
    #[arg(long, value_name = "NAME", conflicts_with_all = ["preset", "out", "seed"])]
    print_preset: Option<Printed>,
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
    #[command(flatten)]
    look: Look,
}

// What --preset and --print-preset know by name.
fn names() -> Vec<&'static str> {
    let presets = ShippedPreset::ALL.map(ShippedPreset::name);
    presets.into_iter().chain([StudySource::CLAIMS_NAME]).collect()
}

/// One experiment, or a study of several seeds.
#[derive(Debug, Clone, PartialEq)]
enum Source {
    Experiment(PresetSource),
    Study(StudySource),
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match StudySource::of(text) {
            Some(study) => Ok(Self::Study(study)),
            None => text
                .parse()
                .map(Self::Experiment)
                .map_err(|_: String| unknown_preset(text, &names())),
        }
    }
}

/// The text of a shipped preset.
#[derive(Debug, Clone, Copy)]
struct Printed(&'static str);

impl FromStr for Printed {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        if StudySource::of(name) == Some(StudySource::Claims) {
            return Ok(Self(StudySource::shipped_text()));
        }
        name.parse()
            .map(|preset: ShippedPreset| Self(preset.text()))
            .map_err(|_: String| format!("allowed: {}", choices(name, &names())))
    }
}

pub(super) fn run(args: &ReproduceArgs) -> Result<()> {
    if let Some(Printed(text)) = args.print_preset {
        out!("{}", text.trim_end());
        return Ok(());
    }
    let began = Instant::now();
    match &args.preset {
        Source::Experiment(preset) => experiment(args, preset)?,
        Source::Study(study) => self::study(args, study)?,
    }
    out!("this sitting took {:.0} s", began.elapsed().as_secs_f64());
    Ok(())
}

impl ReproduceArgs {
    fn folders(&self, name: &str) -> Folders {
        match &self.out {
            Some(out) => Folders {
                runs: out.join("checkpoints"),
                figures: out.join("figures"),
            },
            None => Folders {
                runs: Path::new("checkpoints").join(name),
                figures: Path::new("figures").join(name),
            },
        }
    }
}

fn experiment(args: &ReproduceArgs, preset: &PresetSource) -> Result<()> {
    let name = preset.experiment_name(args.seed)?;
    let folders = args.folders(&name);
    let preset = preset.read(args.seed)?;
    if args.estimate.estimate {
        let jobs = cores().min(preset.runs().len());
        return say_estimate(args, jobs, |device, threads| estimate_preset(&preset, device, threads));
    }
    let experiment = Experiment::open(name, preset, folders, args.device.device.open()?)?;
    let outcome = experiment.run(&Terminal::new(&args.look), &super::stop_flag())?;
    write_claims(&experiment, &outcome)?;
    finish(&experiment.folders, &summary(&experiment, &outcome))
}

fn study(args: &ReproduceArgs, study: &StudySource) -> Result<()> {
    if let Some(seed) = args.seed {
        return Err(Error::input(format!(
            "--seed {seed}; a study has its seeds in its file: --print-preset claims shows it"
        )));
    }
    let study = study.read()?;
    if args.estimate.estimate {
        return say_estimate(args, cores(), |device, threads| study.estimate(device, threads));
    }
    let folders = args.folders(&study.name);
    let device = args.device.device.open()?;
    let (terminal, stop) = (Terminal::new(&args.look), super::stop_flag());
    study.train(&folders, &device, &terminal, &stop)?;
    let outcome = study.measure(&folders, &device, &terminal, &stop)?;
    for replicate in &outcome.replicates {
        write_claims(&replicate.experiment, &replicate.outcome)?;
        let text = summary(&replicate.experiment, &replicate.outcome);
        files::write(
            &replicate.experiment.folders.figures.join("summary.md"),
            text.as_bytes(),
        )?;
    }
    files::write_json(&folders.figures.join("verdicts.json"), &outcome.verdicts(&study))?;
    finish(&folders, &study_summary(&study, &outcome))
}

// What a page shows of the claims, beside the summary.
fn write_claims(experiment: &Experiment, outcome: &Outcome) -> Result<()> {
    match HeldClaims::of(experiment, outcome) {
        Some(claims) => files::write_json(&experiment.folders.figures.join("claims.json"), &claims),
        None => Ok(()),
    }
}

fn say_estimate(
    args: &ReproduceArgs,
    jobs: usize,
    of: impl FnOnce(&Device, usize) -> Result<EstimatedRuns>,
) -> Result<()> {
    let device = args.device.device.open()?;
    err!("timing training steps on this machine, some seconds for each kind of run");
    estimate::print(&of(&device, estimate::threads_of(jobs))?, jobs)?;
    out!("what is measured on the runs afterwards is not in it");
    Ok(())
}

fn finish(folders: &Folders, summary: &str) -> Result<()> {
    let Folders { runs, figures } = folders;
    files::write(&figures.join("summary.md"), summary.as_bytes())?;
    out!("\n{summary}");
    out!("checkpoints: {}\nfigures:     {}", runs.display(), figures.display());
    Ok(())
}
