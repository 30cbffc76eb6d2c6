//! Accuracy against inference iterations.

use super::kit::{Axis, Content, Figure, Panel, Series, UNIT};
use super::{
    Draw, column_title, conditions, distinct, intervals, sample_size, several_runs, split_colour, split_legend,
    split_sizes, wrapped,
};
use crate::graph::Split;
use crate::measure::{CheckpointSummary, Eval, Report};

// The number of depths and of iterations from which on a map says more than lines.
const MANY: usize = 4;

impl Draw for Eval {
    /// A panel a checkpoint, a line a split; the iterations of training are marked. Where there are many depths and
    /// iterations: a map of accuracy by hops and iterations (Kohli et al. 2026, Figure 5).
    fn draw(report: &Report<Self>) -> Figure {
        let depths = distinct(&report.rows, |row| row.split.depth());
        let iterations = distinct(&report.rows, |row| row.iterations);
        if depths.iter().flatten().count() >= MANY && iterations.len() >= MANY {
            return map(report);
        }
        let splits = distinct(&report.rows, |row| row.split.clone());
        let several = several_runs(&report.checkpoints);
        let max = report.rows.iter().map(|row| row.iterations).max().unwrap_or(1);
        let panel = |checkpoint: &CheckpointSummary| {
            let line = |(place, split): (usize, &Split)| {
                let of_line = report
                    .rows
                    .iter()
                    .filter(|row| checkpoint.owns(&row.origin) && row.split == *split);
                Series::new(split_colour(split, place))
                    .points(of_line.map(|row| (row.iterations as f64, row.accuracy, Some((row.low, row.high)))))
            };
            Panel {
                title: column_title(checkpoint, several),
                content: Content::Lines {
                    x: Axis {
                        label: "inference iterations".to_owned(),
                        range: (0.8, max as f64 + 0.2),
                        log: false,
                    },
                    y_label: "accuracy".to_owned(),
                    y_range: UNIT,
                    series: splits.iter().enumerate().map(line).collect(),
                    marks: vec![(checkpoint.iterations as f64, "trained".to_owned())],
                },
            }
        };
        let sizes = split_sizes(&report.rows, |row| (row.split.clone(), row.n));
        Figure {
            title: "Accuracy by inference iterations".to_owned(),
            conditions: vec![
                conditions(&report.checkpoints),
                format!(
                    "{}; bands: {}",
                    sizes,
                    intervals(&report.rows, |row| (&row.split, row.interval))
                ),
            ],
            legend: split_legend(&splits),
            panels: vec![report.checkpoints.iter().map(panel).collect()],
        }
    }
}

fn map(report: &Report<Eval>) -> Figure {
    let several = several_runs(&report.checkpoints);
    let mut hops: Vec<usize> = report.rows.iter().filter_map(|row| row.split.depth()).collect();
    hops.sort_unstable();
    hops.dedup();
    // The deepest on top.
    hops.reverse();
    let iterations = distinct(&report.rows, |row| row.iterations);
    let panel = |checkpoint: &CheckpointSummary| {
        let cell = |hops: usize, iterations: usize| {
            let found = report.rows.iter().find(|row| {
                checkpoint.owns(&row.origin) && row.iterations == iterations && row.split.depth() == Some(hops)
            });
            found.map(|row| row.accuracy)
        };
        let deeper = |learned: usize| hops.iter().filter(|&&hops| hops > learned).count();
        Panel {
            title: column_title(checkpoint, several),
            content: Content::Cells {
                x_label: "inference iterations".to_owned(),
                y_label: "hops".to_owned(),
                columns: iterations.iter().map(ToString::to_string).collect(),
                rows: hops.iter().map(ToString::to_string).collect(),
                cells: hops
                    .iter()
                    .map(|&hops| iterations.iter().map(|&iterations| cell(hops, iterations)).collect())
                    .collect(),
                behind: vec![iterations.iter().filter(|&&i| i <= checkpoint.iterations).count()],
                below: checkpoint.learned_hops.map(deeper).into_iter().collect(),
            },
        }
    };
    let panels: Vec<Panel> = report.checkpoints.iter().map(panel).collect();
    Figure {
        title: "Accuracy by hops and inference iterations".to_owned(),
        conditions: vec![
            conditions(&report.checkpoints),
            format!(
                "white 0, blue 1; left of the vertical line: iterations seen in training; below the horizontal line: hops \
                 learned; {}",
                sample_size(&report.rows, |row| (&row.split, row.hops.unwrap_or(0), row.n))
            ),
        ],
        legend: Vec::new(),
        panels: wrapped(panels),
    }
}
