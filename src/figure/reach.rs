//! How far back a chain the answer reaches.

use super::kit::{Axis, Colour, Content, Figure, Panel, Series, Stroke, Title, UNIT};
use super::{Draw, Populations, column_title, conditions, intervals, sample_size, several_runs};
use crate::graph::Split;
use crate::measure::{CheckpointSummary, Interchange, Reach, ReachRow, Report};

impl Draw for Reach {
    /// A column a checkpoint: answers that change when one token is interchanged, and when all before a suffix are; solid the
    /// model's, dotted the true ones.
    fn draw(report: &Report<Self>) -> Figure {
        let populations = Populations::of(&report.rows, |row| (&row.split, row.hops));
        let deepest = report.rows.iter().map(|row| row.hops).max().unwrap_or(1) as f64;
        let several = several_runs(&report.checkpoints);
        let row = |(interchange, label): (Interchange, &str)| {
            let panel = |checkpoint: &CheckpointSummary| {
                let lines = |((split, hops), line): ((&Split, usize), Series)| -> [Series; 2] {
                    let is_of_line = |row: &&ReachRow| {
                        checkpoint.owns(&row.origin)
                            && row.interchange == interchange
                            && row.split == *split
                            && row.hops == hops
                    };
                    let of_line = || report.rows.iter().filter(is_of_line);
                    [
                        line.clone()
                            .points(of_line().map(|row| (row.from_end as f64, row.changed, Some((row.low, row.high))))),
                        line.stroke(Stroke::Dotted)
                            .points(of_line().map(|row| (row.from_end as f64, row.truth_changed, None))),
                    ]
                };
                Panel {
                    title: Title::column(column_title(checkpoint, several)),
                    content: Content::Lines {
                        x: Axis {
                            label: label.to_owned(),
                            range: (-0.2, deepest + 1.2),
                            log: false,
                            layers: None,
                        },
                        y_label: "answers that change".to_owned(),
                        y_range: UNIT,
                        series: populations.iter().zip(populations.lines()).flat_map(lines).collect(),
                        marks: Vec::new(),
                    },
                }
            };
            report.checkpoints.iter().map(panel).collect()
        };
        Figure {
            title: "How far back the answer reaches".to_owned(),
            conditions: vec![
                conditions(&report.checkpoints),
                format!(
                    "solid: the model's answers, bands: {}; dotted: the true ones; {}",
                    intervals(&report.rows, |row| (&row.split, row.interval)),
                    sample_size(&report.rows, |row| (&row.split, row.hops, row.n))
                ),
            ],
            legend: (populations.legend().into_iter())
                .chain([(
                    "the true answers".to_owned(),
                    Series::new(Colour::GREY).stroke(Stroke::Dotted),
                )])
                .collect(),
            panels: [
                (Interchange::One, "the interchanged token, counted from the end"),
                (Interchange::Before, "relations kept at the end"),
            ]
            .map(row)
            .into(),
        }
    }
}
