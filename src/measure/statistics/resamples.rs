//! The bootstrap over clusters, drawn once for a set of queries and used for every statistic of them.

use std::ops::Range;

use super::clusters::{Clustering, Clusters};
use super::quantile::{NORMAL, at, middle, student};
use super::{Interval, differences, first_largest, mean, numbers, share};
use crate::random::Stream;

/// Resamples of a bootstrap.
const RESAMPLES: usize = 1000;

/// Resamples of the facts behind a set of queries.
///
/// Facts are drawn with replacement and a chain's weight is 1 plus, over its facts, the count that was drawn minus 1:
/// the pigeonhole bootstrap (Owen 2007) to first order in each fact, for chains of any length. Its deviations are scaled
/// to the standard error by variance components, since the weights alone count what is a query's own once for each
/// fact, and to Student's t. All statistics of one set of queries see the same resamples, so that differences are paired
/// and maxima are selected anew in each.
pub struct Resamples {
    clusters: Clusters,
    // [cluster × resample]: how often it was drawn, minus 1.
    counts: Vec<f32>,
}

/// The largest of several means over the same queries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Maximum {
    /// Which of them it is; the first of equals.
    pub index: usize,
    /// Its 95 % interval, which counts for its having been selected.
    pub low: f64,
    /// The upper end of that interval.
    pub high: f64,
}

impl Resamples {
    /// Draws them for the queries of `clusters`.
    pub fn new(clusters: Clusters, seed: u64) -> Self {
        let count = clusters.count();
        let mut stream = Stream::new(seed, "bootstrap over clusters", 0);
        let mut counts = vec![-1.0; RESAMPLES * count];
        for resample in 0..RESAMPLES {
            for _ in 0..count {
                counts[stream.below(count) * RESAMPLES + resample] += 1.0;
            }
        }
        Self { clusters, counts }
    }

    /// What the queries share.
    pub fn clustering(&self) -> Clustering {
        self.clusters.clustering()
    }

    /// As [`Clusters::share`].
    pub fn share(&self, holds: &[bool]) -> Interval {
        self.clusters.share(holds)
    }

    /// The 95 % interval of the mean of a value of every query; `None` where there are no two that do not
    /// share all their facts.
    ///
    /// Where all values are equal it has no width: how far others could be off is not known of unbounded values. It
    /// is known of shares and their differences: [`Resamples::share`], [`Resamples::max_difference`].
    pub fn mean(&self, values: &[f64]) -> Option<Interval> {
        let average = mean(values.iter().copied());
        let scale = self.student()? / NORMAL;
        let mut resampled: Vec<f64> = self
            .deviations(values)
            .of_resamples
            .iter()
            .map(|deviation| average + scale * deviation)
            .collect();
        Some(middle(&mut resampled))
    }

    /// The 95 % interval of Σ top / Σ bottom, by the delta method; `None` as for [`Resamples::mean`].
    pub fn ratio(&self, top: &[f64], bottom: &[f64]) -> Option<Interval> {
        let below = mean(bottom.iter().copied());
        let ratio = mean(top.iter().copied()) / below;
        let influence: Vec<f64> = top
            .iter()
            .zip(bottom)
            .map(|(top, bottom)| (top - ratio * bottom) / below)
            .collect();
        let (low, high) = self.mean(&influence)?;
        Some((ratio + low, ratio + high))
    }

    /// The largest of the means of several values of the same queries; `None` as for [`Resamples::mean`], or of
    /// nothing.
    ///
    /// The largest of several estimates is an overestimate, and so is its resampled self (percentiles of it cover 5 %
    /// of the time for 8 equal, independent means). So its interval is that of simultaneous intervals of all that may be
    /// the largest: from the largest of their lower to the largest of their upper ends (Montiel Olea and
    /// Plagborg-Møller 2019, for the quantile of the largest deviation). Means that are below the largest by more than
    /// √(ln n) standard errors of the difference are left out (Andrews and Soares 2010).
    pub fn max_mean(&self, values: &[Vec<f64>]) -> Option<Maximum> {
        let candidates = self.candidates(values, self.student()?)?;
        let ends = candidates.of.iter().map(|&i| {
            let half = candidates.quantile * candidates.deviations[i].standard_error;
            (candidates.means[i] - half, candidates.means[i] + half)
        });
        Some(candidates.largest(ends))
    }

    /// As [`Resamples::max_mean`] for shares, with their own intervals; `None` of nothing.
    pub fn max_share(&self, holds: &[Vec<bool>]) -> Option<Maximum> {
        let values: Vec<Vec<f64>> = holds.iter().map(|holds| numbers(holds)).collect();
        let candidates = self.candidates(&values, self.clusters.quantile_of_shares())?;
        let ends = candidates
            .of
            .iter()
            .map(|&i| self.clusters.share_at(&holds[i], candidates.quantile));
        Some(candidates.largest(ends))
    }

    /// The largest of the paired differences of shares `holds[i]` − `holds[from]`, over the i of `of`, its index one of
    /// `holds`; `None` as for [`Resamples::max_mean`].
    ///
    /// Either end of a difference is at least as far off as from the intervals of the shares of queries that were gained
    /// and lost, combined as if they were independent (MOVER, Zou and Donner 2008): where nothing changed,
    /// Wilson's upper end of none of the effective size. That from `from` to itself is 0 for certain.
    ///
    /// Conservative where few queries change: where facts decide alone it then covers 99 to 100 % and is 1.4 to 3.7 times as
    /// wide as an interval that knows the distribution of the difference (95 to 96 % where many change in both directions).
    /// It has to hold no change as well as a small one, and allows for queries that were lost without being seen.
    pub fn max_difference(&self, holds: &[Vec<bool>], from: usize, of: Range<usize>) -> Option<Maximum> {
        let student = self.student()?;
        let before = &holds[from];
        let after = &holds[of.clone()];
        let values: Vec<Vec<f64>> = after
            .iter()
            .map(|after| differences(&numbers(after), &numbers(before)))
            .collect();
        let candidates = self.candidates(&values, student)?;
        let ends = candidates.of.iter().map(|&i| {
            if of.start + i == from {
                return (0.0, 0.0);
            }
            let half = candidates.quantile * candidates.deviations[i].standard_error;
            let difference = candidates.means[i];
            let (below, above) = self.apart(before, &after[i], candidates.quantile);
            (
                (difference - half.max(below)).max(-1.0),
                (difference + half.max(above)).min(1.0),
            )
        });
        let found = candidates.largest(ends);
        Some(Maximum {
            index: of.start + found.index,
            ..found
        })
    }

    // How far the difference of two shares may be below and above what was found, by the intervals of what was gained and
    // what was lost.
    fn apart(&self, before: &[bool], after: &[bool], quantile: f64) -> (f64, f64) {
        let interval = |of: &dyn Fn(bool, bool) -> bool| {
            let holds: Vec<bool> = before
                .iter()
                .zip(after)
                .map(|(&before, &after)| of(before, after))
                .collect();
            let (low, high) = self.clusters.share_at(&holds, quantile);
            let found = share(&holds);
            (found - low, high - found)
        };
        let gained = interval(&|before, after| after && !before);
        let lost = interval(&|before, after| before && !after);
        (gained.0.hypot(lost.1), gained.1.hypot(lost.0))
    }

    /// The 95 % interval of a statistic of weighted queries that is not a mean, as of medians, where most resamples have one: that of
    /// the statistic under each resample's weights (percentile bootstrap). A query's own part counts once for each of its facts,
    /// so that the interval is rather too wide.
    pub fn of_weighted(&self, statistic: impl Fn(&[f64]) -> Option<f64>) -> Option<Interval> {
        self.student()?;
        let weights = |resample: usize| -> Vec<f64> {
            let count = |cluster: &u32| f64::from(self.counts[*cluster as usize * RESAMPLES + resample]);
            let weight = |clusters: &[u32]| (1.0 + clusters.iter().map(count).sum::<f64>()).max(0.0);
            self.clusters.of_each().map(weight).collect()
        };
        let mut found: Vec<f64> = (0..RESAMPLES)
            .filter_map(|resample| statistic(&weights(resample)))
            .collect();
        (found.len() > RESAMPLES / 2).then(|| middle(&mut found))
    }

    // Student's quantile, where there is a variance between clusters.
    fn student(&self) -> Option<f64> {
        self.clusters.vary().then(|| student(self.clusters.degrees()))
    }

    // How far the mean of `values` is off in every resample.
    fn deviations(&self, values: &[f64]) -> Deviations {
        let influence = self.clusters.influence(values);
        let standard_error = influence.variance.sqrt();
        let mut of_resamples = vec![0.0_f64; RESAMPLES];
        for (counts, sum) in self.counts.chunks(RESAMPLES).zip(&influence.sums) {
            for (deviation, count) in of_resamples.iter_mut().zip(counts) {
                *deviation += f64::from(*count) * sum;
            }
        }
        let average = mean(of_resamples.iter().copied());
        let spread = mean(of_resamples.iter().map(|x| (x - average).powi(2))).sqrt();
        // Where no cluster differs from another there is nothing to scale.
        let scale = if spread > 0.0 { standard_error / spread } else { 0.0 };
        for x in &mut of_resamples {
            *x = (*x - average) * scale;
        }
        Deviations {
            of_resamples,
            standard_error,
        }
    }

    // `quantile`: standard errors to either end of an interval of one of them alone.
    fn candidates(&self, values: &[Vec<f64>], quantile: f64) -> Option<Candidates> {
        let means: Vec<f64> = values.iter().map(|values| mean(values.iter().copied())).collect();
        let best = first_largest(&means)?;
        let deviations: Vec<Deviations> = values.iter().map(|values| self.deviations(values)).collect();
        let far = (self.clusters.len() as f64).ln().sqrt();
        let may_be_largest = |i: &usize| {
            let apart = deviations[best].of_resamples.iter().zip(&deviations[*i].of_resamples);
            let error = mean(apart.map(|(a, b)| (a - b).powi(2))).sqrt();
            means[best] - means[*i] <= far * error
        };
        let of: Vec<usize> = (0..means.len()).filter(may_be_largest).collect();
        let mut largest: Vec<f64> = (0..RESAMPLES)
            .map(|resample| {
                let standardized = of.iter().map(|&i| deviations[i].standardized(resample));
                standardized.fold(0.0, f64::max)
            })
            .collect();
        // Never less than for one mean alone: where it does not vary, nothing is to be read off its resamples.
        let quantile = quantile * (at(&mut largest, 0.95) / NORMAL).max(1.0);
        Some(Candidates {
            best,
            means,
            deviations,
            of,
            quantile,
        })
    }
}

// How far a mean is off in every resample, and its standard error.
struct Deviations {
    of_resamples: Vec<f64>,
    standard_error: f64,
}

impl Deviations {
    fn standardized(&self, resample: usize) -> f64 {
        if self.standard_error > 0.0 {
            self.of_resamples[resample].abs() / self.standard_error
        } else {
            0.0
        }
    }
}

// Several means, and which of them may be the largest.
struct Candidates {
    best: usize,
    means: Vec<f64>,
    deviations: Vec<Deviations>,
    of: Vec<usize>,
    // Standard errors to either end of intervals that hold together.
    quantile: f64,
}

impl Candidates {
    fn largest(&self, ends: impl Iterator<Item = Interval>) -> Maximum {
        let (low, high) = ends.fold((f64::NEG_INFINITY, f64::NEG_INFINITY), |(low, high), (l, h)| {
            (low.max(l), high.max(h))
        });
        Maximum {
            index: self.best,
            low,
            high,
        }
    }
}

/// Of atomic facts, which share nothing.
#[cfg(test)]
pub(crate) fn independent(n: u32) -> Resamples {
    let mut graph = crate::graph::Graph::default();
    let facts = (0..n).map(|head| {
        graph.insert(head, 1000, 0);
        crate::graph::Query::new(&[head, 1000], 0, &graph)
    });
    Resamples::new(Clusters::of_queries(&facts.collect::<Vec<_>>()), 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::statistics::independent;

    #[test]
    fn independent_rows_have_the_standard_error_of_the_mean() {
        let values: Vec<f64> = (0..400).map(|i| f64::from(i % 2)).collect();
        let (low, high) = independent(400).mean(&values).unwrap();
        // ± 1.966 × 0.5 / √399
        assert!(
            (low - 0.451).abs() < 5e-3 && (high - 0.549).abs() < 5e-3,
            "{low} {high}"
        );
    }

    #[test]
    fn a_difference_is_paired() {
        let resamples = independent(100);
        let a: Vec<f64> = (0..100).map(|i| f64::from(i * i)).collect();
        let b: Vec<f64> = a.iter().map(|a| a + 1.0).collect();
        let (low, high) = resamples.mean(&differences(&b, &a)).unwrap();
        assert!((low - 1.0).abs() < 1e-9 && (high - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_maximum_is_the_first_of_equals_and_its_interval_is_wider_than_that_of_one_mean() {
        let resamples = independent(200);
        let mut stream = Stream::new(1, "test", 0);
        let noise: Vec<Vec<f64>> = (0..6).map(|_| (0..200).map(|_| stream.normal()).collect()).collect();
        let found = resamples.max_mean(&noise).unwrap();
        let (low, high) = resamples.mean(&noise[found.index]).unwrap();
        assert!(
            found.high - found.low > 1.2 * (high - low),
            "{found:?}, not {low} to {high}"
        );

        let equal = vec![noise[0].clone(), noise[0].clone()];
        let found = resamples.max_mean(&equal).unwrap();
        let (low, high) = resamples.mean(&noise[0]).unwrap();
        assert_eq!(found.index, 0);
        // As wide as one: to be selected among equals costs nothing.
        assert!(
            ((found.high - found.low) / (high - low) - 1.0).abs() < 0.1,
            "{found:?}, not {low} to {high}"
        );
    }

    #[test]
    fn a_difference_of_shares_is_not_certain_where_no_query_changed() {
        let resamples = independent(50);
        let half: Vec<bool> = (0..50).map(|i| i % 2 == 0).collect();
        for holds in [vec![true; 50], vec![false; 50], half.clone()] {
            let found = resamples.max_difference(&[holds.clone(), holds], 0, 1..2).unwrap();
            // Wilson's upper end of 0 of 50 is 0.071.
            assert!(
                (0.07..0.08).contains(&found.high) && found.low == -found.high,
                "{found:?}"
            );
            assert_eq!(found.index, 1);
        }
        // One that changed may have been the only one, or one of several.
        let mut one = half.clone();
        one[1] = true;
        let found = resamples.max_difference(&[half.clone(), one], 0, 1..2).unwrap();
        assert!(found.low < -0.05 && found.high > 0.1, "{found:?}");
        // Of many changes it is the interval of the mean.
        let resamples = independent(400);
        let half: Vec<bool> = (0..400).map(|i| i % 2 == 0).collect();
        let all = vec![true; 400];
        let found = resamples.max_difference(&[half.clone(), all.clone()], 0, 1..2).unwrap();
        let (low, high) = resamples.mean(&differences(&numbers(&all), &numbers(&half))).unwrap();
        assert!(
            (found.low - low).abs() < 0.01 && (found.high - high).abs() < 0.01,
            "{found:?}, not {low} to {high}"
        );
        // From itself to itself.
        let found = resamples.max_difference(&[half], 0, 0..1).unwrap();
        assert_eq!((found.low, found.high), (0.0, 0.0));
    }

    #[test]
    fn what_cannot_be_known_is_none() {
        assert_eq!(independent(0).mean(&[]), None);
        assert_eq!(independent(1).mean(&[3.0]), None);
        assert_eq!(independent(5).max_mean(&[]), None);
        assert_eq!(independent(2).mean(&[3.0, 3.0]), Some((3.0, 3.0)));
        // All right at every layer: Wilson's interval still has a lower end below 1.
        let all = independent(30).max_share(&[vec![true; 30], vec![true; 30]]).unwrap();
        assert!(all.index == 0 && all.low < 0.95 && all.high == 1.0, "{all:?}");
    }
}
