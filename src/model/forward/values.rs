//! The value vectors of attention: what a row gives to those that attend to it.

use candle_core::Tensor;

use super::Model;
use crate::error::Result;
use crate::model::forward::composed::{layer_norm, linear};

impl Model {
    /// The values of a layer (from 0), from the residual stream before it: `[rows, d_model]` → `[rows, heads, d_head]`. What a
    /// head gathers at a row (`z`) is the sum of its ancestors' values, weighted by the attention pattern.
    ///
    /// # Errors
    /// When the shapes do not fit, or the device fails.
    pub fn values(&self, layer: usize, resid_pre: &Tensor) -> Result<Tensor> {
        let (rows, d) = resid_pre.dims2()?;
        let heads = self.config.heads;
        let weights = &self.layers[layer];
        let qkv = linear(&weights.c_attn, &layer_norm(&weights.ln_1, resid_pre)?)?; // [rows, 3 × d_model]
        Ok(qkv.narrow(1, 2 * d, d)?.reshape((rows, heads, d / heads))?)
    }
}
