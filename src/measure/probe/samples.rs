//! States with their labels, and the shares of the classes.

use ndarray::{Array1, Array2, s};

/// The score of a class that was never seen: it never wins.
pub(super) const NEVER: f64 = -1e9;

/// States with their labels `0..classes`; x `[n, features]`.
#[derive(Debug, Clone)]
pub(super) struct Samples {
    pub(super) x: Array2<f64>,
    pub(super) y: Vec<usize>,
}

impl Samples {
    /// The samples at these places.
    pub(super) fn rows(&self, range: std::ops::Range<usize>) -> Self {
        Self {
            x: self.x.slice(s![range.clone(), ..]).to_owned(),
            y: self.y[range].to_vec(),
        }
    }
}

/// How often each label of `0..classes` occurs.
pub(super) fn counts(labels: &[usize], classes: usize) -> Array1<f64> {
    let mut counts = Array1::zeros(classes);
    for &label in labels {
        counts[label] += 1.0;
    }
    counts
}

/// The logarithm of the share of a class with `count` of `n` samples.
pub(super) fn log_share(count: f64, n: f64) -> f64 {
    if count > 0.0 { (count / n).ln() } else { NEVER }
}
