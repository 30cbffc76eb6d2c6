//! `loopscope reproduce`: the main job, end to end. What is done is not done again.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use candle_core::Device;
use clap::{Args, ValueEnum};
use indicatif::MultiProgress;
use serde::Deserialize;

use super::analyses::{self, INSIDE_SPLITS, test_splits};
use super::patch::PATCHED_SPLITS;
use super::train::Job;
use crate::checkpoint::subjects;
use crate::error::{Error, Result};
use crate::figure::{self, Figure};
use crate::files;
use crate::graph::{Dataset, Systematic};
use crate::measure::{Comparison, Corrupt, Eval, Lens, Method, Patch, Probe, ProbeSpec, Report, Specimen, compare};
use crate::model::{ModelConfig, Point};
use crate::report::{RunEvidence, summary};
use crate::train::{LoopConfig, OptimizerConfig, RunConfig, grokking_stages};

#[derive(Args)]
pub(super) struct ReproduceArgs {
    /// How much to do
    #[arg(long, value_enum, default_value = "laptop")]
    preset: PresetName,
    /// Folder for everything [default: checkpoints/PRESET and figures/PRESET]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Seed of data and models; another one is another experiment, in folders of its own
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    device: super::DeviceArg,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PresetName {
    /// The experiment at the size of a laptop
    Laptop,
    /// Shows that everything works; no science claimed
    Quick,
}

impl PresetName {
    fn name(self) -> &'static str {
        match self {
            Self::Laptop => "laptop",
            Self::Quick => "quick",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Laptop => include_str!("presets/laptop.toml"),
            Self::Quick => include_str!("presets/quick.toml"),
        }
    }
}

/// The probe specs that the reproduction fits: those that are shipped.
const SPECS: [&str; 5] = [
    include_str!("../../probes/bridge-at-r1.toml"),
    include_str!("../../probes/bridge-at-r2.toml"),
    include_str!("../../probes/target-at-r2.toml"),
    include_str!("../../probes/head-everywhere.toml"),
    include_str!("../../probes/relation2-at-r2.toml"),
];

/// A whole experiment.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Preset {
    /// Whether the experiment is long enough to hold the paper's claims against it.
    claims: bool,
    evaluate_at: usize,
    pairs: usize,
    data: Systematic,
    optimizer: OptimizerConfig,
    train: LoopConfig,
    runs: Vec<PresetRun>,
}

#[derive(Deserialize)]
struct PresetRun {
    name: String,
    #[serde(flatten)]
    model: ModelConfig,
}

pub(super) fn run(args: &ReproduceArgs) -> Result<()> {
    let began = Instant::now();
    let device = args.device.device.open()?;
    let mut preset: Preset =
        toml::from_str(args.preset.text()).map_err(|e| Error::input(format!("preset {}: {e}", args.preset.name())))?;
    let usual = preset.data.seed;
    preset.data.seed = args.seed.unwrap_or(usual);
    let mut name = args.preset.name().to_owned();
    if preset.data.seed != usual {
        name = format!("{name}-seed-{}", preset.data.seed);
    }
    let (runs, figures) = match &args.out {
        Some(out) => (out.join("checkpoints"), out.join("figures")),
        None => (Path::new("checkpoints").join(&name), Path::new("figures").join(&name)),
    };

    eprintln!("1/4 data");
    let data = Arc::new(make_data(&preset.data, &runs.join("data"))?);
    eprintln!(
        "2/4 training {} models, each into its folder under {}",
        preset.runs.len(),
        runs.display()
    );
    let stop = super::stop_flag();
    train_all(&preset, &data, &runs, &device, &stop)?;
    eprintln!("3/4 looking inside each of them");
    let mut evidence = Vec::new();
    for run in &preset.runs {
        go_on(&stop)?;
        evidence.push(look_inside(
            &preset,
            run,
            &data,
            &runs.join(&run.name),
            &figures.join(&run.name),
            &device,
        )?);
    }
    go_on(&stop)?;
    eprintln!("4/4 comparing");
    let folders: Vec<PathBuf> = preset.runs.iter().map(|run| runs.join(&run.name)).collect();
    let comparison = comparison(&preset, &folders, &data, &figures, &evidence, &device)?;
    super::compare::print(&comparison);

    let text = summary(&name, preset.claims, &preset.data, &comparison, &evidence);
    files::write(&figures.join("summary.md"), text.as_bytes())?;
    println!("\n{text}");
    println!("checkpoints: {}\nfigures:     {}", runs.display(), figures.display());
    println!("this sitting took {:.0} s", began.elapsed().as_secs_f64());
    Ok(())
}

fn go_on(stop: &AtomicBool) -> Result<()> {
    if stop.load(Ordering::Relaxed) {
        return Err(Error::Interrupted);
    }
    Ok(())
}

// The data in `folder`; made where it is missing, checked where it is there.
fn make_data(settings: &Systematic, folder: &Path) -> Result<Dataset> {
    let made = settings.generate()?;
    if !folder.exists() {
        made.write(folder, settings)?;
    }
    let found = Dataset::read(folder)?;
    if found.hash != made.hash {
        return Err(Error::file(
            folder,
            format!(
                "holds other data ({}) than this preset makes ({}); choose another --out",
                found.hash, made.hash
            ),
        ));
    }
    Ok(found)
}

// Trains what is not trained yet, as many at once as there are cores.
fn train_all(preset: &Preset, data: &Arc<Dataset>, folder: &Path, device: &Device, stop: &AtomicBool) -> Result<()> {
    let bars = MultiProgress::new();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let workers = cores.min(preset.runs.len()).max(1);
    let waiting: Mutex<VecDeque<&PresetRun>> = Mutex::new(preset.runs.iter().collect());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let train = |run: &PresetRun| -> Result<()> {
        let config = RunConfig {
            data: folder.join("data"),
            seed: preset.data.seed,
            model: run.model.clone(),
            optimizer: preset.optimizer.clone(),
            train: preset.train.clone(),
            curriculum: None,
            stages: grokking_stages(),
        };
        let job = Job {
            name: &run.name,
            out: &folder.join(&run.name),
            resume: true,
            device,
            bars: &bars,
            stop,
        };
        job.run(&config, data.clone()).map(|_| ())
    };
    let work = || -> Result<()> {
        let pool = super::pool((cores / workers).max(1))?;
        while let Some(run) = next() {
            pool.install(|| train(run))?;
        }
        Ok(())
    };
    let outcomes: Vec<Result<()>> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let joined = started.into_iter().map(std::thread::ScopedJoinHandle::join);
        joined
            .map(|outcome| outcome.unwrap_or_else(|_| Err(Error::input("a training thread stopped"))))
            .collect()
    });
    outcomes.into_iter().collect()
}

fn look_inside(
    preset: &Preset,
    run: &PresetRun,
    data: &Dataset,
    folder: &Path,
    out: &Path,
    device: &Device,
) -> Result<RunEvidence> {
    let found = subjects(folder)?;
    let specimens = found
        .iter()
        .map(|subject| Specimen::load(subject, data, device))
        .collect::<Result<Vec<_>>>()?;
    let inside: Vec<String> = INSIDE_SPLITS.map(str::to_owned).into();
    let eval = Eval {
        splits: test_splits(data).into_iter().map(str::to_owned).collect(),
        iterations: (1..=preset.evaluate_at).collect(),
    };
    let lens = Lens {
        splits: inside,
        iterations: None,
    };
    let specs = SPECS
        .iter()
        .copied()
        .map(ProbeSpec::parse)
        .collect::<Result<Vec<_>>>()?;
    let probe = Probe {
        specs,
        seed: preset.data.seed,
        iterations: None,
    };
    let patch = Patch {
        splits: PATCHED_SPLITS.map(str::to_owned).into(),
        corrupt: Corrupt::Prefix,
        hook: Point::ResidPost,
        pairs: preset.pairs,
        correct_only: false,
        iterations: None,
        seed: preset.data.seed,
    };
    Ok(RunEvidence {
        name: run.name.clone(),
        eval: once(&eval, figure::eval, &specimens, data, out)?,
        lens: once(&lens, figure::lens, &specimens, data, out)?,
        probe: once(&probe, figure::probe, &specimens, data, out)?,
        patch: once(&patch, figure::patch, &specimens, data, out)?,
    })
}

// The method's report: the one in `out` where it is there, else a new one that is written there.
fn once<M: Method>(
    method: &M,
    draw: impl Fn(&Report<M, M::Row>) -> Figure,
    specimens: &[Specimen],
    data: &Dataset,
    out: &Path,
) -> Result<Report<M, M::Row>> {
    if let Some(report) = method.done(out, specimens, data) {
        return Ok(report);
    }
    let report = method.run(specimens, data)?;
    analyses::write(&report, &draw(&report), out)?;
    Ok(report)
}

fn comparison(
    preset: &Preset,
    folders: &[PathBuf],
    data: &Dataset,
    out: &Path,
    evidence: &[RunEvidence],
    device: &Device,
) -> Result<Comparison> {
    let last = evidence.iter().filter_map(|run| run.lens.subjects.last());
    if let Ok(found) = files::read_json::<Comparison>(&out.join("compare.json"))
        && found.loopscope == env!("CARGO_PKG_VERSION")
        && found.subjects.iter().eq(last)
        && out.join("compare.png").is_file()
    {
        return Ok(found);
    }
    let splits = INSIDE_SPLITS.map(str::to_owned);
    let comparison = compare(folders, data, &splits, preset.pairs, preset.data.seed, device)?;
    super::compare::write(&comparison, out)?;
    Ok(comparison)
}
