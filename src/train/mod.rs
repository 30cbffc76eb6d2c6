//! Training: the loop, the optimizer, the grokking stages, the curriculum, the metrics.
//!
//! A [`RunConfig`] and a [`Dataset`](crate::graph::Dataset) make a [`Trainer`]. It knows nothing of files: an [`Observer`]
//! follows it, and [`RunFolder`](crate::checkpoint::RunFolder) is the one that writes checkpoints.

mod config;
mod curriculum;
mod interval;
mod metrics;
mod observer;
mod optimizer;
mod overrides;
mod progress;
mod stages;
mod trainer;

pub use config::{Decay, LoopConfig, OptimizerConfig, RunConfig, Seeds};
pub use curriculum::{Curriculum, Dynamic};
pub use interval::Interval;
pub(crate) use metrics::NOT_A_NUMBER;
pub use metrics::{Evaluation, accuracy, answers, rank, top1};
pub use observer::Observer;
pub(crate) use overrides::apply as with_overrides;
pub use progress::{CheckpointReason, Progress, SavedParameter};
pub use stages::{Reached, Stage, StageOutcome, StageTracker, grokking_stages};
pub use trainer::Trainer;
pub(crate) use trainer::{evaluated_splits, sharing, stages_of};
