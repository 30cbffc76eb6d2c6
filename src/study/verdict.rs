//! Verdicts over seeds.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::criteria::{Criterion, Range, Subject};
use crate::experiment::Evidence;
use crate::experiment::claims::{Measured, finite_or_word_where_there};
use crate::measure::statistics::seeds::OverSeeds;
use crate::measure::statistics::{Interval, mean};

/// The greatest p at which deviations are said to differ.
const MAX_P: f64 = 0.05;

/// The fewest seeds that a verdict is of: that of one run is a coin.
const MIN_SEEDS: usize = 3;

/// What all seeds together say of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every seed confirms; or the interval of their mean does, and no seed refutes.
    Confirmed,
    /// Every seed refutes; or the interval of their mean does, and no seed confirms.
    Refuted,
    /// Neither, fewer than three seeds, or a seed that could not be measured.
    Undecided,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(match self {
            Self::Confirmed => "CONFIRMED",
            Self::Refuted => "REFUTED",
            Self::Undecided => "undecided",
        })
    }
}

/// Why a verdict is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Every seed says so.
    EverySeed,
    /// The interval of the mean over seeds lies in the range, and no seed says the opposite.
    IntervalOfMean,
    /// Deviations from the median differ at p of 0.05 or less, over all relabelings of the runs.
    Deviations,
    /// There are fewer than three seeds.
    TooFewSeeds,
    /// A seed could not be measured.
    SeedNotMeasured,
    /// Some seeds say it and others do not, or they are between the ranges.
    SeedsDiffer,
    /// Deviations from the median do not differ at p of 0.05 or less.
    DeviationsAlike,
}

/// A criterion held against all seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The claim's label.
    pub claim: String,
    /// What is claimed.
    pub statement: String,
    /// Where it is claimed.
    pub source: String,
    /// The experiment.
    pub experiment: String,
    /// The values that confirm it, in words.
    pub confirms: String,
    /// The values that refute it, in words.
    pub refutes: String,
    /// Whether it is about how much numbers vary between seeds, and not about a number of each seed.
    pub is_spread: bool,
    /// The verdict.
    pub verdict: Verdict,
    /// What decided, or left it undecided.
    pub reason: Reason,
    /// How many seeds confirm it.
    pub confirming: usize,
    /// How many refute it.
    pub refuting: usize,
    /// Each seed with what it gave; of a spread the number of each run.
    pub seeds: Vec<SeedValues>,
    /// The mean over seeds; of a spread the ratio of the deviations, which is infinite where the second does not vary.
    #[serde(with = "finite_or_word_where_there")]
    pub value: Option<f64>,
    /// The 95 % interval of the mean over seeds.
    pub interval: Option<Interval>,
    /// The p of a spread: the share of relabelings of runs whose deviations differ as much.
    pub p: Option<f64>,
}

/// What a seed gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeedValues {
    /// The seed.
    pub seed: u64,
    /// The number of the criterion's quantity; of a spread those of the wide and the narrow run.
    pub values: Vec<Measured>,
}

impl Criterion {
    /// Holds the criterion against the evidence of each seed.
    pub fn hold(&self, evidence: &[(u64, &Evidence)]) -> Finding {
        let quantities = self.subject.quantities();
        let seeds: Vec<SeedValues> = evidence
            .iter()
            .map(|(seed, evidence)| SeedValues {
                seed: *seed,
                values: quantities.iter().map(|quantity| quantity.measure(evidence)).collect(),
            })
            .collect();
        self.judge(seeds)
    }

    /// What the numbers of each seed say.
    pub(super) fn judge(&self, seeds: Vec<SeedValues>) -> Finding {
        let finding = Finding {
            claim: self.claim.clone(),
            statement: self.statement.clone(),
            source: self.source.clone(),
            experiment: self.experiment.clone(),
            confirms: self.confirms.to_string(),
            refutes: Range::words(&self.refutes),
            is_spread: matches!(self.subject, Subject::Spread(_)),
            verdict: Verdict::Undecided,
            reason: Reason::TooFewSeeds,
            confirming: 0,
            refuting: 0,
            seeds: Vec::new(),
            value: None,
            interval: None,
            p: None,
        };
        match &self.subject {
            Subject::EachSeed(_) => self.over_seeds(seeds, finding),
            Subject::Spread(_) => self.of_spread(seeds, finding),
        }
    }

    fn over_seeds(&self, seeds: Vec<SeedValues>, finding: Finding) -> Finding {
        let measured: Vec<&Measured> = seeds.iter().flat_map(|seed| &seed.values).collect();
        let count = |ranges: &[Range]| {
            let any = |value: &&&Measured| ranges.iter().any(|&range| is_in(value, range));
            measured.iter().filter(any).count()
        };
        let (confirming, refuting) = (count(&[self.confirms]), count(&self.refutes));
        // A bound is not a value: a mean of bounds would be too small or too large.
        let values: Option<Vec<f64>> = measured
            .iter()
            .map(|measured| match measured {
                Measured::Value(value) if value.is_finite() => Some(*value),
                _ => None,
            })
            .collect();
        let interval = values
            .as_ref()
            .and_then(|values| OverSeeds::new(values.len(), 1).mean(values));
        let within = |range: &Range| interval.is_some_and(|(low, high)| range.contains(low) && range.contains(high));
        let n = seeds.len();
        let (verdict, reason) = if n < MIN_SEEDS {
            (Verdict::Undecided, Reason::TooFewSeeds)
        } else if confirming == n {
            (Verdict::Confirmed, Reason::EverySeed)
        } else if refuting == n {
            (Verdict::Refuted, Reason::EverySeed)
        } else if measured.iter().any(|value| matches!(value, Measured::Missing(_))) {
            (Verdict::Undecided, Reason::SeedNotMeasured)
        // The interval does not outvote a seed.
        } else if refuting == 0 && within(&self.confirms) {
            (Verdict::Confirmed, Reason::IntervalOfMean)
        } else if confirming == 0 && self.refutes.iter().any(within) {
            (Verdict::Refuted, Reason::IntervalOfMean)
        } else {
            (Verdict::Undecided, Reason::SeedsDiffer)
        };
        Finding {
            verdict,
            reason,
            confirming,
            refuting,
            value: values.map(mean),
            interval,
            seeds,
            ..finding
        }
    }

    // One number of all seeds: who confirms is not a seed.
    fn of_spread(&self, seeds: Vec<SeedValues>, finding: Finding) -> Finding {
        // A bound is not a value, so that the spread over seeds is not known.
        let exact = |measured: &Measured| match measured {
            Measured::Value(value) if value.is_finite() => Some(*value),
            _ => None,
        };
        let of = |place: usize| -> Option<Vec<f64>> { seeds.iter().map(|seed| exact(&seed.values[place])).collect() };
        let spread = of(0).zip(of(1)).and_then(|(wide, narrow)| Spread::of(&wide, &narrow));
        let (verdict, reason) = match &spread {
            _ if seeds.len() < MIN_SEEDS => (Verdict::Undecided, Reason::TooFewSeeds),
            None => (Verdict::Undecided, Reason::SeedNotMeasured),
            Some(spread) if self.confirms.contains(spread.ratio) && spread.p <= MAX_P => {
                (Verdict::Confirmed, Reason::Deviations)
            }
            Some(spread) if self.refutes.iter().any(|range| range.contains(spread.ratio)) && spread.p_less <= MAX_P => {
                (Verdict::Refuted, Reason::Deviations)
            }
            Some(_) => (Verdict::Undecided, Reason::DeviationsAlike),
        };
        Finding {
            verdict,
            reason,
            value: spread.as_ref().map(|spread| spread.ratio),
            p: spread.map(|spread| spread.p),
            seeds,
            ..finding
        }
    }
}

/// Whether a number, or every number that its bound allows, is in the range.
pub(super) fn is_in(measured: &Measured, range: Range) -> bool {
    match measured {
        Measured::Value(value) => range.contains(*value),
        Measured::AtLeast(least) => range.contains(*least) && range.to == f64::INFINITY,
        Measured::AtMost(most) => range.contains(*most) && range.from == f64::NEG_INFINITY,
        Measured::Missing(_) => false,
    }
}

/// How much more one set of numbers varies than another.
pub(super) struct Spread {
    pub(super) ratio: f64,
    pub(super) p: f64,
    pub(super) p_less: f64,
}

impl Spread {
    /// The absolute deviations from the median of each set (Brown & Forsythe 1974) are relabeled in all ways; p is the share of
    /// relabelings in which the mean of the first exceeds that of the second by as much, `p_less` that in which it does by as
    /// little. Nothing where there are too many relabelings, or none of the numbers varies.
    pub(super) fn of(wide: &[f64], narrow: &[f64]) -> Option<Self> {
        const MAX_RUNS: usize = 20;
        let (n, all) = (wide.len(), [deviations(wide), deviations(narrow)].concat());
        if n < 2 || narrow.len() < 2 || all.len() > MAX_RUNS {
            return None;
        }
        let total: f64 = all.iter().sum();
        if total == 0.0 {
            return None;
        }
        let difference = |first: f64| first / n as f64 - (total - first) / narrow.len() as f64;
        let observed = difference(all[..n].iter().sum());
        let (mut as_much, mut as_little, mut count) = (0_u32, 0_u32, 0_u32);
        for chosen in (0_u32..1 << all.len()).filter(|chosen| chosen.count_ones() as usize == n) {
            let first: f64 = (0..all.len()).filter(|i| chosen >> i & 1 == 1).map(|i| all[i]).sum();
            count += 1;
            // Sums in another order may differ in their last digits.
            as_much += u32::from(difference(first) >= observed - 1e-12 * total);
            as_little += u32::from(difference(first) <= observed + 1e-12 * total);
        }
        let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
        Some(Self {
            ratio: mean(&all[..n]) / mean(&all[n..]),
            p: f64::from(as_much) / f64::from(count),
            p_less: f64::from(as_little) / f64::from(count),
        })
    }
}

fn deviations(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let median = if sorted.len().is_multiple_of(2) {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    } else {
        sorted[middle]
    };
    values.iter().map(|value| (value - median).abs()).collect()
}
