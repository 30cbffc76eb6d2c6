//! Which queries a method looks at that takes them one by one, as [`super::Pairing`] says which pairs: a sample of them, or all
//! of every depth, beyond the iterations of training.

use serde::{Deserialize, Serialize};

use super::checkpoint::LoadedCheckpoint;
use super::iterations::{BEYOND_TRAINING, Iterations};
use super::positive;
use super::splits::Wants;
use crate::error::Result;
use crate::graph::Split;

/// Which queries to look at, and in how many iterations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
pub struct Sampling {
    /// Splits, separated by commas [default: the chains that it can use; of chains by depth, those of the most hops that all runs
    /// learned]
    #[arg(long = "split", value_delimiter = ',')]
    pub splits: Vec<Split>,
    /// Queries of each number of hops, at most
    #[arg(long, default_value_t = 500, value_parser = positive)]
    pub queries: usize,
    /// Inference iterations [default: the model's own]
    #[arg(long, value_parser = Iterations::parse_one, default_value = "trained", hide_default_value = true)]
    pub iterations: Iterations,
    /// Seed of the queries, of all else that is drawn, and of the bootstrap
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

impl Sampling {
    /// Fills in what was left open; `wants`: which splits the method can use.
    pub(super) fn resolve(&mut self, wants: Wants, checkpoints: &[LoadedCheckpoint]) -> Result<()> {
        self.splits = wants.splits(&self.splits, checkpoints)?;
        self.iterations.resolve(checkpoints);
        Ok(())
    }

    /// Inference iterations of a checkpoint.
    pub(super) fn iterations(&self, checkpoint: &LoadedCheckpoint) -> usize {
        self.iterations.max(checkpoint.info.iterations)
    }
}

/// All chains of some depths, in iterations up to more than those of training.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
pub struct BeyondTraining {
    /// Splits, separated by commas [default: the held-out chains of every depth]
    #[arg(long = "split", value_delimiter = ',')]
    pub splits: Vec<Split>,
    /// Inference iterations: 1 to this
    #[arg(long, value_parser = Iterations::parse_max, default_value = BEYOND_TRAINING)]
    pub iterations: Iterations,
    /// Seed of the bootstrap
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

impl BeyondTraining {
    /// Fills in what was left open.
    pub(super) fn resolve(&mut self, checkpoints: &[LoadedCheckpoint]) -> Result<()> {
        self.splits = Wants::Depths.splits(&self.splits, checkpoints)?;
        self.iterations.resolve(checkpoints);
        Ok(())
    }

    /// Inference iterations of a checkpoint, at most.
    pub(super) fn max_iterations(&self, checkpoint: &LoadedCheckpoint) -> usize {
        self.iterations.max(checkpoint.info.iterations)
    }
}
