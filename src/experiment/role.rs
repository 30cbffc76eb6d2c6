//! What a run is in its experiment, by its config.

use crate::graph::Tails;
use crate::model::ModelConfig;
use crate::train::RunConfig;

/// How many iterations a run trains with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recurrence {
    /// One: the vanilla transformer.
    Vanilla,
    /// The same number above 1 for every batch.
    Fixed,
    /// A number drawn for every batch.
    Dynamic,
}

/// What a run is in its experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunRole {
    /// How it loops.
    pub recurrence: Recurrence,
    /// Whether the embedding is added again before every iteration.
    pub injection: bool,
    /// The relations of its data: many-to-one ones leave a shortcut.
    pub tails: Tails,
}

impl RunRole {
    /// The role of a run with this config, on data with these tails.
    pub fn of(config: &RunConfig, tails: Tails) -> Self {
        let recurrence = match (config.train.dynamic, config.model.iterations) {
            (Some(_), _) => Recurrence::Dynamic,
            (None, 1) => Recurrence::Vanilla,
            (None, _) => Recurrence::Fixed,
        };
        Self {
            recurrence,
            injection: config.model.injection,
            tails,
        }
    }

    /// Whether it differs from the other plain runs in its recurrence alone: no injection, no shortcut.
    pub fn is_plain(self) -> bool {
        !self.injection && self.tails == Tails::Permutation
    }

    /// Whether the block is applied more than once.
    pub fn is_looped(self) -> bool {
        self.recurrence != Recurrence::Vanilla
    }
}

/// Layers that a query passes through: layers of the block × iterations. Models of one width that have as many of them
/// spend the same FLOPs.
pub fn effective_layers(model: &ModelConfig) -> usize {
    model.layers * model.iterations
}
