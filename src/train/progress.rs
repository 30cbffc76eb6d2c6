//! Where a run stands, and who is told of it.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::config::Stage;
use super::metrics::Evaluation;
use super::stages::StageTracker;
use super::trainer::Trainer;
use crate::error::{Error, Result};

/// Everything that changes while training, beside the tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// The step of the last evaluation.
    pub evaluated: Option<u64>,
    /// The step of the last checkpoint that was kept by its age.
    pub kept: u64,
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
    // Refuses what no run of these stages can have come to.
    pub(super) fn check(&self, stages: &StageTracker) -> Result<()> {
        let step = self.step;
        let evaluated = self.evaluated.unwrap_or(0);
        for (key, value) in [
            ("evaluated", evaluated),
            ("kept", self.kept),
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

/// A weight with its AdamW moments, as saved for a resume.
pub struct SavedParameter {
    pub name: String,
    pub value: Tensor,
    pub first_moment: Tensor,
    pub second_moment: Tensor,
}

/// Why a checkpoint is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// The stage with this place was reached.
    Stage(usize),
    /// The run has grown enough since the last one.
    Growth,
    /// The run is over.
    Final,
}

/// What follows a run: the run folder, a progress bar. A method that is not written does nothing.
pub trait Observer {
    /// After every step.
    ///
    /// # Errors
    /// Those of the observer.
    fn stepped(&mut self, _trainer: &Trainer, _loss: f64) -> Result<()> {
        Ok(())
    }

    /// After every evaluation, with the occasions to keep a checkpoint that it gave.
    ///
    /// # Errors
    /// Those of the observer.
    fn evaluated(&mut self, _trainer: &Trainer, _evaluation: &Evaluation, _occasions: &[Occasion]) -> Result<()> {
        Ok(())
    }

    /// When the run stops before its end.
    ///
    /// # Errors
    /// Those of the observer.
    fn interrupted(&mut self, _trainer: &Trainer) -> Result<()> {
        Ok(())
    }

    /// The last checkpoint that is known to be good, for the message of a run that diverges.
    fn last_good(&self) -> String {
        "none is kept".to_owned()
    }
}
