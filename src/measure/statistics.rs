//! Intervals: every number that a user sees comes with how sure it is.

use crate::random::Stream;

/// Resamples of a bootstrap.
const RESAMPLES: usize = 1000;

/// The ends of a 95 % interval.
pub type Interval = (f64, f64);

/// Wilson's 95 % interval of a share of `n` (Wilson 1927); (0, 1) where there is nothing.
pub fn wilson(share: f64, n: usize) -> Interval {
    const Z: f64 = 1.959_964;
    if n == 0 {
        return (0.0, 1.0);
    }
    let n = n as f64;
    let centre = (share + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    ((centre - half).max(0.0), (centre + half).min(1.0))
}

/// The percentile bootstrap's 95 % interval of `statistic` over resamples of the places `0..n`.
pub fn bootstrap(n: usize, stream: &mut Stream, statistic: impl Fn(&[usize]) -> f64) -> Interval {
    if n == 0 {
        return (f64::NAN, f64::NAN);
    }
    let mut places = vec![0; n];
    let mut values: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            places.fill_with(|| stream.below(n));
            statistic(&places)
        })
        .collect();
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values[((RESAMPLES - 1) as f64 * share).round() as usize];
    (at(0.025), at(0.975))
}

/// The mean; NaN of nothing.
pub fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, count) = values
        .into_iter()
        .fold((0.0, 0_usize), |(sum, count), x| (sum + x, count + 1));
    sum / count as f64
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

    #[test]
    fn the_bootstrap_of_a_mean_has_its_standard_error() {
        let values: Vec<f64> = (0..400).map(|i| f64::from(i % 2)).collect();
        let mut stream = Stream::new(1, "test", 0);
        let (low, high) = bootstrap(values.len(), &mut stream, |places| {
            mean(places.iter().map(|&i| values[i]))
        });
        // ± 1.96 × 0.5 / √400 = ± 0.049
        assert!(
            (low - 0.451).abs() < 0.01 && (high - 0.549).abs() < 0.01,
            "{low} {high}"
        );
    }
}
