//! `loopscope reproduce`: the main jobs, end to end. What is done is not done again.

mod depth;
mod systematic;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use candle_core::Device;
use clap::{Args, ValueEnum};
use indicatif::MultiProgress;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::analyses;
use super::train::Job;
use crate::checkpoint::{RunLock, RunPath};
use crate::error::{Error, Result};
use crate::figure::Draw;
use crate::files;
use crate::graph::Dataset;
use crate::measure::{LoadedCheckpoint, Method, Report};
use crate::train::RunConfig;

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
    /// Chains of many hops: curricula, iterations at inference, halting, and the shortcut
    DepthLaptop,
    /// Shows that the depth experiment works; no science claimed
    DepthQuick,
}

impl PresetName {
    fn name(self) -> &'static str {
        match self {
            Self::Laptop => "laptop",
            Self::Quick => "quick",
            Self::DepthLaptop => "depth-laptop",
            Self::DepthQuick => "depth-quick",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Laptop => include_str!("presets/laptop.toml"),
            Self::Quick => include_str!("presets/quick.toml"),
            Self::DepthLaptop => include_str!("presets/depth-laptop.toml"),
            Self::DepthQuick => include_str!("presets/depth-quick.toml"),
        }
    }
}

/// Where an experiment happens.
struct Place {
    preset: PresetName,
    // Where it is not the preset's own.
    seed: Option<u64>,
    out: Option<PathBuf>,
    device: Device,
    stop: Arc<AtomicBool>,
    began: Instant,
}

impl Place {
    fn parse<T: DeserializeOwned>(&self, text: &str) -> Result<T> {
        toml::from_str(text).map_err(|e| Error::input(format!("preset {}: {e}", self.preset.name())))
    }

    // Puts the user's seed in the place of the preset's.
    fn seed(&mut self, usual: &mut u64, wanted: Option<u64>) {
        self.seed = wanted.filter(|seed| seed != usual);
        *usual = wanted.unwrap_or(*usual);
    }

    fn name(&self) -> String {
        match self.seed {
            Some(seed) => format!("{}-seed-{seed}", self.preset.name()),
            None => self.preset.name().to_owned(),
        }
    }

    // For runs and for figures.
    fn folders(&self) -> (PathBuf, PathBuf) {
        if let Some(out) = &self.out {
            return (out.join("checkpoints"), out.join("figures"));
        }
        let name = self.name();
        (Path::new("checkpoints").join(&name), Path::new("figures").join(&name))
    }

    // One process at a time makes the data, results and summary of an experiment.
    fn lock(&self) -> Result<RunLock> {
        let (runs, _) = self.folders();
        files::create_folder(&runs)?;
        RunLock::acquire(&runs)
    }

    // A run of the preset, under the name that the preset gives it.
    fn target(&self, run: &str) -> RunPath {
        RunPath {
            name: Some(run.to_owned()),
            path: self.folders().0.join(run),
        }
    }

    fn conclude(&self, summary: &str) -> Result<()> {
        let (runs, figures) = self.folders();
        files::write(&figures.join("summary.md"), summary.as_bytes())?;
        out!("\n{summary}");
        out!("checkpoints: {}\nfigures:     {}", runs.display(), figures.display());
        out!("this sitting took {:.0} s", self.began.elapsed().as_secs_f64());
        Ok(())
    }
}

pub(super) fn run(args: &ReproduceArgs) -> Result<()> {
    let mut place = Place {
        preset: args.preset,
        seed: None,
        out: args.out.clone(),
        device: args.device.device.open()?,
        stop: super::stop_flag(),
        began: Instant::now(),
    };
    let text = args.preset.text();
    match args.preset {
        PresetName::Laptop | PresetName::Quick => systematic::run(text, args.seed, &mut place),
        PresetName::DepthLaptop | PresetName::DepthQuick => depth::run(text, args.seed, &mut place),
    }
}

fn go_on(stop: &AtomicBool) -> Result<()> {
    if stop.load(Ordering::Relaxed) {
        return Err(Error::Interrupted);
    }
    Ok(())
}

// The data in `folder`; made where it is missing, checked where it is there.
fn make_data<S: Serialize>(settings: &S, made: &Dataset, folder: &Path) -> Result<Dataset> {
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

/// A run to be trained.
struct Planned {
    name: String,
    config: RunConfig,
    data: Arc<Dataset>,
}

// Trains what is not trained yet, as many at once as there are cores.
fn train_all(planned: &[Planned], folder: &Path, place: &Place) -> Result<()> {
    err!(
        "2/4 training {} models, each into its folder under {}",
        planned.len(),
        folder.display()
    );
    let bars = MultiProgress::new();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let workers = cores.min(planned.len()).max(1);
    let waiting: Mutex<VecDeque<&Planned>> = Mutex::new(planned.iter().collect());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let train = |run: &Planned| -> Result<()> {
        let job = Job {
            name: &run.name,
            out: &folder.join(&run.name),
            resume: true,
            device: &place.device,
            bars: &bars,
            stop: &place.stop,
        };
        job.run(&run.config, run.data.clone()).map(|_| ())
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
            .map(|outcome| outcome.unwrap_or_else(|_| Err(Error::failed("a training thread stopped"))))
            .collect()
    });
    outcomes.into_iter().collect()
}

// The method's report: the one in `out` where it is there, else a new one that is written there.
fn once<M: Method + Draw>(method: &M, checkpoints: &[LoadedCheckpoint], out: &Path) -> Result<Report<M>> {
    let settings = method.resolved(checkpoints)?;
    if let Some(report) = Report::found(&settings, out, checkpoints) {
        return Ok(report);
    }
    let report = settings.run(checkpoints)?;
    analyses::say_notes(&report.checkpoints, &report.notes);
    report.write(out)?;
    M::draw(&report).write(out, M::NAME)?;
    Ok(report)
}
