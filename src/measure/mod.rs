//! The analyses: each a small type with its settings, a `measure`, and a result that knows its conditions.

mod ablate;
mod activations;
mod attention;
mod attribute;
mod checkpoint;
mod columns;
mod compare;
mod component;
mod cone;
mod edit;
mod eval;
mod extrapolate;
mod faithful;
mod fitted;
mod halt;
mod iterations;
mod judged;
mod largest;
mod lens;
mod margin;
mod method;
mod output;
mod over_seeds;
mod pairs;
mod patch;
mod path;
mod place;
mod population;
mod probe;
mod quantity;
mod query_rows;
mod reach;
mod rise;
mod routing;
mod row;
mod sampling;
pub mod seeds;
mod settle;
mod splits;
mod states;
pub mod statistics;
#[cfg(test)]
pub(crate) mod tests;
mod trace;
mod transplant;

use candle_core::Tensor;

pub use activations::{Label, LabelledTokens, activations, axes};
pub use checkpoint::{CheckpointSummary, LoadedCheckpoint, Origin, data_sets};
#[cfg(feature = "parquet")]
pub(crate) use columns::csv_cell;
pub use columns::{Column, Matrix, Table};
pub(crate) use columns::{csv, fields};
pub use compare::{Comparison, ComparisonSettings, RunSummary, compare, last_of_each};
pub use component::{Component, ComponentAt};
pub use faithful::Faithfulness;
pub(crate) use faithful::faithfulness;
pub use fitted::Fitted;
pub use iterations::{Iterations, MAX_ITERATIONS};
pub use judged::{Check, Claim, Design, Setting, SiteScore};
pub use largest::{Fall, Largest};
pub use method::{Measured, Method, Report, ReportHeader};
pub use output::{Extras, Output, Progress};
pub use over_seeds::{SeedGroup, SeedRun, over_seeds};
pub use pairs::{Corrupt, Direction, Effect, Pairing};
pub use place::Place;
pub use population::{Group, Per, Population};
pub use quantity::Quantity;
pub use query_rows::Asked;
pub use rise::Rise;
pub use row::Row;
pub use sampling::{BeyondTraining, Sampling};
pub use splits::{Wants, test_splits};
pub use trace::{Reading, Trace, TraceSettings, traces};

use crate::error::{Error, Result};
use crate::graph::{Position, Split};
use crate::registry::with_every_method;
use crate::train::NOT_A_NUMBER;

macro_rules! public_items {
    ($($module:ident::$Method:ident,)*) => {
        $(pub use $module::*;)*
    };
}

with_every_method!(public_items);

/// Queries in one forward pass of an analysis.
const BATCH: usize = 512;

// Reads a count from the command line.
pub(crate) fn positive(text: &str) -> std::result::Result<usize, String> {
    text.parse()
        .ok()
        .filter(|&n| n > 0)
        .ok_or_else(|| "allowed: 1 or more".to_owned())
}

// Reads a share from the command line.
fn unit_interval(text: &str) -> std::result::Result<f64, String> {
    text.parse()
        .ok()
        .filter(|x| (0.0..=1.0).contains(x))
        .ok_or_else(|| "allowed: 0 to 1".to_owned())
}

// The rows of a matrix of states or logits as vectors; what is not a number would pass for anything in a comparison.
fn rows_of(x: &Tensor) -> Result<Vec<Vec<f32>>> {
    let rows = x.to_dtype(candle_core::DType::F32)?.to_vec2::<f32>()?;
    if rows.iter().flatten().any(|x| x.is_nan()) {
        return Err(Error::failed(NOT_A_NUMBER));
    }
    Ok(rows)
}

// The column of a position that `--position` names, in queries of a split that have these positions; the readout is the last of them.
fn column_of(position: Position, positions: &[Position], split: &Split) -> Result<usize> {
    let readout = (position == Position::Readout).then(|| positions.len().checked_sub(1));
    let found = positions.iter().position(|other| *other == position);
    found.or(readout.flatten()).ok_or_else(|| {
        let mut allowed: Vec<String> = positions.iter().map(ToString::to_string).collect();
        if !positions.contains(&Position::Readout) {
            allowed.push(Position::Readout.to_string());
        }
        Error::input(format!(
            "--position {position}: split {split} has no such position; allowed: {}",
            allowed.join(", ")
        ))
    })
}

// As `column_of` for several positions, each column once.
fn columns_of(named: &[Position], positions: &[Position], split: &Split) -> Result<Vec<usize>> {
    let mut columns = Vec::new();
    for &position in named {
        let column = column_of(position, positions, split)?;
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    Ok(columns)
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
