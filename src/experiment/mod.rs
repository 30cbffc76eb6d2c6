//! Experiments: from a preset to trained runs, what was measured on them, and the paper's claims held against it.
//!
//! An experiment knows nothing of a terminal: its events are methods of an [`Observer`]. Results that
//! exist are not computed again.

pub mod claims;
mod depth;
mod estimate;
mod evidence;
mod observer;
mod preset;
pub mod replication;
mod role;
mod settings;
mod systematic;
mod training;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Device;
use serde::Serialize;

pub use estimate::{Between, Estimate, EstimatedRuns, Estimator, estimate_preset};
pub(crate) use estimate::{jobs_within, memory_bytes, seedless};
pub use evidence::{Evidence, ExperimentRun, Need, RunId, RunView};
pub use observer::{MeasuredResult, Observer, Phase, Unobserved};
pub use preset::{DepthPreset, Inside, Preset, PresetSource, ShippedPreset, SystematicPreset, unknown_preset};
pub use role::{Recurrence, RunRole, effective_layers};
pub use training::{Training, TrainingRun, thread_pool};
pub(crate) use training::{cores, side_by_side};

pub(crate) use depth::title as data_title;

use crate::checkpoint::{RunLock, RunPath};
use crate::error::{Error, Result};
use crate::files;
use crate::graph::{Dataset, Tails};

/// The folders of an experiment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders {
    /// For data sets and run folders.
    pub runs: PathBuf,
    /// For results, a folder a run.
    pub figures: PathBuf,
}

/// An experiment in its folders, which are locked for this process.
pub struct Experiment {
    /// What it is called.
    pub name: String,
    /// What it does.
    pub preset: Preset,
    /// Where it does it.
    pub folders: Folders,
    device: Device,
    // The data sets that the preset makes.
    made: Vec<Dataset>,
    _lock: RunLock,
}

/// What an experiment found.
pub struct Outcome {
    /// The results of all methods on all runs.
    pub evidence: Evidence,
    /// The content hash of each of its data sets with the tails of their relations: of a depth experiment the one over
    /// permutations, then the many-to-one one.
    pub data: Vec<(Tails, String)>,
}

impl Experiment {
    /// Makes the data in memory and takes hold of the folders.
    ///
    /// # Errors
    /// When the data cannot be made as the preset says, another process works in the folders, or they cannot be made.
    pub fn open(name: String, preset: Preset, folders: Folders, device: Device) -> Result<Self> {
        let made = preset
            .data_sets()
            .map_err(|e| Error::input(format!("[data] of preset {name}: {e}")))?;
        preset
            .check_against(&made)
            .map_err(|e| Error::input(format!("preset {name}: {e}")))?;
        files::create_folder(&folders.runs)?;
        let lock = RunLock::acquire(&folders.runs)?;
        Ok(Self {
            name,
            preset,
            folders,
            device,
            made,
            _lock: lock,
        })
    }

    /// The runs with their data, which are written where they are missing.
    ///
    /// # Errors
    /// When the folders hold other data, or cannot be written.
    pub fn training_runs(&self) -> Result<Vec<TrainingRun>> {
        let folder = &self.folders.runs;
        match &self.preset {
            Preset::Systematic(preset) => systematic::training_runs(preset, &self.made[0], folder),
            Preset::Depth(preset) => depth::training_runs(preset, &self.made, folder),
        }
    }

    /// Writes the data, trains the runs and measures them, and leaves out what exists already. Once `stop` is set it ends at
    /// the next point from which it can be continued.
    ///
    /// # Errors
    /// When the folders hold another experiment or cannot be written, training diverges, a setting does not fit, or it was
    /// stopped; those of the observer.
    pub fn run(&self, observer: &dyn Observer, stop: &AtomicBool) -> Result<Outcome> {
        let conduct = Conduct {
            experiment: self,
            observer,
            stop,
        };
        match &self.preset {
            Preset::Systematic(preset) => systematic::run(preset, &conduct),
            Preset::Depth(preset) => depth::run(preset, &conduct),
        }
    }
}

// An experiment while it runs.
struct Conduct<'a> {
    experiment: &'a Experiment,
    observer: &'a dyn Observer,
    stop: &'a AtomicBool,
}

impl<'a> Conduct<'a> {
    fn phase(&self, number: usize, count: usize, title: &str) {
        self.observer.phase(&Phase {
            number,
            count,
            title: title.to_owned(),
        });
    }

    fn go_on(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        Ok(())
    }

    fn runs_folder(&self) -> &'a Path {
        &self.experiment.folders.runs
    }

    fn figures_folder(&self) -> &'a Path {
        &self.experiment.folders.figures
    }

    fn device(&self) -> &'a Device {
        &self.experiment.device
    }

    fn observer(&self) -> &'a dyn Observer {
        self.observer
    }

    // The data sets that the preset makes.
    fn made(&self) -> &'a [Dataset] {
        &self.experiment.made
    }

    // The folder of a run, under the name that the preset gives it.
    fn run_path(&self, run: &str) -> RunPath {
        RunPath {
            name: Some(run.to_owned()),
            path: self.runs_folder().join(run),
        }
    }

    fn train(&self, number: usize, count: usize, runs: &[&TrainingRun]) -> Result<()> {
        let folder = self.runs_folder();
        let title = format!(
            "training {} models, each into its folder under {}",
            runs.len(),
            folder.display()
        );
        self.phase(number, count, &title);
        let training = Training {
            device: self.device(),
            stop: self.stop,
            observer: self.observer,
        };
        training.all(runs, folder)
    }
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
