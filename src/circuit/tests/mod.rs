//! Circuits against rules that walk the graph, and truths against the models themselves.

mod answers;
mod bench;
mod numbers;
mod sites;

use candle_core::Tensor;

use super::*;
use crate::graph::{Chains, Query, Systematic, Tails};
use crate::model::{Backend, Model, Pass, Sharing};

/// 2-hop data over a small random graph.
fn systematic(seed: u64) -> Dataset {
    let settings = Systematic {
        entities: 9,
        relations: 4,
        out_degree: 3,
        ood_share: 0.2,
        held_out: 0.2,
        phi: 2.0,
        test_rows: 100,
        seed,
    };
    settings.generate().unwrap()
}

/// Chains of up to `hops` hops over a small random graph.
fn chains(hops: usize, tails: Tails, seed: u64) -> Dataset {
    let settings = Chains {
        entities: 8,
        relations: 3,
        hops,
        train_rows: 40,
        test_rows: 20,
        seed,
        tails,
    };
    settings.generate().unwrap()
}

/// Every distinct query of the data.
fn queries(data: &Dataset) -> Vec<&Query> {
    let mut seen = std::collections::HashSet::new();
    let rows = data.splits.iter().flat_map(|(_, rows)| rows);
    rows.filter(|query| seen.insert(&query.tokens)).collect()
}

fn build(settings: &Settings, data: &Dataset) -> Circuit {
    Circuit::build(settings, data).unwrap()
}

fn model(circuit: &Circuit) -> Model {
    Model::new(circuit.info.model.clone(), circuit.info.vocab_size, &circuit.weights).unwrap()
}

/// The logits of queries: [queries, vocab].
fn logits(model: &Model, queries: &[&Query], iterations: usize) -> Vec<Vec<f32>> {
    let tokens = queries.iter().map(|query| query.tokens.as_slice());
    let rows = model.pack(tokens, Sharing::Prefixes).unwrap();
    let logits: Tensor = model.forward(&rows, iterations, &mut Pass::default()).unwrap();
    logits.to_vec2().unwrap()
}

fn argmax(logits: &[f32]) -> u32 {
    let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
    best.unwrap() as u32
}

/// The most likely token of each query.
fn answers(model: &Model, queries: &[&Query], iterations: usize) -> Vec<u32> {
    logits(model, queries, iterations).iter().map(|l| argmax(l)).collect()
}

fn on(circuit: &Circuit, backend: Backend) -> Model {
    model(circuit).on(backend)
}
