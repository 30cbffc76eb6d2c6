//! Cross-entropy with label smoothing, and its gradient.

use pulp::{Simd, WithSimd};

use super::simd::{exp, sum};

/// One target token for each row of logits, and the label smoothing ε.
#[derive(Clone, Copy)]
pub(crate) struct Targets<'a> {
    /// Each below `vocab`.
    pub(crate) tokens: &'a [u32],
    pub(crate) smoothing: f32,
    /// The width of a row of logits.
    pub(crate) vocab: usize,
}

// The largest logit, and Σ exp(logit − largest).
#[inline(always)]
fn partition(logits: &[f32]) -> (f32, f32) {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    (max, sum(logits, |x| exp(x - max)))
}

/// The mean over the rows of (1 − ε) · (−log p_target) + ε · mean over all tokens of −log p, in nats. The logits are
/// `[rows, vocab]`.
pub(crate) struct Forward<'a> {
    pub(crate) targets: Targets<'a>,
    pub(crate) logits: &'a [f32],
}

impl WithSimd for Forward<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        let Targets {
            tokens,
            smoothing,
            vocab,
        } = self.targets;
        let mut total = 0.0;
        for (logits, &target) in self.logits.chunks_exact(vocab).zip(tokens) {
            let (max, partition) = partition(logits);
            let mean = sum(logits, |x| x - max) / vocab as f32;
            let weighted = (1.0 - smoothing) * (logits[target as usize] - max) + smoothing * mean;
            total += f64::from(partition.ln() - weighted);
        }
        total / tokens.len() as f64
    }
}

/// The gradient of the mean with respect to the logits, `[rows, vocab]`. `scale` is dL/d(mean) over the number of rows.
pub(crate) struct Backward<'a> {
    pub(crate) targets: Targets<'a>,
    pub(crate) logits: &'a [f32],
    pub(crate) gradient: &'a mut [f32],
    pub(crate) scale: f32,
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Targets {
            tokens,
            smoothing,
            vocab,
        } = self.targets;
        let rows = self.logits.chunks_exact(vocab).zip(tokens);
        for ((logits, &target), gradient) in rows.zip(self.gradient.chunks_exact_mut(vocab)) {
            let (max, partition) = partition(logits);
            let (share, even) = (self.scale / partition, self.scale * smoothing / vocab as f32);
            for (gradient, &x) in gradient.iter_mut().zip(logits) {
                *gradient = exp(x - max) * share - even;
            }
            gradient[target as usize] -= self.scale * (1.0 - smoothing);
        }
    }
}
