//! The largest number of a line of a table (over effective layers or iterations), and what is lost after it.

use serde::{Deserialize, Serialize};

use super::quantity::{Quantity, quantities};
use super::statistics::{Maximum, Resamples, differences, first_largest, mean, share};

/// Whether a row has the largest number of its line, and how sure that maximum is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Largest {
    /// Whether this is the row with the largest number; the first of equals.
    pub is_max: bool,
    /// In that row: the 95 % interval of the maximum, which counts for its having been selected (the row's own interval does
    /// not).
    pub max_low: Option<f64>,
    /// The upper end of that interval.
    pub max_high: Option<f64>,
}

/// What is lost from the largest number of a line to its last, in the row that has the largest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Fall {
    /// The maximum minus the number after the most iterations.
    pub fall: Option<f64>,
    /// The 95 % interval of that paired difference, which counts for the selection.
    pub fall_low: Option<f64>,
    /// The upper end of that interval.
    pub fall_high: Option<f64>,
}

/// The rows whose number is at least `min`, for a table that would be too long with all; where there is none, the first with the
/// largest.
pub(super) fn large_rows<R>(rows: &[R], min: f64, number: impl Fn(&R) -> f64) -> Vec<&R> {
    let found: Vec<&R> = rows.iter().filter(|row| number(row) >= min).collect();
    if !found.is_empty() {
        return found;
    }
    let numbers: Vec<f64> = rows.iter().map(&number).collect();
    first_largest(&numbers).map(|index| &rows[index]).into_iter().collect()
}

impl Largest {
    /// Its fields.
    pub(super) const QUANTITIES: &'static [Quantity] = quantities![of_line is_max within max_low max_high];

    /// Of a row that is alone in its line, with its own interval.
    pub(super) fn alone(low: f64, high: f64) -> Self {
        Self {
            is_max: true,
            max_low: Some(low),
            max_high: Some(high),
        }
    }

    /// For each share of a line, over the same queries.
    pub(super) fn of_shares(line: &[Vec<bool>], resamples: &Resamples) -> Vec<Self> {
        let shares: Vec<f64> = line.iter().map(|holds| share(holds)).collect();
        Self::of_line(&shares, resamples.max_share(line))
    }

    /// For each mean of a line, over the same queries.
    pub(super) fn of_means(line: &[Vec<f64>], resamples: &Resamples) -> Vec<Self> {
        let means: Vec<f64> = line.iter().map(|values| mean(values.iter().copied())).collect();
        Self::of_line(&means, resamples.max_mean(line))
    }

    fn of_line(numbers: &[f64], maximum: Option<Maximum>) -> Vec<Self> {
        let mut line = vec![Self::default(); numbers.len()];
        if let Some(index) = first_largest(numbers) {
            line[index] = Self {
                is_max: true,
                max_low: maximum.map(|maximum| maximum.low),
                max_high: maximum.map(|maximum| maximum.high),
            };
        }
        line
    }
}

impl Fall {
    /// Its fields.
    pub(super) const QUANTITIES: &'static [Quantity] = quantities![of_line fall within fall_low fall_high];

    /// For each mean of a line, over the same queries.
    pub(super) fn of_means(line: &[Vec<f64>], resamples: &Resamples) -> Vec<Self> {
        let mut falls = vec![Self::default(); line.len()];
        let Some(last) = line.last() else {
            return falls;
        };
        let means: Vec<f64> = line.iter().map(|values| mean(values.iter().copied())).collect();
        let above_last: Vec<Vec<f64>> = line.iter().map(|values| differences(values, last)).collect();
        let interval = resamples.max_mean(&above_last);
        if let Some(index) = first_largest(&means) {
            falls[index] = Self {
                fall: Some(means[index] - means[means.len() - 1]),
                fall_low: interval.map(|found| found.low),
                fall_high: interval.map(|found| found.high),
            };
        }
        falls
    }

    /// For each share of a line, over the same queries.
    pub(super) fn of_shares(line: &[Vec<bool>], resamples: &Resamples) -> Vec<Self> {
        let mut falls = vec![Self::default(); line.len()];
        let shares: Vec<f64> = line.iter().map(|holds| share(holds)).collect();
        if let Some(index) = first_largest(&shares) {
            let last = line.len() - 1;
            let interval = resamples.max_difference(line, last, 0..line.len());
            falls[index] = Self {
                fall: Some(shares[index] - shares[last]),
                fall_low: interval.map(|found| found.low),
                fall_high: interval.map(|found| found.high),
            };
        }
        falls
    }
}

#[cfg(test)]
mod tests {
    use super::super::statistics::independent;
    use super::*;

    // Right for the first n of 40.
    fn first(n: usize) -> Vec<bool> {
        (0..40).map(|i| i < n).collect()
    }

    #[test]
    fn the_first_of_the_largest_has_the_interval_of_the_maximum() {
        let line = [first(10), first(30), first(30), first(20)];
        let found = Largest::of_shares(&line, &independent(40));
        let maxima: Vec<bool> = found.iter().map(|largest| largest.is_max).collect();
        assert_eq!(maxima, [false, true, false, false]);
        let (low, high) = (found[1].max_low.unwrap(), found[1].max_high.unwrap());
        assert!(low < 0.75 && 0.75 < high && low > 0.5, "{low} {high}");
        assert_eq!((found[0].max_low, found[3].max_high), (None, None));
    }

    #[test]
    fn a_fall_is_paired_and_never_below_0() {
        let line = [first(10), first(30), first(24)];
        let found = Fall::of_shares(&line, &independent(40));
        let fall = found[1];
        assert!((fall.fall.unwrap() - 0.15).abs() < 1e-9);
        // Six of 40 lost: unpaired, ± 0.2.
        assert!(
            fall.fall_low.unwrap() > 0.0 && fall.fall_high.unwrap() < 0.3,
            "{fall:?}"
        );
        assert_eq!(found[0], Fall::default());
        // The last is the largest: nothing is lost.
        let rising = Fall::of_shares(&line[..2], &independent(40));
        assert_eq!((rising[1].fall, rising[1].fall_low), (Some(0.0), Some(0.0)));
    }
}
