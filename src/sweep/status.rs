//! Where a sweep stands, as its folder tells.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::log::Log;
use super::plan::Plan;
use super::point::Point;
use crate::checkpoint::{RunLock, StagesFile};
use crate::error::{Error, Result};
use crate::files;

/// Lines of the log of a point that failed.
const LOG_LINES: usize = 3;

/// Where a sweep stands.
pub struct Status {
    /// Each point of the plan with its state, in order.
    pub points: Vec<(Point, PointState)>,
}

/// The state of a point.
#[derive(Debug, Clone, PartialEq)]
pub enum PointState {
    /// Trained to its end, in this many seconds.
    Done {
        /// Seconds of training, over all processes.
        seconds: f64,
    },
    /// A process trains it.
    Running {
        /// Which process, where, and since when.
        holder: String,
        /// Steps done, as last saved.
        step: u64,
    },
    /// It failed, and nobody trains it now.
    Failed {
        /// The error.
        error: String,
        /// UTC, in the form of RFC 3339.
        when: String,
        /// The last lines of its log.
        log: Vec<String>,
    },
    /// Nobody trains it, and it is not finished.
    Waiting {
        /// Steps done; 0 where it was not begun.
        step: u64,
    },
}

/// The record of a point that failed, in `failed/`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Failure {
    error: String,
    when: String,
}

impl Failure {
    fn path(sweep: &Path, point: &Point) -> PathBuf {
        sweep.join("failed").join(format!("{}.json", point.folder_name()))
    }

    pub(super) fn keep(sweep: &Path, point: &Point, error: &Error) {
        let failure = Self {
            error: error.to_string(),
            when: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        };
        if let Err(e) = files::write_json(&Self::path(sweep, point), &failure) {
            tracing::warn!("the failure of {} could not be recorded: {e}", point.name);
        }
    }

    pub(super) fn forget(sweep: &Path, point: &Point) {
        // Where there is none, nothing is to be forgotten.
        let _ = std::fs::remove_file(Self::path(sweep, point));
    }

    fn read(sweep: &Path, point: &Point) -> Option<Self> {
        files::read_json(&Self::path(sweep, point)).ok()
    }
}

impl Status {
    /// Reads the states of a plan's points in the folder `sweep`.
    ///
    /// # Errors
    /// When there is another run in a point's folder.
    pub fn read(sweep: &Path, plan: &Plan) -> Result<Self> {
        let state = |point: &Point| Ok((point.clone(), PointState::read(sweep, point)?));
        Ok(Self {
            points: plan.points.iter().map(state).collect::<Result<_>>()?,
        })
    }

    /// Seconds of training that are left on one core, by the points that are done: those of the same values, else all.
    /// `None` where none is done.
    pub fn seconds_left(&self) -> Option<f64> {
        let done: Vec<(&Point, f64)> = self
            .points
            .iter()
            .filter_map(|(point, state)| match state {
                PointState::Done { seconds } => Some((point, *seconds)),
                _ => None,
            })
            .collect();
        let mean = |of: &[f64]| (!of.is_empty()).then(|| of.iter().sum::<f64>() / of.len() as f64);
        let all = mean(&done.iter().map(|(_, seconds)| *seconds).collect::<Vec<_>>())?;
        let left = |point: &Point, step: u64| {
            let alike = done
                .iter()
                .filter(|(other, _)| other.values == point.values)
                .map(|(_, s)| *s);
            let whole = mean(&alike.collect::<Vec<_>>()).unwrap_or(all);
            whole * (1.0 - step as f64 / point.config.train.steps as f64).max(0.0)
        };
        let of_point = |(point, state): &(Point, PointState)| match state {
            PointState::Done { .. } => 0.0,
            PointState::Running { step, .. } | PointState::Waiting { step } => left(point, *step),
            PointState::Failed { .. } => left(point, 0),
        };
        Some(self.points.iter().map(of_point).sum())
    }
}

impl PointState {
    fn read(sweep: &Path, point: &Point) -> Result<Self> {
        let folder = sweep.join(&point.folder);
        let stages = StagesFile::read(&folder).ok();
        if point.is_done(sweep)? {
            let seconds = stages.map_or(0.0, |stages| stages.seconds);
            return Ok(Self::Done { seconds });
        }
        let step = stages.map_or(0, |stages| stages.step);
        if let Some(holder) = RunLock::holder(&folder).filter(|holder| holder.alive != Some(false)) {
            let unsure = if holder.alive.is_none() {
                ", unless it died there"
            } else {
                ""
            };
            let holder = format!(
                "process {} on {} since {}{unsure}",
                holder.process, holder.host, holder.since
            );
            return Ok(Self::Running { holder, step });
        }
        Ok(match Failure::read(sweep, point) {
            Some(Failure { error, when }) => Self::Failed {
                error,
                when,
                log: Log::of(sweep, point).last(LOG_LINES),
            },
            None => Self::Waiting { step },
        })
    }
}
