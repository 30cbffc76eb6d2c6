//! The log-rank test: do the groups' events come at the same rate?

use serde::{Deserialize, Serialize};

use super::{Observation, distinct_times};
use crate::random::Stream;

/// Relabelings up to which all are tried.
const MAX_EXACT: f64 = 100_000.0;
/// Relabelings that are drawn where there are more.
const DRAWN: usize = 9_999;

/// The log-rank test of the hypothesis that the times of all groups have one distribution (Mantel 1966; Peto and Peto 1972).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogRank {
    /// (O − E)ᵀ V⁻¹ (O − E), over all groups but one.
    pub chi_squared: f64,
    /// The rank of V: the number of groups minus 1, less where a group is never at risk at an event of the others.
    pub degrees: usize,
    /// The upper tail of the χ² distribution: an approximation for many units.
    pub p: f64,
    /// Events of each group.
    pub observed: Vec<usize>,
    /// Events that each group would be expected to have.
    pub expected: Vec<f64>,
    /// The permutation test of the same statistic, which needs no approximation.
    pub permutation: Permutation,
}

/// The share of relabelings of the units, all as likely where the group makes no difference, with a statistic at least as large.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Permutation {
    /// That share; where relabelings are drawn, with the units' own labels among them.
    pub p: f64,
    /// Relabelings that were tried.
    pub relabelings: usize,
    /// Whether these are all that there are.
    pub exact: bool,
}

/// Compares groups of observations; relabelings are drawn under `seed` where there are too many to try all. `None` with fewer
/// than two groups that have any, or without an event at which two groups are at risk.
pub fn log_rank(groups: &[Vec<Observation>], seed: u64) -> Option<LogRank> {
    let units: Vec<Observation> = groups.iter().flatten().copied().collect();
    let labels: Vec<usize> = (groups.iter().enumerate())
        .flat_map(|(label, group)| std::iter::repeat_n(label, group.len()))
        .collect();
    let table = Table::new(&units);
    let found = table.statistic(&labels, groups.len());
    if found.degrees == 0 {
        return None;
    }
    let (observed, expected) = (found.observed.iter().map(|&x| x as usize).collect(), found.expected);
    let at_least = |labels: &[usize]| {
        // Statistics that are equal may differ by rounding.
        table.statistic(labels, groups.len()).chi_squared >= found.chi_squared * (1.0 - 1e-9) - 1e-12
    };
    Some(LogRank {
        chi_squared: found.chi_squared,
        degrees: found.degrees,
        p: chi_squared_tail(found.chi_squared, found.degrees),
        observed,
        expected,
        permutation: permutation(labels, at_least, seed),
    })
}

fn permutation(labels: Vec<usize>, at_least: impl Fn(&[usize]) -> bool, seed: u64) -> Permutation {
    let mut labels = labels;
    if relabelings(&labels) <= MAX_EXACT {
        let (mut extreme, mut all) = (0_usize, 0_usize);
        loop {
            all += 1;
            extreme += usize::from(at_least(&labels));
            if !next_relabeling(&mut labels) {
                break;
            }
        }
        return Permutation {
            p: extreme as f64 / all as f64,
            relabelings: all,
            exact: true,
        };
    }
    let mut stream = Stream::new(seed, "log-rank relabelings", 0);
    let extreme = (0..DRAWN)
        .filter(|_| {
            stream.shuffle(&mut labels);
            at_least(&labels)
        })
        .count();
    Permutation {
        p: (extreme + 1) as f64 / (DRAWN + 1) as f64,
        relabelings: DRAWN,
        exact: false,
    }
}

// The number of distinct orders of labels, which are sorted.
fn relabelings(labels: &[usize]) -> f64 {
    let log_factorial = |n: usize| libm::lgamma(n as f64 + 1.0);
    let groups = labels.chunk_by(|a, b| a == b);
    let log = log_factorial(labels.len()) - groups.map(|group| log_factorial(group.len())).sum::<f64>();
    libm::exp(log).round()
}

// The next distinct order in lexicographic order; false after the last.
fn next_relabeling(labels: &mut [usize]) -> bool {
    let Some(rise) = (1..labels.len()).rev().find(|&i| labels[i - 1] < labels[i]) else {
        return false;
    };
    let pivot = rise - 1;
    let Some(larger) = (rise..labels.len()).rev().find(|&i| labels[i] > labels[pivot]) else {
        return false;
    };
    labels.swap(pivot, larger);
    labels[rise..].reverse();
    true
}

// The units at each time of an event: those at risk, and those with the event.
struct Table {
    rows: Vec<(Vec<usize>, Vec<usize>)>,
}

struct Statistic {
    chi_squared: f64,
    degrees: usize,
    observed: Vec<f64>,
    expected: Vec<f64>,
}

impl Table {
    fn new(units: &[Observation]) -> Self {
        let of = |holds: &dyn Fn(&Observation) -> bool| -> Vec<usize> {
            let found = units.iter().enumerate().filter(|(_, unit)| holds(unit));
            found.map(|(i, _)| i).collect()
        };
        let rows = distinct_times(units).into_iter().map(|time| {
            let at_risk = of(&|unit| unit.time >= time);
            (at_risk, of(&|unit| unit.time == time && unit.happened))
        });
        Self {
            rows: rows.filter(|(_, events)| !events.is_empty()).collect(),
        }
    }

    // With units of these labels, from 0 to below `groups`.
    fn statistic(&self, labels: &[usize], groups: usize) -> Statistic {
        let mut observed = vec![0.0; groups];
        let mut expected = vec![0.0; groups];
        let mut variance = vec![vec![0.0; groups]; groups];
        for (at_risk, events) in &self.rows {
            let mut shares = vec![0.0; groups];
            for &unit in at_risk {
                shares[labels[unit]] += 1.0 / at_risk.len() as f64;
            }
            for &unit in events {
                observed[labels[unit]] += 1.0;
            }
            let (n, d) = (at_risk.len() as f64, events.len() as f64);
            // Of the hypergeometric distribution: events that come at once are drawn without replacement.
            let ties = if n > 1.0 { d * (n - d) / (n - 1.0) } else { 0.0 };
            for (a, share) in shares.iter().enumerate() {
                expected[a] += d * share;
                for (b, other) in shares.iter().enumerate() {
                    let same = f64::from(u8::from(a == b));
                    variance[a][b] += ties * share * (same - other);
                }
            }
        }
        let apart = observed.iter().zip(&expected).map(|(o, e)| o - e).collect();
        let (chi_squared, degrees) = quadratic_form(variance, apart);
        Statistic {
            chi_squared,
            degrees,
            observed,
            expected,
        }
    }
}

// xᵀ A⁻ x and the rank of A, positive semidefinite with x in its range, by elimination: rows without a pivot are left out. The rows
// of the last group are the negative sums of the others', and so never have one.
fn quadratic_form(mut a: Vec<Vec<f64>>, mut x: Vec<f64>) -> (f64, usize) {
    let scale = (0..x.len()).map(|i| a[i][i]).fold(0.0, f64::max);
    let (mut form, mut rank) = (0.0, 0);
    for i in 0..x.len() {
        let pivot = a[i][i];
        if pivot <= 1e-9 * scale || pivot <= 0.0 {
            continue;
        }
        form += x[i] * x[i] / pivot;
        rank += 1;
        let row = a[i].clone();
        for j in i + 1..x.len() {
            let factor = a[j][i] / pivot;
            x[j] -= factor * x[i];
            for (to, from) in a[j].iter_mut().zip(&row) {
                *to -= factor * from;
            }
        }
    }
    (form, rank)
}

/// The probability that a χ² variable with `degrees` of freedom is larger than `x` (Abramowitz and Stegun 1964, 26.4.4 and
/// 26.4.5).
pub(super) fn chi_squared_tail(x: f64, degrees: usize) -> f64 {
    let half = x / 2.0;
    // Each two degrees add a term: (x/2)^(k/2) e^(−x/2) / Γ(k/2 + 1).
    let (first, from) = match degrees % 2 {
        0 => (libm::exp(-half), 2),
        _ => (libm::erfc(half.sqrt()), 1),
    };
    let term = |k: usize| {
        let power = k as f64 / 2.0;
        libm::exp(power * libm::log(half) - half - libm::lgamma(power + 1.0))
    };
    if half <= 0.0 {
        return 1.0;
    }
    first + (from..degrees).step_by(2).map(term).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{MERCAPTOPURINE, PLACEBO, observations};
    use super::*;

    #[test]
    fn freireich_s_patients_have_the_published_statistic() {
        let found = log_rank(&[observations(&MERCAPTOPURINE), observations(&PLACEBO)], 1).unwrap();
        // Kleinbaum and Klein 2012: χ² = 16.79, expected 19.25 and 10.75 of 9 and 21 observed.
        assert!((found.chi_squared - 16.79).abs() < 5e-3, "{found:?}");
        assert_eq!((found.degrees, &found.observed[..]), (1, &[9, 21][..]));
        assert!((found.expected[0] - 19.25).abs() < 5e-3 && (found.expected[1] - 10.75).abs() < 5e-3);
        assert!((found.p - 4.17e-5).abs() < 1e-7, "{}", found.p);
        // C(42, 21) relabelings are too many to try.
        assert!(!found.permutation.exact && found.permutation.p < 1e-3);
        assert_eq!(found.permutation.relabelings, DRAWN);
    }

    #[test]
    fn with_few_units_all_relabelings_are_tried() {
        // Three that are all earlier than three: 2 of C(6, 3) = 20 relabelings are as extreme.
        let found = log_rank(&[observations(&[1.0, 2.0, 3.0]), observations(&[4.0, 5.0, -6.0])], 1).unwrap();
        let Permutation { p, relabelings, exact } = found.permutation;
        assert!(exact);
        assert_eq!((relabelings, p), (20, 0.1));
        // By hand: O₁ − E₁ = 3 − (3/6 + 2/5 + 1/4), V = 1/4 + 6/25 + 3/16.
        let (apart, variance): (f64, f64) = (3.0 - 1.15, 0.25 + 0.24 + 0.1875);
        assert!((found.chi_squared - apart * apart / variance).abs() < 1e-12);
    }

    #[test]
    fn three_groups_have_two_degrees_of_freedom_and_groups_without_events_together_none() {
        let groups = [[1.0, 4.0, 6.0], [2.0, 5.0, -9.0], [3.0, 7.0, 8.0]];
        let found = log_rank(&groups.map(|group| observations(&group)), 1).unwrap();
        assert_eq!((found.degrees, found.permutation.relabelings), (2, 1680));
        assert!((found.expected.iter().sum::<f64>() - 8.0).abs() < 1e-9);
        assert!((found.p - (-found.chi_squared / 2.0).exp()).abs() < 1e-12);
        assert_eq!(log_rank(&[observations(&[-1.0, -2.0]), observations(&[-3.0])], 1), None);
        assert_eq!(log_rank(&[observations(&[1.0, 2.0])], 1), None);
    }

    #[test]
    fn the_tail_of_chi_squared_is_that_of_the_tables() {
        for (x, degrees, expected) in [
            (3.841, 1, 0.05),
            (5.991, 2, 0.05),
            (7.815, 3, 0.05),
            (9.488, 4, 0.05),
            (16.812, 6, 0.01),
            (18.475, 7, 0.01),
            (0.0, 3, 1.0),
        ] {
            let found = chi_squared_tail(x, degrees);
            assert!((found - expected).abs() < 2e-5, "{x}, {degrees}: {found}");
        }
    }

    proptest! {
        #[test]
        fn neither_the_unit_of_time_nor_the_order_of_groups_matters(
            times in prop::collection::vec((1_u32..12, any::<bool>(), 0_usize..3), 4..9)
        ) {
            let groups = |scale: f64, order: [usize; 3]| {
                let mut groups = vec![Vec::new(); 3];
                for &(time, happened, label) in &times {
                    groups[order[label]].push(Observation { time: scale * f64::from(time), happened });
                }
                log_rank(&groups, 1)
            };
            let first = groups(1.0, [0, 1, 2]);
            let other = groups(250.0, [2, 0, 1]);
            prop_assert_eq!(first.is_some(), other.is_some());
            if let (Some(first), Some(other)) = (first, other) {
                prop_assert!((first.chi_squared - other.chi_squared).abs() < 1e-9);
                prop_assert_eq!(first.degrees, other.degrees);
                prop_assert!((first.permutation.p - other.permutation.p).abs() < 1e-12);
                prop_assert!(first.permutation.p > 0.0 && first.permutation.p <= 1.0);
            }
        }
    }
}
