//! The model by candle's own operations, equation by equation: the reference for the fused kernels, and the path for
//! other devices and precisions, for dropout, and for gradients through hooks.
//!
//! A layer of the block (Kohli et al. 2026, Section 4; GPT-2):
//!
//! ```text
//! resid_mid  = resid_pre + attn(ln_1(resid_pre))
//! resid_post = resid_mid + mlp(ln_2(resid_mid))
//! attn(x) = softmax(q · kᵀ / √d_head) · v · W_o + b_o      for each head, over the ancestors of a row
//! mlp(x)  = gelu(x · W_fc + b_fc) · W_p + b_p
//! ```

use candle_core::{D, Device, Tensor};

use super::{EPSILON, Model, Pass};
use crate::error::Result;
use crate::kernels::{Affine, Parameters};
use crate::model::ancestors::AncestorTable;
use crate::model::config::Activation;
use crate::model::rows::Rows;
use crate::model::site::{Point, Site};

/// ln(x) = (x − mean) / √(variance + ε) × weight + bias, over the last axis.
pub(super) fn layer_norm(Affine { weight, bias }: &Affine<Tensor>, x: &Tensor) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let normed = centred.broadcast_div(&(variance + EPSILON)?.sqrt()?)?;
    Ok(normed.broadcast_mul(weight)?.broadcast_add(bias)?)
}

/// x · weight + bias; weight [in, out], bias [out].
pub(super) fn linear(Affine { weight, bias }: &Affine<Tensor>, x: &Tensor) -> Result<Tensor> {
    Ok(x.matmul(weight)?.broadcast_add(bias)?)
}

impl Model {
    /// [`Model::forward`] by candle's own operations.
    pub(super) fn composed_forward(&self, rows: &Rows, iterations: usize, pass: &mut Pass) -> Result<Tensor> {
        let readout = self.indices(&rows.readout)?;
        let ancestors = self.ancestor_table(rows)?;
        let embedded = pass.hooks.visit(Site::embed(), self.embed(rows)?)?;
        let embedded = self.dropout(embedded, pass)?; // x⁰
        let mut x = embedded.clone();
        for iteration in 0..iterations {
            if iteration > 0 && self.config.injection {
                x = (x + &embedded)?;
            }
            x = self.composed_iteration(x, &ancestors, iteration, pass)?;
            if iteration + 1 < iterations && pass.hooks.wants_readout(iteration) {
                self.read_out(&x.index_select(&readout, 0)?, iteration, pass)?;
            }
        }
        self.read_out(&x.index_select(&readout, 0)?, iterations - 1, pass)
    }

    /// The table of the ancestors of a batch, where and as this model computes.
    pub(super) fn ancestor_table(&self, rows: &Rows) -> Result<AncestorTable> {
        AncestorTable::new(rows.ancestry.clone(), self.token_embedding.dtype(), &self.device)
    }

    /// One iteration: block(x).
    pub(super) fn composed_iteration(
        &self,
        mut x: Tensor,
        ancestors: &AncestorTable,
        iteration: usize,
        pass: &mut Pass,
    ) -> Result<Tensor> {
        for (index, layer) in self.layers.iter().enumerate() {
            let at = |point| Site::new(point, iteration, index);
            x = self.layer(layer, x, ancestors, pass, &at)?;
        }
        Ok(x)
    }

    fn layer(
        &self,
        layer: &Parameters<Tensor>,
        x: Tensor,
        ancestors: &AncestorTable,
        pass: &mut Pass,
        at: &impl Fn(Point) -> Site,
    ) -> Result<Tensor> {
        let x = pass.hooks.visit(at(Point::ResidPre), x)?; // [rows, d_model]
        let z = self.attention(layer, &layer_norm(&layer.ln_1, &x)?, ancestors, pass, at)?; // [rows, d_model]
        let attn_out = pass.hooks.visit(at(Point::AttnOut), linear(&layer.attn_proj, &z)?)?;
        let mid = (x + self.dropout(attn_out, pass)?)?;
        let mid = pass.hooks.visit(at(Point::ResidMid), mid)?;

        let hidden = linear(&layer.c_fc, &layer_norm(&layer.ln_2, &mid)?)?; // [rows, 4 × d_model]
        let post = pass.hooks.visit(at(Point::MlpPost), self.activate(&hidden)?)?;
        let mlp_out = pass.hooks.visit(at(Point::MlpOut), linear(&layer.mlp_proj, &post)?)?;
        let out = (mid + self.dropout(mlp_out, pass)?)?;
        pass.hooks.visit(at(Point::ResidPost), out)
    }

    /// The non-linearity of the MLP.
    pub(super) fn activate(&self, hidden: &Tensor) -> Result<Tensor> {
        Ok(match self.config.activation {
            Activation::GeluTanh => hidden.gelu()?,
            Activation::Relu => hidden.relu()?,
        })
    }

    // z = softmax(q · kᵀ / √d_head) · v, the heads side by side: [rows, d_model].
    fn attention(
        &self,
        layer: &Parameters<Tensor>,
        normed: &Tensor,
        ancestors: &AncestorTable,
        pass: &mut Pass,
        at: &impl Fn(Point) -> Site,
    ) -> Result<Tensor> {
        let qkv = linear(&layer.c_attn, normed)?; // [rows, 3 × d_model]
        let (count, d) = normed.dims2()?;
        let (heads, d_head) = (self.config.heads, d / self.config.heads);
        let AncestorTable { index, mask, .. } = ancestors;
        let max_ancestors = mask.dim(D::Minus1)?;
        let part = |i: usize| qkv.narrow(1, i * d, d)?.contiguous();
        let of_ancestors = |i: usize| -> candle_core::Result<Tensor> {
            part(i)?
                .index_select(index, 0)?
                .reshape((count, max_ancestors, heads, d_head))?
                .transpose(1, 2)?
                .contiguous() // [rows, heads, ancestors, d_head]
        };
        let q = part(0)?.reshape((count, heads, 1, d_head))?;
        let scores = (q.broadcast_mul(&of_ancestors(1)?)?.sum(D::Minus1)? / (d_head as f64).sqrt())?; // [rows, heads, ancestors]
        let pattern = candle_nn::ops::softmax(&scores.broadcast_add(mask)?, D::Minus1)?;
        let pattern = pass.hooks.visit_pattern(at(Point::AttnPattern), pattern, ancestors)?;
        let pattern = self.dropout(pattern, pass)?;
        let z = pattern.unsqueeze(D::Minus1)?.broadcast_mul(&of_ancestors(2)?)?.sum(2)?; // [rows, heads, d_head]
        Ok(pass.hooks.visit(at(Point::Z), z)?.reshape((count, d))?)
    }

    // x where a number stays, divided by the probability that it does; 0 where it is dropped.
    fn dropout(&self, x: Tensor, pass: &mut Pass) -> Result<Tensor> {
        let (Some(stream), p) = (&mut pass.dropout, self.config.dropout) else {
            return Ok(x);
        };
        if p == 0.0 {
            return Ok(x);
        }
        let scale = (1.0 / (1.0 - p)) as f32;
        let mask: Vec<f32> = (0..x.elem_count())
            .map(|_| if stream.uniform() < p { 0.0 } else { scale })
            .collect();
        let mask = Tensor::from_vec(mask, x.shape(), &Device::Cpu)?
            .to_dtype(x.dtype())?
            .to_device(&self.device)?;
        Ok((x * mask)?)
    }

    // sin(p / 10000^(2i/d)) at even indices, cos at odd ones (Vaswani et al. 2017, Section 3.5): [positions, d_model].
    pub(super) fn sinusoids(&self, positions: &[u32]) -> Result<Tensor> {
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
}
