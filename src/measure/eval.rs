//! Accuracy by split at any list of inference iterations, from one pass: it is read out after each.

use serde::{Deserialize, Serialize};

use super::report::{Method, Origin, Report, Specimen};
use super::statistics::wilson;
use super::{BATCH, hop_counts, queries_of};
use crate::error::{Error, Result};
use crate::graph::{Dataset, Query};
use crate::model::{Hooks, Pass, Point, Sharing, Site};
use crate::train::top1;

/// What to evaluate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Eval {
    pub splits: Vec<String>,
    /// Inference iterations; empty for each model's own.
    pub iterations: Vec<usize>,
}

/// Accuracy of one checkpoint on one split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvalRow {
    #[serde(flatten)]
    pub origin: Origin,
    pub split: String,
    /// Hops of its chains, where they all have the same.
    pub hops: Option<usize>,
    /// Inference iterations.
    pub iterations: usize,
    /// Queries.
    pub n: usize,
    /// Share of right answers.
    pub accuracy: f64,
    /// 95 % interval (Wilson).
    pub low: f64,
    pub high: f64,
}

impl Method for Eval {
    const NAME: &'static str = "eval";
    const FORMAT: u32 = 1;
    type Row = EvalRow;

    fn measure(&self, specimens: &[&Specimen], data: &Dataset, report: &mut Report<Self, EvalRow>) -> Result<()> {
        for specimen in specimens {
            let rows = self.rows(specimen, data, &mut report.notes)?;
            report.rows.extend(rows);
        }
        Ok(())
    }
}

impl Eval {
    /// The rows of one checkpoint.
    pub(super) fn rows(&self, specimen: &Specimen, data: &Dataset, notes: &mut Vec<String>) -> Result<Vec<EvalRow>> {
        let mut iterations = self.iterations.clone();
        if iterations.is_empty() {
            iterations.push(specimen.info.iterations);
        }
        iterations.sort_unstable();
        iterations.dedup();
        if iterations.contains(&0) {
            return Err(Error::input("0 iterations; each must be 1 or more"));
        }
        let mut out = Vec::new();
        for split in &self.splits {
            let queries = queries_of(data, split, notes)?;
            if queries.is_empty() {
                continue;
            }
            let hops = match hop_counts(queries)[..] {
                [hops] => Some(hops),
                _ => None,
            };
            for (&iterations, right) in iterations.iter().zip(right(specimen, queries, &iterations)?) {
                let accuracy = right as f64 / queries.len() as f64;
                let (low, high) = wilson(accuracy, queries.len());
                out.push(EvalRow {
                    origin: specimen.info.origin.clone(),
                    split: split.clone(),
                    hops,
                    iterations,
                    n: queries.len(),
                    accuracy,
                    low,
                    high,
                });
            }
        }
        Ok(out)
    }
}

// The number of right answers after each of these iterations, which rise, all read off one pass.
fn right(specimen: &Specimen, queries: &[Query], iterations: &[usize]) -> Result<Vec<usize>> {
    let sites = iterations.iter().map(|&i| Site::new(Point::Logits, i - 1, 0));
    let mut right = vec![0; iterations.len()];
    for chunk in queries.chunks(BATCH) {
        let tokens = chunk.iter().map(|query| &*query.tokens);
        let rows = specimen.model.pack(tokens, Sharing::Prefixes)?;
        let mut pass = Pass {
            hooks: sites.clone().fold(Hooks::none(), Hooks::record),
            ..Pass::default()
        };
        specimen
            .model
            .forward(&rows, iterations[iterations.len() - 1], &mut pass)?;
        for (count, site) in right.iter_mut().zip(sites.clone()) {
            let answers = top1(&pass.hooks.recorded(site)?)?;
            *count += answers.iter().zip(chunk).filter(|(a, q)| **a == q.target).count();
        }
    }
    Ok(right)
}
