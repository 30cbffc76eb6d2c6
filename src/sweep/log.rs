//! The log of a point: what its training came to, process by process, for people and for `status`.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use super::point::Point;
use crate::error::Result;
use crate::experiment::Observer;
use crate::files;
use crate::train::{self, CheckpointReason, Evaluation, Trainer};

/// The log of a point, a file in `log/` that every process adds lines to.
#[derive(Debug, Clone)]
pub(super) struct Log {
    path: PathBuf,
}

impl Log {
    pub(super) fn of(sweep: &Path, point: &Point) -> Self {
        let name = point.folder_name();
        Self {
            path: sweep.join("log").join(format!("{name}.log")),
        }
    }

    /// Adds a line with the time and the process. A log that cannot be written stops no training.
    pub(super) fn add(&self, text: &str) {
        let when = humantime::format_rfc3339_seconds(SystemTime::now());
        let host = hostname::get().unwrap_or_default();
        let line = format!(
            "{when} process {} on {}: {text}\n",
            std::process::id(),
            host.to_string_lossy()
        );
        let written = files::create_folder(self.path.parent().unwrap_or(Path::new("."))).and_then(|()| {
            let file = OpenOptions::new().create(true).append(true).open(&self.path);
            file.and_then(|mut file| file.write_all(line.as_bytes()))
                .map_err(|e| crate::Error::write(&self.path, e))
        });
        if let Err(e) = written {
            tracing::debug!("{e}");
        }
    }

    /// The last lines.
    pub(super) fn last(&self, count: usize) -> Vec<String> {
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let skipped = lines.len().saturating_sub(count);
        lines[skipped..].iter().map(|&line| line.to_owned()).collect()
    }
}

/// Follows the training of a point for another observer, and logs it.
pub(super) struct Logged<'a> {
    observer: &'a dyn Observer,
    log: Log,
    was_done: AtomicBool,
}

impl<'a> Logged<'a> {
    pub(super) fn new(observer: &'a dyn Observer, log: Log) -> Self {
        Self {
            observer,
            log,
            was_done: AtomicBool::new(false),
        }
    }

    /// Whether the training had nothing to do, because another process ended it right before this one had the lock.
    pub(super) fn was_done(&self) -> bool {
        self.was_done.load(Ordering::Relaxed)
    }
}

impl Observer for Logged<'_> {
    fn watch(&self, name: &str, trainer: &Trainer) -> Box<dyn train::Observer + '_> {
        if trainer.finished() {
            self.was_done.store(true, Ordering::Relaxed);
        } else {
            self.log.add(&format!("begins at step {}", trainer.progress().step));
        }
        Box::new(Watched {
            watcher: self.observer.watch(name, trainer),
            log: &self.log,
        })
    }
}

struct Watched<'a> {
    watcher: Box<dyn train::Observer + 'a>,
    log: &'a Log,
}

impl train::Observer for Watched<'_> {
    fn on_step(&mut self, trainer: &Trainer, loss: f64) -> Result<()> {
        self.watcher.on_step(trainer, loss)
    }

    fn on_evaluation(
        &mut self,
        trainer: &Trainer,
        evaluation: &Evaluation,
        reasons: &[CheckpointReason],
    ) -> Result<()> {
        if !reasons.is_empty() {
            let accuracies = evaluation
                .accuracy
                .iter()
                .map(|(split, value)| format!("{split} {value:.3}"));
            self.log.add(&format!(
                "step {}: {}",
                evaluation.step,
                accuracies.collect::<Vec<_>>().join(", ")
            ));
        }
        self.watcher.on_evaluation(trainer, evaluation, reasons)
    }

    fn on_interrupt(&mut self, trainer: &Trainer) -> Result<()> {
        self.log.add(&format!("stopped at step {}", trainer.progress().step));
        self.watcher.on_interrupt(trainer)
    }
}
