//! Accuracy by split at any list of inference iterations, from one pass: it is read out after each.
//!
//! Accuracies at several iterations are of the same queries, so that what more iterations gain and lose is a paired
//! difference; the best number of iterations is a selection, and its intervals count for that.

use serde::{Deserialize, Serialize};

use super::largest::{Fall, Largest};
use super::report::{Method, Origin, Report, Specimen};
use super::statistics::{Clustering, Clusters, Resamples, first_largest, share};
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
    /// Seed of the bootstrap.
    pub seed: u64,
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
    /// 95 % interval of `accuracy`.
    pub low: f64,
    pub high: f64,
    /// What the intervals count for.
    pub interval: Clustering,
    /// Over the iterations of this split.
    #[serde(flatten)]
    pub largest: Largest,
    #[serde(flatten)]
    pub fall: Fall,
    /// In the row with the largest accuracy beyond the iterations of training: that minus the accuracy at those, a paired
    /// difference whose 95 % interval counts for the selection.
    pub gain: Option<f64>,
    pub gain_low: Option<f64>,
    pub gain_high: Option<f64>,
}

impl Method for Eval {
    const NAME: &'static str = "eval";
    const FORMAT: u32 = 2;
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
            let clusters = Clusters::of_queries(queries);
            let rights = right(specimen, queries, &iterations)?;
            let first = out.len();
            for (&iterations, right) in iterations.iter().zip(&rights) {
                let (low, high) = clusters.share(right);
                out.push(EvalRow {
                    origin: specimen.info.origin.clone(),
                    split: split.clone(),
                    hops,
                    iterations,
                    n: queries.len(),
                    accuracy: share(right),
                    low,
                    high,
                    interval: clusters.clustering(),
                    largest: Largest::default(),
                    fall: Fall::default(),
                    gain: None,
                    gain_low: None,
                    gain_high: None,
                });
            }
            if let [only] = &mut out[first..] {
                only.largest = Largest::alone(only.low, only.high);
            } else {
                let resamples = Resamples::new(clusters, self.seed);
                compare(&mut out[first..], &rights, specimen.info.iterations, &resamples);
            }
        }
        Ok(out)
    }
}

// Compares the rows of one split, which have these right answers, with each other.
fn compare(rows: &mut [EvalRow], rights: &[Vec<bool>], trained: usize, resamples: &Resamples) {
    let largest = Largest::of_shares(rights, resamples);
    let falls = Fall::of_shares(rights, resamples);
    for (row, (largest, fall)) in rows.iter_mut().zip(largest.into_iter().zip(falls)) {
        (row.largest, row.fall) = (largest, fall);
    }
    let Some(own) = rows.iter().position(|row| row.iterations == trained) else {
        return;
    };
    // Iterations rise.
    let beyond = own + 1..rows.len();
    let accuracies: Vec<f64> = rows[beyond.clone()].iter().map(|row| row.accuracy).collect();
    if let Some(place) = first_largest(&accuracies) {
        let interval = resamples.max_difference(rights, own, beyond.clone());
        let own_accuracy = rows[own].accuracy;
        let row = &mut rows[beyond.start + place];
        row.gain = Some(row.accuracy - own_accuracy);
        row.gain_low = interval.map(|found| found.low);
        row.gain_high = interval.map(|found| found.high);
    }
}

// Whether each answer is right after each of these iterations, which rise, all read off one pass.
fn right(specimen: &Specimen, queries: &[Query], iterations: &[usize]) -> Result<Vec<Vec<bool>>> {
    let sites = iterations.iter().map(|&i| Site::new(Point::Logits, i - 1, 0));
    let mut right = vec![Vec::with_capacity(queries.len()); iterations.len()];
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
        for (right, site) in right.iter_mut().zip(sites.clone()) {
            let answers = top1(&pass.hooks.recorded(site)?)?;
            right.extend(answers.iter().zip(chunk).map(|(answer, query)| *answer == query.target));
        }
    }
    Ok(right)
}
