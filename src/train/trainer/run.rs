//! The training loop.

use std::sync::atomic::{AtomicBool, Ordering};

use super::Trainer;
use crate::error::{Error, Result};
use crate::train::observer::Observer;

impl Trainer {
    /// Trains to the end of the run. Setting `stop` ends training after the present step: the observer then saves the state,
    /// and the result is [`Error::Interrupted`].
    ///
    /// # Errors
    /// Those of [`Trainer::step`] and of the observer.
    pub fn run(&mut self, stop: &AtomicBool, observer: &mut dyn Observer) -> Result<()> {
        loop {
            if self.evaluation_is_due() {
                let (evaluation, reasons) = self.evaluate()?;
                observer.on_evaluation(self, &evaluation, &reasons)?;
            }
            if self.finished() {
                return Ok(());
            }
            if stop.load(Ordering::Relaxed) {
                observer.on_interrupt(self)?;
                return Err(Error::Interrupted);
            }
            let loss = self.step(|| observer.last_good_checkpoint())?;
            observer.on_step(self, loss)?;
        }
    }
}
