//! Causal attention over packed rows, with its backward pass.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use pulp::{Arch, Simd, WithSimd};

use super::{like, slice, with_numbers};
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
    let rest: f32 = a_chunks
        .remainder()
        .iter()
        .zip(b_chunks.remainder())
        .map(|(x, y)| x * y)
        .sum();
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

// Calls `f(row, ancestors, offset of the head, pattern)` for every row and head.
#[inline(always)]
fn each_pattern(op: &AncestorAttention, qkv: &[f32], d: usize, mut f: impl FnMut(usize, &[u32], usize, &[f32])) {
    let width = d / op.heads;
    let scale = 1.0 / (width as f32).sqrt();
    let mut pattern = vec![0.0; op.ancestry.most()];
    for row in 0..op.ancestry.len() {
        let ancestors = op.ancestry.of(row);
        let pattern = &mut pattern[..ancestors.len()];
        for head in (0..d).step_by(width) {
            let query = &qkv[row * 3 * d + head..][..width];
            for (p, &ancestor) in pattern.iter_mut().zip(ancestors) {
                *p = scale * dot(query, &qkv[ancestor as usize * 3 * d + d + head..][..width]);
            }
            softmax(pattern);
            f(row, ancestors, head, pattern);
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

struct Forward<'a> {
    op: &'a AncestorAttention,
    qkv: &'a [f32],
    z: &'a mut [f32],
    d: usize,
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (d, qkv) = (self.d, self.qkv);
        let width = d / self.op.heads;
        each_pattern(self.op, qkv, d, |row, ancestors, head, pattern| {
            let z = &mut self.z[row * d + head..][..width];
            for (&ancestor, &p) in ancestors.iter().zip(pattern) {
                add_scaled(z, p, &qkv[ancestor as usize * 3 * d + 2 * d + head..][..width]);
            }
        });
    }
}

struct Backward<'a> {
    op: &'a AncestorAttention,
    qkv: &'a [f32],
    dz: &'a [f32],
    grad: &'a mut [f32],
    d: usize,
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (d, qkv, grad) = (self.d, self.qkv, self.grad);
        let width = d / self.op.heads;
        let scale = 1.0 / (width as f32).sqrt();
        let mut dp = vec![0.0; self.op.ancestry.most()];
        each_pattern(self.op, qkv, d, |row, ancestors, head, pattern| {
            // Where a row's query (part 0), key (1) or value (2) begins.
            let at = |row: u32, part: usize| row as usize * 3 * d + part * d + head;
            let dz = &self.dz[row * d + head..][..width];
            let dp = &mut dp[..ancestors.len()];
            for (dp, &ancestor) in dp.iter_mut().zip(ancestors) {
                *dp = dot(dz, &qkv[at(ancestor, 2)..][..width]);
            }
            let mean = dot(dp, pattern);
            let row = row as u32;
            for ((&ancestor, &p), &dp) in ancestors.iter().zip(pattern).zip(&*dp) {
                let ds = scale * p * (dp - mean);
                add_scaled(&mut grad[at(ancestor, 2)..][..width], p, dz);
                add_scaled(&mut grad[at(ancestor, 1)..][..width], ds, &qkv[at(row, 0)..][..width]);
                add_scaled(&mut grad[at(row, 0)..][..width], ds, &qkv[at(ancestor, 1)..][..width]);
            }
        });
    }
}

impl CustomOp1 for AncestorAttention {
    fn name(&self) -> &'static str {
        "ancestor-attention"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let qkv = slice(qkv, layout)?;
        let (rows, width) = layout.shape().dims2()?;
        let d = width / 3;
        let mut z = vec![0.0; rows * d];
        Arch::new().dispatch(Forward {
            op: self,
            qkv,
            z: &mut z,
            d,
        });
        Ok((CpuStorage::F32(z), (rows, d).into()))
    }

    fn bwd(&self, qkv: &Tensor, _z: &Tensor, dz: &Tensor) -> Result<Option<Tensor>> {
        let d = qkv.dims2()?.1 / 3;
        let mut grad = vec![0.0; qkv.elem_count()];
        with_numbers(qkv, |qkv| {
            with_numbers(dz, |dz| {
                Arch::new().dispatch(Backward {
                    op: self,
                    qkv,
                    dz,
                    grad: &mut grad,
                    d,
                });
                Ok(())
            })
        })?;
        like(qkv, grad)
    }
}
