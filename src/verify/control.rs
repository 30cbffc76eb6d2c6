//! Models without the mechanism: what a method finds there is not there.

use candle_core::{Device, Tensor};

use crate::error::Result;
use crate::graph::{Dataset, TokenKind};
use crate::model::{Model, ModelConfig, Weights};
use crate::random::Stream;

/// The name of models with new initial weights.
pub(super) const UNTRAINED: &str = "untrained";

/// The name of models whose entities have each other's embeddings.
pub(super) const PERMUTED: &str = "permuted";

/// The same architecture with new initial weights.
///
/// # Errors
/// When the device fails.
pub(super) fn untrained(config: &ModelConfig, vocab: usize, seed: u64) -> Result<Model> {
    let weights = Weights::init(config, vocab, seed, &Device::Cpu)?;
    Model::new(config.clone(), vocab, &weights)
}

/// The same weights with the embeddings of all entities permuted, in the output matrix too: the model reads and writes, by the
/// mechanism that it had, other entities than those that are asked for.
///
/// # Errors
/// When the device fails.
pub(super) fn permuted(config: &ModelConfig, data: &Dataset, weights: &Weights, seed: u64) -> Result<Model> {
    let vocab = data.vocab.len();
    let entities: Vec<u32> = (0..vocab as u32)
        .filter(|&id| data.vocab.kind(id) == TokenKind::Entity)
        .collect();
    let mut order: Vec<u32> = entities.clone();
    Stream::new(seed, "permuted embeddings", 0).shuffle(&mut order);
    // One cycle through all of them in a random order: no entity keeps its own.
    let mut rows: Vec<u32> = (0..vocab as u32).collect();
    for (i, &entity) in order.iter().enumerate() {
        rows[entity as usize] = order[(i + 1) % order.len()];
    }
    let rows = Tensor::new(rows, &Device::Cpu)?;
    let permuted = weights.map(|leaf| {
        Ok(match leaf.name.as_str() {
            "token_embedding.weight" | "lm_head.weight" => leaf.tensor.index_select(&rows, 0)?,
            _ => leaf.tensor.clone(),
        })
    })?;
    Model::new(config.clone(), vocab, &permuted)
}
