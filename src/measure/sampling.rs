//! Which queries a method looks at that takes them one by one, as [`super::Pairing`] says which pairs.

use serde::{Deserialize, Serialize};

use super::checkpoint::LoadedCheckpoint;
use super::iterations::Iterations;
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
