//! Buffers for the gradients of weights, which are reused from step to step.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::with_numbers_mut;

// Numbers of a gradient that a thread sets to zero at a time.
const ZERO_CHUNK: usize = 1 << 18;

/// The buffers of a model's gradients. Without them, candle would copy every gradient for each term of its sum: several
/// copies of all weights a step.
#[derive(Clone, Default)]
pub(crate) struct GradientBuffers(Arc<Mutex<Buffers>>);

#[derive(Default)]
struct Buffers {
    // Weights with their gradients.
    all: Vec<(Tensor, Tensor)>,
    collecting: Option<Collecting>,
}

// The thread whose backward passes add to the buffers, and the indices of the gradients that they have added to.
struct Collecting {
    thread: ThreadId,
    used: Vec<usize>,
}

impl GradientBuffers {
    /// The gradients of `backward`, including those that the ops of this thread added to the buffers meanwhile. They
    /// are valid until the next call. While another thread uses the buffers, all gradients go through candle.
    ///
    /// # Errors
    /// Those of `backward`.
    pub(crate) fn collect(&self, backward: impl FnOnce() -> Result<GradStore>) -> Result<GradStore> {
        let mut buffers = self.lock();
        let is_free = buffers.collecting.is_none();
        if is_free {
            buffers.collecting = Some(Collecting {
                thread: std::thread::current().id(),
                used: Vec::new(),
            });
        }
        drop(buffers);
        let store = backward();
        if !is_free {
            return store;
        }
        let mut buffers = self.lock();
        let used = buffers.collecting.take().map(|collecting| collecting.used);
        let mut store = store?;
        for index in used.unwrap_or_default() {
            let (weights, gradient) = &buffers.all[index];
            let sum = match store.remove(weights) {
                Some(other) => (gradient + other)?,
                None => gradient.clone(),
            };
            store.insert(weights, sum);
        }
        Ok(store)
    }

    /// Calls `add` with the buffer of the gradient of `weights` where this thread collects gradients; otherwise with
    /// zeros, which it returns for candle.
    ///
    /// # Errors
    /// When the weights are not contiguous f32 on the CPU, and those of `add`.
    pub(super) fn add(&self, weights: &Tensor, add: impl FnOnce(&mut [f32]) -> Result<()>) -> Result<Option<Tensor>> {
        if let Some(buffer) = self.buffer(weights)? {
            with_numbers_mut(&buffer, add)?;
            return Ok(None);
        }
        let gradient = weights.zeros_like()?;
        with_numbers_mut(&gradient, add)?;
        Ok(Some(gradient))
    }

    fn buffer(&self, weights: &Tensor) -> Result<Option<Tensor>> {
        let mut buffers = self.lock();
        let Buffers { all, collecting } = &mut *buffers;
        let this = std::thread::current().id();
        // A view of weights must pass its gradient on to them, through candle.
        let can_use = |collecting: &&mut Collecting| collecting.thread == this && weights.is_variable();
        let Some(collecting) = collecting.as_mut().filter(can_use) else {
            return Ok(None);
        };
        let known = all.iter().position(|(known, _)| known.id() == weights.id());
        let index = known.unwrap_or(all.len());
        if known.is_none() {
            all.push((weights.clone(), weights.zeros_like()?));
        }
        let gradient = all[index].1.clone();
        if !collecting.used.contains(&index) {
            collecting.used.push(index);
            with_numbers_mut(&gradient, |numbers| {
                numbers.par_chunks_mut(ZERO_CHUNK).for_each(|part| part.fill(0.0));
                Ok(())
            })?;
        }
        Ok(Some(gradient))
    }

    fn lock(&self) -> MutexGuard<'_, Buffers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
