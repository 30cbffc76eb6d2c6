//! Made-up evidence on either side of each claim's criterion.

mod depth;
pub(crate) mod depth_run;
mod documented;
mod quantities;
mod systematic;
mod systematic_run;

use serde::de::DeserializeOwned;
use serde_json::json;

use super::causal::FirstIterationCausal;
use super::{Claim, ClaimId, Criterion, DEPTH, SYSTEMATIC, Test, Verdict, hold};
use crate::checkpoint::CheckpointRole;
use crate::experiment::{Evidence, ExperimentRun, Recurrence, RunRole};
use crate::graph::{Position, Split, Tails, Target};
use crate::measure::statistics::Clustering;
use crate::measure::{CheckpointSummary, Fall, Largest, LensRow, Method, Origin, Place, Report, RunSummary};
use crate::model::ModelConfig;
use crate::train::{Evaluation, StageOutcome};

fn model(layers: usize, iterations: usize) -> ModelConfig {
    settings(json!({"layers": layers, "iterations": iterations, "d_model": 16, "heads": 2}))
}

// What a claim does not read, from the least JSON.
fn settings<T: DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).unwrap()
}

// The labels of checkpoints say nothing: what is compared is the role.
fn origin(run: &str, role: CheckpointRole, step: u64) -> Origin {
    Origin {
        run: run.to_owned(),
        checkpoint: String::new(),
        step,
        checkpoint_hash: format!("{run} {role} {step}"),
        data_hash: String::new(),
    }
}

fn role(recurrence: Recurrence) -> RunRole {
    RunRole {
        recurrence,
        injection: false,
        tails: Tails::Permutation,
    }
}

fn checkpoint(run: &str, role: CheckpointRole, layers: usize, iterations: usize) -> CheckpointSummary {
    CheckpointSummary {
        origin: origin(run, role, 1000),
        role,
        seed: None,
        seeds: None,
        layers,
        iterations,
        learned_hops: None,
        trained_on: None,
        members: Vec::new(),
    }
}

fn report<M: Method>(settings: serde_json::Value, rows: Vec<M::Row>) -> Report<M> {
    Report::made_up(self::settings(settings), Vec::new(), rows)
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

// What the lens reads of an entity at a position from the embedding to the last effective layer.
fn lens_rows(
    origin: &Origin,
    split: &Split,
    hops: usize,
    (label, position): (Target, Position),
    layers: usize,
    shares: &[f64],
) -> Vec<LensRow> {
    let row = |(place, &top1): (usize, &f64)| LensRow {
        origin: origin.clone(),
        split: split.clone(),
        hops,
        label,
        position,
        place: Place {
            effective_layer: place,
            iteration: place.div_ceil(layers),
            layer: if place == 0 { 0 } else { (place - 1) % layers + 1 },
        },
        n: 200,
        top1,
        low: top1 - 0.02,
        high: top1 + 0.02,
        interval: FACTS,
        largest: largest(shares, place),
        mrr: top1,
        probability: top1,
    };
    shares.iter().enumerate().map(row).collect()
}

// What was recorded while a run was trained.
fn training(name: &str, model: &ModelConfig, stages: Vec<StageOutcome>, metrics: Vec<Evaluation>) -> RunSummary {
    RunSummary {
        name: name.to_owned(),
        model: model.clone(),
        parameters: 0,
        forward_flops: 0,
        seed: 1,
        steps: 1000,
        seconds: 0.0,
        finished: true,
        learned_hops: None,
        stages,
        accuracy: [].into(),
        metrics,
    }
}

// The verdict on the claim with this id, which these claims hold against one thing.
fn verdict_of(claims: &'static [Claim], id: ClaimId, evidence: &Evidence) -> Verdict {
    let findings = hold(claims, evidence);
    let mut of_id = findings.iter().filter(|finding| finding.claim.id == id);
    let finding = of_id.next().unwrap();
    assert!(of_id.next().is_none(), "{id:?} was held against several runs");
    finding.verdict
}

#[test]
fn every_claim_has_an_id_of_its_own_and_says_its_numbers() {
    let text = |claim: &Claim| match claim.test {
        Test::EachLooped(criterion) | Test::EachVanilla(criterion) => criterion.text(),
        Test::Together(criterion) => criterion.text(),
    };
    let all: Vec<&Claim> = SYSTEMATIC.iter().chain(DEPTH).collect();
    for (i, claim) in all.iter().enumerate() {
        assert!(
            all[..i].iter().all(|other| other.id != claim.id),
            "{:?} twice",
            claim.id
        );
        assert!(!text(claim).is_empty() && !claim.statement.is_empty());
    }
    // Other numbers are another text.
    let causal = |min_recovery| FirstIterationCausal { min_recovery }.text();
    assert!(causal(0.9).contains("at least 0.90 of the answer"), "{}", causal(0.9));
    assert!(causal(0.75).contains("at least 0.75 of the answer"), "{}", causal(0.75));
}

#[test]
fn a_claim_whose_evidence_was_not_measured_is_not_tested() {
    let mut evidence = Evidence::default();
    evidence.add_run(ExperimentRun {
        name: "looped".to_owned(),
        role: role(Recurrence::Fixed),
        model: model(2, 2),
        checkpoints: vec![checkpoint("looped", CheckpointRole::End, 2, 2)],
        training: None,
    });
    let findings = hold(SYSTEMATIC, &evidence);
    assert!(findings.iter().all(|finding| finding.verdict == Verdict::NotTested));
    let causal = findings
        .iter()
        .find(|found| found.claim.id == ClaimId::FirstIterationCausal);
    assert_eq!(causal.unwrap().numbers, ["not measured: patch"]);
    assert_eq!(
        causal.unwrap().heading(),
        "4a. Every layer of the first iteration is causal at r1 (looped)"
    );
}
