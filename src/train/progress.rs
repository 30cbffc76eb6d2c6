//! The progress of a run, which a resume continues from, and the reasons for its checkpoints.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::stages::{Stage, StageTracker};
use crate::error::{Error, Result};

/// Everything that changes while training, beside the tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// The step of the last evaluation.
    pub evaluated: Option<u64>,
    /// The step of the last log-spaced checkpoint.
    #[serde(rename = "kept")]
    pub log_spaced_step: u64,
    /// The stages with when each was reached.
    pub stages: StageTracker,
    /// The step at which the curriculum's stage began.
    #[serde(default)]
    pub stage_start: u64,
    // Sum and count of the training losses since the last evaluation.
    pub(super) loss_sum: f64,
    pub(super) loss_count: u64,
    /// L2 norm of the last step's gradient, before clipping.
    pub gradient_norm: Option<f64>,
    /// Seconds of training, over all sittings.
    pub seconds: f64,
}

impl Progress {
    // Refuses progress that no run with these stages can have made.
    pub(super) fn check(&self, stages: &StageTracker) -> Result<()> {
        let step = self.step;
        let evaluated = self.evaluated.unwrap_or(0);
        for (key, value) in [
            ("evaluated", evaluated),
            ("kept", self.log_spaced_step),
            ("stage_start", self.stage_start),
            ("loss_count", self.loss_count),
        ] {
            if value > step {
                return Err(Error::input(format!("its {key} = {value} is beyond its step = {step}")));
            }
        }
        let watched = |tracker: &StageTracker| -> Vec<Stage> {
            let outcomes = tracker.outcomes.iter();
            outcomes.map(|outcome| outcome.stage.clone()).collect()
        };
        if watched(&self.stages) != watched(stages) {
            return Err(Error::input("its stages are not those of the run's config"));
        }
        Ok(())
    }
}

/// A weight with its AdamW moments, as saved for a resume. All three tensors have the shape of the weight.
pub struct SavedParameter {
    /// The name of its [`Slot`](crate::model::Slot).
    pub name: String,
    /// The weight.
    pub value: Tensor,
    /// AdamW's moving average of the gradient.
    pub first_moment: Tensor,
    /// AdamW's moving average of the squared gradient.
    pub second_moment: Tensor,
}

/// Why a checkpoint is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckpointReason {
    /// The stage with this index, from 0, was reached.
    Stage(usize),
    /// A log-spaced checkpoint: the step is at least `train.checkpoint_growth` times that of the last one.
    LogSpaced,
    /// Training has ended.
    Final,
}
