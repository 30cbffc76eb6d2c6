//! The numbers of an independent replication at the paper's scale, and the same measured on a depth experiment of one's own.
//!
//! A [`Quantity`] is data: what it is, what they found, the bounds within which a number of one's own counts as the same, and
//! what one would expect of a small model. [`rows`] measures all of them on one experiment, which is one seed; [`markdown`] puts
//! several seeds beside theirs.

mod markdown;
mod measured;
mod quantities;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;

use super::claims::{Source, plain};
use super::evidence::{Evidence, RunView};
use super::role::Recurrence;
use crate::measure::statistics::{Clustering, Interval};

pub use markdown::markdown;
pub use quantities::QUANTITIES;

/// Which run of a depth experiment is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunChoice {
    /// The plain dynamic run that draws up to the most iterations.
    Dynamic,
    /// The plain run with the largest fixed R.
    LargestFixed,
}

impl RunChoice {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Dynamic, Self::LargestFixed];

    /// The run, where the experiment has one.
    pub fn of(self, evidence: &Evidence) -> Option<RunView<'_>> {
        let recurrence = match self {
            Self::Dynamic => Recurrence::Dynamic,
            Self::LargestFixed => Recurrence::Fixed,
        };
        let runs = plain(evidence, recurrence).into_iter();
        runs.max_by_key(|run| run.model().iterations)
    }
}

impl fmt::Display for RunChoice {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(match self {
            Self::Dynamic => "the dynamic run with the most iterations",
            Self::LargestFixed => "the run with the largest fixed R",
        })
    }
}

/// What the numbers of a series are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Series {
    /// One number.
    Single,
    /// A number for each number of hops.
    Hops,
    /// A number for each iteration.
    Iteration,
}

/// A number that was measured on one run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Number {
    /// The hops or the iteration that it is of, where it is one of a series.
    pub at: Option<usize>,
    /// The number.
    pub value: f64,
    /// Whether all that is known is that it is no smaller: training ended before it could be seen.
    pub at_least: bool,
    /// Its 95 % interval over test queries, where it has one; the spread over seeds is no part of it.
    pub interval: Option<Interval>,
    /// What that interval counts for.
    pub over: Option<Clustering>,
    /// The queries that it is taken over, where it is of queries.
    pub n: Option<usize>,
    /// Share of queries that have no such number and are left out, where some are.
    pub left_out: Option<f64>,
}

impl Number {
    // A number that is of no queries.
    fn alone(value: f64) -> Self {
        Self {
            at: None,
            value,
            at_least: false,
            interval: None,
            over: None,
            n: None,
            left_out: None,
        }
    }
}

/// The bounds within which every number of one's own counts as the same.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bounds {
    /// No number is smaller; absent where they may be as small as they like.
    pub min: Option<f64>,
    /// No number is larger; absent where they may be as large as they like.
    pub max: Option<f64>,
}

impl Bounds {
    // Whether a number is within them; absent where it is only known from below.
    fn hold(self, number: &Number) -> Option<bool> {
        if self.max.is_some_and(|max| number.value > max) {
            return Some(false);
        }
        let is_large_enough = self.min.is_none_or(|min| number.value >= min);
        if number.at_least {
            return (self.max.is_none() && is_large_enough).then_some(true);
        }
        Some(is_large_enough)
    }

    // Of a series: one that is out of bounds decides; absent where nothing was measured or one number is open.
    fn hold_all(self, numbers: &[Number]) -> Option<bool> {
        let held: Vec<Option<bool>> = numbers.iter().map(|number| self.hold(number)).collect();
        if held.contains(&Some(false)) {
            return Some(false);
        }
        (!held.is_empty() && !held.contains(&None)).then_some(true)
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match (self.min, self.max) {
            (Some(min), Some(max)) if min == max => write!(f, "{min}"),
            (Some(min), Some(max)) => write!(f, "{min} to {max}"),
            (Some(min), None) => write!(f, "at least {min}"),
            (None, Some(max)) => write!(f, "at most {max}"),
            (None, None) => f.write_str("any"),
        }
    }
}

/// Something that the replication measured.
#[derive(Debug, Serialize)]
pub struct Quantity {
    /// What it is called, with its unit.
    pub name: &'static str,
    /// What exactly is measured here.
    pub definition: &'static str,
    /// Who measured it.
    pub source: Source,
    /// What they found.
    pub theirs: &'static str,
    /// What the numbers of a series are of.
    pub series: Series,
    /// Decimals with which numbers are printed.
    pub decimals: usize,
    /// Where numbers of one's own count as the same.
    pub same: Bounds,
    /// Why one would or would not expect it at the size of a small machine.
    pub why: &'static str,
    #[serde(skip)]
    measure: fn(RunView) -> Vec<Number>,
}

/// A quantity on one run.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Which run of the experiment it is of.
    pub choice: RunChoice,
    /// What that run is called; absent where the experiment has none.
    pub run: Option<String>,
    /// The most hops that the curriculum of that run has passed.
    pub learned: Option<usize>,
    /// What was measured.
    pub quantity: &'static Quantity,
    /// What was found; empty where it was not measured.
    pub numbers: Vec<Number>,
    /// Whether it is the same as theirs by the quantity's bounds, by the numbers themselves and not by their intervals; absent
    /// where it was not measured, or training ended before it could be told.
    pub same: Option<bool>,
}

/// All quantities on one run of a depth experiment, in their order.
pub fn rows(evidence: &Evidence, choice: RunChoice) -> Vec<Row> {
    let run = choice.of(evidence);
    let row = |quantity: &'static Quantity| {
        let numbers = run.map(quantity.measure).unwrap_or_default();
        Row {
            choice,
            run: run.map(|run| run.name().to_owned()),
            learned: run.map(RunView::learned),
            quantity,
            same: quantity.same.hold_all(&numbers),
            numbers,
        }
    };
    QUANTITIES.iter().map(row).collect()
}
