//! Weights from a compiled program, with or without noise.

use candle_core::{Device, Tensor};

use super::compile::Compiled;
use crate::error::Result;
use crate::model::Weights;
use crate::random::Stream;

/// The weights, each with Gaussian noise of standard deviation `noise` × the root mean square of its tensor.
///
/// # Errors
/// When the device fails.
pub(super) fn weights(compiled: &Compiled, vocab: usize, noise: f64, seed: u64) -> Result<Weights> {
    let slots = compiled.config.slots(vocab);
    Weights::gather(&compiled.config, vocab, |name| {
        let Some((_, values)) = compiled.tensors.iter().find(|(known, _)| known == name) else {
            return Ok(None);
        };
        let index = slots.iter().position(|slot| slot.name == name).unwrap_or(0);
        let rms = (values.iter().map(|x| x * x).sum::<f64>() / values.len() as f64).sqrt();
        let mut stream = Stream::new(seed, "noise of a circuit", index as u64);
        let values = values.iter().map(|&x| {
            let perturbed = if noise > 0.0 {
                x + noise * rms * stream.normal()
            } else {
                x
            };
            perturbed as f32
        });
        let shape = slots[index].shape.as_slice();
        Ok(Some(Tensor::from_vec(
            values.collect::<Vec<f32>>(),
            shape,
            &Device::Cpu,
        )?))
    })
}
