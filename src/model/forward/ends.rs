//! What stands at both ends of the loop: embeddings, and the output matrix.

use candle_core::{Device, Tensor};

use super::Model;
use crate::error::Result;
use crate::kernels::{Embed, Unembed};
use crate::model::config::Positions;
use crate::model::rows::Rows;

impl Model {
    // The states before the loop: [rows, d_model].
    pub(in super::super) fn embed(&self, rows: &Rows) -> Result<Tensor> {
        self.embed_all(&rows.tokens, &rows.positions)
    }

    // Those of some rows alone.
    pub(super) fn embed_rows(&self, rows: &Rows, some: &[u32]) -> Result<Tensor> {
        let of = |all: &[u32]| -> Vec<u32> { some.iter().map(|&row| all[row as usize]).collect() };
        self.embed_all(&of(&rows.tokens), &of(&rows.positions))
    }

    fn embed_all(&self, tokens: &[u32], positions: &[u32]) -> Result<Tensor> {
        let tokens = self.rows_of(&self.token_embedding, tokens)?;
        let positions = match self.config.positions {
            Positions::None => return Ok(tokens),
            Positions::Learned => match &self.position_embedding {
                Some(table) => self.rows_of(table, positions)?,
                None => return Ok(tokens),
            },
            Positions::Sinusoidal => self.sinusoids(positions)?,
        };
        Ok((tokens + positions)?)
    }

    // Rows of an embedding.
    fn rows_of(&self, table: &Tensor, indices: &[u32]) -> Result<Tensor> {
        if !self.kernels(table) {
            return Ok(table.index_select(&self.indices(indices)?, 0)?);
        }
        let kernel = Embed {
            indices: indices.to_vec(),
            gradients: self.gradients.clone(),
        };
        Ok(table.apply_op1(kernel)?)
    }

    // sin(p / 10000^(2i/d)) at even places, cos at odd ones (Vaswani et al. 2017, Section 3.5): [rows, d_model]
    fn sinusoids(&self, positions: &[u32]) -> Result<Tensor> {
        let d = self.config.d_model;
        let values = positions.iter().flat_map(|&position| {
            (0..d).map(move |i| {
                let exponent = (i / 2 * 2) as f64 / d as f64;
                let angle = f64::from(position) / libm::pow(10_000.0, exponent);
                if i % 2 == 0 { libm::sin(angle) } else { libm::cos(angle) }
            })
        });
        let values: Vec<f64> = values.collect();
        let table = Tensor::from_vec(values, (positions.len(), d), &Device::Cpu)?;
        Ok(table.to_dtype(self.token_embedding.dtype())?.to_device(&self.device)?)
    }

    /// The logit lens: final layer norm, then the output matrix, of any states `[n, d_model]` → `[n, vocab]`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn unembed(&self, states: &Tensor) -> Result<Tensor> {
        self.logits(&self.norm(&self.ln_f, states)?)
    }

    // The output matrix of normed states: [n, d_model] → [n, vocab].
    pub(super) fn logits(&self, normed: &Tensor) -> Result<Tensor> {
        if !self.kernels(normed) {
            return Ok(normed.matmul(&self.unembedding.t()?)?);
        }
        let kernel = Unembed {
            backend: self.backend,
            gradients: self.gradients.clone(),
        };
        Ok(normed.contiguous()?.apply_op2(&self.unembedding, kernel)?)
    }
}
