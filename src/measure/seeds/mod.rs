//! Runs that differ in their seeds: what they measured, side by side.

mod effects;
mod metrics;
mod stage_times;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::compare::RunSummary;
use super::statistics::seeds::method;

pub use effects::{EffectRow, effects};
pub use metrics::{MetricValue, metrics};
pub use stage_times::{StageCurve, StageTimes, stage_times};

/// Runs that differ in their seeds alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunGroup {
    /// The values that they share, in words.
    pub title: String,
    /// The experiment of a study that they are of; absent where they are of a sweep.
    pub experiment: Option<String>,
    /// These values by key.
    pub values: BTreeMap<String, String>,
    /// The runs.
    pub runs: Vec<SeededRun>,
}

/// A run with its seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeededRun {
    /// Which seed it is of, the same number for the same seed in all groups.
    pub seed: usize,
    /// The run.
    pub run: RunSummary,
}

impl RunGroup {
    /// The number of seeds.
    pub fn n_seeds(&self) -> usize {
        self.runs.iter().map(|run| run.seed).collect::<BTreeSet<_>>().len()
    }

    /// Its title with its number of seeds; where seeds have several runs, of runs too.
    pub fn counted(&self) -> String {
        let (runs, seeds) = (self.runs.len(), self.n_seeds());
        if runs == seeds {
            format!("{} (n = {seeds})", self.title)
        } else {
            format!("{} (n = {seeds} seeds, {runs} runs)", self.title)
        }
    }
}

/// What an interval over this number of seeds is, in words.
pub fn interval_in_words(n: usize) -> String {
    format!("95 % over {n} seeds ({})", method(n))
}
