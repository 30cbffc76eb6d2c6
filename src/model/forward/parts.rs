//! Single parts of a layer, computed on states of one's own: what one MLP or one head makes of a stream that no pass has.

use candle_core::{D, Tensor};

use super::Model;
use super::composed::{layer_norm, linear};
use crate::error::Result;
use crate::kernels::Affine;

/// What one head reads, before its layer norm: the query, the keys and the values each from a stream of their own.
pub struct HeadInputs<'a> {
    /// The residual stream at the rows that attend, `[n, d_model]`.
    pub query: &'a Tensor,
    /// The stream at the columns that are attended to, for the keys, `[n, columns, d_model]`.
    pub keys: &'a Tensor,
    /// The same for the values, `[n, columns, d_model]`.
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

    /// What one head (from 0) of a layer (from 0) gathers from these streams: `z`, `[n, d_head]`.
    ///
    /// # Errors
    /// When the shapes do not fit, or the device fails.
    pub fn head_of(&self, layer: usize, head: usize, inputs: &HeadInputs) -> Result<Tensor> {
        let layer = &self.layers[layer];
        let (d, d_head) = (self.config.d_model, self.config.d_model / self.config.heads);
        // Queries, keys and values lie side by side in one map, each with the heads side by side.
        let project = |part: usize, stream: &Tensor| -> Result<Tensor> {
            let begin = part * d + head * d_head;
            let of_head = Affine {
                weight: layer.c_attn.weight.narrow(1, begin, d_head)?.contiguous()?,
                bias: layer.c_attn.bias.narrow(0, begin, d_head)?,
            };
            linear(&of_head, &layer_norm(&layer.ln_1, stream)?)
        };
        let of_columns = |part: usize, stream: &Tensor| -> Result<Tensor> {
            let (n, columns, _) = stream.dims3()?;
            let projected = project(part, &stream.reshape((n * columns, d))?)?;
            Ok(projected.reshape((n, columns, d_head))?)
        };
        let query = project(0, inputs.query)?.unsqueeze(1)?; // [n, 1, d_head]
        let (keys, values) = (of_columns(1, inputs.keys)?, of_columns(2, inputs.values)?);
        let scores = (query.broadcast_mul(&keys)?.sum(D::Minus1)? / (d_head as f64).sqrt())?; // [n, columns]
        let pattern = candle_nn::ops::softmax(&scores, D::Minus1)?;
        Ok(pattern.unsqueeze(D::Minus1)?.broadcast_mul(&values)?.sum(1)?)
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
