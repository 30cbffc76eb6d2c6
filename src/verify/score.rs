//! How well the scores and calls of sites agree with the truth.

use serde::{Deserialize, Serialize};

use crate::measure::{SiteScore, statistics};

/// A site score beside the truth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// What the method says.
    #[serde(flatten)]
    pub score: SiteScore,
    /// Whether it is so.
    pub truth: bool,
}

/// How well the scores of one variant agree with the truth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Sites that are so in truth.
    pub positives: usize,
    /// Sites that are not.
    pub negatives: usize,
    /// Of the positives, those that are called.
    pub found: usize,
    /// Of the negatives, those that are called.
    pub false_calls: usize,
    /// The mean score of the positives; absent without any.
    pub score_of_positives: Option<f64>,
    /// The mean score of the negatives.
    pub score_of_negatives: Option<f64>,
    /// The probability that a positive has a higher score than a negative, ties by half; absent without both.
    pub auroc: Option<f64>,
}

impl Agreement {
    /// Of these scores.
    pub fn of(judged: &[Judged]) -> Self {
        let (positives, negatives): (Vec<&Judged>, Vec<&Judged>) = judged.iter().partition(|site| site.truth);
        let called = |sites: &[&Judged]| sites.iter().filter(|site| site.score.is_called).count();
        let scores = |sites: &[&Judged]| sites.iter().map(|site| site.score.score).collect::<Vec<f64>>();
        Self {
            positives: positives.len(),
            negatives: negatives.len(),
            found: called(&positives),
            false_calls: called(&negatives),
            score_of_positives: mean(&scores(&positives)),
            score_of_negatives: mean(&scores(&negatives)),
            auroc: auroc(&scores(&positives), &scores(&negatives)),
        }
    }

    /// The mean of the rates at which positives are called and negatives are not; absent without both.
    pub fn balanced_accuracy(&self) -> Option<f64> {
        let found = rate(self.found, self.positives)?;
        Some(f64::midpoint(found, 1.0 - self.false_positives()?))
    }

    /// The share of negatives that are called; absent without negatives.
    pub fn false_positives(&self) -> Option<f64> {
        rate(self.false_calls, self.negatives)
    }
}

fn rate(count: usize, of: usize) -> Option<f64> {
    (of > 0).then(|| count as f64 / of as f64)
}

fn mean(scores: &[f64]) -> Option<f64> {
    (!scores.is_empty()).then(|| statistics::mean(scores.iter().copied()))
}

// Mann and Whitney's U over the number of pairs. Scores are told apart to a hundredth of their unit: less than that is rounding and
// what small weights pass on of everything, whose order says nothing.
fn auroc(positives: &[f64], negatives: &[f64]) -> Option<f64> {
    let rounded = |scores: &[f64]| scores.iter().map(|score| (score * 100.0).round()).collect::<Vec<f64>>();
    let (positives, negatives) = (rounded(positives), rounded(negatives));
    let wins = positives.iter().flat_map(|positive| {
        negatives.iter().map(move |negative| {
            match positive.partial_cmp(negative).unwrap_or(std::cmp::Ordering::Equal) {
                std::cmp::Ordering::Greater => 1.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Less => 0.0,
            }
        })
    });
    let pairs = positives.len() * negatives.len();
    (pairs > 0).then(|| wins.sum::<f64>() / pairs as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Position, Target};
    use crate::measure::{Claim, Place};
    use crate::model::Point;

    fn judged(score: f64, is_called: bool, truth: bool) -> Judged {
        Judged {
            score: SiteScore {
                claim: Claim::Used,
                targets: vec![Target::Bridge],
                hops: 2,
                point: Point::Embed,
                position: Position::Head,
                place: Place::EMBEDDING,
                head: None,
                score,
                is_called,
            },
            truth,
        }
    }

    #[test]
    fn numbers_are_those_by_hand() {
        let sites = [
            judged(0.9, true, true),
            judged(0.5, false, true),
            judged(0.5, true, false),
            judged(0.1, false, false),
            judged(0.0, false, false),
        ];
        let found = Agreement::of(&sites);
        // Of six pairs one is a tie.
        assert_eq!(found.auroc, Some(5.5 / 6.0));
        assert_eq!((found.found, found.false_calls), (1, 1));
        assert_eq!(found.score_of_positives, Some(0.7));
        assert!((found.score_of_negatives.unwrap() - 0.2).abs() < 1e-12);
        assert!((found.balanced_accuracy().unwrap() - f64::midpoint(0.5, 2.0 / 3.0)).abs() < 1e-12);
        let alike = Agreement::of(&sites[2..]);
        assert_eq!((alike.auroc, alike.balanced_accuracy()), (None, None));
        assert_eq!(alike.false_positives(), Some(1.0 / 3.0));
        assert_eq!(Agreement::of(&[]), Agreement::default());
    }

    #[test]
    fn the_worst_order_has_0_and_equal_scores_a_half() {
        assert_eq!(auroc(&[0.0], &[1.0, 2.0]), Some(0.0));
        assert_eq!(auroc(&[1.0, 1.0], &[1.0]), Some(0.5));
        assert_eq!(auroc(&[1e-7, 0.0], &[-1e-8]), Some(0.5));
    }
}
