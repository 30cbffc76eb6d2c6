//! Times until something happens, of units that it has not happened to yet: these are censored, not dropped.

mod log_rank;

pub use log_rank::{LogRank, Permutation, log_rank};

use serde::{Deserialize, Serialize};

use super::Interval;
use super::quantile::NORMAL;

/// How long one unit was watched, and whether the event ended that.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// The time of the event, or the last time at which the unit was watched and the event had not come (right-censored).
    pub time: f64,
    /// Whether the event came.
    pub happened: bool,
}

/// One distinct time of a Kaplan–Meier curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SurvivalStep {
    /// The time.
    pub time: f64,
    /// Units that were watched until then and without the event before.
    pub at_risk: usize,
    /// Events at this time.
    pub events: usize,
    /// Units that were last watched at this time, without the event. They count as at risk for the events of this time.
    pub censored: usize,
    /// The estimated share of units without the event after this time.
    pub survival: f64,
    /// Its pointwise 95 % interval by Greenwood's variance on the scale of ln(−ln S) (Kalbfleisch and Prentice 1980); absent where
    /// the share is 0 or 1, which has no such variance.
    pub low: Option<f64>,
    /// The upper end of that interval.
    pub high: Option<f64>,
}

/// The Kaplan–Meier estimate of the share of units that the event has not come to (Kaplan and Meier 1958), a step for each distinct
/// time at which there is an event or a unit is censored.
pub fn kaplan_meier(observations: &[Observation]) -> Vec<SurvivalStep> {
    let mut survival = 1.0;
    // Greenwood's sum.
    let mut sum = 0.0;
    distinct_times(observations)
        .into_iter()
        .map(|time| {
            let at = |happened: bool| {
                let here = |other: &&Observation| other.time == time && other.happened == happened;
                observations.iter().filter(here).count()
            };
            let at_risk = observations.iter().filter(|other| other.time >= time).count();
            let (events, censored) = (at(true), at(false));
            let (d, n) = (events as f64, at_risk as f64);
            survival *= 1.0 - d / n;
            sum += d / (n * (n - d));
            let interval = greenwood(survival, sum);
            SurvivalStep {
                time,
                at_risk,
                events,
                censored,
                survival,
                low: interval.map(|(low, _)| low),
                high: interval.map(|(_, high)| high),
            }
        })
        .collect()
}

// S^exp(±z √sum / ln S).
fn greenwood(survival: f64, sum: f64) -> Option<Interval> {
    if survival <= 0.0 || survival >= 1.0 {
        return None;
    }
    let spread = NORMAL * sum.sqrt() / libm::log(survival).abs();
    let at = |power: f64| libm::pow(survival, libm::exp(power));
    Some((at(spread), at(-spread)))
}

/// The first time at which at most half of the units are left; absent where the curve stays above that.
pub fn median_time(curve: &[SurvivalStep]) -> Option<f64> {
    // A product of shares that is 1/2 may be a rounding error above it.
    curve
        .iter()
        .find(|step| step.survival <= 0.5 + 1e-12)
        .map(|step| step.time)
}

fn distinct_times(observations: &[Observation]) -> Vec<f64> {
    let mut times: Vec<f64> = observations.iter().map(|observation| observation.time).collect();
    times.sort_unstable_by(f64::total_cmp);
    times.dedup();
    times
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Weeks of remission of 21 leukemia patients with 6-mercaptopurine and 21 with placebo (Freireich et al. 1963, as in Kleinbaum
    /// and Klein 2012, Table 1.1); negative: censored.
    pub(super) const MERCAPTOPURINE: [f64; 21] = [
        6.0, 6.0, 6.0, 7.0, 10.0, 13.0, 16.0, 22.0, 23.0, -6.0, -9.0, -10.0, -11.0, -17.0, -19.0, -20.0, -25.0, -32.0,
        -32.0, -34.0, -35.0,
    ];
    pub(super) const PLACEBO: [f64; 21] = [
        1.0, 1.0, 2.0, 2.0, 3.0, 4.0, 4.0, 5.0, 5.0, 8.0, 8.0, 8.0, 8.0, 11.0, 11.0, 12.0, 12.0, 15.0, 17.0, 22.0, 23.0,
    ];

    pub(super) fn observations(signed: &[f64]) -> Vec<Observation> {
        let of = |&time: &f64| Observation {
            time: time.abs(),
            happened: time > 0.0,
        };
        signed.iter().map(of).collect()
    }

    #[test]
    fn the_curve_of_freireich_s_patients_is_the_published_one() {
        let curve = kaplan_meier(&observations(&MERCAPTOPURINE));
        // Kleinbaum and Klein 2012, Table 2.1: time, at risk, events, censored until before the next event time, S.
        let published = [
            (6.0, 21, 3, 0.8571),
            (7.0, 17, 1, 0.8067),
            (10.0, 15, 1, 0.7529),
            (13.0, 12, 1, 0.6902),
            (16.0, 11, 1, 0.6275),
            (22.0, 7, 1, 0.5378),
            (23.0, 6, 1, 0.4482),
        ];
        let events: Vec<&SurvivalStep> = curve.iter().filter(|step| step.events > 0).collect();
        assert_eq!(events.len(), published.len());
        for (step, (time, at_risk, count, survival)) in events.iter().zip(published) {
            assert_eq!((step.time, step.at_risk, step.events), (time, at_risk, count));
            assert!((step.survival - survival).abs() < 5e-5, "{step:?}");
        }
        assert_eq!(median_time(&curve), Some(23.0));
        assert_eq!(curve.iter().map(|step| step.censored).sum::<usize>(), 12);
        // Of R's survfit(conf.type = "log-log") at 6 weeks: 0.620 to 0.952.
        let (low, high) = (events[0].low.unwrap(), events[0].high.unwrap());
        assert!(
            (low - 0.620).abs() < 1e-3 && (high - 0.952).abs() < 1e-3,
            "{low} {high}"
        );
        assert_eq!(median_time(&kaplan_meier(&observations(&PLACEBO))), Some(8.0));
    }

    #[test]
    fn who_has_not_got_there_keeps_the_curve_above_0_and_may_leave_it_without_a_median() {
        // 1/4 of 4 left at 10, then one of two: 3/4 × 1/2.
        let curve = kaplan_meier(&observations(&[10.0, -20.0, 30.0, -30.0]));
        let survival: Vec<f64> = curve.iter().map(|step| step.survival).collect();
        assert_eq!(survival, [0.75, 0.75, 0.375]);
        assert_eq!(median_time(&curve), Some(30.0));
        let none = kaplan_meier(&observations(&[-5.0, -5.0]));
        assert_eq!((none[0].survival, none[0].censored, none[0].low), (1.0, 2, None));
        assert_eq!(median_time(&none), None);
    }

    proptest! {
        #[test]
        fn a_curve_falls_from_1_and_without_censoring_is_the_share_that_is_left(
            times in prop::collection::vec((1_u32..30, any::<bool>()), 1..40)
        ) {
            let of = |happened: &dyn Fn(bool) -> bool| -> Vec<Observation> {
                let one = |&(time, told): &(u32, bool)| Observation { time: f64::from(time), happened: happened(told) };
                times.iter().map(one).collect()
            };
            let watched = of(&|told| told);
            let mut before = 1.0;
            let mut left = times.len();
            for step in kaplan_meier(&watched) {
                prop_assert!((0.0..=before).contains(&step.survival));
                prop_assert_eq!(step.at_risk, left);
                left -= step.events + step.censored;
                before = step.survival;
                if let (Some(low), Some(high)) = (step.low, step.high) {
                    prop_assert!(low <= step.survival && step.survival <= high);
                }
            }
            prop_assert_eq!(left, 0);
            for step in kaplan_meier(&of(&|_| true)) {
                let later = times.iter().filter(|(time, _)| f64::from(*time) > step.time).count();
                prop_assert!((step.survival - later as f64 / times.len() as f64).abs() < 1e-9);
            }
        }
    }
}
