//! Accuracy against inference iterations.

use super::kit::{Axis, Cells, Content, Estimate, Figure, Panel, Title, UNIT};
use super::{
    Draw, Steps, bound_entry, column_title, conditions, distinct, intervals, sample_size, several_runs, split_legend,
    split_line, split_sizes, wrapped,
};
use crate::checkpoint::CheckpointRole;
use crate::graph::Split;
use crate::measure::{CheckpointSummary, Eval, EvalRow, Report};
use crate::wording::counted;

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
        let measured = distinct(&report.rows, |row| (row.origin.clone(), row.iterations));
        if measured.len() == distinct(&measured, |(origin, _)| origin.clone()).len() {
            return at_one(report, &iterations);
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
                split_line(split, place)
                    .points(of_line.map(|row| (row.iterations as f64, row.accuracy, Some((row.low, row.high)))))
            };
            Panel {
                title: Title::column(column_title(checkpoint, several)),
                content: Content::Lines {
                    x: Axis {
                        label: "inference iterations".to_owned(),
                        range: (0.8, max as f64 + 0.2),
                        log: false,
                        layers: None,
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

// Each checkpoint at one number of iterations: over the steps of training where a run has several checkpoints, else by split.
fn at_one(report: &Report<Eval>, iterations: &[usize]) -> Figure {
    let splits = distinct(&report.rows, |row| row.split.clone());
    let several = several_runs(&report.checkpoints);
    let runs = distinct(&report.checkpoints, |checkpoint| checkpoint.origin.run.clone());
    let of_run = |run: &String| {
        report
            .checkpoints
            .iter()
            .filter(|it| it.origin.run == *run)
            .collect::<Vec<_>>()
    };
    let trained = report
        .checkpoints
        .iter()
        .map(|it| it.origin.step)
        .filter(|step| *step > 0);
    let (first, last) = (
        trained.clone().min().unwrap_or(1) as f64,
        trained.max().unwrap_or(1) as f64,
    );
    let is_over_steps = runs
        .iter()
        .any(|run| distinct(&of_run(run), |it| it.origin.step).len() > 1);
    let (panels, legend) = if is_over_steps {
        let steps = Steps::spanning(first, last, true);
        let panel = |run: &String| over_steps_of(report, &of_run(run), &splits, (steps, steps.axis(first, last)));
        (runs.iter().map(panel).collect(), split_legend(&splits))
    } else {
        let panel = |checkpoint: &CheckpointSummary| by_split(report, checkpoint, column_title(checkpoint, several));
        (report.checkpoints.iter().map(panel).collect(), Vec::new())
    };
    Figure {
        title: match iterations {
            [only] => format!("Accuracy with {}", counted(*only, "inference iteration")),
            _ => "Accuracy with each run's own inference iterations".to_owned(),
        },
        conditions: vec![
            conditions(&report.checkpoints),
            format!(
                "{}; bands: {}",
                split_sizes(&report.rows, |row| (row.split.clone(), row.n)),
                intervals(&report.rows, |row| (&row.split, row.interval))
            ),
        ],
        legend,
        panels: wrapped(panels),
    }
}

// A run: a line a split, the ends of stages marked.
fn over_steps_of(
    report: &Report<Eval>,
    checkpoints: &[&CheckpointSummary],
    splits: &[Split],
    (steps, axis): (Steps, Axis),
) -> Panel {
    let line = |(place, split): (usize, &Split)| {
        let points = checkpoints
            .iter()
            .filter(|it| it.origin.step > 0)
            .filter_map(|checkpoint| {
                let row = report
                    .rows
                    .iter()
                    .find(|row| checkpoint.owns(&row.origin) && row.split == *split)?;
                Some((
                    steps.place(checkpoint.origin.step as f64),
                    row.accuracy,
                    Some((row.low, row.high)),
                ))
            });
        split_line(split, place).points(points)
    };
    let stages = checkpoints
        .iter()
        .filter(|it| matches!(it.role, CheckpointRole::Stage(_)));
    let marks = stages.map(|it| (steps.place(it.origin.step as f64), it.role.to_string()));
    Panel {
        title: Title::column(checkpoints.first().map_or("", |it| &*it.origin.run)),
        content: Content::Lines {
            x: axis,
            y_label: "accuracy".to_owned(),
            y_range: UNIT,
            series: splits.iter().enumerate().map(line).collect(),
            marks: marks.collect(),
        },
    }
}

// A checkpoint: an estimate a split.
fn by_split(report: &Report<Eval>, checkpoint: &CheckpointSummary, title: String) -> Panel {
    let of_checkpoint = report.rows.iter().filter(|row| checkpoint.owns(&row.origin));
    let estimate = |(place, row): (usize, &EvalRow)| Estimate {
        name: row.split.title().to_owned(),
        colour: split_line(&row.split, place).colour,
        value: row.accuracy,
        interval: Some((row.low, row.high)),
    };
    Panel {
        title: Title::column(title),
        content: Content::Estimates {
            x_label: "accuracy".to_owned(),
            x_range: Some(UNIT),
            rows: of_checkpoint.enumerate().map(estimate).collect(),
        },
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
            found.map(|row| (row.accuracy, Some((row.low, row.high))))
        };
        let deeper = |learned: usize| hops.iter().filter(|&&hops| hops > learned).count();
        Panel {
            title: Title::column(column_title(checkpoint, several)),
            content: Content::Cells(Cells {
                x_label: "inference iterations".to_owned(),
                y_label: "hops".to_owned(),
                columns: iterations.iter().map(ToString::to_string).collect(),
                rows: hops.iter().map(ToString::to_string).collect(),
                numbers: hops
                    .iter()
                    .map(|&hops| iterations.iter().map(|&iterations| cell(hops, iterations)).collect())
                    .collect(),
                behind: vec![iterations.iter().filter(|&&i| i <= checkpoint.iterations).count()],
                below: checkpoint.learned_hops.map(deeper).into_iter().collect(),
                value: "accuracy".to_owned(),
                ..Cells::default()
            }),
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
        legend: vec![bound_entry("iterations and hops of training end")],
        panels: wrapped(panels),
    }
}
