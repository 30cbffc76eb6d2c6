//! Made-up evidence on either side of each claim's criterion.

mod claims;
mod depth_claims;

use serde::de::DeserializeOwned;
use serde_json::json;

use super::claims::{Claim, Verdict};
use crate::checkpoint::CheckpointRole;
use crate::measure::statistics::Clustering;
use crate::measure::{CheckpointSummary, Fall, Largest, Method, Origin, Report};
use crate::model::ModelConfig;

fn model(layers: usize, iterations: usize) -> ModelConfig {
    settings(json!({"layers": layers, "iterations": iterations, "d_model": 16, "heads": 2}))
}

// What a claim does not read, from the least JSON.
fn settings<T: DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn origin(run: &str, checkpoint: &str, step: u64) -> Origin {
    Origin {
        run: run.to_owned(),
        checkpoint: checkpoint.to_owned(),
        step,
        checkpoint_hash: format!("{run} {checkpoint}"),
        data_hash: String::new(),
    }
}

fn checkpoint(run: &str, checkpoint: &str, layers: usize, iterations: usize) -> CheckpointSummary {
    CheckpointSummary {
        origin: origin(run, checkpoint, 1000),
        role: CheckpointRole::End,
        seed: None,
        layers,
        iterations,
        learned_hops: None,
        trained_on: None,
    }
}

fn report<M: Method>(settings: M, checkpoints: &[CheckpointSummary]) -> Report<M> {
    Report::made_up(settings, checkpoints.to_vec(), Vec::new())
}

// Of numbers whose intervals reach 0.02 to either side.
fn largest(numbers: &[f64], place: usize) -> Largest {
    let max = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let is_max = numbers.iter().position(|&number| number == max) == Some(place);
    Largest {
        is_max,
        max_low: is_max.then_some(max - 0.02),
        max_high: is_max.then_some(max + 0.02),
    }
}

fn fall(numbers: &[f64], place: usize) -> Fall {
    let lost = numbers[place] - numbers[numbers.len() - 1];
    let is_max = largest(numbers, place).is_max;
    Fall {
        fall: is_max.then_some(lost),
        fall_low: is_max.then_some(lost - 0.02),
        fall_high: is_max.then_some(lost + 0.02),
    }
}

const FACTS: Clustering = Clustering::Facts;

fn verdict_of(claims: &[Claim], name: &str) -> Verdict {
    let mut of_name = claims.iter().filter(|claim| claim.says.starts_with(name));
    let claim = of_name.next().unwrap();
    assert!(of_name.next().is_none(), "{name} is not one claim");
    claim.verdict
}
