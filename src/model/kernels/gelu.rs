//! Bias and tanh-GELU in one pass, with the backward pass.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use pulp::{Arch, Simd, WithSimd};

use super::{like, slice, with_numbers};

const SQRT_2_OVER_PI: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044_715;

/// `gelu(x + bias)` with the tanh approximation of GPT-2; x `[rows, d]`, bias `[d]`.
pub(in super::super) struct BiasGelu;

// e^x for |x| ≤ 87 or so, clamped beyond: 2^n by the exponent bits, the rest by the polynomial of Cephes' `expf`
// (relative error 2e-7). No call and no branch, so that loops over it are vectorised.
#[inline(always)]
#[allow(clippy::excessive_precision)] // ln 2 in two parts, as Cephes has it
fn exp(x: f32) -> f32 {
    // Adding 1.5 × 2^23 rounds to the nearest integer and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 87.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * 0.693_359_375) + n * 2.121_944_4e-4;
    let p = 1.987_569_2e-4;
    let p = p * r + 1.398_2e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 5.000_000_1e-1;
    let p = p * r * r + r + 1.0;
    p * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
}

// (1 + tanh u) / 2, the share of x that gelu lets through.
#[inline(always)]
fn gate(x: f32) -> f32 {
    let u = SQRT_2_OVER_PI * (x + CUBIC * x * x * x);
    1.0 / (1.0 + exp(-2.0 * u))
}

struct Forward<'a> {
    x: &'a [f32],
    bias: &'a [f32],
    y: &'a mut [f32],
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

struct Backward<'a> {
    x: &'a [f32],
    bias: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
    db: &'a mut [f32],
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let d = self.bias.len();
        let (bias, db) = (&self.bias[..d], &mut self.db[..d]);
        let rows = self.x.chunks_exact(d).zip(self.dy.chunks_exact(d));
        for ((x, dy), dx) in rows.zip(self.dx.chunks_exact_mut(d)) {
            for i in 0..d {
                let x = x[i] + bias[i];
                let gate = gate(x);
                let slope = 2.0 * SQRT_2_OVER_PI * (1.0 + 3.0 * CUBIC * x * x);
                dx[i] = dy[i] * (gate + x * gate * (1.0 - gate) * slope);
                db[i] += dx[i];
            }
        }
    }
}

impl CustomOp2 for BiasGelu {
    fn name(&self) -> &'static str {
        "bias-gelu"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, bias) = (slice(x, x_layout)?, slice(bias, bias_layout)?);
        let mut y = vec![0.0; x.len()];
        Arch::new().dispatch(Forward { x, bias, y: &mut y });
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, bias: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (mut dx, mut db) = (vec![0.0; x.elem_count()], vec![0.0; bias.elem_count()]);
        with_numbers(x, |x| {
            with_numbers(bias, |bias| {
                with_numbers(dy, |dy| {
                    Arch::new().dispatch(Backward {
                        x,
                        bias,
                        dy,
                        dx: &mut dx,
                        db: &mut db,
                    });
                    Ok(())
                })
            })
        })?;
        Ok((like(x, dx)?, like(bias, db)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fast_exponential_is_the_exponential() {
        for i in -8700..=8700 {
            let x = i as f32 / 100.0;
            let (got, expected) = (f64::from(exp(x)), f64::from(x).exp());
            assert!(
                (got - expected).abs() / expected < 4e-7,
                "exp({x}) = {got}, not {expected}"
            );
        }
    }
}
