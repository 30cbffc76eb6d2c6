//! Causal attention over packed rows, with its backward pass.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use pulp::Arch;

use super::{slice, values};
use crate::model::rows::Ancestry;

/// Softmax attention of every row over its ancestors: queries, keys and values side by side `[rows, 3 × d]` → `z`
/// `[rows, d]`. The pattern is made again in the backward pass; it has few entries.
pub(in super::super) struct AncestorAttention {
    pub(in super::super) ancestry: Arc<Ancestry>,
    pub(in super::super) heads: usize,
}

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut lanes = [0.0_f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(x, y)| x * y).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for i in 0..LANES {
            lanes[i] += a[i] * b[i];
        }
    }
    lanes.iter().sum::<f32>() + rest
}

#[inline(always)]
fn add_scaled(to: &mut [f32], scale: f32, from: &[f32]) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to += scale * from;
    }
}

impl AncestorAttention {
    // Calls `f(row, ancestors, head, pattern)` for every row and head.
    #[inline(always)]
    fn each_pattern(&self, qkv: &[f32], d: usize, mut f: impl FnMut(usize, &[u32], usize, &[f32])) {
        let width = d / self.heads;
        let scale = 1.0 / (width as f32).sqrt();
        let mut pattern = Vec::new();
        for row in 0..self.ancestry.len() {
            let ancestors = self.ancestry.of(row);
            for head in 0..self.heads {
                let query = &qkv[row * 3 * d + head * width..][..width];
                pattern.clear();
                pattern.extend(ancestors.iter().map(|&ancestor| {
                    let key = &qkv[ancestor as usize * 3 * d + d + head * width..][..width];
                    scale * dot(query, key)
                }));
                softmax(&mut pattern);
                f(row, ancestors, head, &pattern);
            }
        }
    }
}

#[inline(always)]
fn softmax(scores: &mut [f32]) {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut total = 0.0;
    for score in scores.iter_mut() {
        *score = (*score - most).exp();
        total += *score;
    }
    for score in scores {
        *score /= total;
    }
}

impl CustomOp1 for AncestorAttention {
    fn name(&self) -> &'static str {
        "ancestor-attention"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let qkv = slice(qkv, layout)?;
        let (rows, width3) = layout.shape().dims2()?;
        let d = width3 / 3;
        let width = d / self.heads;
        let mut z = vec![0.0; rows * d];
        Arch::new().dispatch(
            #[inline(always)]
            || {
                self.each_pattern(qkv, d, |row, ancestors, head, pattern| {
                    let z = &mut z[row * d + head * width..][..width];
                    for (&ancestor, &p) in ancestors.iter().zip(pattern) {
                        add_scaled(z, p, &qkv[ancestor as usize * 3 * d + 2 * d + head * width..][..width]);
                    }
                });
            },
        );
        Ok((CpuStorage::F32(z), (rows, d).into()))
    }

    fn bwd(&self, qkv: &Tensor, _z: &Tensor, dz: &Tensor) -> Result<Option<Tensor>> {
        let (qkvs, dzs) = (values(qkv)?, values(dz)?);
        let d = qkv.dims2()?.1 / 3;
        let width = d / self.heads;
        let scale = 1.0 / (width as f32).sqrt();
        let mut grad = vec![0.0; qkvs.len()];
        Arch::new().dispatch(
            #[inline(always)]
            || {
                let mut dp = Vec::new();
                self.each_pattern(&qkvs, d, |row, ancestors, head, pattern| {
                    let at = |row: u32, part: usize| row as usize * 3 * d + part * d + head * width;
                    let dz = &dzs[row * d + head * width..][..width];
                    dp.clear();
                    dp.extend(ancestors.iter().map(|&ancestor| dot(dz, &qkvs[at(ancestor, 2)..][..width])));
                    let mean = dot(&dp, pattern);
                    for ((&ancestor, &p), &dp) in ancestors.iter().zip(pattern).zip(&dp) {
                        let ds = scale * p * (dp - mean);
                        add_scaled(&mut grad[at(ancestor, 2)..][..width], p, dz);
                        add_scaled(&mut grad[at(ancestor, 1)..][..width], ds, &qkvs[at(row as u32, 0)..][..width]);
                        add_scaled(&mut grad[at(row as u32, 0)..][..width], ds, &qkvs[at(ancestor, 1)..][..width]);
                    }
                });
            },
        );
        Ok(Some(Tensor::from_vec(grad, qkv.shape(), qkv.device())?))
    }
}
