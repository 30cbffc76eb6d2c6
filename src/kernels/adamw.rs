//! AdamW and the gradient norm over flat slices, one pass each.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::backend::Backend;
use super::simd::sum;

// Numbers of a chunk, which one thread works on: fixed, so that no sum depends on the number of threads.
const CHUNK: usize = 1 << 16;

struct SumOfSquares<'a>(&'a [f32]);

impl WithSimd for SumOfSquares<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        self.0.chunks(1 << 10).map(|part| f64::from(sum(part, |x| x * x))).sum()
    }
}

/// Σ x².
pub(crate) fn sum_of_squares(backend: Backend, x: &[f32]) -> f64 {
    let of_chunk = |chunk| backend.run(SumOfSquares(chunk));
    let sums: Vec<f64> = if x.len() <= CHUNK || rayon::current_num_threads() == 1 {
        x.chunks(CHUNK).map(of_chunk).collect()
    } else {
        x.par_chunks(CHUNK).map(of_chunk).collect()
    };
    sums.into_iter().sum()
}

/// The coefficients of one AdamW step (Loshchilov & Hutter 2019, Algorithm 2).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    /// What clipping multiplies gradients by.
    pub(crate) scale: f32,
    pub(crate) betas: [f32; 2],
    /// The learning rate over the bias correction of the first moment.
    pub(crate) rate: f32,
    /// 1 over the bias correction of the second moment.
    pub(crate) correction: f32,
    pub(crate) epsilon: f32,
}

struct Update<'a> {
    step: Step,
    // What weight decay multiplies a weight by.
    decay: f32,
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
            x[i] = self.decay * x[i] - rate * m[i] / ((v[i] * correction).sqrt() + epsilon);
        }
    }
}

/// Takes one step in place. `decays` holds for each part of the slices its length and what weight decay multiplies its
/// weights by.
pub(crate) fn update(
    backend: Backend,
    step: Step,
    decays: &[(usize, f32)],
    mut weights: &mut [f32],
    mut first: &mut [f32],
    mut second: &mut [f32],
    mut gradient: &[f32],
) {
    let is_small = gradient.len() <= CHUNK;
    let mut chunks = Vec::new();
    for &(count, decay) in decays {
        let mut left = count;
        while left > 0 {
            let n = left.min(CHUNK);
            left -= n;
            chunks.push(Update {
                step,
                decay,
                weights: weights.split_off_mut(..n).unwrap_or_default(),
                first: first.split_off_mut(..n).unwrap_or_default(),
                second: second.split_off_mut(..n).unwrap_or_default(),
                gradient: gradient.split_off(..n).unwrap_or_default(),
            });
        }
    }
    if is_small || rayon::current_num_threads() == 1 {
        for chunk in chunks {
            backend.run(chunk);
        }
    } else {
        chunks.into_par_iter().for_each(|chunk| backend.run(chunk));
    }
}
