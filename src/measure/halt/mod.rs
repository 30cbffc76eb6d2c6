//! Adaptive halting (Kohli et al. 2026, Section 4, Figures 9 and 10): a query leaves the loop when a rule says so.
//!
//! Halted queries leave the batch, and the rows that no other query shares leave with them, so that halting saves the work
//! that the result reports. A sweep over thresholds reads all rules off one pass in which no query leaves.

mod decided;
mod rule;
mod watch;

use serde::{Deserialize, Serialize};

use self::rule::{Change, DecidedBy};
use self::watch::Watch;
use super::BATCH;
use super::checkpoint::{LoadedCheckpoint, Origin};
use super::columns::Column;
use super::iterations::{BEYOND_TRAINING, Iterations};
use super::judged::{Check, Design, Setting, designed_hit, mean_of};
use super::method::{Method, Report};
use super::output::Output;
use super::population::{Group, Per, Population};
use super::quantity::quantities;
use super::query_rows::Asked;
use super::row::columns;
use super::splits::Wants;
use super::statistics::{Clustering, mean, share};
use crate::error::Result;
use crate::graph::{Query, Split};

pub use decided::Decided;
pub use rule::{Criterion, Rule};

/// Which rules to halt by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, clap::Args)]
pub struct Halt {
    /// Splits, separated by commas [default: the held-out chains of every depth]
    #[arg(long = "split", value_delimiter = ',')]
    pub splits: Vec<Split>,
    /// Rules, separated by commas: criteria joined by +, each perhaps with =THRESHOLD, as in
    /// kl+entropy,kl=0.001,argmax=5,oracle
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "RULE",
        default_value = "kl+entropy,kl,argmax,oracle"
    )]
    pub rules: Vec<Rule>,
    /// Iterations after which every query leaves
    #[arg(long, value_parser = Iterations::parse_max, default_value = BEYOND_TRAINING)]
    pub iterations: Iterations,
    /// Measure every rule of one criterion at many thresholds too
    #[arg(long)]
    pub sweep: bool,
}

/// One rule on one split at one number of hops.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HaltRow {
    /// The checkpoint and the data.
    #[serde(flatten)]
    pub origin: Origin,
    /// The split.
    pub split: Split,
    /// Hops of the chains.
    pub hops: usize,
    /// The criteria with their thresholds.
    pub rule: Rule,
    /// Whether it comes from the sweep over thresholds, in one pass.
    pub swept: bool,
    /// Iterations after which every query leaves.
    pub max_iterations: usize,
    /// Queries.
    pub n: usize,
    /// Share of right answers at the iteration at which each query halts.
    pub accuracy: f64,
    /// 95 % interval of `accuracy`.
    pub low: f64,
    /// The upper end of that interval.
    pub high: f64,
    /// What the interval counts for.
    pub interval: Clustering,
    /// Iterations used.
    pub mean: f64,
    /// The median of the iterations used.
    pub median: f64,
    /// The standard deviation of the iterations used.
    pub std: f64,
    /// Rows that the loop ran over all iterations, as a share of those without halting; from a
    /// sweep absent, since no query left.
    pub work: Option<f64>,
    /// Shares of queries by the criterion that decided.
    #[serde(flatten)]
    pub decided: Decided,
}

columns! {
    HaltRow:
    Column::of("split"),
    Column::of("hops"),
    Column::of("rule"),
    Column::of("n"),
    Column::of("accuracy").titled("accuracy (95 %)").within("low", "high"),
    Column::of("mean").titled("iterations: mean").decimals(1),
    Column::of("median").decimals(0),
    Column::of("std").decimals(1),
    Column::of("work").decimals(2),
    Column::of("decided_kl").titled("decided by kl"),
    Column::of("decided_entropy").titled("entropy"),
    Column::of("decided_second_difference").titled("second-difference"),
    Column::of("decided_entropy_difference").titled("entropy-difference"),
    Column::of("decided_latent_difference").titled("latent-difference"),
    Column::of("decided_min_p_kl").titled("min-p-kl"),
    Column::of("decided_argmax").titled("argmax"),
    Column::of("decided_cosine").titled("cosine"),
    Column::of("decided_oracle").titled("oracle"),
    Column::of("decided_together").titled("together"),
    Column::of("never_met").titled("never met");
    measured
    quantities![sample n, share accuracy within low high, of mean, of median, of std, share work],
    Decided::QUANTITIES
}

// How one query left the loop.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Exit {
    iterations: usize,
    answer: u32,
    right: bool,
    decided: DecidedBy,
}

// A per-query row.
#[derive(Serialize)]
struct QueryHalt {
    rule: Rule,
    swept: bool,
    iterations: usize,
    decided: DecidedBy,
}

impl Method for Halt {
    const NAME: &'static str = "halt";
    const ABOUT: &'static str = "Adaptive halting: where rules let queries leave the loop, and what that costs";
    const MISLEADS: &'static str = "The oracle knows the answer: it bounds what any rule can reach. Thresholds come from other models, and a rule that halts early is cheap and may be wrong.";
    const FORMAT: u32 = 3;
    type Row = HaltRow;

    // It draws nothing.
    fn seed(&self) -> u64 {
        0
    }

    fn resolve(&mut self, checkpoints: &[LoadedCheckpoint]) -> Result<()> {
        self.splits = Wants::Depths.splits(&self.splits, checkpoints)?;
        self.iterations.resolve(checkpoints);
        let mut rules: Vec<Rule> = Vec::new();
        for rule in self.rules.drain(..) {
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
        self.rules = rules;
        Ok(())
    }

    fn measure(&self, group: &Group, out: &mut Output<HaltRow>) -> Result<()> {
        group.each(&self.splits, Per::Hops, out, |population, checkpoint, out| {
            let max = self.iterations.max(checkpoint.info.iterations);
            let of = Halted {
                checkpoint,
                population,
                max,
            };
            for rule in &self.rules {
                let (exits, work) = halted(checkpoint, &population.queries, rule, max)?;
                of.write(rule, &exits, Some(work), out)?;
            }
            if self.sweep {
                let traces = traces(checkpoint, &population.queries, max)?;
                for rule in self.swept() {
                    let exits: Vec<Exit> = traces.iter().map(|trace| exit(&rule, trace)).collect();
                    of.write(&rule, &exits, None, out)?;
                }
            }
            Ok(())
        })
    }

    fn shown(report: &Report<Self>) -> Vec<&HaltRow> {
        report.rows.iter().filter(|row| !row.swept).collect()
    }

    fn to_verify(setting: &Setting) -> Result<Vec<Self>> {
        Ok(vec![Self {
            iterations: Iterations::up_to(setting.beyond()),
            ..Self::defaults()?
        }])
    }

    // The oracle halts with the first right answer.
    fn checks(report: &Report<Self>, design: &dyn Design) -> Vec<Check> {
        let is_oracle = |row: &&HaltRow| row.decided.decided_oracle.is_some() && row.rule.criteria().len() == 1;
        let check = |row: &HaltRow| {
            let hit = |query: &Query| designed_hit(design, query, row.max_iterations);
            Some(Check {
                what: format!(
                    "{}, {} hops: mean iteration at which {} halts",
                    row.split, row.hops, row.rule
                ),
                expected: mean_of(design, &row.split, Some(row.hops), hit)?,
                found: row.mean,
            })
        };
        report.rows.iter().filter(is_oracle).filter_map(check).collect()
    }
}

impl Halt {
    // Every rule of one criterion at every threshold.
    fn swept(&self) -> Vec<Rule> {
        let mut criteria: Vec<Criterion> = Vec::new();
        for rule in &self.rules {
            if let &[(criterion, _)] = rule.criteria()
                && !criteria.contains(&criterion)
            {
                criteria.push(criterion);
            }
        }
        criteria
            .into_iter()
            .flat_map(|criterion| criterion.sweep().into_iter().map(move |x| Rule::of(criterion, x)))
            .collect()
    }
}

// The queries to which halting rules apply, as one checkpoint answers them.
struct Halted<'a> {
    checkpoint: &'a LoadedCheckpoint,
    population: &'a Population<'a>,
    max: usize,
}

impl Halted<'_> {
    fn write(&self, rule: &Rule, exits: &[Exit], work: Option<f64>, out: &mut Output<HaltRow>) -> Result<()> {
        if out.wants_queries() {
            for (query, exit) in exits.iter().enumerate() {
                let values = QueryHalt {
                    rule: rule.clone(),
                    swept: work.is_none(),
                    iterations: exit.iterations,
                    decided: exit.decided,
                };
                out.query_row(
                    self.checkpoint,
                    &Asked::of(self.population, query, exit.answer),
                    &values,
                )?;
            }
        }
        out.rows.push(self.row(rule, exits, work));
        Ok(())
    }

    fn row(&self, rule: &Rule, exits: &[Exit], work: Option<f64>) -> HaltRow {
        let clusters = self.population.clusters();
        let right: Vec<bool> = exits.iter().map(|exit| exit.right).collect();
        let (low, high) = clusters.share(&right);
        let mut used: Vec<f64> = exits.iter().map(|exit| exit.iterations as f64).collect();
        used.sort_by(f64::total_cmp);
        let average = mean(used.iter().copied());
        HaltRow {
            origin: self.checkpoint.info.origin.clone(),
            split: self.population.split.clone(),
            hops: self.population.hops.unwrap_or_default(),
            rule: rule.clone(),
            swept: work.is_none(),
            max_iterations: self.max,
            n: exits.len(),
            accuracy: share(&right),
            low,
            high,
            interval: clusters.clustering(),
            mean: average,
            median: f64::midpoint(used[(used.len() - 1) / 2], used[used.len() / 2]),
            std: mean(used.iter().map(|x| (x - average).powi(2))).sqrt(),
            work,
            decided: Decided::of(rule, &exits.iter().map(|exit| exit.decided).collect::<Vec<_>>()),
        }
    }
}

/// The iteration at which each query halts by a rule; absent where it is not met in `max` iterations.
pub(super) fn halting_iterations(
    checkpoint: &LoadedCheckpoint,
    queries: &[&Query],
    rule: &Rule,
    max: usize,
) -> Result<Vec<Option<usize>>> {
    let (exits, _) = halted(checkpoint, queries, rule, max)?;
    let halts = exits
        .into_iter()
        .map(|exit| (exit.decided != DecidedBy::Never).then_some(exit.iterations));
    Ok(halts.collect())
}

// Every query until its rule is met; the rows that the loop ran, as a share of running all to the end.
fn halted(checkpoint: &LoadedCheckpoint, queries: &[&Query], rule: &Rule, max: usize) -> Result<(Vec<Exit>, f64)> {
    let model = &checkpoint.model;
    let mut exits = Vec::with_capacity(queries.len());
    let (mut ran, mut whole) = (0, 0);
    for chunk in queries.chunks(BATCH) {
        let mut unrolled = model.unroll(chunk.iter().map(|query| &*query.tokens).collect())?;
        let mut watch = Watch::new(chunk.len());
        let mut active: Vec<usize> = (0..chunk.len()).collect();
        let mut found: Vec<Option<Exit>> = vec![None; chunk.len()];
        whole += unrolled.rows() * max;
        for iteration in 1..=max {
            ran += unrolled.rows();
            let states = unrolled.iterate()?;
            let targets: Vec<u32> = active.iter().map(|&query| chunk[query].target).collect();
            let changes = watch.observe(&active, &states, &model.unembed(&states)?, &targets)?;
            let mut stay = Vec::new();
            for (place, (before, now)) in changes.iter().enumerate() {
                if rule.met(now) || iteration == max {
                    found[active[place]] = Some(leave(rule, before.as_ref(), now));
                } else {
                    stay.push(place);
                }
            }
            if stay.is_empty() {
                break;
            }
            if stay.len() < active.len() {
                unrolled.keep(&stay)?;
                active = stay.into_iter().map(|place| active[place]).collect();
            }
        }
        // Everybody has left by the last iteration.
        exits.extend(found.into_iter().flatten());
    }
    Ok((exits, ran as f64 / whole as f64))
}

fn leave(rule: &Rule, before: Option<&Change>, now: &Change) -> Exit {
    Exit {
        iterations: now.iteration,
        answer: now.answer,
        right: now.right,
        decided: if rule.met(now) {
            rule.decided(before, now)
        } else {
            DecidedBy::Never
        },
    }
}

// What every iteration does to every query; none halts.
fn traces(checkpoint: &LoadedCheckpoint, queries: &[&Query], max: usize) -> Result<Vec<Vec<Change>>> {
    let model = &checkpoint.model;
    let mut traces = Vec::with_capacity(queries.len());
    for chunk in queries.chunks(BATCH) {
        let mut unrolled = model.unroll(chunk.iter().map(|query| &*query.tokens).collect())?;
        let mut watch = Watch::new(chunk.len());
        let all: Vec<usize> = (0..chunk.len()).collect();
        let targets: Vec<u32> = chunk.iter().map(|query| query.target).collect();
        let mut of_chunk = vec![Vec::with_capacity(max); chunk.len()];
        for _ in 0..max {
            let states = unrolled.iterate()?;
            let changes = watch.observe(&all, &states, &model.unembed(&states)?, &targets)?;
            for (trace, (_, now)) in of_chunk.iter_mut().zip(changes) {
                trace.push(now);
            }
        }
        traces.extend(of_chunk);
    }
    Ok(traces)
}

// The iteration at which the rule halts a query with this trace.
fn exit(rule: &Rule, trace: &[Change]) -> Exit {
    let at = trace
        .iter()
        .position(|change| rule.met(change))
        .unwrap_or(trace.len() - 1);
    leave(rule, at.checked_sub(1).map(|before| &trace[before]), &trace[at])
}

#[cfg(test)]
mod tests;
