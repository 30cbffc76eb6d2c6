//! How far models answer beyond their curriculum (Kohli et al. 2026, Figures 6, 7 and 19).

use super::kit::{Axis, Content, Figure, Panel, Series};
use super::{Draw, conditions, cycled_line, distinct, span};
use crate::measure::{Extrapolate, ExtrapolateRow, Report};

impl Draw for Extrapolate {
    const OVER_TRAINING: bool = true;

    /// Three panels, a line a run: the ratio and the extrapolated depth by learned depth, and the updates that each depth
    /// took.
    fn draw(report: &Report<Self>) -> Figure {
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
            conditions: vec![
                conditions(&report.checkpoints),
                format!(
                    "answered: accuracy {} or more at the best of 1 to {} iterations, at every depth up to it",
                    report.settings.accuracy,
                    report.settings.iterations.max(1)
                ),
            ],
            legend: runs.iter().enumerate().map(entry).collect(),
            panels: vec![panels],
        }
    }
}
