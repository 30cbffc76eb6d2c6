//! Models without the mechanism: what a method finds there is not there.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use candle_core::{Device, Tensor};

use crate::error::Result;
use crate::graph::{Dataset, TokenKind};
use crate::model::{Init, ModelConfig, Weights};
use crate::random::Stream;
use crate::train::{LoopConfig, OptimizerConfig, RunConfig, Trainer};

/// The name of models with new initial weights.
pub(super) const UNTRAINED: &str = "untrained";

/// The name of models whose entities have each other's embeddings.
pub(super) const PERMUTED: &str = "permuted";

/// The name of models that were trained, whose entities have each other's embeddings.
pub(super) const TRAINED_PERMUTED: &str = "trained, permuted";

/// A looped transformer, one layer that is applied twice, after 500 steps on the data.
///
/// # Errors
/// When the data has no training rows, or the device fails.
pub(super) fn trained(data: &Arc<Dataset>, seed: u64) -> Result<(ModelConfig, Weights)> {
    let steps = LoopConfig {
        batch: 128,
        ..LoopConfig::of_steps(500)
    };
    let config = RunConfig {
        seed,
        optimizer: OptimizerConfig {
            lr: 5e-3,
            warmup: 20,
            weight_decay: 0.1,
            ..OptimizerConfig::default()
        },
        ..RunConfig::new("data", ModelConfig::new(1, 2, 32, 2), steps)
    };
    let mut trainer = Trainer::new(config, data.clone(), &Device::Cpu)?;
    trainer.run(&AtomicBool::new(false), &mut ())?;
    let model = trainer.config().model.clone();
    let values = trainer.parameters()?.into_iter().map(|saved| (saved.name, saved.value));
    let values: HashMap<String, Tensor> = values.collect();
    let weights = Weights::gather(&model, data.vocab.len(), |name| Ok(values.get(name).cloned()))?;
    Ok((model, weights))
}

/// The same architecture with new initial weights, Gaussian ones whatever the config begins with: a block that is zero would be
/// silent, and nothing could be found there.
///
/// # Errors
/// When the device fails.
pub(super) fn untrained(config: &ModelConfig, vocab: usize, seed: u64) -> Result<Weights> {
    let config = ModelConfig {
        init: Init::GAUSSIAN,
        ..config.clone()
    };
    Weights::init(&config, vocab, seed, &Device::Cpu)
}

/// The same weights with the embeddings of all entities permuted, in the output matrix too: the model reads and writes, by the
/// mechanism that it had, other entities than those that are asked for.
///
/// # Errors
/// When the device fails.
pub(super) fn permuted(data: &Dataset, weights: &Weights, seed: u64) -> Result<Weights> {
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
    weights.map(|leaf| {
        Ok(match leaf.name.as_str() {
            "token_embedding.weight" | "lm_head.weight" => leaf.tensor.index_select(&rows, 0)?,
            _ => leaf.tensor.clone(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::circuit::{Circuit, Name, Settings};
    use crate::graph::{Chains, TRAIN, Tails};
    use crate::model::Model;
    use crate::train::accuracy;

    #[test]
    fn every_matrix_of_an_untrained_model_writes_something() {
        let config = ModelConfig {
            init: Init::ZERO,
            ..ModelConfig::new(1, 2, 16, 2)
        };
        let weights = untrained(&config, 9, 1).unwrap();
        let matrices = weights.iter().filter(|(_, tensor)| tensor.rank() == 2);
        for (name, tensor) in matrices {
            let largest = tensor.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
            assert!(largest > 0.0, "{name}");
        }
    }

    #[test]
    fn a_trained_model_answers_and_permuted_it_does_not() {
        let data = Chains {
            entities: 12,
            relations: 5,
            hops: 2,
            train_rows: 200,
            test_rows: 10,
            seed: 1,
            tails: Tails::Permutation,
        };
        let data = Arc::new(data.generate().unwrap());
        let (config, weights) = trained(&data, 1).unwrap();
        let accuracy = |weights: &Weights| {
            let model = Model::new(config.clone(), data.vocab.len(), weights).unwrap();
            accuracy(&model, data.split(TRAIN).unwrap(), 2).unwrap()
        };
        assert!(accuracy(&weights) > 0.8, "{}", accuracy(&weights));
        let other = permuted(&data, &weights, 1).unwrap();
        assert!(accuracy(&other) < 0.4, "{}", accuracy(&other));
    }

    #[test]
    fn no_entity_keeps_its_embedding_and_all_else_stays() {
        let data = Chains {
            entities: 8,
            relations: 3,
            hops: 2,
            train_rows: 20,
            test_rows: 10,
            seed: 1,
            tails: Tails::Permutation,
        };
        let data = data.generate().unwrap();
        let circuit = Circuit::build(&Settings::of(Name::HopPerIteration), &data).unwrap();
        let other = permuted(&data, &circuit.weights, 1).unwrap();
        for ((name, before), (_, after)) in circuit.weights.iter().zip(other.iter()) {
            if name != "token_embedding.weight" {
                assert_eq!(
                    before.flatten_all().unwrap().to_vec1::<f32>().unwrap(),
                    after.flatten_all().unwrap().to_vec1::<f32>().unwrap()
                );
                continue;
            }
            let [before, after] = [before, after].map(|tensor| tensor.to_vec2::<f32>().unwrap());
            for (id, (before, after)) in before.iter().zip(&after).enumerate() {
                let is_entity = data.vocab.kind(id as u32) == TokenKind::Entity;
                assert_eq!(before != after, is_entity, "{id}");
            }
        }
    }
}
