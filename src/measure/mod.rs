//! The analyses: each a small type with its settings, a `run`, and a result that knows its conditions.
//!
//! Iterations and layers count from 1 in every table, as in the paper. An *effective layer* is
//! (iteration − 1) × layers + layer; 0 is the embedding.

mod activations;
mod compare;
mod eval;
mod extrapolate;
mod halt;
mod largest;
mod lens;
mod margin;
mod patch;
mod probe;
mod reach;
mod report;
mod settle;
mod splits;
pub mod statistics;

use candle_core::Tensor;

pub use activations::activations;
pub use compare::{Comparison, RunSummary, compare, last_of_each};
pub use eval::{Eval, EvalRow};
pub use extrapolate::{Extrapolate, ExtrapolateRow};
pub use halt::{Criterion, Halt, HaltRow, Rule};
pub use largest::{Fall, Largest};
pub use lens::{Lens, LensRow, Reading};
pub use margin::{Margin, MarginRow};
pub use patch::{Corrupt, Patch, PatchRow};
pub use probe::{ClassifierKind, Probe, ProbeRow, ProbeSpec, SplitBy};
pub use reach::{Exchange, Reach, ReachRow};
pub use report::{Method, Origin, Report, Specimen, SubjectInfo, data_sets};
pub use settle::{Settle, SettleRow};
pub use splits::{Wants, test_splits};

use crate::error::{Error, Result};
use crate::graph::{Dataset, Query};
use crate::train::NOT_A_NUMBER;

/// Queries in one forward pass of an analysis.
const BATCH: usize = 512;

/// The effective layer of an iteration and layer that count from 0.
fn effective_layer(iteration: usize, layer: usize, layers: usize) -> usize {
    iteration * layers + layer + 1
}

// The rows of a matrix of states or logits as vectors; what is not a number would pass for anything in a comparison.
fn rows_of(x: &Tensor) -> Result<Vec<Vec<f32>>> {
    let rows = x.to_dtype(candle_core::DType::F32)?.to_vec2::<f32>()?;
    if rows.iter().flatten().any(|x| x.is_nan()) {
        return Err(Error::failed(NOT_A_NUMBER));
    }
    Ok(rows)
}

fn minus(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

fn norm(x: &[f32]) -> f64 {
    dot(x, x).sqrt()
}

// The queries of a split; that there are none is noted.
fn queries_of<'a>(data: &'a Dataset, split: &str, notes: &mut Vec<String>) -> Result<&'a [Query]> {
    let queries = data.split(split)?;
    if queries.is_empty() {
        notes.push(format!("split {split} has no rows; it is left out"));
    }
    Ok(queries)
}

// The queries of each number of hops, fewest first.
fn by_hops(queries: &[Query]) -> Vec<(usize, Vec<&Query>)> {
    let of_length = |hops| queries.iter().filter(|query| query.hops() == hops).collect();
    hop_counts(queries)
        .into_iter()
        .map(|hops| (hops, of_length(hops)))
        .collect()
}

// The numbers of hops that the queries have, in order.
fn hop_counts(queries: &[Query]) -> Vec<usize> {
    let mut hops: Vec<usize> = queries.iter().map(Query::hops).collect();
    hops.sort_unstable();
    hops.dedup();
    hops
}
