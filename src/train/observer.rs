//! The observers that follow a run.

use super::metrics::Evaluation;
use super::progress::CheckpointReason;
use super::trainer::Trainer;
use crate::error::Result;

/// Follows a run: the run folder, a progress bar, a measurement of your own. A method that is not written does nothing, and
/// `()` is an observer that does nothing.
pub trait Observer {
    /// Called after every step, with the loss of its batch in nats.
    ///
    /// # Errors
    /// Those of the observer; they end the run.
    fn on_step(&mut self, _trainer: &Trainer, _loss: f64) -> Result<()> {
        Ok(())
    }

    /// Called after every evaluation, with the reasons to write a checkpoint of this step, if any.
    ///
    /// # Errors
    /// Those of the observer; they end the run.
    fn on_evaluation(
        &mut self,
        _trainer: &Trainer,
        _evaluation: &Evaluation,
        _reasons: &[CheckpointReason],
    ) -> Result<()> {
        Ok(())
    }

    /// Called when the run is stopped before its end.
    ///
    /// # Errors
    /// Those of the observer.
    fn on_interrupt(&mut self, _trainer: &Trainer) -> Result<()> {
        Ok(())
    }

    /// The path of the last checkpoint without numbers that are not finite, for the message of a run that diverges.
    fn last_good_checkpoint(&self) -> String {
        "none is kept".to_owned()
    }
}

impl Observer for () {}
