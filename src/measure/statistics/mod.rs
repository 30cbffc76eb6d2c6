//! Intervals: every number that a user sees comes with how sure it is.
//!
//! The queries of a split are not independent: a few hundred chains are made of a hundred facts, and a fact that the
//! model has not learned fails in every chain that it is part of. An interval that takes the queries for independent
//! is therefore too narrow. [`Clusters`] says which queries share facts, and every interval here counts for it:
//!
//! ```
//! use loopscope::graph::Systematic;
//! use loopscope::measure::statistics::{Clusters, Resamples, differences};
//!
//! let settings = Systematic { entities: 20, relations: 5, out_degree: 5, ood_share: 0.3, held_out: 0.1, phi: 2.0,
//!     test_rows: 200, seed: 1 };
//! let data = settings.generate()?;
//! let queries = data.split("test_inferred_ood")?;
//!
//! // Once for each set of queries; a share of them needs no more than this.
//! let clusters = Clusters::of_queries(queries);
//! let right: Vec<bool> = queries.iter().map(|query| query.target % 2 == 0).collect();
//! let (low, high) = clusters.share(&right);
//! println!("95 % interval ({}): {low:.3} to {high:.3}", clusters.clustering());
//!
//! // Everything else is resampled; draw once, and use the resamples for all layers, iterations and splits' cells.
//! let resamples = Resamples::new(clusters, 1);
//! let first: Vec<f64> = queries.iter().map(|query| f64::from(query.target)).collect();
//! let second: Vec<f64> = first.iter().map(|x| x / 2.0).collect();
//! resamples.mean(&first); // the mean of a value of every query
//! resamples.ratio(&second, &first); // the ratio of two sums over the same queries
//! resamples.mean(&differences(&first, &second)); // the paired difference of two means
//! resamples.max_mean(&[first, second]); // the largest of several means, its selection included
//! let other: Vec<bool> = queries.iter().map(|query| query.target % 3 == 0).collect();
//! resamples.max_difference(&[right, other], 0, 1..2); // the paired difference of two shares
//! # Ok::<(), loopscope::Error>(())
//! ```
//!
//! `coverage/` measures the coverage of these intervals on data with known effects: of facts that make an answer likelier, and
//! of facts that decide alone. Facts are taken as exchangeable. What all facts of one entity or of one relation have in common
//! is not counted, and where an entity or a relation decides alone the intervals are too narrow. `components.rs` says why
//! they are not those of the pigeonhole bootstrap (Owen 2007), which are too wide.

mod clusters;
mod components;
#[cfg(test)]
mod coverage;
mod decisive;
mod quantile;
mod ranks;
mod resamples;
pub mod seeds;
mod survival;

pub use clusters::{Clustering, Clusters};
pub use ranks::spearman;
#[cfg(test)]
pub(crate) use resamples::independent;
pub use resamples::{Maximum, Resamples};
pub use survival::{LogRank, Observation, Permutation, SurvivalStep, kaplan_meier, log_rank, median_time};

pub(super) use self::quantile::weighted_median;

use self::quantile::NORMAL;

/// The ends of a 95 % interval.
pub type Interval = (f64, f64);

/// Wilson's 95 % interval of a share of `n` independent rows (Wilson 1927); (0, 1) where there are none.
pub fn wilson(share: f64, n: usize) -> Interval {
    score_interval(share, n as f64, NORMAL)
}

// Wilson's interval of a share of `n` effective rows at another quantile than the normal one.
fn score_interval(share: f64, n: f64, z: f64) -> Interval {
    if n <= 0.0 {
        return (0.0, 1.0);
    }
    let centre = (share + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let half = z / (1.0 + z * z / n) * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    ((centre - half).max(0.0), (centre + half).min(1.0))
}

/// The median of values of which there is at least one (of an even number the upper of the two in the middle); sorts them.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The mean; NaN of nothing.
pub fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, count) = values
        .into_iter()
        .fold((0.0, 0_usize), |(sum, count), x| (sum + x, count + 1));
    sum / count as f64
}

/// The share of queries for which something holds; NaN of none.
pub fn share(holds: &[bool]) -> f64 {
    mean(numbers(holds))
}

/// 1 where something holds, else 0.
pub fn numbers(holds: &[bool]) -> Vec<f64> {
    holds.iter().map(|&holds| f64::from(u8::from(holds))).collect()
}

/// The paired differences of two values of the same queries.
pub fn differences(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

/// The place of the largest, the first of equals; NaN is never the largest of several.
pub(super) fn first_largest(numbers: &[f64]) -> Option<usize> {
    (0..numbers.len()).reduce(|best, i| if numbers[i] > numbers[best] { i } else { best })
}

/// What the intervals of a result count for, in words: `95 % intervals (clustered by fact)`; where splits differ, which
/// does what.
pub fn intervals_in_words(of_splits: impl IntoIterator<Item = (String, Clustering)>) -> String {
    let mut groups: Vec<(Clustering, Vec<String>)> = Vec::new();
    for (split, clustering) in of_splits {
        match groups.iter_mut().find(|(known, _)| *known == clustering) {
            Some((_, splits)) if splits.contains(&split) => {}
            Some((_, splits)) => splits.push(split),
            None => groups.push((clustering, vec![split])),
        }
    }
    let words = match groups.as_slice() {
        [] => return "95 % intervals".to_owned(),
        [(one, _)] => one.words().to_owned(),
        several => {
            let group =
                |(clustering, splits): &(Clustering, Vec<String>)| format!("{clustering}: {}", splits.join(", "));
            several.iter().map(group).collect::<Vec<_>>().join("; ")
        }
    };
    format!("95 % intervals ({words})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_agrees_with_a_published_example() {
        // 10 of 20: 0.299 to 0.701 (Newcombe 1998, method 3).
        let (low, high) = wilson(0.5, 20);
        assert!(
            (low - 0.299).abs() < 1e-3 && (high - 0.701).abs() < 1e-3,
            "{low} {high}"
        );
        let (low, high) = wilson(0.0, 50);
        assert!(low == 0.0 && high > 0.05);
    }
}
