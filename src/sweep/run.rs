//! The training of points: each under the lock of its run folder, several at once in this process.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use candle_core::Device;

use super::data::SweepData;
use super::log::{Log, Logged};
use super::point::Point;
use super::status::Failure;
use crate::checkpoint::RunLock;
use crate::error::{Error, Result};
use crate::experiment::{Observer, Phase, Training, TrainingRun, side_by_side};

/// What came of a point.
#[derive(Debug)]
pub enum PointOutcome {
    /// It had been trained before.
    WasDone,
    /// It was trained now, to its end.
    Trained,
    /// Another process trains it, as the text says.
    Held(String),
    /// It was stopped and saved, or not begun.
    Interrupted,
    /// It failed; a record of it is kept.
    Failed(Error),
}

impl fmt::Display for PointOutcome {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::WasDone => f.write_str("was done"),
            Self::Trained => f.write_str("trained"),
            Self::Held(holder) => write!(f, "left alone: {holder}"),
            Self::Interrupted => f.write_str("stopped"),
            Self::Failed(error) => write!(f, "failed: {error}"),
        }
    }
}

/// Trains the points of a plan.
pub struct Runner<'a> {
    sweep: &'a Path,
    training: Training<'a>,
    threads: Option<usize>,
    data: Arc<SweepData>,
}

impl<'a> Runner<'a> {
    /// A runner in the folder `sweep`. Setting `stop` saves and ends all training.
    pub fn new(sweep: &'a Path, device: &'a Device, stop: &'a AtomicBool, observer: &'a dyn Observer) -> Self {
        Self {
            sweep,
            training: Training { device, stop, observer },
            threads: None,
            data: Arc::new(SweepData::new(sweep)),
        }
    }

    /// The same with this number of threads for each point; the cores are divided among the points where none is given.
    #[must_use]
    pub fn with_threads(self, threads: Option<usize>) -> Self {
        Self { threads, ..self }
    }

    /// The same with data sets of this sweep some of which are read already.
    #[must_use]
    pub fn with_data(self, data: Arc<SweepData>) -> Self {
        Self { data, ..self }
    }

    /// Trains `points` as far as they are not trained yet, `jobs` at once. A point that fails does not keep the others from
    /// being trained.
    ///
    /// # Errors
    /// When threads cannot be started.
    pub fn all(&self, points: &[&Point], jobs: usize) -> Result<Vec<PointOutcome>> {
        let ended = AtomicUsize::new(0);
        side_by_side(points, jobs, self.threads, |point| {
            self.told(point, &ended, points.len())
        })
    }

    // Trains a point, and tells the observer that it has come to its end.
    fn told(&self, point: &Point, ended: &AtomicUsize, count: usize) -> PointOutcome {
        let outcome = self.one(point);
        self.training.observer.phase(&Phase {
            number: ended.fetch_add(1, Ordering::Relaxed) + 1,
            count,
            title: format!("{}: {outcome}", point.name),
        });
        outcome
    }

    /// Trains a point from where it stands.
    pub fn one(&self, point: &Point) -> PointOutcome {
        if self.training.stop.load(Ordering::Relaxed) {
            return PointOutcome::Interrupted;
        }
        let trained = std::panic::catch_unwind(AssertUnwindSafe(|| self.train(point)));
        let outcome = trained.unwrap_or_else(|_| Err(Error::failed("the training of this point panicked")));
        match outcome {
            Ok(outcome) => {
                if matches!(outcome, PointOutcome::WasDone | PointOutcome::Trained) {
                    Failure::forget(self.sweep, point);
                }
                outcome
            }
            Err(Error::Interrupted) => PointOutcome::Interrupted,
            Err(error) => {
                Log::of(self.sweep, point).add(&format!("failed: {error}"));
                Failure::keep(self.sweep, point, &error);
                PointOutcome::Failed(error)
            }
        }
    }

    fn train(&self, point: &Point) -> Result<PointOutcome> {
        let folder = self.sweep.join(&point.folder);
        if point.is_done(self.sweep)? {
            RunLock::remove_left(&folder);
            return Ok(PointOutcome::WasDone);
        }
        let run = TrainingRun {
            name: point.name.clone(),
            config: point.config_in(self.sweep),
            data: self.data.of(point)?,
        };
        let log = Log::of(self.sweep, point);
        let observer = &Logged::new(self.training.observer, log.clone());
        let training = Training {
            observer,
            ..self.training
        };
        match training.run(&run, &folder, true) {
            Ok(_) if observer.was_done() => Ok(PointOutcome::WasDone),
            Ok(_) => {
                log.add("trained to its end");
                Ok(PointOutcome::Trained)
            }
            Err(Error::Locked { holder, .. }) => Ok(PointOutcome::Held(holder)),
            Err(Error::LockLost(why)) => {
                log.add("stops: its lock is lost");
                Ok(PointOutcome::Held(why))
            }
            Err(e) => Err(e),
        }
    }
}
