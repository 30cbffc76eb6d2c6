//! The logit margin by iteration (Kohli et al. 2026, Figure 8): how far the target is ahead, and when it first is.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

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
use super::rise::Rise;
use super::row::columns;
use super::sampling::BeyondTraining;
use super::statistics::{Clustering, mean};
use super::{BATCH, rows_of};
use crate::error::Result;
use crate::graph::{Query, Split};
use crate::model::{Hooks, Pass, Point, Sharing, Site};
use crate::train::top1;

/// Where to look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
pub struct Margin {
    /// Which queries.
    #[command(flatten)]
    #[serde(flatten)]
    pub chains: BeyondTraining,
}

/// One iteration on one split at one number of hops.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MarginRow {
    /// The checkpoint and the data.
    #[serde(flatten)]
    pub origin: Origin,
    /// The split.
    pub split: Split,
    /// Hops of the chains.
    pub hops: usize,
    /// From 1.
    pub iteration: usize,
    /// Queries.
    pub n: usize,
    /// Mean of the target's logit minus the best other.
    pub margin: f64,
    /// 95 % interval of `margin`; absent where no two queries differ in their facts.
    pub low: Option<f64>,
    /// The upper end of that interval.
    pub high: Option<f64>,
    /// What the intervals count for.
    pub interval: Clustering,
    /// Of `margin` over iterations.
    #[serde(flatten)]
    pub largest: Largest,
    /// What is lost from that maximum to the last iteration.
    #[serde(flatten)]
    pub fall: Fall,
    /// When answers are first right, and the largest rise of the margin within one iteration.
    #[serde(flatten)]
    pub rise: Rise,
    /// Share of queries whose margin is above 0 here.
    pub ahead: f64,
    /// Share of queries whose margin is above 0 here for the first time.
    pub first: f64,
}

columns! {
    MarginRow:
    Column::of("split"),
    Column::of("hops"),
    Column::of("n"),
    Column::of("margin")
        .titled("max margin (95 % of the max)")
        .within("max_low", "max_high")
        .decimals(2),
    Column::of("iteration").titled("at iteration"),
    Column::of("fall")
        .titled("fall to the end (95 %)")
        .within("fall_low", "fall_high")
        .decimals(2),
    Column::of("ahead").titled("ahead there"),
    Column::of("hit")
        .titled("first right after (median, 95 %)")
        .within("hit_low", "hit_high")
        .decimals(0),
    Column::of("never").titled("never right"),
    Column::of("jump")
        .titled("largest rise in one iteration (95 %)")
        .within("jump_low", "jump_high")
        .decimals(2);
    measured
    quantities![sample n, of margin within low high, share ahead, share first],
    Largest::QUANTITIES,
    Fall::QUANTITIES,
    Rise::QUANTITIES;
    along "iteration"
}

// A per-query row.
#[derive(Serialize)]
struct QueryMargin {
    iteration: usize,
    margin: f64,
}

// One query after one iteration.
#[derive(Clone, Copy)]
struct Lead {
    margin: f64,
    answer: u32,
}

impl Method for Margin {
    const NAME: &'static str = "margin";
    const ABOUT: &'static str =
        "Logit margin by iteration: when the target is first ahead, and when overthinking sets in";
    const MISLEADS: &'static str = "A peak is the largest of many iterations, too large by chance, which its interval includes; and a mean margin can be above 0 where many answers are wrong.";
    const FORMAT: u32 = 4;
    type Row = MarginRow;

    fn seed(&self) -> u64 {
        self.chains.seed
    }

    fn resolve(&mut self, checkpoints: &[LoadedCheckpoint]) -> Result<()> {
        self.chains.resolve(checkpoints)
    }

    fn measure(&self, group: &Group, out: &mut Output<MarginRow>) -> Result<()> {
        group.each(&self.chains.splits, Per::Hops, out, |population, checkpoint, out| {
            let max = self.chains.max_iterations(checkpoint);
            let leads = leads(checkpoint, &population.queries, max)?;
            if out.wants_queries() {
                for (query, leads) in leads.iter().enumerate() {
                    for (iteration, lead) in (1..).zip(leads) {
                        let values = QueryMargin {
                            iteration,
                            margin: lead.margin,
                        };
                        out.query_row(checkpoint, &Asked::of(population, query, lead.answer), &values)?;
                    }
                }
            }
            out.rows.extend(rows(checkpoint, population, &leads, max));
            Ok(())
        })
    }

    // The maximum over iterations of each line of the figure.
    fn shown(report: &Report<Self>) -> Vec<&MarginRow> {
        report.rows.iter().filter(|row| row.largest.is_max).collect()
    }

    fn to_verify(setting: &Setting) -> Result<Vec<Self>> {
        let mut settings = Self::defaults()?;
        settings.chains.iterations = Iterations::up_to(setting.beyond());
        Ok(vec![settings])
    }

    // The target is ahead where the answer is right.
    fn checks(report: &Report<Self>, design: &dyn Design) -> Vec<Check> {
        let check = |row: &MarginRow| {
            Some(Check {
                what: format!(
                    "{}, {} hops: share ahead after iteration {}",
                    row.split, row.hops, row.iteration
                ),
                expected: designed_accuracy(design, &row.split, Some(row.hops), row.iteration)?,
                found: row.ahead,
            })
        };
        report.rows.iter().filter_map(check).collect()
    }
}

// A row for each iteration, from the leads of every query.
fn rows(
    checkpoint: &LoadedCheckpoint,
    population: &Population,
    leads: &[Vec<Lead>],
    iterations: usize,
) -> Vec<MarginRow> {
    let n = leads.len();
    let first_ahead = |of_query: &Vec<Lead>| of_query.iter().position(|lead| lead.margin > 0.0);
    let firsts: Vec<Option<usize>> = leads.iter().map(first_ahead).collect();
    let share = |is: &dyn Fn(usize) -> bool| mean((0..n).map(|query| f64::from(u8::from(is(query)))));
    let at = |i: usize| leads.iter().map(|of_query| of_query[i].margin).collect();
    let line: Vec<Vec<f64>> = (0..iterations).map(at).collect();
    let resamples = population.resamples();
    let largest = Largest::of_means(&line, resamples);
    let falls = Fall::of_means(&line, resamples);
    let rise = Rise::of_margins(&line, resamples);
    let row = |i: usize| {
        let at = &line[i];
        let interval = resamples.mean(at);
        MarginRow {
            origin: checkpoint.info.origin.clone(),
            split: population.split.clone(),
            hops: population.hops.unwrap_or_default(),
            iteration: i + 1,
            n,
            margin: mean(at.iter().copied()),
            low: interval.map(|(low, _)| low),
            high: interval.map(|(_, high)| high),
            interval: resamples.clustering(),
            largest: largest[i],
            fall: falls[i],
            rise: if largest[i].is_max { rise } else { Rise::default() },
            ahead: share(&|query| at[query] > 0.0),
            first: share(&|query| firsts[query] == Some(i)),
        }
    };
    (0..iterations).map(row).collect()
}

// [query][iteration], all read off one pass.
fn leads(checkpoint: &LoadedCheckpoint, queries: &[&Query], iterations: usize) -> Result<Vec<Vec<Lead>>> {
    let sites = Site::all(Point::Logits, iterations, 1);
    let mut leads = Vec::with_capacity(queries.len());
    for chunk in queries.chunks(BATCH) {
        let tokens = chunk.iter().map(|query| &*query.tokens);
        let rows = checkpoint.model.pack(tokens, Sharing::Prefixes)?;
        let mut pass = Pass {
            hooks: sites.iter().copied().fold(Hooks::none(), Hooks::record),
            ..Pass::default()
        };
        checkpoint.model.forward(&rows, iterations, &mut pass)?;
        let mut of_chunk = vec![Vec::with_capacity(iterations); chunk.len()];
        for &site in &sites {
            let logits: Tensor = pass.hooks.recorded(site)?;
            let answers = top1(&logits)?;
            for (i, logits) in rows_of(&logits)?.iter().enumerate() {
                of_chunk[i].push(Lead {
                    margin: margin(logits, chunk[i].target as usize),
                    answer: answers[i],
                });
            }
        }
        leads.extend(of_chunk);
    }
    Ok(leads)
}

/// The logit of the target minus the largest of the others.
pub(super) fn margin(logits: &[f32], target: usize) -> f64 {
    let others = logits.iter().enumerate().filter(|(token, _)| *token != target);
    let best = others.map(|(_, &logit)| logit).fold(f32::NEG_INFINITY, f32::max);
    f64::from(logits[target]) - f64::from(best)
}

#[cfg(test)]
mod tests {
    use super::margin;

    #[test]
    fn the_margin_is_the_lead_over_the_best_other() {
        assert_eq!(margin(&[1.0, 4.0, 2.5], 1), 1.5);
        assert_eq!(margin(&[1.0, 4.0, 2.5], 0), -3.0);
    }
}
