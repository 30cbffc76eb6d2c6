//! When stages are reached: Kaplan–Meier curves, runs that have not got there yet censored.

use super::super::kit::{Colour, Content, Figure, Panel, Point, Series, Stroke, UNIT};
use super::super::{distinct, thousands, wrapped};
use super::{Steps, group_colour};
use crate::measure::seeds::{StageCurve, StageTimes};
use crate::measure::statistics::LogRank;

/// Runs a group up to which the χ² approximation of the log-rank test is called rough.
const FEW: usize = 10;

/// A panel a stage with a curve for each group of runs; `None` where no run has stages.
pub fn survival(stages: &[StageTimes], log_steps: bool) -> Option<Figure> {
    let curves: Vec<&StageCurve> = stages.iter().flat_map(|times| &times.curves).collect();
    let times = curves.iter().flat_map(|curve| &curve.curve).map(|step| step.time);
    let (first, last) = times
        .filter(|time| *time > 0.0)
        .fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), time| {
            (low.min(time), high.max(time))
        });
    if last <= 0.0 {
        return None;
    }
    let steps = Steps::spanning(first, last, log_steps);
    // A curve begins at 1 before its first step.
    let begins = if steps == Steps::Log {
        (first / 1.5).max(1.0)
    } else {
        0.0
    };
    let groups = distinct(&curves, |curve| curve.group.clone());
    // Curves lie on each other: what is below a dashed one is seen through it. Groups of one colour differ in their strokes.
    let line = |group: &str| {
        const STROKES: [Stroke; 3] = [Stroke::Solid, Stroke::Dashed, Stroke::Dotted];
        let n = groups.iter().position(|other| other == group).unwrap_or(0);
        Series::new(group_colour(n)).stroke(STROKES[(n + n / Colour::CYCLE) % STROKES.len()])
    };
    let panel = |times: &StageTimes| {
        let mut series = Vec::new();
        for curve in &times.curves {
            series.push(line(&curve.group).points(stairs(curve, begins, steps)));
            series.push(line(&curve.group).stroke(Stroke::Ticks).points(censored(curve, steps)));
        }
        Panel {
            title: format!(
                "{}: {} at {}",
                times.stage.name,
                times.stage.split.title(),
                times.stage.accuracy
            )
            .into(),
            content: Content::Lines {
                x: steps.axis(begins, last),
                y_label: "share of runs not there yet".to_owned(),
                y_range: UNIT,
                series,
                marks: Vec::new(),
            },
        }
    };
    let runs = |group: &String| {
        curves
            .iter()
            .filter(|curve| curve.group == *group)
            .map(|curve| curve.runs)
            .max()
    };
    let mut legend: Vec<(String, Series)> = groups
        .iter()
        .map(|group| {
            let name = format!("{group} (n = {})", runs(group).unwrap_or(0));
            (name, line(group))
        })
        .collect();
    legend.push(("not there at its last step (censored)".to_owned(), ticks()));
    let mut conditions = vec![
        "Kaplan–Meier over runs (n); at risk, events and pointwise 95 % intervals (log-log, over seeds) are in survival.csv".to_owned(),
    ];
    conditions.extend(
        stages
            .iter()
            .map(|times| format!("{}: {}", times.stage.name, reached(times))),
    );
    Some(Figure {
        title: "Training steps until each stage is reached".to_owned(),
        conditions,
        legend,
        panels: wrapped(stages.iter().map(panel).collect()),
    })
}

fn ticks() -> Series {
    Series::new(Colour::GREY).stroke(Stroke::Ticks)
}

// Down at each step with an event.
fn stairs(curve: &StageCurve, begins: f64, steps: Steps) -> Vec<Point> {
    let mut points = vec![(steps.place(begins), 1.0, None)];
    let mut before = 1.0;
    for step in &curve.curve {
        let x = steps.place(step.time);
        points.push((x, before, None));
        points.push((x, step.survival, None));
        before = step.survival;
    }
    points
}

fn censored(curve: &StageCurve, steps: Steps) -> Vec<Point> {
    let told = curve.curve.iter().filter(|step| step.censored > 0);
    told.map(|step| (steps.place(step.time), step.survival, None)).collect()
}

// How many runs of each group have reached a stage, and whether the groups differ.
fn reached(times: &StageTimes) -> String {
    let counts: Vec<String> = times
        .curves
        .iter()
        .map(|curve| format!("{} of {}", curve.reached, curve.runs))
        .collect();
    let fewest = times.curves.iter().map(|curve| curve.runs).min().unwrap_or(0);
    let test = times.log_rank.as_ref().map_or_else(
        || "no log-rank test (one set of values, or reached by none)".to_owned(),
        |test| test_in_words(test, fewest),
    );
    format!("reached by {} (in the order of the legend); {test}", counts.join(", "))
}

/// The log-rank test in words: with few runs a group, which p counts.
fn test_in_words(test: &LogRank, fewest: usize) -> String {
    let permutation = &test.permutation;
    let of = if permutation.exact {
        format!("exact, all {} relabelings", thousands(permutation.relabelings as u64))
    } else {
        format!("{} relabelings drawn", thousands(permutation.relabelings as u64))
    };
    let rough = if fewest < FEW {
        format!(", rough with {fewest} runs a set")
    } else {
        String::new()
    };
    format!(
        "log-rank χ² = {:.2}, df {}, p = {} by the χ² distribution{rough}; permutation p = {} ({of})",
        test.chi_squared,
        test.degrees,
        p_value(test.p),
        p_value(permutation.p)
    )
}

fn p_value(p: f64) -> String {
    if p < 1e-4 {
        format!("{p:.1e}")
    } else {
        format!("{p:.4}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::statistics::Permutation;

    #[test]
    fn with_few_runs_the_test_says_that_chi_squared_is_rough() {
        let test = LogRank {
            chi_squared: 5.0,
            degrees: 1,
            p: 0.02535,
            observed: vec![3, 2],
            expected: vec![1.0, 4.0],
            permutation: Permutation {
                p: 0.1,
                relabelings: 20,
                exact: true,
            },
        };
        assert_eq!(
            test_in_words(&test, 3),
            "log-rank χ² = 5.00, df 1, p = 0.0254 by the χ² distribution, rough with 3 runs a set; permutation p = 0.1000 (exact, \
             all 20 relabelings)"
        );
        assert!(!test_in_words(&test, 30).contains("rough"));
    }
}
