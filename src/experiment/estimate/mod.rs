//! What runs will cost before any is trained: steps are timed for a few seconds on this machine, checkpoints and bytes are
//! counted. Nothing is written.
//!
//! A step that takes a fraction of a second is timed as it is. A longer one is not done even once: two small steps of one
//! iteration each give the line through their floating-point operations, from which that of a whole step is read.

mod cost;
mod folder;
mod memory;
mod runs;

use std::collections::HashMap;
use std::path::PathBuf;

use candle_core::Device;
use serde::Serialize;

pub(crate) use runs::jobs_within;
pub use runs::{EstimatedRuns, estimate_preset};

use super::training::thread_pool;
use crate::error::{Error, Result};
use crate::graph::{Dataset, TRAIN};
use crate::train::{Curriculum, OptimizerConfig, RunConfig, Stage, stages_of};
use cost::{Line, StageCost};
use folder::Schedule;

/// What one run will cost if it takes all steps that its config allows. A curriculum whose stages are all passed, or of which one
/// is not passed in time, ends earlier.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    /// The largest number of steps.
    pub steps: u64,
    /// The threads that steps were timed on.
    pub threads: usize,
    /// Whether seconds are CPU time, as on a core without other work; otherwise wall-clock time.
    pub cpu_time: bool,
    /// Seconds of a step: of a curriculum in its first stage, and in its last, whose chains are the longest.
    pub seconds_a_step: Between,
    /// Seconds of training, evaluations included; all steps at the first stage, and all at the last.
    pub seconds: Between,
    /// The largest number of checkpoints: those of all stages, the log-spaced ones, and the one at the end.
    pub checkpoints: u64,
    /// Bytes of the run folder with these checkpoints and the state that a resumed run continues from.
    pub disk_bytes: u64,
    /// Bytes of memory, about: weights, a step, the saving of the state, and the data.
    pub memory_bytes: u64,
}

/// Two bounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Between {
    /// The smaller one.
    pub least: f64,
    /// The larger one.
    pub most: f64,
}

impl Between {
    /// The bounds of `a` and `b`.
    pub fn new(a: f64, b: f64) -> Self {
        Self {
            least: a.min(b),
            most: a.max(b),
        }
    }

    /// Both bounds, changed by `f`.
    #[must_use]
    pub fn map(self, f: impl Fn(f64) -> f64) -> Self {
        Self::new(f(self.least), f(self.most))
    }
}

/// Estimates runs. Runs of the same shape are timed once.
pub struct Estimator<'a> {
    device: &'a Device,
    pool: rayon::ThreadPool,
    // By the text of what it depends on.
    costs: HashMap<String, StageCosts>,
    lines: HashMap<String, Line>,
}

// What the first and the last stage cost.
#[derive(Clone, Copy)]
struct StageCosts {
    first: StageCost,
    last: StageCost,
}

impl<'a> Estimator<'a> {
    /// An estimator of runs that are trained on this number of threads each.
    ///
    /// # Errors
    /// When threads cannot be started.
    pub fn new(device: &'a Device, threads: usize) -> Result<Self> {
        Ok(Self {
            device,
            pool: thread_pool(threads)?,
            costs: HashMap::new(),
            lines: HashMap::new(),
        })
    }

    /// The number of shapes that have been timed.
    pub fn shapes_timed(&self) -> usize {
        self.costs.len()
    }

    /// Estimates a run of this config on this data.
    ///
    /// # Errors
    /// When the config does not fit the data, or a step fails.
    pub fn run(&mut self, config: &RunConfig, data: &Dataset) -> Result<Estimate> {
        let stages = stages_of(config, data)?;
        let StageCosts { first, last } = self.costs(config, data, &stages)?;
        let schedule = Schedule::new(config, data, &stages);
        let (fewest, most) = (schedule.min_evaluations(), schedule.max_evaluations());
        let seconds = |cost: StageCost, hops, evaluations: u64| {
            let queries = schedule.evaluated_queries(hops) as f64;
            schedule.steps as f64 * cost.step + evaluations as f64 * queries * cost.evaluated_query
        };
        let (first_hops, last_hops) = hops_of(config, &stages);
        Ok(Estimate {
            steps: schedule.steps,
            threads: self.pool.current_num_threads(),
            cpu_time: self.pool.install(|| cost::by_cpu_time(self.device)),
            seconds_a_step: Between::new(first.step, last.step),
            seconds: Between::new(seconds(first, first_hops, fewest), seconds(last, last_hops, most)),
            checkpoints: schedule.max_checkpoints(),
            disk_bytes: schedule.bytes()?,
            memory_bytes: memory_bytes(config, data)?,
        })
    }

    fn costs(&mut self, config: &RunConfig, data: &Dataset, stages: &[Stage]) -> Result<StageCosts> {
        let shape = Shape::of(config, data)?;
        if let Some(&known) = self.costs.get(&shape.whole) {
            return Ok(known);
        }
        let (first_hops, last_hops) = hops_of(config, stages);
        let line = if let Some(&line) = self.lines.get(&shape.of_one_iteration) {
            line
        } else {
            let rows = cost::StageRows::new(config, data, stages, last_hops);
            let line = self.pool.install(|| Line::measure(&rows, self.device))?;
            self.lines.insert(shape.of_one_iteration, line);
            line
        };
        let cost = |hops| {
            let rows = cost::StageRows::new(config, data, stages, hops);
            self.pool.install(|| rows.cost(line, self.device))
        };
        let last = cost(last_hops)?;
        let first = if first_hops == last_hops {
            last
        } else {
            cost(first_hops)?
        };
        let costs = StageCosts { first, last };
        self.costs.insert(shape.whole, costs);
        Ok(costs)
    }
}

/// About the bytes of memory that a run of this config on this data takes.
///
/// # Errors
/// When the config does not fit the data.
pub(crate) fn memory_bytes(config: &RunConfig, data: &Dataset) -> Result<u64> {
    let stages = stages_of(config, data)?;
    let (_, hops) = hops_of(config, &stages);
    memory::bytes(&cost::StageRows::new(config, data, &stages, hops))
}

// The hops of the longest chains in the first and in the last stage of a curriculum.
fn hops_of(config: &RunConfig, stages: &[Stage]) -> (Option<usize>, Option<usize>) {
    let with_curriculum = |hops| config.curriculum.map(|_| hops);
    let last = Curriculum::FIRST + stages.len().saturating_sub(1);
    (with_curriculum(Curriculum::FIRST), with_curriculum(last))
}

// What the time of a step depends on, as text.
struct Shape {
    whole: String,
    // That of runs of any number of iterations.
    of_one_iteration: String,
}

impl Shape {
    fn of(config: &RunConfig, data: &Dataset) -> Result<Self> {
        let mut alike = seedless(config);
        // None of these changes what a step or the evaluation of a query takes.
        alike.optimizer = OptimizerConfig::default();
        (alike.model.init, alike.model.embedding_std) = (crate::model::Init::ZERO, 1.0);
        (alike.train.steps, alike.train.label_smoothing) = (1, 0.0);
        (alike.train.checkpoint_growth, alike.train.save_every_seconds) = (2.0, 0.0);
        if let Some(curriculum) = &mut alike.curriculum {
            (
                curriculum.accuracy,
                curriculum.stage_steps,
                curriculum.later_stage_steps,
            ) = (1.0, 1, None);
            (curriculum.lr_factor, curriculum.hold, curriculum.reset_optimizer) = (1.0, 1, true);
        }
        for stage in &mut alike.stages {
            (stage.accuracy, stage.hold) = (1.0, 1);
        }
        let rows = rows_by_hops(data)?;
        let whole = text(&(&alike, &rows, data.vocab.len()))?;
        alike.model.iterations = 1;
        alike.train.dynamic = None;
        Ok(Self {
            whole,
            of_one_iteration: text(&(&alike, &rows, data.vocab.len()))?,
        })
    }
}

/// The same config without what makes one run of several alike: its seeds and the path of its data.
pub(crate) fn seedless(config: &RunConfig) -> RunConfig {
    RunConfig {
        data: PathBuf::new(),
        seed: 0,
        init_seed: None,
        order_seed: None,
        ..config.clone()
    }
}

// The number of training rows of each number of hops.
fn rows_by_hops(data: &Dataset) -> Result<Vec<usize>> {
    let mut counts = Vec::new();
    for query in data.split(TRAIN)? {
        if counts.len() <= query.hops() {
            counts.resize(query.hops() + 1, 0);
        }
        counts[query.hops()] += 1;
    }
    Ok(counts)
}

fn text(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(Error::failed)
}
