//! Accuracy against inference iterations.

use super::kit::{Axis, Content, Figure, Panel, Series};
use super::{column_title, conditions, distinct, several_runs, split_colour, split_legend};
use crate::measure::{Eval, EvalRow, Report};

/// A panel a checkpoint, a line a split; the iterations of training are marked.
pub fn eval(report: &Report<Eval, EvalRow>) -> Figure {
    let splits = distinct(&report.rows, |row| row.split.clone());
    let several = several_runs(&report.subjects);
    let most = report.rows.iter().map(|row| row.iterations).max().unwrap_or(1);
    let panel = |subject: &crate::measure::SubjectInfo| {
        let line = |(place, split): (usize, &String)| {
            let of_line = report.rows.iter().filter(|row| {
                row.run == subject.run
                    && row.checkpoint == subject.checkpoint
                    && row.step == subject.step
                    && row.split == *split
            });
            Series::new(split_colour(split, place))
                .points(of_line.map(|row| (row.iterations as f64, row.accuracy, Some((row.low, row.high)))))
        };
        Panel {
            title: column_title(subject, several),
            content: Content::Lines {
                x: Axis {
                    label: "inference iterations".to_owned(),
                    range: (0.8, most as f64 + 0.2),
                    log: false,
                },
                y_label: "accuracy".to_owned(),
                series: splits.iter().enumerate().map(line).collect(),
                marks: vec![(subject.iterations as f64, "trained".to_owned())],
            },
        }
    };
    let sizes = distinct(&report.rows, |row| (row.split.clone(), row.n));
    let sizes: Vec<String> = sizes
        .iter()
        .map(|(split, n)| format!("{} n = {n}", super::split_name(split)))
        .collect();
    Figure {
        title: "Accuracy by inference iterations".to_owned(),
        conditions: vec![
            conditions(&report.subjects, &report.data_hash),
            format!("{}; bands: 95 % intervals (Wilson)", sizes.join(", ")),
        ],
        legend: split_legend(&splits),
        panels: vec![report.subjects.iter().map(panel).collect()],
    }
}
