//! Single parts of a layer, computed on states of one's own: what one MLP or one head makes of a stream that no pass has.

use candle_core::{D, Tensor};

use super::Model;
use super::composed::{layer_norm, linear};
use crate::error::Result;
use crate::kernels::Affine;

/// What a head reads the residual stream for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HeadInput {
    /// Its query, at the position that attends.
    Query,
    /// Its key, at a position that is attended to.
    Key,
    /// Its value, at a position that is attended to.
    Value,
}

/// The inputs of one head in each of `n` queries, as [`Model::head_input`] gives them.
pub struct HeadInputs<'a> {
    /// At neighbouring columns that attend, `[n, rows, d_head]`.
    pub queries: &'a Tensor,
    /// At the first columns, `[n, columns, d_head]`.
    pub keys: &'a Tensor,
    /// At the same columns, `[n, columns, d_head]`.
    pub values: &'a Tensor,
}

impl Model {
    /// What the MLP of a layer (from 0) adds to the stream that it reads: `resid_mid` `[n, d_model]` → `mlp_out` `[n, d_model]`.
    ///
    /// # Errors
    /// When the shape does not fit, or the device fails.
    pub fn mlp_of(&self, layer: usize, stream: &Tensor) -> Result<Tensor> {
        let layer = &self.layers[layer];
        let hidden = linear(&layer.c_fc, &layer_norm(&layer.ln_2, stream)?)?;
        linear(&layer.mlp_proj, &self.activate(&hidden)?)
    }

    /// What one head (from 0) of a layer (from 0) reads of a stream: `resid_pre` `[n, d_model]` → `[n, d_head]`.
    ///
    /// # Errors
    /// When the shape does not fit, or the device fails.
    pub fn head_input(&self, layer: usize, head: usize, input: HeadInput, stream: &Tensor) -> Result<Tensor> {
        let layer = &self.layers[layer];
        let (d, d_head) = (self.config.d_model, self.config.d_model / self.config.heads);
        // Queries, keys and values lie side by side in one map, each with the heads side by side.
        let begin = input as usize * d + head * d_head;
        let of_head = Affine {
            weight: layer.c_attn.weight.narrow(1, begin, d_head)?.contiguous()?,
            bias: layer.c_attn.bias.narrow(0, begin, d_head)?,
        };
        linear(&of_head, &layer_norm(&layer.ln_1, stream)?)
    }

    /// What one head gathers: `z`, `[n, rows, d_head]`. The first of `rows` is column `first` of its query; each attends to its own
    /// column and those before it, as far as there are keys.
    ///
    /// # Errors
    /// When the shapes do not fit, or the device fails.
    pub fn attend(&self, inputs: &HeadInputs, first: usize) -> Result<Tensor> {
        let (_, rows, d_head) = inputs.queries.dims3()?;
        let columns = inputs.keys.dim(1)?;
        let scores = inputs.queries.contiguous()?.matmul(&inputs.keys.t()?.contiguous()?)?; // [n, rows, columns]
        let hidden = |row: usize, column: usize| if column > first + row { f32::NEG_INFINITY } else { 0.0 };
        let mask: Vec<f32> = (0..rows)
            .flat_map(|row| (0..columns).map(move |column| hidden(row, column)))
            .collect();
        let mask = Tensor::from_vec(mask, (rows, columns), scores.device())?.to_dtype(scores.dtype())?;
        let scores = (scores / (d_head as f64).sqrt())?.broadcast_add(&mask)?;
        let pattern = candle_nn::ops::softmax(&scores, D::Minus1)?;
        Ok(pattern.matmul(&inputs.values.contiguous()?)?)
    }

    /// The values of a layer (from 0), from the residual stream before it: `[rows, d_model]` → `[rows, heads, d_head]`. What a
    /// head gathers at a row (`z`) is the sum of its ancestors' values, weighted by the attention pattern.
    ///
    /// # Errors
    /// When the shapes do not fit, or the device fails.
    pub fn values_of(&self, layer: usize, resid_pre: &Tensor) -> Result<Tensor> {
        let (rows, d) = resid_pre.dims2()?;
        let heads = self.config.heads;
        let weights = &self.layers[layer];
        let qkv = linear(&weights.c_attn, &layer_norm(&weights.ln_1, resid_pre)?)?; // [rows, 3 × d_model]
        Ok(qkv.narrow(1, 2 * d, d)?.reshape((rows, heads, d / heads))?)
    }
}
