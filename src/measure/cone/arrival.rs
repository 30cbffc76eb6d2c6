//! When a change arrives at a position, and how fast it moves.

use crate::graph::{Query, TRAIN};
use crate::measure::checkpoint::LoadedCheckpoint;
use crate::measure::quantity::{Quantity, quantities};
use crate::measure::statistics::{Interval, Resamples, mean, share, weighted_median};

/// The time of arrival at one position.
pub(super) struct Arrival {
    /// The first effective layer at which the change has reached the threshold, of each query.
    pub(super) of_queries: Vec<Option<usize>>,
    /// By effective layer from 0 on, the share of queries in which it has arrived, with its interval.
    pub(super) arrived: Vec<(f64, Interval)>,
    /// The first effective layer at which that share is at least a half: the median, of which queries in which it never arrives
    /// are a part.
    pub(super) median: Option<usize>,
    /// The ends of its interval, which has every layer at which a half is in the interval of the share (Brookmeyer and Crowley
    /// 1982).
    pub(super) low: Option<usize>,
    pub(super) high: Option<usize>,
}

impl Arrival {
    /// The fields of rows that it is in.
    pub(super) const QUANTITIES: &'static [Quantity] =
        quantities![share arrived within arrived_low arrived_high, of arrival within arrival_low arrival_high];

    /// Of changes by effective layer and query; `None` where a layer has none to compare.
    pub(super) fn of(changes: &[Option<Vec<f64>>], threshold: f64, resamples: &Resamples) -> Self {
        let queries = changes.iter().flatten().map(Vec::len).max().unwrap_or(0);
        let has_arrived = |of_layer: &Option<Vec<f64>>, query: usize| {
            of_layer.as_ref().is_some_and(|changes| changes[query] >= threshold)
        };
        let arrival = |query| changes.iter().position(|of_layer| has_arrived(of_layer, query));
        let of_queries: Vec<Option<usize>> = (0..queries).map(arrival).collect();
        let arrived: Vec<(f64, Interval)> = (0..changes.len())
            .map(|layer| {
                let by_now: Vec<bool> = of_queries.iter().map(|at| at.is_some_and(|at| at <= layer)).collect();
                (share(&by_now), resamples.share(&by_now))
            })
            .collect();
        let first = |of: fn(&(f64, Interval)) -> f64| arrived.iter().position(|share| of(share) >= 0.5);
        Self {
            median: first(|(share, _)| *share),
            low: first(|(_, (_, high))| *high),
            high: first(|(_, (low, _))| *low),
            of_queries,
            arrived,
        }
    }
}

/// The slope of arrival against distance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Slope {
    /// Iterations a hop.
    pub(super) iterations: f64,
    pub(super) interval: Option<Interval>,
    /// Positions at which the change arrives in half of the queries.
    pub(super) positions: usize,
}

impl Slope {
    /// The fields of rows that it is in.
    pub(super) const QUANTITIES: &'static [Quantity] = quantities![
        of iterations_per_hop within iterations_per_hop_low iterations_per_hop_high, of slope_positions,
        of speed within speed_low speed_high, of trained_speed,
    ];

    /// Least squares of the median time of arrival at positions of rising distance, in iterations since the change was put in;
    /// `None` where fewer than two positions have one. Medians feel neither the queries in which the change arrives after the end
    /// of the run nor the few in which what attention sees ahead of the front is already beyond the threshold.
    pub(super) fn of(arrivals: &[(f64, Vec<Option<f64>>)], resamples: &Resamples) -> Option<Self> {
        let queries = arrivals.first().map_or(0, |(_, times)| times.len());
        let medians = |weights: &[f64]| -> Vec<(f64, f64)> {
            let of_position =
                |(distance, times): &(f64, Vec<Option<f64>>)| Some((*distance, weighted_median(times, weights)?));
            arrivals.iter().filter_map(of_position).collect()
        };
        let all = medians(&vec![1.0; queries]);
        Some(Self {
            iterations: least_squares(&all)?,
            interval: resamples.of_weighted(|weights| least_squares(&medians(weights))),
            positions: all.len(),
        })
    }

    /// Hops an iteration, where the change moves at all.
    pub(super) fn speed(self) -> Option<f64> {
        hops_an_iteration(self.iterations)
    }

    /// The lower end of its interval.
    pub(super) fn speed_low(self) -> Option<f64> {
        hops_an_iteration(self.interval?.1)
    }

    /// The upper end, where it is finite.
    pub(super) fn speed_high(self) -> Option<f64> {
        hops_an_iteration(self.interval?.0)
    }
}

// The slope of points (x, y) of which two or more differ in x.
fn least_squares(points: &[(f64, f64)]) -> Option<f64> {
    let middle = mean(points.iter().map(|(x, _)| *x));
    let squares: f64 = points.iter().map(|(x, _)| (x - middle).powi(2)).sum();
    let products: f64 = points.iter().map(|(x, y)| (x - middle) * y).sum();
    (squares > 0.0).then(|| products / squares)
}

fn hops_an_iteration(iterations_a_hop: f64) -> Option<f64> {
    // Arrivals at all positions at once differ from a slope of 0 in rounding.
    (iterations_a_hop > 1e-9).then(|| 1.0 / iterations_a_hop)
}

/// The most hops that a model was trained on, by its curriculum or else its data, over its iterations; `None` where that is not known.
pub(super) fn trained_speed(checkpoint: &LoadedCheckpoint) -> Option<f64> {
    let info = &checkpoint.info;
    let of_data = || match info.trained_elsewhere() {
        None => checkpoint.data.split(TRAIN).ok()?.iter().map(Query::hops).max(),
        Some(_) => None,
    };
    let hops = info.learned_hops.or_else(of_data)?;
    Some(hops as f64 / info.iterations as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::statistics::independent;

    #[test]
    fn the_median_arrival_counts_queries_in_which_nothing_arrives() {
        // Of ten queries it arrives in six, at layer 2 in four of them and at 3 in two.
        let changes = |of: fn(usize) -> f64| Some((0..10).map(of).collect::<Vec<f64>>());
        let layers = [
            None,
            changes(|_| 0.49),
            changes(|query| if query < 4 { 0.5 } else { 0.0 }),
            changes(|query| if (4..6).contains(&query) { 0.9 } else { 0.1 }),
        ];
        let arrival = Arrival::of(&layers, 0.5, &independent(10));
        assert_eq!(
            arrival.of_queries[..7],
            [Some(2), Some(2), Some(2), Some(2), Some(3), Some(3), None]
        );
        let shares: Vec<f64> = arrival.arrived.iter().map(|(share, _)| *share).collect();
        assert_eq!(shares, [0.0, 0.0, 0.4, 0.6]);
        // A half is in the interval of the share from layer 2 on, and never below it.
        assert_eq!((arrival.low, arrival.median, arrival.high), (Some(2), Some(3), None));
    }

    #[test]
    fn the_speed_is_the_slope_of_median_arrivals() {
        let resamples = independent(60);
        // Two hops an iteration; every third query an iteration later throughout, every twelfth without the last position.
        let times = |distance: f64| {
            let time = |query: usize| {
                let late = if query.is_multiple_of(3) { 1.0 } else { 0.0 };
                (distance < 3.0 || query % 12 != 11).then_some(distance / 2.0 + late)
            };
            (distance, (0..60).map(time).collect())
        };
        let slope = Slope::of(&[times(1.0), times(2.0), times(3.0)], &resamples).unwrap();
        let (low, high) = (slope.speed_low().unwrap(), slope.speed_high().unwrap());
        assert!((slope.speed().unwrap() - 2.0).abs() < 1e-9, "{slope:?}");
        assert!(low < 2.0 && high >= 2.0 && slope.positions == 3, "{slope:?}");
        // At once everywhere: no finite speed.
        let at_once = |distance| (distance, vec![Some(1.0); 60]);
        let slope = Slope::of(&[at_once(1.0), at_once(2.0)], &resamples).unwrap();
        assert_eq!((slope.speed(), slope.iterations.abs() < 1e-12), (None, true));
        // All queries an iteration a hop: known exactly.
        let alike = |distance: f64| (distance, vec![Some(distance); 60]);
        let slope = Slope::of(&[alike(1.0), alike(2.0)], &resamples).unwrap();
        assert_eq!((slope.iterations, slope.interval), (1.0, Some((1.0, 1.0))));
        // One arrival has no slope, and arrivals in fewer than half of the queries have no median.
        assert_eq!(Slope::of(&[at_once(1.0)], &resamples), None);
        let few = (2.0, (0..60).map(|query| (query < 29).then_some(1.0)).collect());
        assert_eq!(Slope::of(&[at_once(1.0), few], &resamples), None);
    }
}
