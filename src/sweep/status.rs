//! Where a sweep stands, as its folder tells.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use super::log::Log;
use super::plan::Plan;
use super::point::Point;
use crate::checkpoint::{HeartbeatWatch, Holder, Pulse, RunLock, RunRecord, StagesFile};
use crate::error::Error;
use crate::files;

/// Lines of the log of a point that failed.
const LOG_LINES: usize = 3;

/// Where a sweep stands.
pub struct Status {
    /// Each point of the plan with its state, in order.
    pub points: Vec<(Point, PointState)>,
    // The indices of points whose holders only their heartbeats can tell alive, with what was first seen of them.
    unsure: Vec<(usize, Holder)>,
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
        /// What was saved of it.
        saved: Saved,
    },
    /// A process of another machine had begun to train it, and had no heartbeat while it was watched: it is dead or cut off.
    Silent {
        /// Which process, where, since when, and since when it is silent.
        holder: String,
        /// What was saved of it.
        saved: Saved,
    },
    /// It failed, and no process trains it now; or a file of its run is damaged.
    Failed {
        /// The error.
        error: String,
        /// UTC, in the form of RFC 3339; absent where it was found just now.
        when: Option<String>,
        /// The last lines of its log.
        log: Vec<String>,
    },
    /// It is not finished, and no process trains it.
    Waiting {
        /// What was saved of it.
        saved: Saved,
    },
}

/// How far a run was when it was last saved.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Saved {
    /// Steps done; 0 where it was not begun.
    pub step: u64,
    /// Seconds of training until then.
    pub seconds: f64,
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
    /// Reads the states of a plan's points in the folder `sweep`. A damaged file is a failure of the point that it is of.
    pub fn read(sweep: &Path, plan: &Plan) -> Self {
        let nothing = PointState::Waiting {
            saved: Saved::default(),
        };
        let points = plan.points.iter().map(|point| (point.clone(), nothing.clone()));
        let mut status = Self {
            points: points.collect(),
            unsure: Vec::new(),
        };
        for index in 0..status.points.len() {
            status.read_point(sweep, index);
        }
        status
    }

    /// How many points are in each state, in words.
    pub fn counts(&self) -> String {
        let count = |word: &str| self.points.iter().filter(|(_, state)| state.word() == word).count();
        let silent = match count("silent") {
            0 => String::new(),
            silent => format!(", {silent} silent"),
        };
        format!(
            "{} done, {} running{silent}, {} failed, {} waiting",
            count("done"),
            count("running"),
            count("failed"),
            count("waiting")
        )
    }

    /// The number of running points whose processes are on other machines, so that only their heartbeats can tell whether they
    /// live.
    pub fn n_unsure(&self) -> usize {
        self.unsure.len()
    }

    /// Watches the heartbeats of processes on other machines until each has had one, for `period` at most; the points of those
    /// that had none are silent then. A living process has two in [`HeartbeatWatch::PERIOD`].
    pub fn watch(&mut self, sweep: &Path, period: Duration) {
        // Often enough to end soon after the last heartbeat.
        const LOOK: Duration = Duration::from_millis(500);
        let mut heartbeats = HeartbeatWatch::new(period);
        self.compare_heartbeats(sweep, &mut heartbeats, Instant::now());
        while !self.unsure.is_empty() {
            std::thread::sleep(LOOK.min(period));
            // Taken before the look, as where a process waits to take a lock over.
            let now = Instant::now();
            for (index, _) in std::mem::take(&mut self.unsure) {
                self.read_point(sweep, index);
            }
            self.compare_heartbeats(sweep, &mut heartbeats, now);
        }
    }

    /// Tells running points from silent ones by what was seen of their processes' heartbeats before. `now` is when this status was
    /// read.
    pub(crate) fn compare_heartbeats(&mut self, sweep: &Path, heartbeats: &mut HeartbeatWatch, now: Instant) {
        let points = &mut self.points;
        self.unsure.retain(|(index, holder)| {
            let (point, state) = &mut points[*index];
            let pulse = heartbeats.look(&sweep.join(&point.folder), holder, now);
            if let PointState::Running { saved, .. } = *state {
                let holder = holder.describe(pulse);
                *state = match pulse {
                    Pulse::Silent { .. } => PointState::Silent { holder, saved },
                    Pulse::Unknown | Pulse::Alive | Pulse::Dead => PointState::Running { holder, saved },
                };
            }
            pulse == Pulse::Unknown
        });
    }

    // Reads the state of the point with an index.
    fn read_point(&mut self, sweep: &Path, index: usize) {
        let (point, state) = &mut self.points[index];
        let (now, holder) = PointState::read(sweep, point);
        *state = now;
        let unsure = holder.filter(|holder| holder.pulse() == Pulse::Unknown);
        self.unsure.extend(unsure.map(|holder| (index, holder)));
    }

    /// Seconds of training that are left on one core. The time of a run is estimated from runs that are done, of the same
    /// values if there are such, else from what was saved of runs that are not done yet. `None` where nothing was saved.
    pub fn seconds_left(&self) -> Option<f64> {
        let mut whole: Vec<Whole> = Vec::new();
        for (point, state) in &self.points {
            whole.extend(Whole::of(point, state));
        }
        // A run that is done may have ended early, as one with a curriculum does.
        let of = |point: &Point| {
            let alike = |whole: &&Whole| whole.point.values == point.values;
            mean(whole.iter().filter(|whole| whole.is_done).filter(alike))
                .or_else(|| mean(whole.iter().filter(alike)))
                .or_else(|| mean(whole.iter().filter(|whole| whole.is_done)))
                .or_else(|| mean(whole.iter()))
        };
        let left = |point: &Point, step: u64| {
            let share = (1.0 - step as f64 / point.config.train.steps as f64).max(0.0);
            of(point).map(|seconds| seconds * share)
        };
        let of_point = |(point, state): &(Point, PointState)| match state {
            PointState::Done { .. } => Some(0.0),
            PointState::Running { saved, .. } | PointState::Silent { saved, .. } | PointState::Waiting { saved } => {
                left(point, saved.step)
            }
            PointState::Failed { .. } => left(point, 0),
        };
        self.points.iter().map(of_point).sum()
    }
}

// The seconds that all steps of a point take.
struct Whole<'a> {
    point: &'a Point,
    is_done: bool,
    seconds: f64,
}

impl<'a> Whole<'a> {
    fn of(point: &'a Point, state: &PointState) -> Option<Self> {
        let (is_done, seconds) = match state {
            PointState::Done { seconds } => (true, *seconds),
            PointState::Running { saved, .. } | PointState::Silent { saved, .. } | PointState::Waiting { saved }
                if saved.step > 0 =>
            {
                (
                    false,
                    saved.seconds * point.config.train.steps as f64 / saved.step as f64,
                )
            }
            _ => return None,
        };
        Some(Self {
            point,
            is_done,
            seconds,
        })
    }
}

fn mean<'a>(of: impl Iterator<Item = &'a Whole<'a>>) -> Option<f64> {
    let (count, sum) = of.fold((0, 0.0), |(count, sum), whole| (count + 1, sum + whole.seconds));
    (count > 0).then(|| sum / f64::from(count))
}

impl PointState {
    /// The state in a word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Done { .. } => "done",
            Self::Running { .. } => "running",
            Self::Silent { .. } => "silent",
            Self::Failed { .. } => "failed",
            Self::Waiting { .. } => "waiting",
        }
    }

    // The state of a point, with the process that trains it.
    fn read(sweep: &Path, point: &Point) -> (Self, Option<Holder>) {
        let folder = sweep.join(&point.folder);
        let stages = StagesFile::read(&folder).ok();
        let log = || Log::of(sweep, point).last(LOG_LINES);
        let holder = RunLock::living_holder(&folder);
        let mut is_done = point.is_done(sweep);
        if stages.is_some() && is_done.as_ref().is_ok_and(|is_done| !is_done) {
            // To see that settings and metrics of a run that is not done can be read.
            let read = if holder.is_some() {
                RunRecord::read_so_far
            } else {
                RunRecord::read
            };
            is_done = read(&folder).map(|_| false);
        }
        let saved = stages.map_or_else(Saved::default, |stages| Saved {
            step: stages.step,
            seconds: stages.seconds,
        });
        match is_done {
            Ok(true) => return (Self::Done { seconds: saved.seconds }, None),
            Ok(false) => {}
            Err(error) => {
                let failed = Self::Failed {
                    error: error.to_string(),
                    when: None,
                    log: log(),
                };
                return (failed, None);
            }
        }
        if let Some(holder) = holder {
            let running = Self::Running {
                holder: holder.describe(holder.pulse()),
                saved,
            };
            return (running, Some(holder));
        }
        let state = match Failure::read(sweep, point) {
            Some(Failure { error, when }) => Self::Failed {
                error,
                when: Some(when),
                log: log(),
            },
            None => Self::Waiting { saved },
        };
        (state, None)
    }
}
