//! The logit lens by effective layer (Kohli et al. 2026, Figure 4).

use super::kit::{Axis, Content, Figure, Panel, Series, UNIT};
use super::{column_title, conditions, distinct, several_runs, split_colour, split_legend};
use crate::measure::{Lens, LensRow, Report, SubjectInfo};

/// Top-1 accuracy of the lens: a column a checkpoint, a row an entity and position, a line a split.
pub fn lens(report: &Report<Lens, LensRow>) -> Figure {
    let splits = distinct(&report.rows, |row| row.split.clone());
    let readings = distinct(&report.rows, reading);
    let several = several_runs(&report.subjects);
    let row = |key: &(usize, String, String)| {
        let columns = report.subjects.iter().map(|subject| Panel {
            title: column_title(subject, several),
            content: panel(&report.rows, subject, key, &splits),
        });
        columns.collect()
    };
    Figure {
        title: "Logit lens: what the output matrix reads off the residual stream".to_owned(),
        conditions: vec![
            conditions(&report.subjects, &report.data_hash),
            format!("{}; bands: 95 % intervals (Wilson)", sample_sizes(&report.rows)),
        ],
        legend: split_legend(&splits),
        panels: readings.iter().map(row).collect(),
    }
}

pub(super) fn reading(row: &LensRow) -> (usize, String, String) {
    (row.hops, row.label.clone(), row.position.clone())
}

pub(super) fn panel(
    rows: &[LensRow],
    subject: &SubjectInfo,
    key: &(usize, String, String),
    splits: &[String],
) -> Content {
    let of_subject = |row: &&LensRow| {
        row.run == subject.run
            && row.checkpoint == subject.checkpoint
            && row.step == subject.step
            && reading(row) == *key
    };
    let deepest = rows
        .iter()
        .filter(of_subject)
        .map(|row| row.effective_layer)
        .max()
        .unwrap_or(1);
    let line = |(place, split): (usize, &String)| {
        let points = rows.iter().filter(of_subject).filter(|row| row.split == *split);
        Series::new(split_colour(split, place))
            .points(points.map(|row| (row.effective_layer as f64, row.top1, Some((row.low, row.high)))))
    };
    Content::Lines {
        x: effective_layer_axis(deepest),
        y_label: format!("{} ({}), top-1", key.1, key.2),
        y_range: UNIT,
        series: splits.iter().enumerate().map(line).collect(),
        marks: Vec::new(),
    }
}

pub(super) fn effective_layer_axis(deepest: usize) -> Axis {
    Axis {
        label: "effective layer (0: embedding)".to_owned(),
        range: (-0.15, deepest as f64 + 0.15),
        log: false,
    }
}

pub(super) fn sample_sizes(rows: &[LensRow]) -> String {
    let sizes = distinct(rows, |row| (row.split.clone(), row.hops, row.n));
    let text: Vec<String> = sizes
        .iter()
        .map(|(split, hops, n)| format!("{}, {hops} hops: n = {n}", super::split_name(split)))
        .collect();
    text.join("; ")
}
