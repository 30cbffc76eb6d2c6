//! A model's weights: initialised from a seed, or checked against a config.

use candle_core::{DType, Device, Tensor};

use super::config::{Init, ModelConfig, Role};
use crate::error::{Error, Result};
use crate::random::Stream;

/// Standard deviation of initial matrices (GPT-2).
const MATRIX_STD: f64 = 0.02;

/// Named weight tensors, in the order of [`ModelConfig::slots`].
#[derive(Clone)]
pub struct Weights(Vec<(String, Tensor)>);

impl Weights {
    /// Initial weights, a function of (config, vocabulary size, seed) alone.
    ///
    /// # Errors
    /// When the device fails.
    pub fn init(config: &ModelConfig, vocab: usize, seed: u64, device: &Device) -> Result<Self> {
        let mut weights = Vec::new();
        for (index, slot) in config.slots(vocab).into_iter().enumerate() {
            let count = slot.shape.iter().product();
            let normal = |std: f64| {
                let mut stream = Stream::new(seed, "initial weights", index as u64);
                (0..count).map(|_| (std * stream.normal()) as f32).collect::<Vec<f32>>()
            };
            let values = match (slot.role, config.init) {
                (Role::Embedding, _) => normal(config.embedding_std),
                (Role::Matrix, _) | (Role::OutputProjection, Init::Gaussian) => normal(MATRIX_STD),
                (Role::OutputProjection, Init::Zero) | (Role::Bias, _) => vec![0.0; count],
                (Role::NormWeight, _) => vec![1.0; count],
            };
            weights.push((slot.name, Tensor::from_vec(values, slot.shape, device)?));
        }
        Ok(Self(weights))
    }

    /// Weights found under their names by `find`, checked against the config.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape than the config asks for; the message names it.
    pub fn gather(
        config: &ModelConfig,
        vocab: usize,
        mut find: impl FnMut(&str) -> Result<Option<Tensor>>,
    ) -> Result<Self> {
        let mut weights = Vec::new();
        for slot in config.slots(vocab) {
            let tensor =
                find(&slot.name)?.ok_or_else(|| Error::input(format!("the tensor {} is missing", slot.name)))?;
            if tensor.dims() != slot.shape {
                return Err(Error::input(format!(
                    "the tensor {} has shape {:?}; the config asks for {:?}",
                    slot.name,
                    tensor.dims(),
                    slot.shape
                )));
            }
            weights.push((slot.name, tensor));
        }
        Ok(Self(weights))
    }

    /// The weights with their names, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The tensor of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn get(&self, name: &str) -> Result<Tensor> {
        self.iter()
            .find(|(known, _)| *known == name)
            .map(|(_, tensor)| tensor.clone())
            .ok_or_else(|| Error::input(format!("the model has no tensor {name}")))
    }

    /// The same weights after `f`.
    ///
    /// # Errors
    /// When `f` fails.
    pub fn map(&self, mut f: impl FnMut(&str, &Tensor) -> Result<Tensor>) -> Result<Self> {
        let mapped = self
            .iter()
            .map(|(name, tensor)| Ok((name.to_owned(), f(name, tensor)?)));
        Ok(Self(mapped.collect::<Result<_>>()?))
    }

    /// The same weights in another precision; f64 is for checks.
    ///
    /// # Errors
    /// When the device fails.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        self.map(|_, tensor| Ok(tensor.to_dtype(dtype)?))
    }
}
