//! The memory of a run, computed.

use super::cost::StageRows;
use crate::error::Result;
use crate::graph::{Dataset, Query};

// Bytes for each weight while the state is saved: value and two moments in f32, once as they are gathered and once as the file.
const SAVED_STATE: usize = 24;

// Of the program itself, with the tables of its threads.
const PROGRAM: usize = 24 << 20;

/// About the bytes that a run takes: a step over the largest of several batches at the largest number of iterations, the largest
/// batch of an evaluation, the saving of the state, and the data.
///
/// # Errors
/// When a row does not fit the model.
pub(super) fn bytes(rows: &StageRows) -> Result<u64> {
    let (config, vocab) = (rows.config, rows.data.vocab.len());
    let dynamic = config.train.dynamic.as_ref();
    let iterations = dynamic.map_or(config.model.iterations, |dynamic| dynamic.max);
    let of_step = |batch| config.model.training_bytes(vocab, batch, iterations);
    let step = rows.batches()?.iter().map(of_step).max().unwrap_or(0);
    let of_evaluation = |batch| config.model.forward_bytes(vocab, batch);
    let evaluation = rows.evaluated_batches()?.iter().map(of_evaluation).max().unwrap_or(0);
    let saving = SAVED_STATE * config.model.parameters(vocab);
    Ok((PROGRAM + step + evaluation + saving + of_data(rows.data)) as u64)
}

// Token ids and bridges beyond those that a query holds in place are elsewhere on the heap.
fn of_data(data: &Dataset) -> usize {
    let elsewhere = |query: &Query| 2 * size_of::<u32>() * query.tokens.len();
    let rows = data.splits.iter().flat_map(|(_, rows)| rows);
    rows.map(|query| size_of::<Query>() + elsewhere(query)).sum()
}
