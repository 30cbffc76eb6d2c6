//! What the effect of a transplant depends on: the source's iteration, the base's, and the iterations left.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::measure::quantity::{Quantity, quantities};
use crate::measure::statistics::{Interval, Resamples, mean};

/// Shares of the variance of the mean probability of the source's answer over (i, j, iterations left) that groups of cells
/// explain: 1 − (variance within groups) / (variance). i: the source's iteration; j: the base's. A share that is near 1
/// without one of the three says that it makes no difference (1 minus it is its total-effect index, Homma and Saltelli
/// 1996). Answers are read after every iteration of the run; cells are those with i from 0 to all R iterations of the
/// run, j and iterations left from 1 to R − 1. Intervals are to first order in the means: near 1 they are somewhat narrow.
/// All absent with fewer than three iterations, or where no cell differs from another.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Explained {
    /// Standard deviation of that probability over the cells: how much there is to explain.
    pub deviation: Option<f64>,
    /// Share explained by i and the iterations left: 1 where the iteration of the base makes no difference.
    pub by_source_and_left: Option<f64>,
    /// The lower end of its 95 % interval, as for all that follow; absent where no two queries differ in their facts.
    pub by_source_and_left_low: Option<f64>,
    /// The upper end of that interval.
    pub by_source_and_left_high: Option<f64>,
    /// Share explained by j and the iterations left: 1 where the iteration that the state is from makes no difference.
    pub by_base_and_left: Option<f64>,
    /// The lower end of that interval.
    pub by_base_and_left_low: Option<f64>,
    /// The upper end of that interval.
    pub by_base_and_left_high: Option<f64>,
    /// Share explained by i and j: 1 where the number of iterations left makes no difference.
    pub by_source_and_base: Option<f64>,
    /// The lower end of that interval.
    pub by_source_and_base_low: Option<f64>,
    /// The upper end of that interval.
    pub by_source_and_base_high: Option<f64>,
    /// Share explained by the depth of the state alone: i plus the iterations left.
    pub by_depth: Option<f64>,
    /// The lower end of that interval.
    pub by_depth_low: Option<f64>,
    /// The upper end of that interval.
    pub by_depth_high: Option<f64>,
}

impl Explained {
    /// Its fields.
    pub(super) const QUANTITIES: &'static [Quantity] = quantities![
        of deviation, share by_source_and_left within by_source_and_left_low by_source_and_left_high,
        share by_base_and_left within by_base_and_left_low by_base_and_left_high,
        share by_source_and_base within by_source_and_base_low by_source_and_base_high,
        share by_depth within by_depth_low by_depth_high,
    ];
}

/// One (i, j, iterations left), at one position.
pub(super) struct Cell {
    /// Iterations of the source that made the state.
    pub(super) source: usize,
    /// The iteration of the base that it is put in before, from 1.
    pub(super) base: usize,
    /// Iterations after which the answer is read, from 1.
    pub(super) left: usize,
    /// The probability of the source's answer, of each pair.
    pub(super) values: Vec<f64>,
}

/// What the cells of one position depend on.
pub(super) fn explained(cells: &[Cell], resamples: &Resamples) -> Explained {
    let iterations = cells.iter().map(|cell| cell.base).max().unwrap_or(0);
    let is_compared = |cell: &&Cell| cell.base < iterations && cell.left < iterations;
    let cells: Vec<&Cell> = cells.iter().filter(is_compared).collect();
    let means: Vec<f64> = cells.iter().map(|cell| mean(cell.values.iter().copied())).collect();
    let total = squares(&means, mean(means.iter().copied()));
    // Probabilities that differ in rounding alone do not differ.
    if iterations < 3 || total < 1e-12 {
        return Explained::default();
    }
    let share = |key: fn(&Cell) -> (usize, usize)| share_explained(&cells, &means, key, resamples);
    let (by_source_and_left, source_and_left) = share(|cell| (cell.source, cell.left));
    let (by_base_and_left, base_and_left) = share(|cell| (cell.base, cell.left));
    let (by_source_and_base, source_and_base) = share(|cell| (cell.source, cell.base));
    let (by_depth, depth) = share(|cell| (cell.source + cell.left, 0));
    let low = |interval: Option<Interval>| interval.map(|(low, _)| low);
    let high = |interval: Option<Interval>| interval.map(|(_, high)| high);
    Explained {
        deviation: Some((total / means.len() as f64).sqrt()),
        by_source_and_left: Some(by_source_and_left),
        by_source_and_left_low: low(source_and_left),
        by_source_and_left_high: high(source_and_left),
        by_base_and_left: Some(by_base_and_left),
        by_base_and_left_low: low(base_and_left),
        by_base_and_left_high: high(base_and_left),
        by_source_and_base: Some(by_source_and_base),
        by_source_and_base_low: low(source_and_base),
        by_source_and_base_high: high(source_and_base),
        by_depth: Some(by_depth),
        by_depth_low: low(depth),
        by_depth_high: high(depth),
    }
}

fn squares(values: &[f64], about: f64) -> f64 {
    values.iter().map(|value| (value - about).powi(2)).sum()
}

// The share of the variance of the cells' means that cells of one key have in common, with its interval: that of the mean
// over pairs of the share's first-order change with each pair (the delta method).
fn share_explained(
    cells: &[&Cell],
    means: &[f64],
    key: fn(&Cell) -> (usize, usize),
    resamples: &Resamples,
) -> (f64, Option<Interval>) {
    let mut groups: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
    for (index, cell) in cells.iter().enumerate() {
        groups.entry(key(cell)).or_default().push(index);
    }
    let overall = mean(means.iter().copied());
    let mut of_group = vec![0.0; means.len()];
    for group in groups.values() {
        let average = mean(group.iter().map(|&index| means[index]));
        for &index in group {
            of_group[index] = average;
        }
    }
    let total = squares(means, overall);
    let within: f64 = means.iter().zip(&of_group).map(|(x, group)| (x - group).powi(2)).sum();
    let share = 1.0 - within / total;
    let gradient = |index: usize| {
        let (x, group) = (means[index], of_group[index]);
        2.0 * (within / total * (x - overall) - (x - group)) / total
    };
    let gradients: Vec<f64> = (0..cells.len()).map(gradient).collect();
    let pairs = cells.first().map_or(0, |cell| cell.values.len());
    let influence = |pair: usize| {
        let of_cells = cells.iter().zip(means).zip(&gradients);
        of_cells
            .map(|((cell, mean), gradient)| gradient * (cell.values[pair] - mean))
            .sum()
    };
    let influences: Vec<f64> = (0..pairs).map(influence).collect();
    let interval = resamples.mean(&influences);
    let at = |end: f64| (share + end).clamp(0.0, 1.0);
    (share, interval.map(|(low, high)| (at(low), at(high))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::statistics::independent;

    // The cells of a run of four iterations whose mean probability is `of` (i, j, left); half of the pairs have `noise` times
    // more, the others less.
    fn cells(noise: f64, of: impl Fn(f64, f64, f64) -> f64) -> Vec<Cell> {
        let mut cells = Vec::new();
        for source in 0..=4 {
            for base in 1..=4 {
                for left in 1..=5 - base {
                    let value = of(source as f64, base as f64, left as f64);
                    let values = (0..40).map(|pair| value * (1.0 + if pair % 2 == 0 { noise } else { -noise }));
                    cells.push(Cell {
                        source,
                        base,
                        left,
                        values: values.collect(),
                    });
                }
            }
        }
        cells
    }

    #[test]
    fn what_makes_no_difference_is_not_needed_to_explain() {
        let shares = |of: fn(f64, f64, f64) -> f64| {
            let found = explained(&cells(0.0, of), &independent(40));
            [
                found.by_source_and_left,
                found.by_base_and_left,
                found.by_source_and_base,
                found.by_depth,
            ]
            .map(|share| (1e6 * share.unwrap()).round() / 1e6)
        };
        // Of the 40 cells, j and left are 1 to 3 but not both 3.
        let of_depth = shares(|i, _, left| (i + left) / 10.0);
        assert_eq!((of_depth[0], of_depth[3]), (1.0, 1.0));
        let of_base = shares(|_, j, _| j / 10.0);
        assert_eq!((of_base[1], of_base[2]), (1.0, 1.0));
        // With i and left given, j is 1 to 3 where left is 1 or 2 (squares about the mean: 2 each), and 1 or 2 where it is 3 (½);
        // of all eight j of one i the squares are 33 − 15² / 8.
        assert!(
            (of_base[0] - (1.0 - 4.5 / (33.0 - 225.0 / 8.0))).abs() < 1e-6,
            "{of_base:?}"
        );
        let of_source = shares(|i, _, _| i / 10.0);
        assert_eq!(of_source[..3], [1.0, 0.0, 1.0]);
    }

    #[test]
    fn a_share_has_an_interval_and_nothing_explains_what_does_not_differ() {
        let found = explained(&cells(0.3, |i, j, left| (i + j * left) / 30.0), &independent(40));
        let share = found.by_source_and_left.unwrap();
        let (low, high) = (
            found.by_source_and_left_low.unwrap(),
            found.by_source_and_left_high.unwrap(),
        );
        // All pairs have the same shares: they differ in size alone, which leaves the share as it is.
        assert!((high - low).abs() < 1e-9 && (share - low).abs() < 1e-9, "{found:?}");
        let mut cells = cells(0.0, |i, j, left| (i + j * left) / 30.0);
        for cell in &mut cells {
            let base = cell.base as f64;
            for (pair, value) in cell.values.iter_mut().enumerate() {
                *value += base * (pair % 4) as f64 / 100.0;
            }
        }
        let found = explained(&cells, &independent(40));
        let share = found.by_source_and_left.unwrap();
        let (low, high) = (
            found.by_source_and_left_low.unwrap(),
            found.by_source_and_left_high.unwrap(),
        );
        assert!(low < share && share < high, "{found:?}");
        assert_eq!(
            explained(&self::cells(0.3, |_, _, _| 0.0), &independent(40)),
            Explained::default()
        );
    }
}
