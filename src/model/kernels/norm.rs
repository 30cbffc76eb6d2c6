//! Layer norm with its backward pass.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use pulp::{Arch, Simd, WithSimd};

use super::{like, slice, with_numbers};

/// `weight × (x − mean) / √(variance + ε) + bias` over the last axis; x `[rows, d]`, weight and bias `[d]`.
pub(in super::super) struct LayerNorm {
    pub(in super::super) epsilon: f32,
}

// Mean and reciprocal standard deviation of a row. Eight partial sums let the loop be vectorised.
#[inline(always)]
fn moments(row: &[f32], epsilon: f32) -> (f32, f32) {
    let mean = sum(row, |x| x) / row.len() as f32;
    let variance = sum(row, |x| (x - mean) * (x - mean)) / row.len() as f32;
    (mean, 1.0 / (variance + epsilon).sqrt())
}

#[inline(always)]
fn sum(row: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    const LANES: usize = 16;
    let mut lanes = [0.0_f32; LANES];
    let chunks = row.chunks_exact(LANES);
    let rest: f32 = chunks.remainder().iter().map(|&x| f(x)).sum();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane += f(x);
        }
    }
    lanes.iter().sum::<f32>() + rest
}

struct Forward<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    y: &'a mut [f32],
    epsilon: f32,
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let d = self.weight.len();
        for (x, y) in self.x.chunks_exact(d).zip(self.y.chunks_exact_mut(d)) {
            let (mean, scale) = moments(x, self.epsilon);
            for (((y, &x), &w), &b) in y.iter_mut().zip(x).zip(self.weight).zip(self.bias) {
                *y = (x - mean) * scale * w + b;
            }
        }
    }
}

struct Backward<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
    dw: &'a mut [f32],
    db: &'a mut [f32],
    epsilon: f32,
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let d = self.weight.len();
        let (weight, dw, db) = (&self.weight[..d], &mut self.dw[..d], &mut self.db[..d]);
        let mut products = vec![0.0; d];
        let products = &mut products[..d];
        let rows = self.x.chunks_exact(d).zip(self.dy.chunks_exact(d));
        for ((x, dy), dx) in rows.zip(self.dx.chunks_exact_mut(d)) {
            let (mean, scale) = moments(x, self.epsilon);
            for i in 0..d {
                let normal = (x[i] - mean) * scale;
                dw[i] += dy[i] * normal;
                db[i] += dy[i];
                dx[i] = dy[i] * weight[i];
                products[i] = dx[i] * normal;
            }
            let mean_g = sum(dx, |g| g) / d as f32;
            let mean_gn = sum(products, |g| g) / d as f32;
            for (dx, &x) in dx.iter_mut().zip(x) {
                *dx = scale * (*dx - mean_g - (x - mean) * scale * mean_gn);
            }
        }
    }
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight, bias) = (
            slice(x, x_layout)?,
            slice(weight, weight_layout)?,
            slice(bias, bias_layout)?,
        );
        let mut y = vec![0.0; x.len()];
        Arch::new().dispatch(Forward {
            x,
            weight,
            bias,
            y: &mut y,
            epsilon: self.epsilon,
        });
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let d = weight.elem_count();
        let (mut dx, mut dw, mut db) = (vec![0.0; x.elem_count()], vec![0.0; d], vec![0.0; d]);
        with_numbers(x, |x| {
            with_numbers(weight, |weight| {
                with_numbers(dy, |dy| {
                    Arch::new().dispatch(Backward {
                        x,
                        weight,
                        dy,
                        dx: &mut dx,
                        dw: &mut dw,
                        db: &mut db,
                        epsilon: self.epsilon,
                    });
                    Ok(())
                })
            })
        })?;
        Ok((like(x, dx)?, like(weight, dw)?, like(bias, db)?))
    }
}
