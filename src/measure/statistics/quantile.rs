//! Quantiles at 95 %: of the normal and of Student's distribution, and of a sample.

use super::Interval;

/// The normal distribution's 0.975 quantile.
pub(super) const NORMAL: f64 = 1.959_964;

/// The 0.975 quantile of Student's t distribution with `degrees` of freedom (at least 1).
///
/// Exact for 1 and 2; from 3 on by the expansion of Abramowitz and Stegun (1964), 26.7.5, which is off by less than
/// 0.3 % there.
pub(super) fn student(degrees: usize) -> f64 {
    const Z: f64 = NORMAL;
    match degrees {
        0 | 1 => 12.706_205,
        2 => 4.302_653,
        _ => {
            let n = degrees as f64;
            let terms = [
                (Z.powi(3) + Z) / 4.0,
                (5.0 * Z.powi(5) + 16.0 * Z.powi(3) + 3.0 * Z) / 96.0,
                (3.0 * Z.powi(7) + 19.0 * Z.powi(5) + 17.0 * Z.powi(3) - 15.0 * Z) / 384.0,
                (79.0 * Z.powi(9) + 776.0 * Z.powi(7) + 1482.0 * Z.powi(5) - 1920.0 * Z.powi(3) - 945.0 * Z) / 92_160.0,
            ];
            Z + terms.iter().rev().fold(0.0, |sum, term| (sum + term) / n)
        }
    }
}

/// The 0.025 and 0.975 quantiles of a sample that is not empty; sorts it.
pub(super) fn middle(values: &mut [f64]) -> Interval {
    (at(values, 0.025), at(values, 0.975))
}

/// The quantile of a sample that is not empty; sorts it.
pub(super) fn at(values: &mut [f64], share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share).round() as usize]
}

/// The median of weighted values: the smallest with half of all weight at or below it, absent values taken for larger than any;
/// `None` where the half lies among the absent ones.
pub(crate) fn weighted_median(values: &[Option<f64>], weights: &[f64]) -> Option<f64> {
    let mut known: Vec<(f64, f64)> = values
        .iter()
        .zip(weights)
        .filter_map(|(value, weight)| Some(((*value)?, *weight)))
        .collect();
    known.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let half = 0.5 * weights.iter().sum::<f64>();
    let mut weight_so_far = 0.0;
    known.into_iter().find_map(|(value, weight)| {
        weight_so_far += weight;
        (weight_so_far >= half).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::{student, weighted_median};

    #[test]
    fn the_median_counts_absent_values_as_the_largest() {
        let values = [Some(4.0), None, Some(1.0), Some(2.0)];
        assert_eq!(weighted_median(&values, &[1.0; 4]), Some(2.0));
        assert_eq!(weighted_median(&values, &[1.0, 1.0, 0.5, 0.0]), Some(4.0));
        assert_eq!(weighted_median(&values, &[1.0, 5.0, 1.0, 1.0]), None);
        assert_eq!(weighted_median(&[], &[]), None);
    }

    #[test]
    fn student_s_quantiles_are_those_of_the_tables() {
        let table = [
            (1, 12.706),
            (2, 4.303),
            (3, 3.182),
            (5, 2.571),
            (10, 2.228),
            (30, 2.042),
            (100, 1.984),
        ];
        for (degrees, expected) in table {
            let found = student(degrees);
            assert!(
                (found / expected - 1.0).abs() < 3e-3,
                "{degrees}: {found}, not {expected}"
            );
        }
    }
}
