//! Intervals over seeds: the unit is a run, drawn anew with its seed, and not a row of its test set.
//!
//! A handful of runs is a small sample. The percentile bootstrap of a mean of 3 to 5 values covers 75 to 83 % and not 95
//! (`coverage/seeds.rs`: resamples of n values have a standard deviation that is √((n − 1) / n) too small, and the normal's tails
//! where Student's are needed), and BCa (Efron 1987) no more. Below [`MIN_BOOTSTRAP`] seeds the interval is therefore Student's; from
//! there on that of the bootstrap with its deviations scaled to Student's t, as of every other mean here, which is asymmetric where
//! the runs are. Where runs either learn a thing or do not, no interval of few seeds is safe: where all seeds agree it has no width.

use super::clusters::Clusters;
use super::quantile::student;
use super::resamples::Resamples;
use super::{Interval, mean};

/// Seeds from which on means are resampled.
pub const MIN_BOOTSTRAP: usize = 10;

/// Intervals of means over `n` seeds.
pub struct OverSeeds {
    n: usize,
    resamples: Option<Resamples>,
}

impl OverSeeds {
    /// For `n` seeds; `seed` is that of the bootstrap.
    pub fn new(n: usize, seed: u64) -> Self {
        let resamples = (n >= MIN_BOOTSTRAP).then(|| Resamples::new(Clusters::independent(n), seed));
        Self { n, resamples }
    }

    /// The 95 % interval of the mean of a value of each seed; `None` of fewer than two, or of another number of values.
    pub fn mean(&self, values: &[f64]) -> Option<Interval> {
        if values.len() != self.n || self.n < 2 {
            return None;
        }
        if let Some(resamples) = &self.resamples {
            return resamples.mean(values);
        }
        let (centre, half) = (
            mean(values.iter().copied()),
            student(self.n - 1) * standard_error(values),
        );
        Some((centre - half, centre + half))
    }

    /// What the interval is, in words.
    pub fn words(&self) -> String {
        format!("95 % over {} seeds, {}", self.n, method(self.n))
    }
}

/// How means over this number of seeds have their intervals.
pub fn method(n: usize) -> &'static str {
    if n < MIN_BOOTSTRAP {
        "Student's t"
    } else {
        "bootstrap scaled to Student's t"
    }
}

/// The 95 % interval of the difference of the means of two sets of seeds that are not paired, the first less the second (Welch 1947,
/// degrees of freedom rounded down); `None` where one has fewer than two.
pub fn unpaired_difference(first: &[f64], second: &[f64]) -> Option<Interval> {
    if first.len() < 2 || second.len() < 2 {
        return None;
    }
    let variance = |values: &[f64]| standard_error(values).powi(2);
    let (a, b) = (variance(first), variance(second));
    let freedom = |values: &[f64]| (values.len() - 1) as f64;
    let degrees = (a + b).powi(2) / (a * a / freedom(first) + b * b / freedom(second));
    // Neither varies: any number would do.
    let degrees = if degrees.is_finite() { degrees as usize } else { 1 };
    let centre = mean(first.iter().copied()) - mean(second.iter().copied());
    let half = student(degrees.max(1)) * (a + b).sqrt();
    Some((centre - half, centre + half))
}

fn standard_error(values: &[f64]) -> f64 {
    let (n, centre) = (values.len() as f64, mean(values.iter().copied()));
    let squares: f64 = values.iter().map(|x| (x - centre).powi(2)).sum();
    (squares / (n - 1.0) / n).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_seeds_have_student_s_interval_and_many_the_bootstrap_s_of_about_that_width() {
        // 1, 2, 3: 2 ± 4.302653 / √3.
        let (low, high) = OverSeeds::new(3, 1).mean(&[1.0, 2.0, 3.0]).unwrap();
        assert!((low - (2.0 - 2.484_138)).abs() < 1e-5 && (high - 4.484_138).abs() < 1e-5);
        assert_eq!(OverSeeds::new(1, 1).mean(&[1.0]), None);
        assert_eq!(OverSeeds::new(4, 1).mean(&[0.5; 4]), Some((0.5, 0.5)));
        let values: Vec<f64> = (0..12).map(f64::from).collect();
        let half = student(11) * standard_error(&values);
        let (low, high) = OverSeeds::new(12, 1).mean(&values).unwrap();
        assert!(((high - low) / (2.0 * half) - 1.0).abs() < 0.1, "{low} {high} {half}");
    }

    #[test]
    fn an_unpaired_difference_has_welch_s_interval() {
        // Variances 1 and 4 of 3 and 3: degrees (1/3 + 4/3)² / ((1/9 + 16/9) / 2) = 2.94, rounded down to 2.
        let (low, high) = unpaired_difference(&[1.0, 2.0, 3.0], &[0.0, 2.0, 4.0]).unwrap();
        let half = 4.302_653 * (5.0_f64 / 3.0).sqrt();
        assert!((low + half).abs() < 1e-5 && (high - half).abs() < 1e-5, "{low} {high}");
        assert_eq!(unpaired_difference(&[1.0], &[1.0, 2.0]), None);
        assert_eq!(unpaired_difference(&[1.0, 1.0], &[0.5, 0.5]), Some((0.5, 0.5)));
    }
}
