//! Tests of the model, each on every backend that the machine has.

mod edits;
mod hooks;
mod interchange;
mod intervene;
mod kernels;
mod unroll;
mod workspace;

use candle_core::{DType, Device, Tensor, Var};

use super::config::tests::tiny;
use super::*;
use crate::error::Result;
use crate::kernels::on_every_backend;
use crate::random::Stream;

const VOCAB: usize = 11;

fn weights(config: &ModelConfig, seed: u64) -> Weights {
    // Larger than at the start of training, so that no term vanishes in the comparison.
    let mut index = 0;
    Weights::init(config, VOCAB, seed, &Device::Cpu)
        .unwrap()
        .map(|leaf| {
            index += 1;
            let mut stream = Stream::new(seed, "test noise", index);
            let count = leaf.tensor.elem_count();
            let noise: Vec<f32> = (0..count).map(|_| 0.3 * stream.normal() as f32).collect();
            Ok((&leaf.tensor + Tensor::from_vec(noise, leaf.tensor.shape(), &Device::Cpu)?)?)
        })
        .unwrap()
}

// A model of these weights as variables, leaf by leaf.
fn trainable(config: &ModelConfig, seed: u64, backend: Backend) -> (Model, Vec<(Leaf, Var)>) {
    let mut vars = Vec::new();
    let weights = weights(config, seed)
        .map(|leaf| {
            let var = Var::from_tensor(&leaf.tensor)?;
            vars.push((leaf.clone(), var.clone()));
            Ok(var.as_tensor().clone())
        })
        .unwrap();
    (Model::new(config.clone(), VOCAB, &weights).unwrap().on(backend), vars)
}

// A model of these weights that is not to be trained.
fn untrained(config: &ModelConfig, seed: u64, backend: Backend) -> Model {
    let weights = weights(config, seed);
    Model::new(config.clone(), VOCAB, &weights).unwrap().on(backend)
}

// The logits of a pass with these hooks, and the hooks with what they recorded.
fn forward_within(model: &Model, rows: &Rows, iterations: usize, hooks: Hooks) -> Result<(Tensor, Hooks)> {
    let mut pass = Pass {
        hooks,
        ..Pass::default()
    };
    let logits = model.forward(rows, iterations, &mut pass)?;
    Ok((logits, pass.hooks))
}

fn forward(model: &Model, rows: &Rows, hooks: Hooks) -> (Tensor, Hooks) {
    forward_within(model, rows, model.config().iterations, hooks).unwrap()
}

fn queries(seed: u64) -> Vec<Vec<u32>> {
    let mut stream = Stream::new(seed, "test queries", 0);
    (0..12)
        .map(|_| {
            let length = 2 + stream.below(3);
            (0..length)
                .map(|i| 1 + stream.below(if i == 0 { 2 } else { 4 }) as u32)
                .collect()
        })
        .collect()
}

/// The largest difference relative to the largest expected number.
fn relative_difference(got: &Tensor, expected: &Tensor) -> f32 {
    let numbers = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (got, expected) = (numbers(got), numbers(expected));
    assert_eq!(got.len(), expected.len());
    let scale = expected.iter().fold(1e-6_f32, |max, x| max.max(x.abs()));
    got.iter()
        .zip(&expected)
        .map(|(a, b)| (a - b).abs() / scale)
        .fold(0.0, f32::max)
}
