//! AdamW and the gradient norm over flat numbers, one pass each.

use candle_core::{Result, Tensor};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::backend::Backend;
use super::{sum, with_numbers, with_numbers_mut};

// Numbers in a piece of work: fixed, so that no sum depends on the number of threads.
const PIECE: usize = 1 << 16;

struct Squares<'a>(&'a [f32]);

impl WithSimd for Squares<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        self.0.chunks(1 << 10).map(|part| f64::from(sum(part, |x| x * x))).sum()
    }
}

/// Σ x² of a contiguous f32 tensor on the CPU.
///
/// # Errors
/// Where it is none.
pub(crate) fn sum_of_squares(backend: Backend, x: &Tensor) -> Result<f64> {
    with_numbers(x, |x| {
        let of_piece = |piece| backend.arch.dispatch(Squares(piece));
        let sums: Vec<f64> = if x.len() <= PIECE || rayon::current_num_threads() == 1 {
            x.chunks(PIECE).map(of_piece).collect()
        } else {
            x.par_chunks(PIECE).map(of_piece).collect()
        };
        Ok(sums.into_iter().sum())
    })
}

/// The numbers of one AdamW step (Loshchilov & Hutter 2019, Algorithm 2), for weights that decay alike.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    /// What clipping multiplies gradients by.
    pub(crate) scale: f32,
    pub(crate) betas: [f32; 2],
    /// lr over the bias correction of the first moment.
    pub(crate) rate: f32,
    /// 1 over the bias correction of the second moment.
    pub(crate) correction: f32,
    pub(crate) epsilon: f32,
}

struct Update<'a> {
    step: Step,
    // What decay leaves of a weight.
    kept: f32,
    weights: &'a mut [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
    gradient: &'a [f32],
}

impl WithSimd for Update<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let n = self.weights.len();
        let (x, m, v, g) = (
            &mut self.weights[..n],
            &mut self.first[..n],
            &mut self.second[..n],
            &self.gradient[..n],
        );
        let Step {
            scale,
            betas: [beta1, beta2],
            rate,
            correction,
            epsilon,
        } = self.step;
        for i in 0..n {
            let g = g[i] * scale;
            m[i] = beta1 * m[i] + (1.0 - beta1) * g;
            v[i] = beta2 * v[i] + (1.0 - beta2) * g * g;
            x[i] = self.kept * x[i] - rate * m[i] / ((v[i] * correction).sqrt() + epsilon);
        }
    }
}

/// Takes one step in place; `kept` has the number of weights and what decay leaves of them, part by part.
///
/// # Errors
/// Where a tensor is not contiguous f32 on the CPU.
pub(crate) fn update(
    backend: Backend,
    step: Step,
    kept: &[(usize, f32)],
    weights: &Tensor,
    first: &Tensor,
    second: &Tensor,
    gradient: &Tensor,
) -> Result<()> {
    with_numbers(gradient, |mut gradient| {
        let is_small = gradient.len() <= PIECE;
        with_numbers_mut(weights, |mut weights| {
            with_numbers_mut(first, |mut first| {
                with_numbers_mut(second, |mut second| {
                    let mut pieces = Vec::new();
                    for &(count, kept) in kept {
                        let mut left = count;
                        while left > 0 {
                            let n = left.min(PIECE);
                            left -= n;
                            pieces.push(Update {
                                step,
                                kept,
                                weights: weights.split_off_mut(..n).unwrap_or_default(),
                                first: first.split_off_mut(..n).unwrap_or_default(),
                                second: second.split_off_mut(..n).unwrap_or_default(),
                                gradient: gradient.split_off(..n).unwrap_or_default(),
                            });
                        }
                    }
                    let arch = backend.arch;
                    if is_small || rayon::current_num_threads() == 1 {
                        for piece in pieces {
                            arch.dispatch(piece);
                        }
                    } else {
                        pieces.into_par_iter().for_each(|piece| arch.dispatch(piece));
                    }
                    Ok(())
                })
            })
        })
    })
}
