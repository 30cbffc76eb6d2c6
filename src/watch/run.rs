//! A run as the files in its folder show it: steps done, speed, and time left.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::checkpoint::{Holder, Pulse, StagesFile, read_metrics_so_far};
use crate::graph::Split;
use crate::next::{FoundRun, RunState};
use crate::sweep::{Point, PointState};
use crate::train::{Evaluation, StageOutcome};

/// The seconds of training over which the speed is averaged: few, so that a machine that became slower or faster is seen soon.
const SPEED_SECONDS: f64 = 30.0;

/// A run of the dashboard.
#[derive(Debug, Clone)]
pub(crate) struct WatchedRun {
    /// What the list calls it.
    pub(crate) name: String,
    /// Its run folder.
    pub(crate) folder: PathBuf,
    /// Whether it is trained, and how far it came.
    pub(crate) state: WatchedState,
    /// Which process trains it, or why it failed.
    pub(crate) detail: String,
    /// Training steps done, as far as its files tell.
    pub(crate) step: u64,
    /// Training steps of its config; `None` where that cannot be read.
    pub(crate) steps: Option<u64>,
    /// Its evaluations so far, in order.
    pub(crate) metrics: Vec<Evaluation>,
    /// Its stages, and when each was reached.
    pub(crate) stages: Vec<StageOutcome>,
}

/// The state of a run, in the order in which runs are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum WatchedState {
    /// A process trains it.
    Training,
    /// A process of another machine had begun to train it, and gave no heartbeat.
    Silent,
    /// It failed, or a file of it is damaged.
    Failed,
    /// It was begun, and no process trains it.
    Stopped,
    /// Trained to its end.
    Finished,
    /// It was not begun.
    Waiting,
}

impl WatchedState {
    /// The state in a word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Training => "training",
            Self::Silent => "silent",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Finished => "finished",
            Self::Waiting => "waiting",
        }
    }
}

impl WatchedRun {
    /// A run that is no point of a sweep, in the folder `folder`, under the name `name`; `pulse` tells whether its holder lives.
    pub(super) fn of_found(found: &FoundRun, folder: &Path, name: &Path, pulse: impl FnOnce(&Holder) -> Pulse) -> Self {
        let (state, detail) = match &found.state {
            RunState::InProgress(holder) => {
                let pulse = pulse(holder);
                let state = match pulse {
                    Pulse::Silent { .. } => WatchedState::Silent,
                    Pulse::Unknown | Pulse::Alive | Pulse::Dead => WatchedState::Training,
                };
                (state, holder.describe(pulse))
            }
            RunState::Stopped => (WatchedState::Stopped, String::new()),
            RunState::Finished => (WatchedState::Finished, String::new()),
        };
        Self::read(folder, name.display().to_string(), state, detail, found.steps)
    }

    /// A point of the sweep in the folder `sweep`.
    pub(super) fn of_point(sweep: &Path, point: &Point, state: &PointState) -> Self {
        let (state, detail) = match state {
            PointState::Done { .. } => (WatchedState::Finished, String::new()),
            PointState::Running { holder, .. } => (WatchedState::Training, holder.clone()),
            PointState::Silent { holder, .. } => (WatchedState::Silent, holder.clone()),
            PointState::Failed { error, .. } => (WatchedState::Failed, error.clone()),
            PointState::Waiting { saved } if saved.step == 0 => (WatchedState::Waiting, String::new()),
            PointState::Waiting { .. } => (WatchedState::Stopped, String::new()),
        };
        let steps = Some(point.config.train.steps);
        Self::read(&sweep.join(&point.folder), point.name.clone(), state, detail, steps)
    }

    fn read(folder: &Path, name: String, state: WatchedState, detail: String, steps: Option<u64>) -> Self {
        let (metrics, damage) = match read_metrics_so_far(folder) {
            Ok(metrics) => (metrics, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let saved = StagesFile::read(folder).ok();
        let evaluated = metrics.last().map_or(0, |line| line.step);
        Self {
            name,
            folder: folder.to_owned(),
            // A process continues with what it has in memory.
            state: match (&damage, state) {
                (Some(_), WatchedState::Stopped | WatchedState::Finished) => WatchedState::Failed,
                _ => state,
            },
            detail: damage.unwrap_or(detail),
            step: saved.as_ref().map_or(0, |saved| saved.step).max(evaluated),
            steps,
            metrics,
            stages: saved.map(|saved| saved.stages).unwrap_or_default(),
        }
    }

    /// The share of its steps that are done, from 0 to 1: all of a run that has ended, which may be before its last step.
    pub(crate) fn share(&self) -> f64 {
        match self.steps {
            _ if self.state == WatchedState::Finished => 1.0,
            Some(steps) if steps > 0 => (self.step as f64 / steps as f64).min(1.0),
            _ => 0.0,
        }
    }

    /// Training steps a second lately; `None` before the second evaluation.
    pub(crate) fn steps_per_second(&self) -> Option<f64> {
        let last = self.metrics.last()?;
        let earlier = |line: &&Evaluation| last.seconds - line.seconds >= SPEED_SECONDS;
        let first = self.metrics.iter().rev().find(earlier).or(self.metrics.first())?;
        let speed = last.step.checked_sub(first.step)? as f64 / (last.seconds - first.seconds);
        (speed.is_finite() && speed > 0.0).then_some(speed)
    }

    /// Seconds of training that are left, if it takes all of its steps as fast as the last ones; `None` where that is not known,
    /// or no process trains it.
    pub(crate) fn seconds_left(&self) -> Option<f64> {
        let left = self.steps?.checked_sub(self.step)?;
        let speed = self.steps_per_second()?;
        (self.state == WatchedState::Training).then_some(left as f64 / speed)
    }

    /// Mean training loss in nats at the last evaluation after a step.
    pub(crate) fn loss(&self) -> Option<f64> {
        self.metrics.iter().rev().find_map(|line| line.loss)
    }

    /// The splits that were evaluated, what is trained on first, chains by their hops.
    pub(crate) fn splits(&self) -> Vec<&Split> {
        let all: BTreeSet<&Split> = self.metrics.iter().flat_map(|line| line.accuracy.keys()).collect();
        let mut splits: Vec<&Split> = all.into_iter().collect();
        splits.sort_by_key(|split| split.order_in_legends());
        splits
    }

    /// The latest accuracy of a split, from 0 to 1.
    pub(crate) fn accuracy(&self, split: &Split) -> Option<f64> {
        let latest = |line: &Evaluation| line.accuracy.get(split).copied();
        self.metrics.iter().rev().find_map(latest)
    }

    /// The number of stages reached.
    pub(crate) fn stages_reached(&self) -> usize {
        let reached = self.stages.iter().take_while(|outcome| outcome.reached.is_some());
        reached.count()
    }
}
