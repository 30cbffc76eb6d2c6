//! The logit margin by iteration (Kohli et al. 2026, Figure 8).

use super::kit::{Content, Figure, Panel, Series};
use super::{Populations, column_title, conditions, iteration_axis, sample_size, several_runs, span, wrapped};
use crate::measure::{Margin, MarginRow, Report, SubjectInfo};

/// A panel a checkpoint, a line a split and number of hops.
pub fn margin(report: &Report<Margin, MarginRow>) -> Figure {
    let populations = Populations::of(&report.rows, |row| (&row.split, row.hops));
    let several = several_runs(&report.subjects);
    let ends = |row: &MarginRow| [row.margin, row.low, row.high];
    let y_range = span(report.rows.iter().flat_map(ends), 0.0);
    let panel = |subject: &SubjectInfo| {
        let line = |((split, hops), line): ((&str, usize), Series)| {
            let of_line = report
                .rows
                .iter()
                .filter(|row| subject.owns(&row.origin) && row.split == split && row.hops == hops);
            line.points(of_line.map(|row| (row.iteration as f64, row.margin, Some((row.low, row.high)))))
        };
        Panel {
            title: column_title(subject, several),
            content: Content::Lines {
                x: iteration_axis(report.settings.most),
                y_label: "logit margin".to_owned(),
                y_range,
                series: populations.iter().zip(populations.lines()).map(line).collect(),
                marks: vec![(subject.iterations as f64, "trained".to_owned())],
            },
        }
    };
    let panels: Vec<Panel> = report.subjects.iter().map(panel).collect();
    Figure {
        title: "Logit margin: the target minus the best other token".to_owned(),
        conditions: vec![
            conditions(&report.subjects),
            format!(
                "bands: 95 % intervals of the mean (bootstrap); {}",
                sample_size(&report.rows, |row| (&row.split, row.hops, row.n))
            ),
        ],
        legend: populations.legend(),
        panels: wrapped(panels),
    }
}
