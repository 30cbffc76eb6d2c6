//! Claims 8a to 8d: the cost of too many iterations, and the iteration at which rules halt.

use super::depth::{largest_and_dynamic, plain, plain_looped, rivals};
use super::words::{accuracy, fall, max_accuracy, max_interval};
use super::{Criterion, Judgement};
use crate::experiment::{Evidence, Recurrence, RunView};
use crate::graph::Tails;
use crate::measure::{self, Halt, HaltRow, Margin, MarginRow, Rule};

/// The largest margin at this depth, and that after the most iterations.
pub(super) fn peak_and_end(run: RunView<'_>, hops: usize) -> Option<[&MarginRow; 2]> {
    let rows = || run.rows::<Margin>().filter(|row| row.hops == hops);
    let peak = rows().find(|row| row.largest.is_max)?;
    Some([peak, rows().max_by_key(|row| row.iteration)?])
}

fn peak_text(row: &MarginRow) -> String {
    let interval = max_interval(&row.largest).map_or(String::new(), |(low, high)| format!(" ({low:.2} to {high:.2})"));
    format!("{:.2}{interval} at iteration {}", row.margin, row.iteration)
}

/// The margin falls from its peak, and the peak of the deepest learned chains is below that of 2 hops.
pub struct Overthinking {
    /// Runs that learned at least this many hops are held against it.
    pub min_learned: usize,
    /// The interval of the fall lies above this.
    pub min_fall: f64,
}

impl Overthinking {
    const SHALLOW: usize = 2;

    // Nothing where an interval is not known.
    fn met(&self, peak: &MarginRow, shallow: &MarginRow) -> Option<bool> {
        Some(peak.fall.fall_low? > self.min_fall && peak.largest.max_high? < shallow.largest.max_low?)
    }
}

impl Criterion<&Evidence> for Overthinking {
    fn text(&self) -> String {
        format!(
            "for every looped model that learned {} hops or more: at its deepest, the margin falls from its peak to the most \
             iterations (the interval of that difference on the same chains lies above {}), and the peak's interval is below that \
             of the peak of {} hops",
            self.min_learned,
            self.min_fall,
            Self::SHALLOW
        )
    }

    fn judge(&self, evidence: &Evidence) -> Judgement {
        let mut met = Some(true);
        let mut numbers = Vec::new();
        let looped = plain_looped(evidence).into_iter();
        for run in looped.filter(|run| run.learned() >= self.min_learned) {
            let found = peak_and_end(run, Self::SHALLOW).zip(peak_and_end(run, run.learned()));
            let this = found.and_then(|([shallow, _], [peak, _])| self.met(peak, shallow));
            met = met.zip(this).map(|(met, this)| met && this);
            let Some(([shallow, _], [peak, end])) = found else {
                numbers.push(format!("{}: margins not measured", run.name()));
                continue;
            };
            numbers.push(format!(
                "{}: {} hops peak at {}, {:.2} at {}{}; {} hops peak at {}, n = {}",
                run.name(),
                run.learned(),
                peak_text(peak),
                end.margin,
                end.iteration,
                fall(&peak.fall),
                Self::SHALLOW,
                peak_text(shallow),
                peak.n
            ));
        }
        Judgement {
            met: met.filter(|_| !numbers.is_empty()),
            numbers,
        }
    }
}

// `RUN: K hops at most 0.9 (0.8–0.95, n = 500), at R 8; 0.7 at R 40, a loss of …`
fn max_and_last_text(run: RunView, hops: usize) -> Option<String> {
    let (max, last) = run.max_and_last(hops)?;
    Some(format!(
        "{}: {hops} hops at most {}, at R {}; {} at R {}{}",
        run.name(),
        max_accuracy(max),
        max.iterations,
        accuracy(last),
        last.iterations,
        fall(&max.fall)
    ))
}

/// The dynamic run loses less accuracy than its fixed rival.
pub struct DynamicOverthinksSlower {
    /// The depth whose accuracies are compared.
    pub hops: usize,
}

impl Criterion<&Evidence> for DynamicOverthinksSlower {
    fn text(&self) -> String {
        format!(
            "from its largest to that after the most iterations, the dynamic model that draws as many iterations at most loses \
             less {}-hop accuracy than that with the largest fixed R, the intervals of the two losses apart",
            self.hops
        )
    }

    fn judge(&self, evidence: &Evidence) -> Judgement {
        // Each loss is that of one model on the same chains.
        let lost = |run: RunView| {
            let (max, _) = run.max_and_last(self.hops)?;
            max.fall.fall_low.zip(max.fall.fall_high)
        };
        let shown = largest_and_dynamic(evidence).into_iter();
        Judgement {
            met: rivals(evidence).and_then(|[fixed, dynamic]| Some(lost(dynamic)?.1 < lost(fixed)?.0)),
            numbers: shown.filter_map(|run| max_and_last_text(run, self.hops)).collect(),
        }
    }
}

/// KL alone, and KL with entropy, at these thresholds in nats.
pub(super) fn kl_rules(kl: f64, entropy: f64) -> [Rule; 2] {
    let kl = Rule::of(measure::Criterion::Kl, kl);
    [kl.clone(), kl.and(measure::Criterion::Entropy, entropy)]
}

/// KL alone halts earlier than KL and entropy on the deepest chains.
pub struct KlHaltsTooEarly {
    /// Threshold of KL, in nats.
    pub kl: f64,
    /// Threshold of the entropy, in nats.
    pub entropy: f64,
    /// Most iterations of KL alone, as a share of those of both.
    pub max_share: f64,
}

impl KlHaltsTooEarly {
    fn rules(&self) -> [Rule; 2] {
        kl_rules(self.kl, self.entropy)
    }

    // The deepest chains, and how both rules halt them.
    fn halted<'a>(&self, run: RunView<'a>) -> Option<(usize, [&'a HaltRow; 2])> {
        let deepest = run.rows::<Halt>().map(|row| row.hops).max()?;
        let [kl, both] = self.rules().map(|rule| {
            let mut rows = run.rows::<Halt>();
            rows.find(|row| !row.swept && row.rule == rule && row.hops == deepest)
        });
        Some((deepest, [kl?, both?]))
    }
}

impl Criterion<&Evidence> for KlHaltsTooEarly {
    fn text(&self) -> String {
        let [kl, both] = self.rules();
        format!(
            "on the deepest chains of the data, {kl} alone uses at most {:.2} of the iterations of {both} (the paper: ~5 and ~15 \
             at 37 hops)",
            self.max_share
        )
    }

    fn judge(&self, evidence: &Evidence) -> Judgement {
        let mut met = None;
        let mut numbers = Vec::new();
        for run in plain(evidence, Recurrence::Dynamic) {
            let Some((deepest, [kl, both])) = self.halted(run) else {
                continue;
            };
            met = Some(met.unwrap_or(true) && kl.mean <= self.max_share * both.mean);
            for row in [kl, both] {
                numbers.push(format!(
                    "{}, {deepest} hops, {}: {:.1} iterations (median {:.0}, std {:.1}), accuracy {:.3} ({:.3}–{:.3}, n = {})",
                    run.name(),
                    row.rule,
                    row.mean,
                    row.median,
                    row.std,
                    row.accuracy,
                    row.low,
                    row.high,
                    row.n
                ));
            }
        }
        Judgement { met, numbers }
    }
}

/// Runs with input injection lose accuracy with more iterations too.
pub struct InjectionIsNoCure {
    /// The interval of the loss lies above this.
    pub min_loss: f64,
}

/// The runs with input injection, on permutations.
pub(super) fn injected(evidence: &Evidence) -> Vec<RunView<'_>> {
    let is_injected = |run: &RunView| run.role().injection && run.role().tails == Tails::Permutation;
    evidence.runs().filter(is_injected).collect()
}

impl Criterion<&Evidence> for InjectionIsNoCure {
    fn text(&self) -> String {
        format!(
            "with input injection, accuracy at the deepest learned chains after the most iterations is below its largest: the \
             interval of that difference on the same chains lies above {}",
            self.min_loss
        )
    }

    fn judge(&self, evidence: &Evidence) -> Judgement {
        let injected = injected(evidence);
        let falls = injected.iter().map(|run| {
            let (max, _) = run.max_and_last(run.depth())?;
            Some(max.fall.fall_low? > self.min_loss)
        });
        let falls: Option<Vec<bool>> = falls.collect();
        Judgement {
            met: falls
                .filter(|falls| !falls.is_empty())
                .map(|falls| falls.iter().all(|&falls| falls)),
            numbers: injected
                .iter()
                .filter_map(|run| max_and_last_text(*run, run.depth()))
                .collect(),
        }
    }
}
