//! Criteria as data: a number a seed, or one number of all seeds, and the ranges that confirm and refute a claim.

use serde::Deserialize;

use super::StudyExperiment;
use crate::error::{Error, Result};
use crate::experiment::Preset;
use crate::experiment::claims::Quantity;
use crate::graph::Dataset;

/// A criterion of a study.
#[derive(Debug, Clone, PartialEq)]
pub struct Criterion {
    /// The claim's label, as in `1a`.
    pub claim: String,
    /// What is claimed.
    pub statement: String,
    /// Where it is claimed.
    pub source: String,
    /// The experiment that it is held against.
    pub experiment: String,
    /// What is measured.
    pub subject: Subject,
    /// The values that confirm the claim, both ends included.
    pub confirms: Range,
    /// The values that refute it: those in any of these ranges.
    pub refutes: Vec<Range>,
}

/// What a criterion is about.
#[derive(Debug, Clone, PartialEq)]
pub enum Subject {
    /// A number of each seed.
    EachSeed(Quantity),
    /// How much more a number varies between seeds than another: the ratio of mean absolute deviations from the median.
    Spread([Quantity; 2]),
}

impl Subject {
    /// What is measured on each seed.
    pub fn quantities(&self) -> Vec<&Quantity> {
        match self {
            Self::EachSeed(quantity) => vec![quantity],
            Self::Spread(pair) => pair.iter().collect(),
        }
    }
}

/// An experiment with what its preset makes, against which criteria are checked.
pub(super) struct CheckedExperiment {
    pub(super) experiment: StudyExperiment,
    pub(super) preset: Preset,
    pub(super) made: Vec<Dataset>,
}

/// A range of numbers, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(from = "[f64; 2]")]
pub struct Range {
    /// The lower end.
    pub from: f64,
    /// The upper end.
    pub to: f64,
}

impl From<[f64; 2]> for Range {
    fn from([from, to]: [f64; 2]) -> Self {
        Self { from, to }
    }
}

impl Range {
    /// Whether `value` is in the range.
    pub fn contains(&self, value: f64) -> bool {
        self.from <= value && value <= self.to
    }

    /// Several of them in words.
    pub(super) fn words(ranges: &[Self]) -> String {
        let all: Vec<String> = ranges.iter().map(Self::to_string).collect();
        all.join(" or ")
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match (self.from.is_finite(), self.to.is_finite()) {
            (true, true) if self.from == self.to => write!(f, "{}", self.from),
            (true, true) => write!(f, "{} to {}", self.from, self.to),
            (true, false) => write!(f, "≥ {}", self.from),
            (false, true) => write!(f, "≤ {}", self.to),
            (false, false) => f.write_str("any number"),
        }
    }
}

/// A criterion as the file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CriterionTable {
    claim: String,
    statement: String,
    source: String,
    experiment: String,
    #[serde(default)]
    quantity: Option<Quantity>,
    #[serde(default)]
    spread: Option<[Quantity; 2]>,
    confirms: Range,
    refutes: OneOrMore,
}

/// One range, or a list of them.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "refutes: neither two numbers, the smaller first, nor a list of such pairs"
)]
enum OneOrMore {
    One(Range),
    More(Vec<Range>),
}

impl CriterionTable {
    /// Checks that the ranges can be told apart, and that the experiment will measure what they are ranges of.
    ///
    /// # Errors
    /// With the key, the value and what is allowed.
    pub(super) fn checked(self, experiments: &[CheckedExperiment]) -> Result<Criterion> {
        let subject = match (self.quantity, self.spread) {
            (Some(quantity), None) => Subject::EachSeed(quantity),
            (None, Some(spread)) => Subject::Spread(spread),
            _ => return Err(Error::input("allowed: either quantity or spread")),
        };
        let confirms = self.confirms;
        let refutes = match self.refutes {
            OneOrMore::One(range) => vec![range],
            OneOrMore::More(ranges) if ranges.is_empty() => {
                return Err(Error::input("refutes = []; allowed: one range or more"));
            }
            OneOrMore::More(ranges) => ranges,
        };
        let ranges = std::iter::once(("confirms", confirms)).chain(refutes.iter().map(|&range| ("refutes", range)));
        for (key, range) in ranges {
            if range.from.is_nan() || range.to.is_nan() || range.from > range.to {
                return Err(Error::input(format!(
                    "{key} = [{}, {}]; allowed: two numbers, the smaller first",
                    range.from, range.to
                )));
            }
        }
        let overlaps = |range: &&Range| confirms.from <= range.to && range.from <= confirms.to;
        if let Some(range) = refutes.iter().find(overlaps) {
            return Err(Error::input(format!(
                "confirms ({confirms}) and refutes ({range}) have numbers in common; allowed: ranges apart"
            )));
        }
        let named = experiments
            .iter()
            .find(|known| known.experiment.name == self.experiment);
        let Some(CheckedExperiment { preset, made, .. }) = named else {
            let names: Vec<&str> = experiments.iter().map(|known| known.experiment.name.as_str()).collect();
            return Err(Error::unknown("experiment", &self.experiment, &names));
        };
        for quantity in subject.quantities() {
            quantity.check(preset, made)?;
        }
        Ok(Criterion {
            claim: self.claim,
            statement: self.statement,
            source: self.source,
            experiment: self.experiment,
            subject,
            confirms,
            refutes,
        })
    }
}
