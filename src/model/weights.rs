//! A model's weights: initialised from a seed, or checked against a config.

use std::ops::Range;

use candle_core::{DType, Device, Tensor};

use super::config::{Init, ModelConfig, Role, Slot};
use crate::error::{Error, Result};
use crate::random::Stream;

/// Standard deviation of initial matrices (GPT-2).
const MATRIX_STD: f64 = 0.02;

/// The leaf that holds the whole recurrent block.
pub(super) const BLOCK: &str = "blocks";

/// A tensor that is trained as one: all layers of the block are one flat tensor `[layers, weights of a layer]`, each in
/// the order of its slots; every other slot is a leaf of its own.
#[derive(Clone)]
pub struct Leaf {
    /// The slot's name, or `blocks`.
    pub name: String,
    /// The values.
    pub tensor: Tensor,
    /// The slots that it contains, one after the other.
    pub slots: Vec<Slot>,
}

impl Leaf {
    /// Each slot with its range in the flattened leaf.
    pub fn ranges(&self) -> impl Iterator<Item = (&Slot, Range<usize>)> {
        let mut end = 0;
        self.slots.iter().map(move |slot| {
            let start = end;
            end += slot.count();
            (slot, start..end)
        })
    }

    /// The slots as views of `tensor`, which has the shape of this leaf.
    ///
    /// # Errors
    /// When it has another shape.
    pub fn views(&self, tensor: &Tensor) -> Result<Vec<Tensor>> {
        let flat = tensor.flatten_all()?;
        self.ranges()
            .map(|(slot, range)| {
                Ok(flat
                    .narrow(0, range.start, range.len())?
                    .reshape(slot.shape.as_slice())?)
            })
            .collect()
    }

    /// The leaf's shape around these slots: the opposite of [`Leaf::views`].
    ///
    /// # Errors
    /// When they do not fill it.
    pub fn join(&self, slots: &[Tensor]) -> Result<Tensor> {
        let flat: Vec<Tensor> = slots
            .iter()
            .map(Tensor::flatten_all)
            .collect::<candle_core::Result<_>>()?;
        Ok(Tensor::cat(&flat, 0)?.reshape(self.tensor.shape())?)
    }
}

/// Named weight tensors: leaves, and by name the slots of [`ModelConfig::slots`] as views of them.
#[derive(Clone)]
pub struct Weights {
    leaves: Vec<Leaf>,
    views: Vec<(String, Tensor)>,
}

impl Weights {
    /// Initial weights, a function of (config, vocabulary size, seed) alone.
    ///
    /// # Errors
    /// When memory does not hold them, or the device fails.
    pub fn init(config: &ModelConfig, vocab: usize, seed: u64, device: &Device) -> Result<Self> {
        expect_memory(config, vocab)?;
        let mut tensors = Vec::new();
        for (index, slot) in config.slots(vocab).into_iter().enumerate() {
            let normal = |std: f64| {
                let mut stream = Stream::new(seed, "initial weights", index as u64);
                (0..slot.count())
                    .map(|_| (std * stream.normal()) as f32)
                    .collect::<Vec<f32>>()
            };
            let values = match slot.role {
                Role::Embedding => normal(config.embedding_std),
                Role::Matrix => normal(MATRIX_STD),
                Role::OutputProjection if config.init != Init::ZERO => normal(MATRIX_STD * config.init.scale()),
                Role::OutputProjection | Role::Bias => vec![0.0; slot.count()],
                Role::NormWeight => vec![1.0; slot.count()],
            };
            let tensor = Tensor::from_vec(values, slot.shape.as_slice(), device)?;
            tensors.push((slot, tensor));
        }
        Self::from_slots(config, tensors)
    }

    /// Weights found under their names by `find`, checked against the config.
    ///
    /// # Errors
    /// When there are no tokens, or a tensor is missing or has another shape than the config asks for; the message
    /// names it.
    pub fn gather(
        config: &ModelConfig,
        vocab: usize,
        mut find: impl FnMut(&str) -> Result<Option<Tensor>>,
    ) -> Result<Self> {
        if vocab == 0 {
            return Err(Error::input("a vocabulary of 0 tokens; allowed: 1 or more"));
        }
        let mut tensors = Vec::new();
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
            tensors.push((slot, tensor));
        }
        Self::from_slots(config, tensors)
    }

    fn from_slots(config: &ModelConfig, tensors: Vec<(Slot, Tensor)>) -> Result<Self> {
        let (block, alone): (Vec<_>, Vec<_>) = tensors.into_iter().partition(|(slot, _)| slot.in_block());
        let mut leaves: Vec<Leaf> = alone
            .into_iter()
            .map(|(slot, tensor)| Leaf {
                name: slot.name.clone(),
                tensor,
                slots: vec![slot],
            })
            .collect();
        let (slots, tensors): (Vec<Slot>, Vec<Tensor>) = block.into_iter().unzip();
        let flat: Vec<Tensor> = tensors
            .iter()
            .map(Tensor::flatten_all)
            .collect::<candle_core::Result<_>>()?;
        leaves.push(Leaf {
            name: BLOCK.to_owned(),
            tensor: Tensor::cat(&flat, 0)?.reshape((config.layers, ()))?,
            slots,
        });
        Self::from_leaves(leaves)
    }

    fn from_leaves(leaves: Vec<Leaf>) -> Result<Self> {
        let mut views = Vec::new();
        for leaf in &leaves {
            let names = leaf.slots.iter().map(|slot| slot.name.clone());
            views.extend(names.zip(leaf.views(&leaf.tensor)?));
        }
        Ok(Self { leaves, views })
    }

    /// The leaves.
    pub fn leaves(&self) -> &[Leaf] {
        &self.leaves
    }

    /// The slots with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.views.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The slot or leaf of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn get(&self, name: &str) -> Result<Tensor> {
        // A slot that is a leaf of its own is that leaf, not a view of it.
        let leaves = self.leaves.iter().map(|leaf| (leaf.name.as_str(), &leaf.tensor));
        leaves
            .chain(self.iter())
            .find(|(known, _)| *known == name)
            .map(|(_, tensor)| tensor.clone())
            .ok_or_else(|| Error::input(format!("the model has no tensor {name}")))
    }

    /// The same weights after `f` of each leaf.
    ///
    /// # Errors
    /// When `f` fails.
    pub fn map(&self, mut f: impl FnMut(&Leaf) -> Result<Tensor>) -> Result<Self> {
        let mapped = self.leaves.iter().map(|leaf| {
            Ok(Leaf {
                tensor: f(leaf)?,
                ..leaf.clone()
            })
        });
        Self::from_leaves(mapped.collect::<Result<_>>()?)
    }

    /// The same weights in another precision; f64 is for checks.
    ///
    /// # Errors
    /// When the device fails.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        self.map(|leaf| Ok(leaf.tensor.to_dtype(dtype)?))
    }
}

// Refuses a model that memory cannot hold before any weight is made, because an allocation that fails later ends the
// process.
fn expect_memory(config: &ModelConfig, vocab: usize) -> Result<()> {
    let count = config.parameters(vocab);
    let mut all: Vec<f32> = Vec::new();
    all.try_reserve_exact(count).map_err(|_| {
        Error::Failed(format!(
            "model.layers = {}, model.d_model = {}, model.max_positions = {} and {vocab} tokens make {count} parameters, \
             for which there is not enough memory",
            config.layers, config.d_model, config.max_positions
        ))
    })
}
