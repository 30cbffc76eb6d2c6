//! The training of runs into their folders, several at once.

use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use candle_core::Device;

use super::observer::Observer;
use crate::checkpoint::RunFolder;
use crate::error::{Error, Result};
use crate::graph::Dataset;
use crate::train::{self, CheckpointReason, Evaluation, RunConfig, Trainer};

/// A run to be trained.
pub struct TrainingRun {
    /// What it is called.
    pub name: String,
    /// Its settings.
    pub config: RunConfig,
    /// What it trains on.
    pub data: Arc<Dataset>,
}

/// Where runs are trained, and who follows them.
pub struct Training<'a> {
    /// Where tensors live.
    pub device: &'a Device,
    /// Ends the training of all runs once it is set; what is done is saved.
    pub stop: &'a AtomicBool,
    /// Receives the events.
    pub observer: &'a dyn Observer,
}

impl Training<'_> {
    /// Trains a run to its end into the folder `out`, with `resume` from where it stopped before; gives the trainer as it
    /// stands then.
    ///
    /// # Errors
    /// When the config does not fit the data, the folder holds another run or cannot be written, training diverges or is
    /// stopped.
    pub fn run(&self, run: &TrainingRun, out: &Path, resume: bool) -> Result<Trainer> {
        let mut trainer = Trainer::new(run.config.clone(), run.data.clone(), self.device)?;
        for line in run.config.warnings() {
            tracing::warn!("{}: {line}", run.name);
        }
        let folder = RunFolder::open(out, &mut trainer, resume, self.stop)?;
        let watcher = self.observer.watch(&run.name, &trainer);
        trainer.run(self.stop, &mut WatchedFolder { watcher, folder })?;
        Ok(trainer)
    }

    /// Trains each run into the folder of its name in `folder` as far as it is not trained yet, as many at once as there are
    /// cores. A run that fails does not keep the others from being trained.
    ///
    /// # Errors
    /// Those of [`Training::run`].
    pub fn all(&self, runs: &[&TrainingRun], folder: &Path) -> Result<()> {
        let outcomes = side_by_side(runs, cores(), None, |run| {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            self.run(run, &folder.join(&run.name), true).map(|_| ())
        })?;
        outcomes.into_iter().collect()
    }
}

/// The cores of this machine that the process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Does `f` for each of `items`, `jobs` at once, in their order, each job on `threads` threads; where no number is given the
/// cores are divided among the jobs. Gives what came of each, in order.
///
/// # Errors
/// When threads cannot be started.
pub(crate) fn side_by_side<T: Sync, R: Send>(
    items: &[T],
    jobs: usize,
    threads: Option<usize>,
    f: impl Fn(&T) -> R + Sync,
) -> Result<Vec<R>> {
    let jobs = jobs.min(items.len()).max(1);
    let next = AtomicUsize::new(0);
    let pools = (0..jobs)
        .map(|_| thread_pool(threads.unwrap_or((cores() / jobs).max(1))))
        .collect::<Result<Vec<_>>>()?;
    let work = |pool: &rayon::ThreadPool| -> Vec<(usize, R)> {
        let mut done = Vec::new();
        while let index = next.fetch_add(1, Ordering::Relaxed)
            && let Some(item) = items.get(index)
        {
            done.push((index, pool.install(|| f(item))));
        }
        done
    };
    let mut done: Vec<(usize, R)> = std::thread::scope(|scope| {
        let started: Vec<_> = pools.iter().map(|pool| scope.spawn(|| work(pool))).collect();
        let joined = started.into_iter().map(std::thread::ScopedJoinHandle::join);
        joined
            .collect::<std::thread::Result<Vec<_>>>()
            .map(|done| done.into_iter().flatten().collect())
            .map_err(|_| Error::failed("a training thread stopped"))
    })?;
    done.sort_by_key(|(index, _)| *index);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

/// A pool of this many threads; 0 for one a core.
///
/// # Errors
/// When threads cannot be started.
pub fn thread_pool(threads: usize) -> Result<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|e| Error::failed(format!("threads cannot be started: {e}")))
}

// A run folder, and what follows the run beside it.
struct WatchedFolder<'a> {
    watcher: Box<dyn train::Observer + 'a>,
    folder: RunFolder,
}

impl train::Observer for WatchedFolder<'_> {
    fn on_step(&mut self, trainer: &Trainer, loss: f64) -> Result<()> {
        self.watcher.on_step(trainer, loss)?;
        self.folder.on_step(trainer, loss)
    }

    fn on_evaluation(
        &mut self,
        trainer: &Trainer,
        evaluation: &Evaluation,
        reasons: &[CheckpointReason],
    ) -> Result<()> {
        self.watcher.on_evaluation(trainer, evaluation, reasons)?;
        self.folder.on_evaluation(trainer, evaluation, reasons)
    }

    fn on_interrupt(&mut self, trainer: &Trainer) -> Result<()> {
        self.watcher.on_interrupt(trainer)?;
        self.folder.on_interrupt(trainer)
    }

    fn last_good_checkpoint(&self) -> String {
        self.folder.last_good_checkpoint()
    }
}
