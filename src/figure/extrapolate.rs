//! How far models answer beyond their curriculum (Kohli et al. 2026, Figures 6, 7 and 19).

use super::kit::{Axis, Colour, Content, Estimate, Figure, Panel, Series};
use super::{Draw, conditions, cycled_line, distinct, span};
use crate::measure::{Extrapolate, ExtrapolateRow, Report};

impl Draw for Extrapolate {
    const OVER_TRAINING: bool = true;

    /// Three panels, a line a run: the ratio and the extrapolated depth by learned depth, and the updates that each depth
    /// took. Over seeds, where every run is measured at the end of its training alone: a row a set of values.
    fn draw(report: &Report<Self>) -> Figure {
        if report.checkpoints.iter().any(|group| !group.members.is_empty()) {
            return over_seeds(report);
        }
        let runs = distinct(&report.rows, |row| row.origin.run.clone());
        // What comes after the last stage has learned no more: the table has it.
        let mut rows: Vec<&ExtrapolateRow> = report.rows.iter().collect();
        rows.dedup_by_key(|row| (&row.origin.run, row.learned));
        let deepest = rows.iter().map(|row| row.learned).max().unwrap_or(1) as f64;
        let hops = || Axis {
            label: "hops learned".to_owned(),
            range: (0.8, deepest + 0.2),
            log: false,
            layers: None,
        };
        let lines = |point: &dyn Fn(&ExtrapolateRow) -> (f64, f64)| -> Vec<Series> {
            let line = |(place, run): (usize, &String)| {
                let of_run = rows.iter().filter(|row| row.origin.run == *run);
                cycled_line(place).points(of_run.map(|row| {
                    let (x, y) = point(row);
                    (x, y, None)
                }))
            };
            runs.iter().enumerate().map(line).collect()
        };
        let panel = |title: &str, x: Axis, y_label: &str, y_range, series| Panel {
            title: title.into(),
            content: Content::Lines {
                x,
                y_label: y_label.to_owned(),
                y_range,
                series,
                marks: Vec::new(),
            },
        };
        let updates = rows
            .iter()
            .map(|row| row.origin.step as f64 / 1000.0)
            .fold(1.0, f64::max);
        let panels = vec![
            panel(
                "Generalization ratio",
                hops(),
                "answered / learned",
                span(rows.iter().map(|row| row.ratio), 0.0),
                lines(&|row| (row.learned as f64, row.ratio)),
            ),
            panel(
                "Depth with more iterations",
                hops(),
                "hops answered",
                span(rows.iter().map(|row| row.extrapolated as f64), 0.0),
                lines(&|row| (row.learned as f64, row.extrapolated as f64)),
            ),
            panel(
                "Updates to learn each depth",
                Axis {
                    label: "thousand updates".to_owned(),
                    range: (0.0, updates * 1.02),
                    log: false,
                    layers: None,
                },
                "hops learned",
                (0.0, deepest),
                lines(&|row| (row.origin.step as f64 / 1000.0, row.learned as f64)),
            ),
        ];
        let entry = |(place, run): (usize, &String)| (run.clone(), cycled_line(place));
        Figure {
            title: "Depth: learned in the curriculum, and answered with more iterations".to_owned(),
            conditions: vec![conditions(&report.checkpoints), answered(&report.settings)],
            legend: runs.iter().enumerate().map(entry).collect(),
            panels: vec![panels],
        }
    }
}

fn answered(settings: &Extrapolate) -> String {
    format!(
        "answered: accuracy {} or more at the best of 1 to {} iterations, at every depth up to it",
        settings.accuracy,
        settings.iterations.max(1)
    )
}

// What runs that differ in their seeds have in common at the end of training: not when they learned what.
fn over_seeds(report: &Report<Extrapolate>) -> Figure {
    let panel = |title: &str, x_label: &str, number: fn(&ExtrapolateRow) -> f64| Panel {
        title: title.into(),
        content: Content::Estimates {
            x_label: x_label.to_owned(),
            x_range: None,
            rows: (report.rows.iter())
                .map(|row| Estimate {
                    name: name_apart(&row.origin.run, &report.rows),
                    colour: Colour::BLUE,
                    value: number(row),
                    interval: None,
                })
                .collect(),
        },
    };
    Figure {
        title: "Depth at the end of training: learned in the curriculum, and answered with more iterations".to_owned(),
        conditions: vec![
            conditions(&report.checkpoints),
            answered(&report.settings),
            "hops: the median over seeds, of an even number the lower middle one; ratio: the mean over seeds; when each depth was learned \
             is in survival.csv"
                .to_owned(),
        ],
        legend: Vec::new(),
        panels: vec![vec![
            panel("Learned", "hops (median over seeds)", |row| row.learned as f64),
            panel("Answered", "hops (median over seeds)", |row| row.extrapolated as f64),
            panel("Ratio", "answered / learned (mean over seeds)", |row| row.ratio),
        ]],
    }
}

// The values of a set that others do not have.
fn name_apart(set: &str, rows: &[ExtrapolateRow]) -> String {
    let is_shared = |value: &str| {
        rows.iter()
            .all(|row| row.origin.run.split(", ").any(|other| other == value))
    };
    let apart: Vec<&str> = set.split(", ").filter(|value| !is_shared(value)).collect();
    if apart.is_empty() {
        set.to_owned()
    } else {
        apart.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{origin, report};
    use super::*;
    use crate::measure::Iterations;

    fn row() -> ExtrapolateRow {
        ExtrapolateRow {
            origin: origin(),
            layers: 1,
            iterations: 4,
            learned: 3,
            extrapolated: 6,
            ratio: 1.9,
            best: Some(0.8),
            low: None,
            high: None,
            n: Some(3),
            best_iterations: Some(7),
            next: None,
            next_low: None,
            next_high: None,
            interval: None,
            split: None,
        }
    }

    #[test]
    fn sets_are_named_by_what_tells_them_apart() {
        let rows = ["experiment = depth, run = r8", "experiment = depth, run = r4"].map(|run| {
            let mut row = row();
            run.clone_into(&mut row.origin.run);
            row
        });
        assert_eq!(name_apart(&rows[1].origin.run, &rows), "run = r4");
        assert_eq!(name_apart("all runs", &rows[..0]), "all runs");
    }

    #[test]
    fn over_seeds_nothing_is_said_of_when_a_depth_was_learned() {
        let settings = Extrapolate {
            iterations: Iterations::Trained,
            accuracy: 0.6,
            seed: 1,
        };
        let mut report = report(settings, vec![row()]);
        let of_one_run = Extrapolate::draw(&report);
        assert!(matches!(of_one_run.panels[0][2].content, Content::Lines { .. }));
        report.checkpoints[0].members = report.checkpoints.clone();
        let figure = Extrapolate::draw(&report);
        assert!(figure.title.contains("at the end of training"), "{}", figure.title);
        let numbers: Vec<f64> = figure.panels[0]
            .iter()
            .map(|panel| match &panel.content {
                Content::Estimates { rows, .. } => rows[0].value,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(numbers, [3.0, 6.0, 1.9]);
    }
}
