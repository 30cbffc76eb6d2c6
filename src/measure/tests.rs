//! What the tests of several methods share.

use std::sync::Arc;

use candle_core::Device;

use super::*;
use crate::checkpoint::{CheckpointPath, CheckpointRole};
use crate::graph::{Chains, Dataset, Split, Tails, Target};
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
    loaded(Model::new(config, data.vocab.len(), &weights).unwrap(), data)
}

/// At most this number of queries of a split.
pub(super) fn sampling(split: Split, queries: usize, iterations: Iterations) -> Sampling {
    Sampling {
        splits: vec![split],
        queries,
        iterations,
        seed: 1,
    }
}

/// A checkpoint of this model, to be looked at on this data.
pub(crate) fn loaded(model: Model, data: Dataset) -> LoadedCheckpoint {
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
        seeds: None,
        layers: model.config().layers,
        iterations: model.config().iterations,
        learned_hops: None,
        trained_on: None,
        members: Vec::new(),
    };
    LoadedCheckpoint {
        info,
        path: CheckpointPath::made_up("m.safetensors"),
        model,
        data: Arc::new(data),
    }
}

#[test]
fn the_contributions_of_all_components_add_up_to_the_logit() {
    for injection in [false, true] {
        let checkpoint = untrained_checkpoint(injection);
        let attribute = Attribute {
            sampling: Sampling {
                splits: vec![Split::depth_test(2), Split::depth_test(4)],
                ..sampling(Split::depth_test(2), 20, Iterations::exactly(5))
            },
        };
        let report = attribute.run(&[checkpoint]).unwrap();
        assert!(report.notes.is_empty(), "{:?}", report.notes);
        for of in [
            (LogitOf::Entity, Some(Target::Answer)),
            (LogitOf::Entity, Some(Target::Bridge)),
            (LogitOf::LogitDifference, None),
        ] {
            let is_of = |row: &&AttributeRow| row.hops == 2 && (row.of.logit_of, row.of.label) == of;
            let rows: Vec<&AttributeRow> = report.rows.iter().filter(is_of).collect();
            // 5 iterations of 2 layers with 2 heads, a bias and an MLP; the embedding and the last bias; four injections.
            assert_eq!(rows.len(), 5 * 2 * 4 + 2 + if injection { 4 } else { 0 });
            let sum: f64 = rows.iter().map(|row| row.contribution).sum();
            assert!(rows[0].sum_error < 1e-4, "{of:?}: off by {}", rows[0].sum_error);
            assert!(
                (sum - rows[0].logit).abs() < 1e-4,
                "{of:?}: {sum}, not {}",
                rows[0].logit
            );
            // The logit is not the work of one component.
            assert!(rows.iter().filter(|row| row.contribution.abs() > 1e-3).count() > 20);
        }
    }
}

#[test]
fn attention_is_a_distribution_over_what_a_position_can_see_and_one_query_has_no_interval() {
    for (queries, has_interval) in [(20, true), (1, false)] {
        let attention = Attention {
            sampling: sampling(Split::depth_test(3), queries, Iterations::exactly(2)),
        };
        let report = attention.run(&[untrained_checkpoint(true)]).unwrap();
        // 4 effective layers, 2 heads, and 1 + 2 + 3 + 4 keys from the head entity and three relations.
        assert_eq!(report.rows.len(), 4 * 2 * 10);
        let of_pattern = |row: &AttentionRow| (row.place.effective_layer, row.attention_head, row.position);
        for keys in report.rows.chunk_by(|a, b| of_pattern(a) == of_pattern(b)) {
            let sum: f64 = keys.iter().map(|row| row.attention).sum();
            assert!((sum - 1.0).abs() < 1e-5, "{sum}");
            assert!(
                keys.iter()
                    .all(|row| row.key_position <= row.position && row.n == queries)
            );
            // From the head entity there is nothing else to look at.
            let differs = keys.len() > 1;
            assert!(keys.iter().all(|row| row.low.is_some() == has_interval || !differs));
        }
        // Each pattern with a choice, once.
        assert_eq!(Attention::shown(&report).len(), 4 * 2 * 3);
    }
}
