//! What a part of the residual stream adds to a logit directly: through the final layer norm, at the scale that it had.
//!
//! The stream at the readout is a sum of parts (the embedding, each head, each MLP). Layer norm is linear once its standard
//! deviation σ is kept as it was, so that the logit is a sum too (Elhage et al. 2021, "direct path"; nostalgebraist 2020):
//!
//! ```text
//! logit(t) = Σ over parts (part − mean(part)) / σ · (weight ⊙ W_E[t])  +  bias · W_E[t]
//! ```

use candle_core::{DType, Device, Tensor};

use super::{EPSILON, Model};
use crate::error::Result;

/// The directions of the stream that logits read, in double precision.
pub struct DirectLogits {
    // Of every token: the weight of the final norm times its row of the output matrix, less their mean, so that what a part
    // has in all directions alike does not count.
    directions: Vec<Vec<f64>>, // [vocab, d_model]
    biases: Vec<f64>,          // [vocab]
}

impl DirectLogits {
    /// One over the standard deviation that the final norm divides a state `[d_model]` by.
    pub fn scale(state: &[f32]) -> f64 {
        let n = state.len() as f64;
        let mean = state.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        let variance = state.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
        1.0 / (variance + EPSILON).sqrt()
    }

    /// The direction of the stream that the logit of a token reads: its row of the output matrix through the weight of the final
    /// norm, less the mean, `[d_model]`.
    pub fn direction(&self, token: u32) -> &[f64] {
        &self.directions[token as usize]
    }

    /// What a part `[d_model]` of a state with this scale adds to the logit of a token.
    pub fn of(&self, part: &[f32], scale: f64, token: u32) -> f64 {
        let direction = &self.directions[token as usize];
        let product: f64 = part.iter().zip(direction).map(|(&x, w)| f64::from(x) * w).sum();
        scale * product
    }

    /// What the bias of the final norm adds to the logit of a token.
    pub fn bias(&self, token: u32) -> f64 {
        self.biases[token as usize]
    }
}

impl Model {
    /// The directions that logits read off the residual stream.
    ///
    /// # Errors
    /// When the weights cannot be copied off the device.
    pub fn direct_logits(&self) -> Result<DirectLogits> {
        let numbers = |x: &Tensor| x.to_dtype(DType::F64)?.to_device(&Device::Cpu);
        let weight: Vec<f64> = numbers(&self.ln_f.weight)?.to_vec1()?;
        let bias: Vec<f64> = numbers(&self.ln_f.bias)?.to_vec1()?;
        let unembedding: Vec<Vec<f64>> = numbers(&self.unembedding)?.to_vec2()?;
        let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
        let direction = |row: &Vec<f64>| -> Vec<f64> {
            let mean = dot(row, &weight) / row.len() as f64;
            row.iter().zip(&weight).map(|(x, w)| x * w - mean).collect()
        };
        Ok(DirectLogits {
            directions: unembedding.iter().map(direction).collect(),
            biases: unembedding.iter().map(|row| dot(row, &bias)).collect(),
        })
    }

    /// What each head of a layer (from 0) adds to the stream, from what it gathers: `[rows, heads, d_head]` →
    /// `[rows, heads, d_model]`. The bias of the output projection is none of theirs: [`Model::attention_bias`].
    ///
    /// # Errors
    /// When the shapes do not fit, or the device fails.
    pub fn head_outputs(&self, layer: usize, z: &Tensor) -> Result<Tensor> {
        let (rows, heads, d_head) = z.dims3()?;
        let weight = &self.layers[layer].attn_proj.weight; // [d_model, d_model]
        let d_model = weight.dim(1)?;
        let by_head = weight.reshape((heads, d_head, d_model))?;
        let outputs = z.transpose(0, 1)?.contiguous()?.matmul(&by_head)?; // [heads, rows, d_model]
        Ok(outputs.transpose(0, 1)?.contiguous()?.reshape((rows, heads, d_model))?)
    }

    /// The bias of a layer's output projection of attention, `[d_model]`.
    pub fn attention_bias(&self, layer: usize) -> &Tensor {
        &self.layers[layer].attn_proj.bias
    }
}
