//! What the tests of several methods share.

use std::sync::Arc;

use candle_core::Device;

use super::*;
use crate::checkpoint::{CheckpointPath, CheckpointRole};
use crate::graph::{Chains, Tails};
use crate::model::{Model, ModelConfig, Weights};

/// A model whose block does something from the start, on chains of 2 to 4 hops.
pub(super) fn untrained_checkpoint(injection: bool) -> LoadedCheckpoint {
    let data = Chains {
        entities: 9,
        relations: 4,
        hops: 4,
        train_rows: 60,
        test_rows: 25,
        seed: 2,
        tails: Tails::Permutation,
    };
    let data = data.generate().unwrap();
    let text = format!(
        r#"{{"layers":2,"iterations":4,"d_model":16,"heads":2,"positions":"none","init":12.0,"embedding_std":1.0,
            "injection":{injection}}}"#
    );
    let config: ModelConfig = serde_json::from_str(&text).unwrap();
    let weights = Weights::init(&config, data.vocab.len(), 5, &Device::Cpu).unwrap();
    let info = CheckpointSummary {
        origin: Origin {
            run: "run".to_owned(),
            checkpoint: "end".to_owned(),
            step: 0,
            checkpoint_hash: String::new(),
            data_hash: data.hash.clone(),
        },
        role: CheckpointRole::End,
        seed: None,
        layers: 2,
        iterations: 4,
        learned_hops: None,
        trained_on: None,
    };
    LoadedCheckpoint {
        info,
        path: CheckpointPath::made_up("m.safetensors"),
        model: Model::new(config, data.vocab.len(), &weights).unwrap(),
        data: Arc::new(data),
    }
}
