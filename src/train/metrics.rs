//! Accuracy, ranks and answers: what an evaluation measures.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::graph::{Query, Split};
use crate::model::{Model, Pass, Sharing};

/// The number of queries in one forward pass of an evaluation.
pub(crate) const EVALUATION_BATCH: usize = 1024;

/// What one evaluation measured; one line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Steps done.
    pub step: u64,
    /// Passes over the training rows.
    pub epoch: f64,
    /// Seconds of training until then, over all processes that trained the run.
    pub seconds: f64,
    /// Mean training loss in nats since the last evaluation; `null` before the first step.
    pub loss: Option<f64>,
    /// Learning rate of the next step.
    pub lr: f64,
    /// L2 norm of the gradient of the last step, before clipping.
    pub gradient_norm: Option<f64>,
    /// Accuracy by split, from 0 to 1.
    pub accuracy: BTreeMap<Split, f64>,
}

/// The token with the largest logit in each row of `logits`, of shape `[n, vocab]`; of equal logits the first.
///
/// # Errors
/// When a logit is not a number, or the device fails.
pub fn top1(logits: &Tensor) -> Result<Vec<u32>> {
    let rows = logits.to_dtype(DType::F32)?.to_vec2::<f32>()?;
    let best = |row: &Vec<f32>| {
        let mut best = (f32::NEG_INFINITY, 0);
        for (&logit, token) in row.iter().zip(0..) {
            if logit.is_nan() {
                return Err(Error::failed(NOT_A_NUMBER));
            }
            if logit > best.0 {
                best = (logit, token);
            }
        }
        Ok(best.1)
    };
    rows.iter().map(best).collect()
}

/// The rank of `token` among these logits, from 1, in the order of [`top1`]: of equal logits the first has the lower rank.
///
/// # Errors
/// When a logit is not a number.
pub fn rank(logits: &[f32], token: u32) -> Result<usize> {
    let own = logits[token as usize];
    let mut rank = 1;
    for (&logit, other) in logits.iter().zip(0..) {
        if logit.is_nan() {
            return Err(Error::failed(NOT_A_NUMBER));
        }
        rank += usize::from(logit > own || (logit == own && other < token));
    }
    Ok(rank)
}

/// The message where states or logits of a model are not numbers.
pub(crate) const NOT_A_NUMBER: &str =
    "the model's states or logits hold NaN; its weights come from a run that diverged, or overflow at this input";

/// The answers of the model to these queries (token ids, head first) after `iterations` iterations: one token id each.
///
/// # Errors
/// When a query does not fit the model, or the device fails.
pub fn answers<'a>(model: &Model, queries: impl IntoIterator<Item = &'a [u32]>, iterations: usize) -> Result<Vec<u32>> {
    let queries: Vec<&[u32]> = queries.into_iter().collect();
    let mut answers = Vec::with_capacity(queries.len());
    for chunk in queries.chunks(EVALUATION_BATCH) {
        let rows = model.pack(chunk.iter().copied(), Sharing::Prefixes)?;
        let logits = model.forward(&rows, iterations, &mut Pass::default())?;
        answers.extend(top1(&logits)?);
    }
    Ok(answers)
}

/// The share of `queries` that the model answers correctly after `iterations` iterations, from 0 to 1.
///
/// # Errors
/// As [`answers`].
pub fn accuracy(model: &Model, queries: &[Query], iterations: usize) -> Result<f64> {
    let answers = answers(model, queries.iter().map(|query| &*query.tokens), iterations)?;
    let right = answers
        .iter()
        .zip(queries)
        .filter(|(answer, query)| **answer == query.target);
    Ok(right.count() as f64 / queries.len().max(1) as f64)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn answers_and_ranks_agree_on_ties_and_refuse_what_is_not_a_number() {
        let logits = [[1.0_f32, 3.0, 3.0, -1.0], [f32::NEG_INFINITY; 4], [0.0, 0.0, 0.0, 1.0]];
        let tensor = Tensor::new(&logits, &Device::Cpu).unwrap();
        let answers = top1(&tensor).unwrap();
        assert_eq!(answers, [1, 0, 3]);
        for (row, answer) in logits.iter().zip(answers) {
            let ranks: Vec<usize> = (0..4).map(|token| rank(row, token).unwrap()).collect();
            assert_eq!(ranks[answer as usize], 1);
            let mut sorted = ranks.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [1, 2, 3, 4]);
        }
        let broken = [0.0, f32::NAN, 1.0];
        assert!(rank(&broken, 2).is_err() && rank(&broken, 1).is_err());
        assert!(top1(&Tensor::new(&[broken], &Device::Cpu).unwrap()).is_err());
    }
}
