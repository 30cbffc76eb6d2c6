//! Bias and tanh-GELU in one pass, and their gradient.

use pulp::{Simd, WithSimd};

use super::simd::exp;

const SQRT_2_OVER_PI: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044_715;

// gelu(x) / x = (1 + tanh u) / 2 = 1 / (1 + exp(−2 u)) with u = √(2/π) (x + 0.044715 x³).
#[inline(always)]
fn gate(x: f32) -> f32 {
    let u = x * (x * x).mul_add(-2.0 * SQRT_2_OVER_PI * CUBIC, -2.0 * SQRT_2_OVER_PI);
    1.0 / (1.0 + exp(u))
}

/// y = gelu(x + bias) with the tanh approximation of GPT-2; x `[rows, d]`, bias `[d]`.
pub(super) struct Forward<'a> {
    pub(super) x: &'a [f32],
    pub(super) bias: &'a [f32],
    pub(super) y: &'a mut [f32],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let d = self.bias.len();
        for (x, y) in self.x.chunks_exact(d).zip(self.y.chunks_exact_mut(d)) {
            for ((y, &x), &b) in y.iter_mut().zip(x).zip(self.bias) {
                let x = x + b;
                *y = x * gate(x);
            }
        }
    }
}

/// The gradient: `dx` holds dL/dy before and dL/dx after. Recomputes `y`, which the forward pass does not keep, and adds to
/// dL/dbias.
pub(super) struct Backward<'a> {
    pub(super) x: &'a [f32],
    pub(super) bias: &'a [f32],
    pub(super) y: &'a mut [f32],
    pub(super) dx: &'a mut [f32],
    pub(super) db: &'a mut [f32],
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let d = self.bias.len();
        let (bias, db) = (&self.bias[..d], &mut self.db[..d]);
        let rows = self.x.chunks_exact(d).zip(self.y.chunks_exact_mut(d));
        for ((x, y), dx) in rows.zip(self.dx.chunks_exact_mut(d)) {
            for i in 0..d {
                let biased = x[i] + bias[i];
                let gate = gate(biased);
                let slope = (biased * biased).mul_add(6.0 * SQRT_2_OVER_PI * CUBIC, 2.0 * SQRT_2_OVER_PI);
                y[i] = biased * gate;
                dx[i] *= (y[i] * slope).mul_add(1.0 - gate, gate);
                db[i] += dx[i];
            }
        }
    }
}
