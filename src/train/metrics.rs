//! What an evaluation measures.

use std::collections::BTreeMap;

use candle_core::{D, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::graph::Query;
use crate::model::{Model, Pass, Sharing};

/// Queries in one forward pass of an evaluation.
const BATCH: usize = 1024;

/// One line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Steps done.
    pub step: u64,
    /// Passes over the training rows.
    pub epoch: f64,
    /// Seconds of training, over all sittings.
    pub seconds: f64,
    /// Mean training loss in nats since the last evaluation; `null` before the first step.
    pub loss: Option<f64>,
    /// Learning rate of the next step.
    pub lr: f64,
    /// Gradient norm of the last step, before clipping.
    pub gradient_norm: Option<f64>,
    /// Share of right answers by split.
    pub accuracy: BTreeMap<String, f64>,
}

/// The most likely token of each row of `logits` `[n, vocab]`.
///
/// # Errors
/// When the device fails.
pub fn top1(logits: &Tensor) -> Result<Vec<u32>> {
    Ok(logits.argmax(D::Minus1)?.to_vec1::<u32>()?)
}

/// The model's answers to these queries (token ids, head first) after `iterations`.
///
/// # Errors
/// When a query does not fit the model, or the device fails.
pub fn answers<'a>(model: &Model, queries: impl IntoIterator<Item = &'a [u32]>, iterations: usize) -> Result<Vec<u32>> {
    let queries: Vec<&[u32]> = queries.into_iter().collect();
    let mut answers = Vec::with_capacity(queries.len());
    for chunk in queries.chunks(BATCH) {
        let rows = model.pack(chunk.iter().copied(), Sharing::Prefixes)?;
        let logits = model.forward(&rows, iterations, &mut Pass::default())?;
        answers.extend(top1(&logits)?);
    }
    Ok(answers)
}

/// The share of `queries` that the model answers right after `iterations`.
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
