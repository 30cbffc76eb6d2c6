//! When the answer of a query arrives, and how steeply its logit margin rises there.

use serde::{Deserialize, Serialize};

use super::quantity::{Quantity, quantities};
use super::statistics::{Interval, Resamples, first_largest, mean, weighted_median};

/// When answers are first right, and the largest rise of the logit margin within one iteration, over the queries of one line (a
/// split at one number of hops); in the row that has the line's largest margin, absent in all others.
///
/// A rise of iteration t ≥ 2 is the margin after it minus that after iteration t − 1, in logits. The first iteration has none:
/// what a tied output matrix reads off the embedding before it is the input token itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Rise {
    /// Share of queries that are answered right after no iteration.
    pub never: Option<f64>,
    /// Median over the other queries of the first iteration after which the answer is right.
    pub hit: Option<f64>,
    /// The 95 % interval of `hit`.
    pub hit_low: Option<f64>,
    /// The upper end of that interval.
    pub hit_high: Option<f64>,
    /// Mean over all queries of the largest rise of each within one iteration, in logits.
    pub jump: Option<f64>,
    /// The 95 % interval of `jump`.
    pub jump_low: Option<f64>,
    /// The upper end of that interval.
    pub jump_high: Option<f64>,
    /// Median over all queries of the iteration of that rise, the first of equals.
    pub jump_iteration: Option<f64>,
    /// Queries that are answered right for the first time after a later iteration than the first.
    pub hit_jump_n: Option<usize>,
    /// Mean over those of the rise in the iteration of their first right answer, in logits.
    pub hit_jump: Option<f64>,
    /// The 95 % interval of `hit_jump`.
    pub hit_jump_low: Option<f64>,
    /// The upper end of that interval.
    pub hit_jump_high: Option<f64>,
}

impl Rise {
    /// Its fields, each measured once for a line.
    pub(super) const QUANTITIES: &'static [Quantity] = quantities![
        of_line never, of_line hit within hit_low hit_high, of_line jump within jump_low jump_high, of_line jump_iteration,
        of_line hit_jump_n, of_line hit_jump within hit_jump_low hit_jump_high,
    ];

    /// Of the margins of every query after iterations 1, 2, …: `[iteration][query]`, neither of them empty.
    pub(super) fn of_margins(line: &[Vec<f64>], resamples: &Resamples) -> Self {
        let n = line[0].len();
        let hits: Vec<Option<usize>> = (0..n).map(|query| line.iter().position(|at| at[query] > 0.0)).collect();
        let known: Vec<Option<f64>> = hits.iter().map(|hit| hit.map(|i| (i + 1) as f64)).collect();
        let of_known = |weights: &[f64]| {
            let of_known = known.iter().zip(weights).filter(|(hit, _)| hit.is_some());
            let (hits, weights): (Vec<Option<f64>>, Vec<f64>) = of_known.map(|(hit, weight)| (*hit, *weight)).unzip();
            weighted_median(&hits, &weights)
        };
        let hit = of_known(&vec![1.0; n]);
        let hit_interval = hit.and_then(|_| resamples.of_weighted(of_known));
        let of_found = Self {
            never: Some(hits.iter().filter(|hit| hit.is_none()).count() as f64 / n as f64),
            hit,
            hit_low: low(hit_interval),
            hit_high: high(hit_interval),
            ..Self::default()
        };
        if line.len() < 2 {
            return of_found;
        }
        // [query][rise]
        let rises: Vec<Vec<f64>> = (0..n)
            .map(|query| line.windows(2).map(|two| two[1][query] - two[0][query]).collect())
            .collect();
        let largest: Vec<(usize, f64)> = rises
            .iter()
            .filter_map(|rises| first_largest(rises).map(|i| (i + 2, rises[i])))
            .collect();
        let jumps: Vec<f64> = largest.iter().map(|(_, rise)| *rise).collect();
        let iterations: Vec<Option<f64>> = largest.iter().map(|(iteration, _)| Some(*iteration as f64)).collect();
        let jump_interval = resamples.mean(&jumps);
        Self {
            jump: Some(mean(jumps.iter().copied())),
            jump_low: low(jump_interval),
            jump_high: high(jump_interval),
            jump_iteration: weighted_median(&iterations, &vec![1.0; n]),
            ..of_found
        }
        .with_hits(&hits, &rises, resamples)
    }

    // The rise of each query in the iteration of its first right answer (`hits`, from 0), where there is one.
    fn with_hits(self, hits: &[Option<usize>], rises: &[Vec<f64>], resamples: &Resamples) -> Self {
        let at_hit = |(hit, rises): (&Option<usize>, &Vec<f64>)| hit.and_then(|i| i.checked_sub(1)).map(|i| rises[i]);
        let found: Vec<Option<f64>> = hits.iter().zip(rises).map(at_hit).collect();
        let rise: Vec<f64> = found.iter().map(|rise| rise.unwrap_or(0.0)).collect();
        let counts: Vec<f64> = found.iter().map(|rise| f64::from(u8::from(rise.is_some()))).collect();
        let n = found.iter().flatten().count();
        // One query alone does not vary.
        let interval = if n > 1 { resamples.ratio(&rise, &counts) } else { None };
        Self {
            hit_jump_n: Some(n),
            hit_jump: (n > 0).then(|| mean(found.iter().flatten().copied())),
            hit_jump_low: low(interval),
            hit_jump_high: high(interval),
            ..self
        }
    }
}

fn low(interval: Option<Interval>) -> Option<f64> {
    interval.map(|(low, _)| low)
}

fn high(interval: Option<Interval>) -> Option<f64> {
    interval.map(|(_, high)| high)
}

#[cfg(test)]
mod tests {
    use super::super::statistics::independent;
    use super::*;

    // [iteration][query] from [query][iteration].
    fn line<const Q: usize, const I: usize>(of_queries: [[f64; I]; Q]) -> Vec<Vec<f64>> {
        (0..I)
            .map(|i| of_queries.iter().map(|margins| margins[i]).collect())
            .collect()
    }

    #[test]
    fn the_jump_is_the_largest_rise_of_each_query_and_the_hit_its_first_right_answer() {
        let margins = line([
            // Right from the first iteration on: its largest rise is not one at its first right answer.
            [1.0, 2.0, 1.5, 4.5],
            // Right at the second, by the largest rise.
            [-4.0, 3.0, 2.0, 2.5],
            // Right at the fourth; the largest rise is that of the third.
            [-9.0, -9.0, -1.0, 1.0],
            // Never; the first of equal rises.
            [-3.0, -2.0, -1.0, -1.0],
        ]);
        let rise = Rise::of_margins(&margins, &independent(4));
        assert_eq!(rise.never, Some(0.25));
        // Of 1, 2 and 4.
        assert_eq!(rise.hit, Some(2.0));
        // Of 3, 7, 8 and 1, in iterations 4, 2, 3 and 2.
        assert_eq!((rise.jump, rise.jump_iteration), (Some(4.75), Some(2.0)));
        // Of 7 and 2.
        assert_eq!((rise.hit_jump_n, rise.hit_jump), (Some(2), Some(4.5)));
        let within = |low: Option<f64>, x: Option<f64>, high: Option<f64>| low.unwrap() < x.unwrap() && x < high;
        assert!(within(rise.jump_low, rise.jump, rise.jump_high), "{rise:?}");
        assert!(within(rise.hit_jump_low, rise.hit_jump, rise.hit_jump_high), "{rise:?}");
        assert!(rise.hit_low <= rise.hit && rise.hit <= rise.hit_high, "{rise:?}");
        assert!(rise.hit_low >= Some(1.0) && rise.hit_high <= Some(4.0), "{rise:?}");
    }

    #[test]
    fn what_does_not_happen_has_no_number() {
        let never = Rise::of_margins(&line([[-2.0, -1.0], [-3.0, -1.0]]), &independent(2));
        assert_eq!((never.never, never.hit, never.hit_low), (Some(1.0), None, None));
        assert_eq!(
            (never.hit_jump_n, never.hit_jump, never.hit_jump_low),
            (Some(0), None, None)
        );
        assert_eq!(never.jump, Some(1.5));
        let once = Rise::of_margins(&line([[-2.0], [3.0]]), &independent(2));
        assert_eq!((once.never, once.hit), (Some(0.5), Some(1.0)));
        assert_eq!((once.jump, once.jump_iteration, once.hit_jump_n), (None, None, None));
        let one = Rise::of_margins(&line([[-2.0, 3.0], [-2.0, -3.0]]), &independent(2));
        assert_eq!(
            (one.hit_jump_n, one.hit_jump, one.hit_jump_low),
            (Some(1), Some(5.0), None)
        );
    }
}
