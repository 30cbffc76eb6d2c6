//! Accuracy by split at any list of inference iterations, from one pass: it is read out after each.
//!
//! Accuracies at several iterations are of the same queries, so that what more iterations gain and lose is a paired
//! difference; the best number of iterations is a selection, and its intervals count for that.

use serde::{Deserialize, Serialize};

use super::BATCH;
use super::checkpoint::{LoadedCheckpoint, Origin};
use super::columns::Column;
use super::iterations::Iterations;
use super::judged::{Check, Design, Setting, designed_accuracy};
use super::largest::{Fall, Largest};
use super::method::{Method, Report};
use super::output::Output;
use super::population::{Group, Per, Population};
use super::quantity::quantities;
use super::query_rows::Asked;
use super::row::columns;
use super::splits::Wants;
use super::statistics::{Clustering, Resamples, first_largest, share};
use crate::error::Result;
use crate::graph::{Query, Split};
use crate::model::{Hooks, Pass, Point, Sharing, Site};
use crate::train::top1;

/// What to evaluate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
pub struct Eval {
    /// Splits, separated by commas [default: all of test.json]
    #[arg(long = "split", value_delimiter = ',')]
    pub splits: Vec<Split>,
    /// Inference iterations: a list of numbers and ranges, as in 1,2,4 or 1..8 [default: the model's own]
    #[arg(long, value_parser = Iterations::parse_list, default_value = "trained", hide_default_value = true)]
    pub iterations: Iterations,
    /// Seed of the bootstrap, which tells the largest accuracy over iterations and its gain
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Accuracy of one checkpoint on one split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvalRow {
    /// The checkpoint and the data.
    #[serde(flatten)]
    pub origin: Origin,
    /// The split.
    pub split: Split,
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
    /// The upper end of that interval.
    pub high: f64,
    /// What the intervals count for.
    pub interval: Clustering,
    /// Over the iterations of this split.
    #[serde(flatten)]
    pub largest: Largest,
    /// What is lost from that maximum to the last iteration.
    #[serde(flatten)]
    pub fall: Fall,
    /// In the row with the largest accuracy beyond the iterations of training: that minus the accuracy at those, a paired
    /// difference whose 95 % interval counts for the selection.
    pub gain: Option<f64>,
    /// The lower end of the interval of `gain`.
    pub gain_low: Option<f64>,
    /// The upper end of that interval.
    pub gain_high: Option<f64>,
}

columns! {
    EvalRow:
    Column::of("step"),
    Column::of("split"),
    Column::of("iterations"),
    Column::of("n"),
    Column::of("accuracy").titled("accuracy (95 %)").within("low", "high"),
    Column::of("max_low").titled("95 % of the max, from"),
    Column::of("max_high").titled("to"),
    Column::of("gain")
        .titled("gain over training (95 %)")
        .within("gain_low", "gain_high");
    measured
    quantities![sample n, share accuracy within low high, of_line gain within gain_low gain_high],
    Largest::QUANTITIES,
    Fall::QUANTITIES;
    along "iterations"
}

// A per-query row.
#[derive(Serialize)]
struct QueryEval {
    iterations: usize,
}

impl Method for Eval {
    const NAME: &'static str = "eval";
    const ABOUT: &'static str = "Accuracy by split at any list of inference iterations";
    const MISLEADS: &'static str = "The largest accuracy over iterations is chosen on the chains that it is measured on, so it is too large by chance; its interval includes that choice, a single other number does not.";
    const FORMAT: u32 = 3;
    type Row = EvalRow;

    fn seed(&self) -> u64 {
        self.seed
    }

    fn resolve(&mut self, checkpoints: &[LoadedCheckpoint]) -> Result<()> {
        self.splits = Wants::Tests.splits(&self.splits, checkpoints)?;
        self.iterations.resolve(checkpoints);
        Ok(())
    }

    fn measure(&self, group: &Group, out: &mut Output<EvalRow>) -> Result<()> {
        group.each(&self.splits, Per::Split, out, |population, checkpoint, out| {
            let iterations = self.iterations.list(checkpoint.info.iterations);
            let answers = answers_after(checkpoint, &population.queries, &iterations)?;
            query_rows(checkpoint, population, &iterations, &answers, out)?;
            out.rows.extend(rows(checkpoint, population, &iterations, &answers));
            Ok(())
        })
    }

    fn to_verify(setting: &Setting) -> Result<Vec<Self>> {
        Ok(vec![Self {
            iterations: Iterations::These(vec![setting.iterations, setting.beyond()]),
            ..Self::defaults()?
        }])
    }

    fn checks(report: &Report<Self>, design: &dyn Design) -> Vec<Check> {
        let check = |row: &EvalRow| {
            Some(Check {
                what: format!("{}: accuracy after {} iterations", row.split, row.iterations),
                expected: designed_accuracy(design, &row.split, row.hops, row.iterations)?,
                found: row.accuracy,
            })
        };
        report.rows.iter().filter_map(check).collect()
    }
}

/// Adds the per-query rows of answers after each of these iterations.
pub(super) fn query_rows<R>(
    checkpoint: &LoadedCheckpoint,
    population: &Population,
    iterations: &[usize],
    answers: &[Vec<u32>],
    out: &mut Output<R>,
) -> Result<()> {
    if !out.wants_queries() {
        return Ok(());
    }
    for (&iterations, answers) in iterations.iter().zip(answers) {
        for (query, &answer) in answers.iter().enumerate() {
            let asked = Asked::of(population, query, answer);
            out.query_row(checkpoint, &asked, &QueryEval { iterations })?;
        }
    }
    Ok(())
}

/// The rows of one checkpoint on one population, from its answers after each of these iterations.
pub(super) fn rows(
    checkpoint: &LoadedCheckpoint,
    population: &Population,
    iterations: &[usize],
    answers: &[Vec<u32>],
) -> Vec<EvalRow> {
    let queries = &population.queries;
    let is_right = |(answer, query): (&u32, &&Query)| *answer == query.target;
    let rights: Vec<Vec<bool>> = answers
        .iter()
        .map(|answers| answers.iter().zip(queries).map(is_right).collect())
        .collect();
    let clusters = population.clusters();
    let row = |(&iterations, right): (&usize, &Vec<bool>)| {
        let (low, high) = clusters.share(right);
        EvalRow {
            origin: checkpoint.info.origin.clone(),
            split: population.split.clone(),
            hops: population.hops,
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
        }
    };
    let mut rows: Vec<EvalRow> = iterations.iter().zip(&rights).map(row).collect();
    if let [only] = rows.as_mut_slice() {
        only.largest = Largest::alone(only.low, only.high);
    } else {
        compare(&mut rows, &rights, checkpoint.info.iterations, population.resamples());
    }
    rows
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

/// The answers after each of these iterations, which rise, all read off one pass: `[iterations][query]`.
pub(super) fn answers_after(
    checkpoint: &LoadedCheckpoint,
    queries: &[&Query],
    iterations: &[usize],
) -> Result<Vec<Vec<u32>>> {
    let sites = iterations.iter().map(|&i| Site::new(Point::Logits, i - 1, 0));
    let mut answers = vec![Vec::with_capacity(queries.len()); iterations.len()];
    for chunk in queries.chunks(BATCH) {
        let tokens = chunk.iter().map(|query| &*query.tokens);
        let rows = checkpoint.model.pack(tokens, Sharing::Prefixes)?;
        let mut pass = Pass {
            hooks: sites.clone().fold(Hooks::none(), Hooks::record),
            ..Pass::default()
        };
        checkpoint
            .model
            .forward(&rows, iterations[iterations.len() - 1], &mut pass)?;
        for (answers, site) in answers.iter_mut().zip(sites.clone()) {
            answers.extend(top1(&pass.hooks.recorded(site)?)?);
        }
    }
    Ok(answers)
}
