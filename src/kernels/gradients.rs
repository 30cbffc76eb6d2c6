//! Where gradients of weights are added up, step after step in the same buffers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::with_numbers_mut;

// Numbers of a gradient that a thread puts to zero at a time.
const ZEROED: usize = 1 << 18;

/// The buffers of a model's gradients. Candle would add each of them to zeros, and copy it for every term: several copies
/// of all weights a step.
#[derive(Clone, Default)]
pub(in super::super) struct Gradients(Arc<Mutex<Buffers>>);

#[derive(Default)]
struct Buffers {
    // Weights with their gradients.
    all: Vec<(Tensor, Tensor)>,
    collecting: Option<Collecting>,
}

// The thread whose backward passes add up here, and the places of the gradients that they have begun.
struct Collecting {
    thread: ThreadId,
    found: Vec<usize>,
}

impl Gradients {
    /// What `backward` gives, and with it what this thread's kernels have added up meanwhile: valid until the next call.
    /// Where another thread's kernels do so already, all goes through candle.
    ///
    /// # Errors
    /// Those of `backward`.
    pub(in super::super) fn collect(&self, backward: impl FnOnce() -> Result<GradStore>) -> Result<GradStore> {
        let mut buffers = self.lock();
        let is_free = buffers.collecting.is_none();
        if is_free {
            buffers.collecting = Some(Collecting {
                thread: std::thread::current().id(),
                found: Vec::new(),
            });
        }
        drop(buffers);
        let store = backward();
        if !is_free {
            return store;
        }
        let mut buffers = self.lock();
        let found = buffers.collecting.take().map(|collecting| collecting.found);
        let mut store = store?;
        for place in found.unwrap_or_default() {
            let (weights, gradient) = &buffers.all[place];
            let sum = match store.remove(weights) {
                Some(other) => (gradient + other)?,
                None => gradient.clone(),
            };
            store.insert(weights, sum);
        }
        Ok(store)
    }

    /// Where this thread adds up the gradient of `weights`, if it is to: `add` adds to it there; otherwise to zeros, which
    /// candle gets.
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
        // What is a view of weights must give its gradient on to them.
        let mine = |collecting: &&mut Collecting| collecting.thread == this && weights.is_variable();
        let Some(collecting) = collecting.as_mut().filter(mine) else {
            return Ok(None);
        };
        let known = all.iter().position(|(known, _)| known.id() == weights.id());
        let place = known.unwrap_or(all.len());
        if known.is_none() {
            all.push((weights.clone(), weights.zeros_like()?));
        }
        let gradient = all[place].1.clone();
        if !collecting.found.contains(&place) {
            collecting.found.push(place);
            with_numbers_mut(&gradient, |numbers| {
                numbers.par_chunks_mut(ZEROED).for_each(|part| part.fill(0.0));
                Ok(())
            })?;
        }
        Ok(Some(gradient))
    }

    fn lock(&self) -> MutexGuard<'_, Buffers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
