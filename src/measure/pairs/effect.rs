//! What comes out of interventions on pairs, and how far that is from the base towards the source.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::{Direction, PairSet, Sides};
use crate::error::Result;
use crate::graph::Vocab;
use crate::measure::checkpoint::LoadedCheckpoint;
use crate::measure::output::Output;
use crate::measure::quantity::{Quantity, quantities};
use crate::measure::query_rows::Asked;
use crate::measure::rows_of;
use crate::measure::statistics::{differences, mean, share};

/// How far an intervention moves the answers of the base queries towards those of their sources; all intervals are of 95 %.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// Pairs.
    pub n: usize,
    /// (edited − base) / (source − base) of the mean logit difference between the clean and the corrupt answer: the recovery of
    /// the clean answer where states are clean, the loss of it where they are corrupt. Absent where the gap is not above 0
    /// (its 95 % interval does not lie above 0, or cannot be told).
    pub recovery: Option<f64>,
    /// The lower end of the interval of `recovery`.
    pub low: Option<f64>,
    /// The upper end of that interval.
    pub high: Option<f64>,
    /// Share of pairs whose most likely token becomes the source's answer and was not before.
    pub flips: f64,
    /// The lower end of the interval of `flips`.
    pub flips_low: f64,
    /// The upper end of that interval.
    pub flips_high: f64,
    /// Mean probability of the source's answer.
    pub probability: f64,
    /// The lower end of the interval of `probability`; absent where no two queries differ in their facts.
    pub probability_low: Option<f64>,
    /// The upper end of that interval.
    pub probability_high: Option<f64>,
    /// Mean KL divergence of the edited run's distribution from the source's, KL(source ‖ edited), in nats.
    pub kl: f64,
    /// The lower end of the interval of `kl`.
    pub kl_low: Option<f64>,
    /// The upper end of that interval.
    pub kl_high: Option<f64>,
    /// Mean rank of the source's answer among all tokens, from 1.
    pub rank: f64,
    /// The lower end of the interval of `rank`.
    pub rank_low: Option<f64>,
    /// The upper end of that interval.
    pub rank_high: Option<f64>,
    /// Mean logit-difference gap between the clean and the corrupt run.
    pub gap: f64,
    /// Accuracy on the clean queries, without intervention.
    pub clean_accuracy: f64,
    /// Accuracy on the corrupt queries, without intervention.
    pub corrupt_accuracy: f64,
}

impl Effect {
    /// Its fields.
    pub(crate) const QUANTITIES: &'static [Quantity] = quantities![
        sample n, of recovery within low high, share flips within flips_low flips_high,
        share probability within probability_low probability_high, of kl within kl_low kl_high,
        of rank within rank_low rank_high, of gap, share clean_accuracy, share corrupt_accuracy,
    ];

    /// Whether what is put in is used: it is felt, and by a model that answers most clean queries right; what a model uses for an
    /// answer that it does not give, nothing can say.
    pub(crate) fn is_used(&self) -> bool {
        const MOST: f64 = 0.5;
        self.is_felt() && self.clean_accuracy > MOST
    }

    /// Whether the intervention moves more than a tenth of the gap, by the lower end of the interval: less than that is what
    /// small weights pass on of everything.
    fn is_felt(&self) -> bool {
        const FELT: f64 = 0.1;
        self.low.is_some_and(|low| low > FELT)
    }
}

// One run's outcome for each pair.
#[derive(Debug, Clone, Default, PartialEq)]
struct Outcome {
    // Logit of the clean answer minus that of the corrupt one.
    difference: Vec<f64>,
    // Of the source's answer.
    probability: Vec<f64>,
    rank: Vec<f64>,
    // From the source's distribution.
    kl: Vec<f64>,
    top1: Vec<u32>,
}

/// Every run of a set of pairs, filled chunk by chunk.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Runs {
    source: Outcome,
    base: Outcome,
    edited: Vec<Outcome>,
}

impl Runs {
    /// For `interventions` interventions on each pair.
    pub(crate) fn new(interventions: usize) -> Self {
        Self {
            source: Outcome::default(),
            base: Outcome::default(),
            edited: vec![Outcome::default(); interventions],
        }
    }

    /// Adds the logits of the next pairs, `[pairs, vocab]` each: of the source and the base as they are, and of every
    /// intervention.
    pub(crate) fn extend<'t>(
        &mut self,
        sides: &[Sides],
        source: &Tensor,
        base: &Tensor,
        edited: impl IntoIterator<Item = &'t Tensor>,
    ) -> Result<()> {
        let of_source: Vec<Vec<f64>> = rows_of(source)?
            .iter()
            .map(|logits| log_probabilities(logits))
            .collect();
        self.source.extend(sides, source, &of_source)?;
        self.base.extend(sides, base, &of_source)?;
        for (outcome, logits) in self.edited.iter_mut().zip(edited) {
            outcome.extend(sides, logits, &of_source)?;
        }
        Ok(())
    }

    /// Of each pair, the logit difference of the clean run minus that of the corrupt one.
    pub(crate) fn gaps(&self, set: &PairSet) -> Vec<f64> {
        let (clean, corrupt) = self.clean_and_corrupt(set);
        differences(&clean.difference, &corrupt.difference)
    }

    fn clean_and_corrupt(&self, set: &PairSet) -> (&Outcome, &Outcome) {
        match set.direction {
            Direction::Denoise => (&self.source, &self.base),
            Direction::Noise => (&self.base, &self.source),
        }
    }

    /// The effect of each intervention; that recovery is not defined is noted.
    pub(crate) fn effects<R>(&self, set: &PairSet, checkpoint: &LoadedCheckpoint, out: &mut Output<R>) -> Vec<Effect> {
        let n = set.pairs.len();
        let (clean, corrupt) = self.clean_and_corrupt(set);
        let accuracy = |outcome: &Outcome, answer: fn(&Sides) -> u32| {
            let answers = outcome.top1.iter().zip(&set.sides);
            share(&answers.map(|(top1, sides)| *top1 == answer(sides)).collect::<Vec<_>>())
        };
        let clean_accuracy = accuracy(clean, |sides| sides.clean_answer);
        let corrupt_accuracy = accuracy(corrupt, |sides| sides.corrupt_answer);
        let gaps = self.gaps(set);
        let resamples = set.clean.resamples();
        let gap = mean(gaps.iter().copied());
        let interval_of_gap = resamples.mean(&gaps);
        let is_defined = interval_of_gap.is_some_and(|(low, _)| low > 0.0);
        if !is_defined {
            let interval = interval_of_gap.map_or_else(
                || format!("cannot be told of n = {n}"),
                |(low, high)| format!("{low:.3} to {high:.3}"),
            );
            out.notes.push(format!(
                "{}, split {}: the gap between clean and corrupt is not above 0 (95 % interval {interval}); recovery is \
                 not defined",
                checkpoint.info.name(),
                set.clean.split
            ));
        }
        let effect = |edited: &Outcome| {
            // Both are of the clean answer's sign, so that the gap below is above 0 in either direction.
            let moved = match set.direction {
                Direction::Denoise => differences(&edited.difference, &self.base.difference),
                Direction::Noise => differences(&self.base.difference, &edited.difference),
            };
            let recovery = is_defined.then(|| resamples.ratio(&moved, &gaps)).flatten();
            let tops = edited.top1.iter().zip(&self.base.top1).zip(&set.sides);
            let flipped: Vec<bool> = tops
                .map(|((after, before), sides)| *after == sides.source_answer && *before != sides.source_answer)
                .collect();
            let (flips_low, flips_high) = resamples.share(&flipped);
            let [probability, kl, rank] = [&edited.probability, &edited.kl, &edited.rank].map(|x| resamples.mean(x));
            Effect {
                n,
                recovery: is_defined.then(|| mean(moved.iter().copied()) / gap),
                low: recovery.map(|(low, _)| low),
                high: recovery.map(|(_, high)| high),
                flips: share(&flipped),
                flips_low,
                flips_high,
                probability: mean(edited.probability.iter().copied()),
                probability_low: probability.map(|(low, _)| low),
                probability_high: probability.map(|(_, high)| high),
                kl: mean(edited.kl.iter().copied()),
                kl_low: kl.map(|(low, _)| low),
                kl_high: kl.map(|(_, high)| high),
                rank: mean(edited.rank.iter().copied()),
                rank_low: rank.map(|(low, _)| low),
                rank_high: rank.map(|(_, high)| high),
                gap,
                clean_accuracy,
                corrupt_accuracy,
            }
        };
        self.edited.iter().map(effect).collect()
    }

    /// The model's answer to the clean query of a pair.
    pub(crate) fn clean_answer(&self, set: &PairSet, pair: usize) -> u32 {
        self.clean_and_corrupt(set).0.top1[pair]
    }

    /// Whether the answer of each pair is the base's true one after an intervention.
    pub(crate) fn base_answers(&self, set: &PairSet, intervention: usize) -> Vec<bool> {
        let tops = self.edited[intervention].top1.iter().zip(&set.sides);
        tops.map(|(top1, sides)| *top1 == sides.base_answer()).collect()
    }

    /// Writes a per-pair row of an intervention for every pair, where they are asked for; `of` has the columns that say what it is.
    pub(crate) fn write_rows<R, V: Serialize>(
        &self,
        set: &PairSet,
        checkpoint: &LoadedCheckpoint,
        out: &mut Output<R>,
        intervention: usize,
        of: impl Fn(usize) -> V,
    ) -> Result<()> {
        if !out.wants_queries() {
            return Ok(());
        }
        for pair in 0..set.pairs.len() {
            let row = PairRow {
                of: of(pair),
                values: self.of_pair(set, &checkpoint.data.vocab, intervention, pair),
            };
            let asked = Asked::of(&set.clean, pair, self.clean_answer(set, pair));
            out.query_row(checkpoint, &asked, &row)?;
        }
        Ok(())
    }

    /// What an intervention makes of one pair.
    pub(crate) fn of_pair(&self, set: &PairSet, vocab: &Vocab, intervention: usize, pair: usize) -> PairValues {
        let name = |&id: &u32| vocab.tokens()[id as usize].as_str();
        let (clean, corrupt) = self.clean_and_corrupt(set);
        let edited = &self.edited[intervention];
        PairValues {
            corrupt_query: set.pairs[pair].corrupt.tokens.iter().map(name).collect(),
            corrupt_answer: name(&set.pairs[pair].corrupt.target).to_owned(),
            clean_difference: clean.difference[pair],
            corrupt_difference: corrupt.difference[pair],
            patched_difference: edited.difference[pair],
            patched_probability: edited.probability[pair],
            patched_kl: edited.kl[pair],
            patched_rank: edited.rank[pair],
            patched_answer: name(&edited.top1[pair]).to_owned(),
        }
    }
}

// A per-pair row: what it is of, and what comes out.
#[derive(Serialize)]
struct PairRow<V> {
    #[serde(flatten)]
    of: V,
    #[serde(flatten)]
    values: PairValues,
}

/// The columns of a per-pair row (`--rows`) that every intervention on pairs has.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct PairValues {
    corrupt_query: String,
    corrupt_answer: String,
    clean_difference: f64,
    corrupt_difference: f64,
    patched_difference: f64,
    // Of the source's answer.
    patched_probability: f64,
    patched_kl: f64,
    patched_rank: f64,
    patched_answer: String,
}

impl Outcome {
    // `source`: the log-probabilities of the source run.
    fn extend(&mut self, sides: &[Sides], logits: &Tensor, source: &[Vec<f64>]) -> Result<()> {
        for ((logits, sides), source) in rows_of(logits)?.iter().zip(sides).zip(source) {
            let of = log_probabilities(logits);
            let answer = logits[sides.source_answer as usize];
            let clean = f64::from(logits[sides.clean_answer as usize]);
            self.difference
                .push(clean - f64::from(logits[sides.corrupt_answer as usize]));
            self.probability.push(of[sides.source_answer as usize].exp());
            self.rank
                .push(1.0 + logits.iter().filter(|&&logit| logit > answer).count() as f64);
            self.kl
                .push(source.iter().zip(&of).map(|(p, q)| p.exp() * (p - q)).sum::<f64>());
        }
        self.top1.extend(crate::train::top1(logits)?);
        Ok(())
    }
}

// The logarithms of the softmax.
fn log_probabilities(logits: &[f32]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - max).exp()).sum();
    let log_sum = f64::from(max) + sum.ln();
    logits.iter().map(|&logit| f64::from(logit) - log_sum).collect()
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn sides(direction: Direction) -> Sides {
        let (source_answer, source, base) = match direction {
            Direction::Denoise => (0, vec![1], vec![2]),
            Direction::Noise => (1, vec![2], vec![1]),
        };
        Sides {
            source,
            base,
            source_answer,
            clean_answer: 0,
            corrupt_answer: 1,
        }
    }

    // Two pairs whose clean run says token 0 by a margin of 2, the corrupt one token 1 by as much, the edited one token 0 by 1.
    fn runs(direction: Direction) -> Runs {
        let logits = |of: [f32; 3]| Tensor::new(&[of, of], &Device::Cpu).unwrap();
        let (clean, corrupt, edited) = (
            logits([2.0, 0.0, 0.0]),
            logits([0.0, 2.0, 0.0]),
            logits([1.0, 0.0, 0.0]),
        );
        let sides = [sides(direction), sides(direction)];
        let (source, base) = match direction {
            Direction::Denoise => (&clean, &corrupt),
            Direction::Noise => (&corrupt, &clean),
        };
        let mut runs = Runs::new(2);
        runs.extend(&sides, source, base, [&edited, source]).unwrap();
        runs
    }

    #[test]
    fn each_number_is_of_the_source() {
        let one = (1.0_f64).exp();
        for (direction, rank, probability) in [
            (Direction::Denoise, 1.0, one / (one + 2.0)),
            (Direction::Noise, 2.0, 1.0 / (one + 2.0)),
        ] {
            let [edited, source] = &runs(direction).edited[..] else {
                panic!("two interventions")
            };
            assert_eq!(edited.difference, [1.0; 2]);
            assert_eq!(edited.rank, [rank; 2]);
            assert!((edited.probability[0] - probability).abs() < 1e-12, "{edited:?}");
            assert!(edited.kl[0] > 0.0 && source.kl == [0.0; 2], "{edited:?}");
        }
        // By hand: Σ p ln(p / q) of (e², 1, 1) / (e² + 2) and (e, 1, 1) / (e + 2).
        let two = (2.0_f64).exp();
        let (p, q) = (two / (two + 2.0), one / (one + 2.0));
        let kl = p * (p / q).ln() + (1.0 - p) * ((1.0 - p) / (1.0 - q)).ln();
        assert!((runs(Direction::Denoise).edited[0].kl[0] - kl).abs() < 1e-12);
    }
}
