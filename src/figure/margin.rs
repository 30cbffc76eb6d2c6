//! The logit margin by iteration (Kohli et al. 2026, Figure 8).

use super::kit::{Content, Figure, Panel};
use super::{
    column_title, conditions, distinct, hop_legend, iteration_axis, ordered_line, sample_size, several_runs, span,
    wrapped,
};
use crate::measure::{Margin, MarginRow, Report, SubjectInfo};

/// A panel a checkpoint, a line a number of hops.
pub fn margin(report: &Report<Margin, MarginRow>) -> Figure {
    let mut hops = distinct(&report.rows, |row| row.hops);
    hops.sort_unstable();
    let several = several_runs(&report.subjects);
    let y_range = span(report.rows.iter().map(|row| row.margin), 0.0);
    let panel = |subject: &SubjectInfo| {
        let line = |(n, &hops_of_line): (usize, &usize)| {
            let of_line = report
                .rows
                .iter()
                .filter(|row| subject.owns(row) && row.hops == hops_of_line);
            ordered_line(n, hops.len())
                .points(of_line.map(|row| (row.iteration as f64, row.margin, Some((row.low, row.high)))))
        };
        Panel {
            title: column_title(subject, several),
            content: Content::Lines {
                x: iteration_axis(report.settings.most),
                y_label: "logit margin".to_owned(),
                y_range,
                series: hops.iter().enumerate().map(line).collect(),
                marks: vec![(subject.iterations as f64, "trained".to_owned())],
            },
        }
    };
    let panels: Vec<Panel> = report.subjects.iter().map(panel).collect();
    Figure {
        title: "Logit margin: the target minus the best other token".to_owned(),
        conditions: vec![
            conditions(&report.subjects, &report.data_hash),
            format!(
                "bands: 95 % intervals of the mean (bootstrap); {}",
                sample_size(&report.rows, |row| (row.hops, row.n))
            ),
        ],
        legend: hop_legend(&hops),
        panels: wrapped(panels),
    }
}
