//! Log-probabilities and the training loss.

use candle_core::{D, Tensor};

use super::forward::Model;
use super::ops::CrossEntropy;
use crate::error::Result;

/// The log-probabilities of `logits` over the last axis.
///
/// # Errors
/// When the device fails.
pub fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
    Ok(shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)?)
}

impl Model {
    /// Mean cross-entropy in nats with label smoothing ε: (1 − ε) · (−log p_target) + ε · mean over all tokens of −log
    /// p.
    ///
    /// `logits` `[queries, vocab]`, one target each.
    ///
    /// # Errors
    /// When a target is outside the vocabulary, or the device fails.
    pub fn cross_entropy(&self, logits: &Tensor, targets: &[u32], smoothing: f64) -> Result<Tensor> {
        if self.is_fused() {
            let op = CrossEntropy {
                targets: targets.to_vec(),
                smoothing: smoothing as f32,
                backend: self.backend(),
            };
            return Ok(logits.contiguous()?.apply_op1(op)?);
        }
        let log_p = log_softmax(logits)?;
        let index = Tensor::new(targets, logits.device())?.unsqueeze(1)?;
        let of_target = log_p.gather(&index, 1)?.mean_all()?;
        Ok(((of_target * (smoothing - 1.0))? - (log_p.mean_all()? * smoothing)?)?)
    }
}
