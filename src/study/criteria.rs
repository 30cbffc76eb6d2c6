//! Criteria as data: a number a seed, or one number of all seeds, and the ranges that confirm and refute a claim.

use serde::Deserialize;

use super::StudyExperiment;
use crate::error::{Error, Result};
use crate::experiment::claims::Quantity;

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
    /// The values that refute it, both ends included.
    pub refutes: Range,
}

/// What a criterion is about.
#[derive(Debug, Clone, PartialEq)]
pub enum Subject {
    /// A number of each seed.
    EachSeed(Quantity),
    /// How much more a number varies between seeds than another: the ratio of mean absolute deviations from the median.
    Spread([Quantity; 2]),
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
    /// Whether the range has `value`.
    pub fn has(&self, value: f64) -> bool {
        self.from <= value && value <= self.to
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
    refutes: Range,
}

impl CriterionTable {
    /// Checks that the ranges can be told apart, and that the runs are there.
    ///
    /// # Errors
    /// With the key, the value and what is allowed.
    pub(super) fn checked(self, experiments: &[StudyExperiment]) -> Result<Criterion> {
        let subject = match (self.quantity, self.spread) {
            (Some(quantity), None) => Subject::EachSeed(quantity),
            (None, Some(spread)) => Subject::Spread(spread),
            _ => return Err(Error::input("allowed: either quantity or spread")),
        };
        let (confirms, refutes) = (self.confirms, self.refutes);
        for (key, range) in [("confirms", confirms), ("refutes", refutes)] {
            if range.from.is_nan() || range.to.is_nan() || range.from > range.to {
                return Err(Error::input(format!(
                    "{key} = [{}, {}]; allowed: two numbers, the smaller first",
                    range.from, range.to
                )));
            }
        }
        if confirms.from <= refutes.to && refutes.from <= confirms.to {
            return Err(Error::input(format!(
                "confirms ({confirms}) and refutes ({refutes}) have numbers in common; allowed: ranges apart"
            )));
        }
        let Some(experiment) = experiments.iter().find(|known| known.name == self.experiment) else {
            let names: Vec<&str> = experiments.iter().map(|known| known.name.as_str()).collect();
            return Err(Error::input(format!(
                "experiment = {:?}; allowed: {}",
                self.experiment,
                names.join(", ")
            )));
        };
        let preset = experiment.preset.read(None)?;
        let names: Vec<&str> = preset.runs().into_iter().map(|(name, _)| name).collect();
        let named = match &subject {
            Subject::EachSeed(quantity) => quantity.runs(),
            Subject::Spread([wide, narrow]) => [wide.runs(), narrow.runs()].concat(),
        };
        if let Some(unknown) = named.iter().find(|name| !names.contains(name)) {
            return Err(Error::input(format!("run {unknown:?}; allowed: {}", names.join(", "))));
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
