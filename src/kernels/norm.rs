//! Layer norm and its gradient.

use pulp::{Simd, WithSimd};

use super::simd::sum;

// Mean and reciprocal standard deviation of a row.
#[inline(always)]
fn moments(row: &[f32], epsilon: f32) -> (f32, f32) {
    let mean = sum(row, |x| x) / row.len() as f32;
    let variance = sum(row, |x| (x - mean) * (x - mean)) / row.len() as f32;
    (mean, 1.0 / (variance + epsilon).sqrt())
}

/// y = weight × (x − mean) / √(variance + ε) + bias over the last axis; x and y `[rows, d]`, weight and bias `[d]`.
pub(crate) struct Forward<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) weight: &'a [f32],
    pub(crate) bias: &'a [f32],
    pub(crate) y: &'a mut [f32],
    pub(crate) epsilon: f32,
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

/// The gradient: `dx` holds dL/dy before and dL/dx after. Recomputes `y`, which the forward pass does not keep, and adds to
/// dL/dweight and dL/dbias.
pub(crate) struct Backward<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) weight: &'a [f32],
    pub(crate) bias: &'a [f32],
    pub(crate) y: &'a mut [f32],
    pub(crate) dx: &'a mut [f32],
    pub(crate) dw: &'a mut [f32],
    pub(crate) db: &'a mut [f32],
    pub(crate) epsilon: f32,
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
