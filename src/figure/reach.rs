//! How far back a chain the answer reaches.

use super::kit::{Axis, Content, Figure, Panel, Series, Stroke, UNIT};
use super::{column_title, conditions, distinct, hop_legend, ordered_line, sample_size, several_runs};
use crate::measure::{Exchange, Reach, ReachRow, Report, SubjectInfo};

/// A column a checkpoint: answers that change when one token is exchanged, and when all before a suffix are; solid the
/// model's, dotted the true ones.
pub fn reach(report: &Report<Reach, ReachRow>) -> Figure {
    let mut hops = distinct(&report.rows, |row| row.hops);
    hops.sort_unstable();
    let deepest = hops.last().copied().unwrap_or(1) as f64;
    let several = several_runs(&report.subjects);
    let row = |(exchange, label): (Exchange, &str)| {
        let panel = |subject: &SubjectInfo| {
            let lines = |(n, &hops_of_line): (usize, &usize)| -> [Series; 2] {
                let of_line = || {
                    report
                        .rows
                        .iter()
                        .filter(move |row| subject.owns(row) && row.exchange == exchange && row.hops == hops_of_line)
                };
                let line = || ordered_line(n, hops.len());
                [
                    line().points(of_line().map(|row| (row.from_end as f64, row.changed, Some((row.low, row.high))))),
                    line()
                        .stroke(Stroke::Dotted)
                        .points(of_line().map(|row| (row.from_end as f64, row.truth_changed, None))),
                ]
            };
            Panel {
                title: column_title(subject, several),
                content: Content::Lines {
                    x: Axis {
                        label: label.to_owned(),
                        range: (-0.2, deepest + 1.2),
                        log: false,
                    },
                    y_label: "answers that change".to_owned(),
                    y_range: UNIT,
                    series: hops.iter().enumerate().flat_map(lines).collect(),
                    marks: Vec::new(),
                },
            }
        };
        report.subjects.iter().map(panel).collect()
    };
    Figure {
        title: "How far back the answer reaches".to_owned(),
        conditions: vec![
            conditions(&report.subjects, &report.data_hash),
            format!(
                "solid: the model's answers (bands: 95 % Wilson), dotted: the true ones; {}",
                sample_size(&report.rows, |row| (row.hops, row.n))
            ),
        ],
        legend: hop_legend(&hops),
        panels: [
            (Exchange::One, "the exchanged token, counted from the end"),
            (Exchange::Before, "relations kept at the end"),
        ]
        .map(row)
        .into(),
    }
}
