//! Runs of pairs: what comes out for each.

use candle_core::Tensor;

use super::pairs::Pair;
use crate::error::Result;
use crate::measure::rows_of;
use crate::model::{Hooks, Model, Pass, Rows, Sharing, Site};

/// One run's outcome for each pair.
#[derive(Default)]
pub(super) struct Outcome {
    /// Logit of the clean answer minus that of the corrupt one.
    pub(super) difference: Vec<f64>,
    pub(super) top1: Vec<u32>,
}

impl Outcome {
    pub(super) fn extend(&mut self, other: Self) {
        self.difference.extend(other.difference);
        self.top1.extend(other.top1);
    }
}

fn pack(model: &Model, pairs: &[Pair], corrupt: bool) -> Result<Rows> {
    let tokens = |pair: &'_ Pair| -> Vec<u32> {
        if corrupt {
            pair.corrupt.clone()
        } else {
            pair.clean.tokens.to_vec()
        }
    };
    let queries: Vec<Vec<u32>> = pairs.iter().map(tokens).collect();
    model.pack(queries.iter().map(Vec::as_slice), Sharing::Nothing)
}

fn run(model: &Model, rows: &Rows, iterations: usize, hooks: Hooks) -> Result<Tensor> {
    let mut pass = Pass {
        hooks,
        ..Pass::default()
    };
    model.forward(rows, iterations, &mut pass)
}

/// The logits of the corrupt queries with the whole embedding of the clean ones, which brings everything back, and with nothing of them: whole
/// passes with hooks, which share nothing with the sweep.
pub(super) fn self_checks(model: &Model, pairs: &[Pair], iterations: usize) -> Result<[Tensor; 2]> {
    let (clean, corrupt) = (pack(model, pairs, false)?, pack(model, pairs, true)?);
    let mut pass = Pass {
        hooks: Hooks::none().record(Site::embed()),
        ..Pass::default()
    };
    model.forward(&clean, 1, &mut pass)?;
    let all = (0..corrupt.len() as u32).collect();
    let whole = Hooks::none().replace(Site::embed(), all, pass.hooks.recorded(Site::embed())?);
    Ok([
        run(model, &corrupt, iterations, whole)?,
        run(model, &corrupt, iterations, Hooks::none())?,
    ])
}

/// The outcome for each pair from its logits.
pub(super) fn outcome(logits: &Tensor, pairs: &[Pair]) -> Result<Outcome> {
    let logits_by_pair = rows_of(logits)?;
    let difference = logits_by_pair
        .iter()
        .zip(pairs)
        .map(|(logits, pair)| {
            f64::from(logits[pair.clean.target as usize]) - f64::from(logits[pair.corrupt_answer as usize])
        })
        .collect();
    Ok(Outcome {
        difference,
        top1: crate::train::top1(logits)?,
    })
}

/// The clean or the corrupt queries as they are.
pub(super) fn plain(model: &Model, pairs: &[Pair], corrupt: bool, iterations: usize) -> Result<Outcome> {
    let rows = pack(model, pairs, corrupt)?;
    outcome(&run(model, &rows, iterations, Hooks::none())?, pairs)
}
