//! From a program to the weights of a looped GPT-2 that computes it.
//!
//! Features are orthonormal directions of the residual stream that are orthogonal to (1, …, 1), so every state has mean 0,
//! and layer norm divides it by its root mean square alone. All states that a layer norm meets have the same norm, because
//! each subspace holds one feature; so each layer norm is multiplication by a constant, which the weights undo.
//!
//! - *QK.* Queries and keys read positions. The preferred key has a score that is [`MARGIN`] above the next one.
//! - *OV.* A head copies a subspace as it is.
//! - *MLP.* A memory with the weighted count c of its key and the threshold θ = min − ½ is two units,
//!   gelu(s (c − θ + δ)) − gelu(s (c − θ − δ)): a step from 0 to 2 s δ, flat on both sides where GELU is 0 or the identity. So
//!   errors of the state do not pass on, however many iterations there are. θ multiplies a feature that all tokens have, in
//!   place of a bias: then the sign of c − θ does not depend on the norm of the state.
//! - *Output.* The output matrix is the embedding. A program keeps what the lens must not see in features that all tokens'
//!   embeddings share.
//!
//! Layer-norm weights are uniform and their biases 0, so any rotation of the features is the same model.

use linfa_linalg::qr::QR;
use ndarray::{Array1, Array2, s};

use super::features::{Feature, State};
use super::program::{ANSWER_NORM, Head, Layer, Memory, Program};
use crate::error::{Error, Result};
use crate::model::{Activation, Init, ModelConfig, Positions, Readout};
use crate::random::Stream;

/// The widest residual stream that is compiled: a layer of that width has 50 million weights.
const MAX_WIDTH: usize = 2048;

/// Units of the MLP for each memory.
const UNITS: usize = 2;

/// How far the score of the preferred key is above the next one, in nats: e⁻¹⁶ of the attention goes elsewhere.
const MARGIN: f64 = 16.0;

/// s, the input of a unit for each feature of its key. GELU is 0 or the identity, within 10⁻⁴, from ±4 on, which is 0.1 of a
/// feature.
const STEEPNESS: f64 = 40.0;

/// δ, half the width of the step. Whole counts are ½ away from θ, so a key may be off by 0.15 features.
const HALF_STEP: f64 = 0.25;

/// The logit of an answer above that of the relation at its position, in nats.
const LOGIT_MARGIN: f64 = 10.0;

/// ε of layer norm in GPT-2.
const EPSILON: f64 = 1e-5;

/// The heads of a model, at least: one that does nothing where a program needs one head, so that there is one to tell apart.
const MIN_HEADS: usize = 2;

/// A compiled program: the config, and its tensors by name.
pub(super) struct Compiled {
    pub(super) config: ModelConfig,
    pub(super) tensors: Vec<(String, Array2<f64>)>,
}

/// Refuses more memories in one layer than any supported width holds, before they are made.
///
/// # Errors
/// Then; the message says how wide the model would be.
pub(super) fn expect_memories(count: u128) -> Result<()> {
    let width = count.saturating_mul(UNITS as u128).div_ceil(4);
    if width <= MAX_WIDTH as u128 {
        return Ok(());
    }
    Err(Error::input(format!(
        "the circuit has {count} lookups for this data, which need d_model = {width} or more; at most {MAX_WIDTH} is \
         supported. Use a smaller graph, or fewer or shorter queries"
    )))
}

/// The number of heads.
pub(super) fn heads(program: &Program) -> usize {
    let max = program.layers.iter().map(|layer| layer.heads.len()).max();
    max.unwrap_or(0).max(MIN_HEADS)
}

// The least width that holds the program.
fn min_width(program: &Program) -> usize {
    let heads = heads(program);
    let of_layer = |layer: &Layer| {
        let copied = |head: &Head| {
            head.copies
                .iter()
                .map(|&(from, _)| program.features.of(from).len())
                .sum()
        };
        let d_head = layer
            .heads
            .iter()
            .map(copied)
            .max()
            .unwrap_or(0)
            .max(program.n_positions);
        (heads * d_head).max((UNITS * layer.memories.len()).div_ceil(4))
    };
    let layers = program.layers.iter().map(of_layer).max().unwrap_or(0);
    // One direction is (1, …, 1), which layer norm removes.
    let width = layers.max(program.features.len() + 1);
    width.next_multiple_of(heads)
}

// The width that was asked for, if it holds the program; else the least one, rounded to what GEMM kernels like.
fn width(program: &Program, asked: Option<usize>) -> Result<usize> {
    let (least, heads) = (min_width(program), heads(program));
    if least > MAX_WIDTH {
        return Err(Error::input(format!(
            "the circuit needs d_model = {least} or more for this data; at most {MAX_WIDTH} is supported. Use a smaller \
             graph, or fewer or shorter queries"
        )));
    }
    match asked {
        None => {
            let round = least.next_multiple_of(heads * 8);
            Ok(if round <= MAX_WIDTH { round } else { least })
        }
        Some(asked) if !(least..=MAX_WIDTH).contains(&asked) || !asked.is_multiple_of(heads) => {
            Err(Error::input(format!(
                "--d-model {asked}; allowed for this circuit and data: multiples of {heads} (its heads) from {least} to \
                 {MAX_WIDTH}"
            )))
        }
        Some(asked) => Ok(asked),
    }
}

/// Compiles a program for width `d_model`, or the least one that holds it. `rotate`: the seed of a random rotation of the
/// features.
///
/// # Errors
/// When the width does not hold the program; the message says which one does.
pub(super) fn compile(program: &Program, d_model: Option<usize>, rotate: Option<u64>) -> Result<Compiled> {
    let d_model = width(program, d_model)?;
    let config = ModelConfig {
        layers: program.layers.len(),
        iterations: program.iterations,
        d_model,
        heads: heads(program),
        positions: Positions::Learned,
        max_positions: program.n_positions,
        init: Init::ZERO,
        injection: false,
        activation: Activation::GeluTanh,
        embedding_std: 0.02,
        dropout: 0.0,
        tied: true,
        readout: program.readout,
        columns: (program.readout == Readout::LastColumn).then_some(program.n_positions),
    };
    let compiler = Compiler {
        program,
        d: d_model,
        d_head: d_model / config.heads,
        basis: basis(d_model, program.features.len(), rotate)?,
    };
    Ok(Compiled {
        tensors: compiler.tensors(),
        config,
    })
}

// Orthonormal directions for the features, all orthogonal to (1, …, 1): [d, features].
fn basis(d: usize, features: usize, rotate: Option<u64>) -> Result<Array2<f64>> {
    // The Householder reflection that takes the first axis to (1, …, 1) / √d takes the others to directions near
    // themselves.
    let mut v = Array1::from_elem(d, 1.0 / (d as f64).sqrt());
    v[0] -= 1.0;
    let norm = v.dot(&v);
    let mut reflection = Array2::eye(d);
    for ((i, j), entry) in reflection.indexed_iter_mut() {
        *entry -= 2.0 * v[i] * v[j] / norm;
    }
    let others = reflection.slice(s![.., 1..]); // [d, d − 1]
    let Some(seed) = rotate else {
        return Ok(others.slice(s![.., ..features]).to_owned());
    };
    let mut stream = Stream::new(seed, "rotation of a circuit", 0);
    let gaussian = Array2::from_shape_simple_fn((d - 1, features), || stream.normal());
    let decomposition = gaussian.qr().map_err(Error::failed)?;
    Ok(others.dot(&decomposition.generate_q()))
}

struct Compiler<'a> {
    program: &'a Program,
    d: usize,
    d_head: usize,
    basis: Array2<f64>, // [d, features]
}

impl Compiler<'_> {
    // Every tensor by name; vectors are one row.
    fn tensors(&self) -> Vec<(String, Array2<f64>)> {
        let mut tensors = vec![
            ("token_embedding.weight".to_owned(), self.embedding()),
            ("position_embedding.weight".to_owned(), self.position_embedding()),
        ];
        for (index, layer) in self.program.layers.iter().enumerate() {
            let mut push = |name: &str, tensor| tensors.push((format!("blocks.{index}.{name}"), tensor));
            let (c_attn, attn_proj) = self.attention(layer);
            let (c_fc, c_fc_bias, mlp_proj) = self.mlp(layer);
            for norm in ["ln_1", "ln_2"] {
                push(&format!("{norm}.weight"), Array2::ones((1, self.d)));
                push(&format!("{norm}.bias"), Array2::zeros((1, self.d)));
            }
            push("attn.c_attn.weight", c_attn);
            push("attn.c_attn.bias", Array2::zeros((1, 3 * self.d)));
            push("attn.c_proj.weight", attn_proj);
            push("attn.c_proj.bias", Array2::zeros((1, self.d)));
            push("mlp.c_fc.weight", c_fc);
            push("mlp.c_fc.bias", c_fc_bias);
            push("mlp.c_proj.weight", mlp_proj);
            push("mlp.c_proj.bias", Array2::zeros((1, self.d)));
        }
        let logit = self.norm_scale(self.stream_norm()) * (ANSWER_NORM * ANSWER_NORM - 1.0);
        let sharpness = Array2::from_elem((1, self.d), LOGIT_MARGIN / logit);
        tensors.push(("ln_f.weight".to_owned(), sharpness));
        tensors.push(("ln_f.bias".to_owned(), Array2::zeros((1, self.d))));
        tensors
    }

    fn norm(&self, feature: Feature) -> f64 {
        self.program.features.norm(feature)
    }

    // The squared norm of the state of a token between layers: every token has the same number of features of each norm.
    fn stream_norm(&self) -> f64 {
        let token = self.program.embedding.first();
        let squares = token
            .into_iter()
            .flat_map(State::iter)
            .map(|(f, _)| self.norm(f).powi(2));
        1.0 + squares.sum::<f64>()
    }

    // What layer norm multiplies a state of this squared norm by.
    fn norm_scale(&self, squared: f64) -> f64 {
        1.0 / (squared / self.d as f64 + EPSILON).sqrt()
    }

    // Vectors of features as vectors of the residual stream: [n, features] → [n, d].
    fn write_features(&self, rows: &Array2<f64>) -> Array2<f64> {
        rows.dot(&self.basis.t())
    }

    // Weights that read features as weights that read the residual stream: [features, n] → [d, n].
    fn read_features(&self, weights: &Array2<f64>) -> Array2<f64> {
        self.basis.dot(weights)
    }

    fn embedding(&self) -> Array2<f64> {
        let tokens = &self.program.embedding;
        let mut rows = Array2::zeros((tokens.len(), self.program.features.len()));
        for (id, token) in tokens.iter().enumerate() {
            for (feature, count) in token.iter() {
                rows[[id, feature]] = f64::from(count) * self.norm(feature);
            }
        }
        self.write_features(&rows)
    }

    fn position_embedding(&self) -> Array2<f64> {
        let mut rows = Array2::zeros((self.program.n_positions, self.program.features.len()));
        for (position, feature) in self.program.features.of(self.program.positions).enumerate() {
            rows[[position, feature]] = self.norm(feature);
        }
        self.write_features(&rows)
    }

    // The weights of queries, keys and values, and the output projection. Every entry of q, k and v at a feature that is
    // present has one size, so that noise relative to the weights disturbs all three equally.
    fn attention(&self, layer: &Layer) -> (Array2<f64>, Array2<f64>) {
        let features = &self.program.features;
        let scale = self.norm_scale(self.stream_norm());
        let size = (MARGIN * (self.d_head as f64).sqrt()).sqrt();
        let mut c_attn = Array2::zeros((features.len(), 3 * self.d));
        let mut proj = Array2::zeros((self.d, features.len()));
        let positions = features.of(self.program.positions);
        let last = self.program.n_positions - 1;
        for (index, head) in layer.heads.iter().enumerate() {
            let (q, k, v) = (
                index * self.d_head,
                self.d + index * self.d_head,
                2 * self.d + index * self.d_head,
            );
            for (key, key_feature) in positions.clone().enumerate() {
                c_attn[[key_feature, k + key]] = size / scale;
                for (query, query_feature) in positions.clone().enumerate() {
                    let preference = head.attends.preference(query, key, last);
                    c_attn[[query_feature, q + key]] = preference as f64 * size / scale;
                }
            }
            let copied = head
                .copies
                .iter()
                .flat_map(|&(from, to)| features.of(from).zip(features.of(to)));
            for (i, (from, to)) in copied.enumerate() {
                c_attn[[from, v + i]] = size / (scale * self.norm(from));
                proj[[index * self.d_head + i, to]] = self.norm(to) / size;
            }
        }
        (self.read_features(&c_attn), self.write_features(&proj))
    }

    // The weights and biases of the units, and the output projection.
    fn mlp(&self, layer: &Layer) -> (Array2<f64>, Array2<f64>, Array2<f64>) {
        let features = &self.program.features;
        let gathered = layer.heads.iter().flat_map(|head| &head.copies);
        let gathered: f64 = gathered.map(|&(_, to)| features.norm_in(to).powi(2)).sum();
        let scale = self.norm_scale(self.stream_norm() + gathered);
        let units = 4 * self.d;
        let mut c_fc = Array2::zeros((features.len(), units));
        let mut bias = Array2::zeros((1, units));
        let mut proj = Array2::zeros((units, features.len()));
        for (index, Memory { key, min, value }) in layer.memories.iter().enumerate() {
            let threshold = f64::from(*min) - 0.5;
            for (unit, sign) in [(UNITS * index, 1.0), (UNITS * index + 1, -1.0)] {
                for &(feature, weight) in key {
                    c_fc[[feature, unit]] += STEEPNESS * f64::from(weight) / (scale * self.norm(feature));
                }
                let constant = self.program.constant;
                c_fc[[constant, unit]] -= STEEPNESS * threshold / (scale * self.norm(constant));
                bias[[0, unit]] = sign * STEEPNESS * HALF_STEP;
                for &(feature, count) in value {
                    proj[[unit, feature]] +=
                        sign * f64::from(count) * self.norm(feature) / (2.0 * STEEPNESS * HALF_STEP);
                }
            }
        }
        (self.read_features(&c_fc), bias, self.write_features(&proj))
    }
}
