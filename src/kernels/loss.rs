//! Cross-entropy with label smoothing, with its backward pass.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use pulp::{Simd, WithSimd};

use super::backend::Backend;
use super::{exp, like, slice, sum, with_numbers};

/// Mean over the rows of (1 − ε) · (−log p_target) + ε · mean over all tokens of −log p; logits `[queries, vocab]`, one
/// target each → a scalar in nats.
pub(in super::super) struct CrossEntropy {
    pub(in super::super) targets: Vec<u32>,
    pub(in super::super) smoothing: f32,
    pub(in super::super) backend: Backend,
}

// The largest logit, and Σ exp(logit − largest).
#[inline(always)]
fn partition(logits: &[f32]) -> (f32, f32) {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    (most, sum(logits, |x| exp(x - most)))
}

struct Forward<'a> {
    op: &'a CrossEntropy,
    logits: &'a [f32],
    vocab: usize,
}

impl WithSimd for Forward<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        let smoothing = self.op.smoothing;
        let mut total = 0.0;
        for (logits, &target) in self.logits.chunks_exact(self.vocab).zip(&self.op.targets) {
            let (most, parts) = partition(logits);
            let mean = sum(logits, |x| x - most) / self.vocab as f32;
            let kept = (1.0 - smoothing) * (logits[target as usize] - most) + smoothing * mean;
            total += f64::from(parts.ln() - kept);
        }
        total / self.op.targets.len() as f64
    }
}

struct Backward<'a> {
    op: &'a CrossEntropy,
    logits: &'a [f32],
    gradient: &'a mut [f32],
    vocab: usize,
    scale: f32,
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let smoothing = self.op.smoothing;
        let rows = self.logits.chunks_exact(self.vocab).zip(&self.op.targets);
        for ((logits, &target), gradient) in rows.zip(self.gradient.chunks_exact_mut(self.vocab)) {
            let (most, parts) = partition(logits);
            let (share, even) = (self.scale / parts, self.scale * smoothing / self.vocab as f32);
            for (gradient, &x) in gradient.iter_mut().zip(logits) {
                *gradient = exp(x - most) * share - even;
            }
            gradient[target as usize] -= self.scale * (1.0 - smoothing);
        }
    }
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (queries, vocab) = layout.shape().dims2()?;
        if queries != self.targets.len() || self.targets.iter().any(|&target| target as usize >= vocab) {
            candle_core::bail!("cross-entropy needs one target of the vocabulary for each query");
        }
        let logits = slice(logits, layout)?;
        let loss = self.backend.arch.dispatch(Forward {
            op: self,
            logits,
            vocab,
        });
        Ok((CpuStorage::F32(vec![loss as f32]), Shape::from(())))
    }

    fn bwd(&self, logits: &Tensor, _loss: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let scale = gradient.to_scalar::<f32>()? / self.targets.len() as f32;
        let mut of_logits = vec![0.0; logits.elem_count()];
        let vocab = logits.dims2()?.1;
        with_numbers(logits, |numbers| {
            self.backend.arch.dispatch(Backward {
                op: self,
                logits: numbers,
                gradient: &mut of_logits,
                vocab,
                scale,
            });
            Ok(())
        })?;
        like(logits, of_logits)
    }
}
