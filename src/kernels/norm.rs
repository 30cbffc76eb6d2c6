//! Layer norm with its backward pass.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use pulp::{Simd, WithSimd};

use super::backend::Backend;
use super::{like, slice, sum, with_numbers};

/// `weight × (x − mean) / √(variance + ε) + bias` over the last axis; x `[rows, d]`, weight and bias `[d]`.
pub(in super::super) struct LayerNorm {
    pub(in super::super) epsilon: f32,
    pub(in super::super) backend: Backend,
}

// Mean and reciprocal standard deviation of a row.
#[inline(always)]
fn moments(row: &[f32], epsilon: f32) -> (f32, f32) {
    let mean = sum(row, |x| x) / row.len() as f32;
    let variance = sum(row, |x| (x - mean) * (x - mean)) / row.len() as f32;
    (mean, 1.0 / (variance + epsilon).sqrt())
}

/// y = norm(x).
pub(super) struct Forward<'a> {
    pub(super) x: &'a [f32],
    pub(super) weight: &'a [f32],
    pub(super) bias: &'a [f32],
    pub(super) y: &'a mut [f32],
    pub(super) epsilon: f32,
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let d = self.weight.len();
        for (x, y) in self.x.chunks_exact(d).zip(self.y.chunks_exact_mut(d)) {
            let (mean, scale) = moments(x, self.epsilon);
            for (((y, &x), &w), &b) in y.iter_mut().zip(x).zip(self.weight).zip(self.bias) {
                *y = ((x - mean) * scale).mul_add(w, b);
            }
        }
    }
}

/// From dL/dy, which `dx` holds before: dL/dx, and `y` again, which nobody kept; adds to dL/dweight and dL/dbias.
pub(super) struct Backward<'a> {
    pub(super) x: &'a [f32],
    pub(super) weight: &'a [f32],
    pub(super) bias: &'a [f32],
    pub(super) y: &'a mut [f32],
    pub(super) dx: &'a mut [f32],
    pub(super) dw: &'a mut [f32],
    pub(super) db: &'a mut [f32],
    pub(super) epsilon: f32,
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let d = self.weight.len();
        let (weight, bias, dw, db) = (&self.weight[..d], &self.bias[..d], &mut self.dw[..d], &mut self.db[..d]);
        let rows = self.x.chunks_exact(d).zip(self.y.chunks_exact_mut(d));
        for ((x, y), dx) in rows.zip(self.dx.chunks_exact_mut(d)) {
            let (mean, scale) = moments(x, self.epsilon);
            // y holds the products with the normalised row until the means are known.
            for i in 0..d {
                let normal = (x[i] - mean) * scale;
                let dy = dx[i];
                dw[i] = dy.mul_add(normal, dw[i]);
                db[i] += dy;
                dx[i] = dy * weight[i];
                y[i] = dx[i] * normal;
            }
            let mean_g = sum(dx, |g| g) / d as f32;
            let mean_gn = sum(y, |g| g) / d as f32;
            for i in 0..d {
                let normal = (x[i] - mean) * scale;
                dx[i] = scale * normal.mul_add(-mean_gn, dx[i] - mean_g);
                y[i] = normal.mul_add(weight[i], bias[i]);
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
        self.backend.arch.dispatch(Forward {
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
        let (mut y, mut dw, mut db) = (vec![0.0; x.elem_count()], vec![0.0; d], vec![0.0; d]);
        let mut dx = with_numbers(dy, |dy| Ok(dy.to_vec()))?;
        with_numbers(x, |x| {
            with_numbers(weight, |weight| {
                with_numbers(bias, |bias| {
                    self.backend.arch.dispatch(Backward {
                        x,
                        weight,
                        bias,
                        y: &mut y,
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
