//! Cross-entropy with label smoothing as a candle op.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::{gradient_of, slice, with_numbers};
use crate::kernels::{Backend, cross_entropy};

/// Mean over the rows of (1 − ε) · (−log p_target) + ε · mean over all tokens of −log p; logits `[queries, vocab]`, one
/// target each → a scalar in nats.
pub(crate) struct CrossEntropy {
    pub(crate) targets: Vec<u32>,
    pub(crate) smoothing: f32,
    pub(crate) backend: Backend,
}

impl CrossEntropy {
    fn targets(&self, vocab: usize) -> cross_entropy::Targets<'_> {
        cross_entropy::Targets {
            tokens: &self.targets,
            smoothing: self.smoothing,
            vocab,
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
        let loss = self.backend.run(cross_entropy::Forward {
            targets: self.targets(vocab),
            logits: slice(logits, layout)?,
        });
        Ok((CpuStorage::F32(vec![loss as f32]), Shape::from(())))
    }

    fn bwd(&self, logits: &Tensor, _loss: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let scale = gradient.to_scalar::<f32>()? / self.targets.len() as f32;
        let mut of_logits = vec![0.0; logits.elem_count()];
        let targets = self.targets(logits.dims2()?.1);
        with_numbers(logits, |numbers| {
            self.backend.run(cross_entropy::Backward {
                targets,
                logits: numbers,
                gradient: &mut of_logits,
                scale,
            });
            Ok(())
        })?;
        gradient_of(logits, of_logits)
    }
}
