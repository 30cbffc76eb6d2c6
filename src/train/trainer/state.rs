//! The state of a run that is saved, and the way back to it.

use std::time::Instant;

use candle_core::Tensor;

use super::Trainer;
use crate::error::{Error, Result};
use crate::train::progress::{Progress, SavedParameter};

impl Trainer {
    /// Everything of the run that changes beside weights and moments, with the seconds of training until now.
    pub fn progress(&self) -> Progress {
        Progress {
            seconds: self.seconds(),
            ..self.progress.clone()
        }
    }

    /// The present weights, each with its AdamW moments.
    ///
    /// # Errors
    /// When the device fails.
    pub fn parameters(&self) -> Result<Vec<SavedParameter>> {
        let mut saved = Vec::new();
        for parameter in &self.parameters {
            let leaf = &parameter.leaf;
            let values = leaf.views(parameter.var.as_tensor())?;
            let moments = leaf
                .views(&parameter.first_moment)?
                .into_iter()
                .zip(leaf.views(&parameter.second_moment)?);
            for ((slot, value), (first_moment, second_moment)) in leaf.slots.iter().zip(values).zip(moments) {
                saved.push(SavedParameter {
                    name: slot.name.clone(),
                    value,
                    first_moment,
                    second_moment,
                });
            }
        }
        Ok(saved)
    }

    /// Restores a saved state; `find` gives the value, first moment and second moment of a weight by its name.
    ///
    /// # Errors
    /// When `find` fails, a tensor has another shape or type than the model's, or `progress` belongs to another config.
    pub fn restore(&mut self, progress: Progress, mut find: impl FnMut(&str) -> Result<[Tensor; 3]>) -> Result<()> {
        progress.check(&self.progress.stages)?;
        for parameter in &mut self.parameters {
            let mut parts = [const { Vec::new() }; 3];
            let dtype = parameter.var.dtype();
            for slot in &parameter.leaf.slots {
                for (parts, part) in parts.iter_mut().zip(find(&slot.name)?) {
                    if part.dims() != slot.shape || part.dtype() != dtype {
                        return Err(Error::input(format!(
                            "value and moments of {} must be {dtype:?} of shape {:?}, not {:?} of {:?}",
                            slot.name,
                            slot.shape,
                            part.dtype(),
                            part.dims()
                        )));
                    }
                    parts.push(part);
                }
            }
            let [value, first_moment, second_moment] = parts;
            parameter.var.set(&parameter.leaf.join(&value)?)?;
            parameter.first_moment = parameter.leaf.join(&first_moment)?;
            parameter.second_moment = parameter.leaf.join(&second_moment)?;
        }
        self.progress = progress;
        self.enter_stage();
        self.clock = Instant::now();
        Ok(())
    }
}
