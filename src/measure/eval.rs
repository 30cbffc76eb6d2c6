//! Accuracy by split at any list of inference iterations, from one pass: it is read out after each.

use serde::{Deserialize, Serialize};

use super::report::{Method, Report, Specimen};
use super::statistics::wilson;
use super::{BATCH, hop_counts};
use crate::error::{Error, Result};
use crate::graph::Dataset;
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
    pub run: String,
    pub checkpoint: String,
    pub step: u64,
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
    type Row = EvalRow;

    fn measure(&self, specimens: &[Specimen], data: &Dataset, report: &mut Report<Self, EvalRow>) -> Result<()> {
        for specimen in specimens {
            let mut iterations = self.iterations.clone();
            if iterations.is_empty() {
                iterations.push(specimen.info.iterations);
            }
            iterations.sort_unstable();
            iterations.dedup();
            let (Some(&most), false) = (iterations.last(), iterations.contains(&0)) else {
                return Err(Error::input("0 iterations; each must be 1 or more"));
            };
            for split in &self.splits {
                let queries = data.split(split)?;
                let hops = match hop_counts(queries)[..] {
                    [hops] => Some(hops),
                    _ => None,
                };
                let mut right = vec![0_usize; iterations.len()];
                for chunk in queries.chunks(BATCH) {
                    let rows = specimen
                        .model
                        .pack(chunk.iter().map(|q| &*q.tokens), Sharing::Prefixes)?;
                    let sites = iterations.iter().map(|&i| Site::new(Point::Logits, i - 1, 0));
                    let mut pass = Pass {
                        hooks: sites.clone().fold(Hooks::none(), Hooks::record),
                        ..Pass::default()
                    };
                    specimen.model.forward(&rows, most, &mut pass)?;
                    for (count, site) in right.iter_mut().zip(sites) {
                        let answers = top1(&pass.hooks.recorded(site)?)?;
                        *count += answers.iter().zip(chunk).filter(|(a, q)| **a == q.target).count();
                    }
                }
                for (&iterations, right) in iterations.iter().zip(right) {
                    let accuracy = right as f64 / queries.len().max(1) as f64;
                    let (low, high) = wilson(accuracy, queries.len());
                    report.rows.push(EvalRow {
                        run: specimen.info.run.clone(),
                        checkpoint: specimen.info.checkpoint.clone(),
                        step: specimen.info.step,
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
        }
        Ok(())
    }
}
