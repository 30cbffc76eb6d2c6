//! How the loop settles, by iteration.

use super::kit::{Content, Figure, Panel, Point, Series, Title, UNIT};
use super::{Draw, Populations, bands, column_title, conditions, iteration_axis, several_runs, span};
use crate::graph::Split;
use crate::measure::{CheckpointSummary, Report, Settle, SettleRow};

// A quantity: its name, its range where that is fixed, and its value in a row.
type Quantity = (&'static str, Option<(f64, f64)>, Of);
type Of = fn(&SettleRow) -> Option<(f64, Option<(f64, f64)>)>;

impl Draw for Settle {
    /// A column a checkpoint; state norm, step norm, cosine of successive steps, the angle by which a step turns the state and
    /// its share along the state, distance between layers, and accuracy below each other.
    fn draw(report: &Report<Self>) -> Figure {
        let populations = Populations::of(&report.rows, |row| (&row.split, row.hops));
        let several = several_runs(&report.checkpoints);
        let quantities: [Quantity; 7] = [
            ("state norm", None, |row| {
                Some((row.state, row.state_low.zip(row.state_high)))
            }),
            ("step / state norm", None, |row| {
                Some((row.moved, row.moved_low.zip(row.moved_high)))
            }),
            ("cosine of steps", None, |row| {
                Some((row.cosine?, row.cosine_low.zip(row.cosine_high)))
            }),
            ("turn of the state (°)", None, |row| {
                Some((row.angle, row.angle_low.zip(row.angle_high)))
            }),
            ("share of the step along the state", Some(UNIT), |row| {
                Some((row.radial, row.radial_low.zip(row.radial_high)))
            }),
            ("layers apart", None, |row| {
                Some((row.apart?, row.apart_low.zip(row.apart_high)))
            }),
            ("accuracy", Some(UNIT), |row| {
                Some((row.accuracy, Some((row.accuracy_low, row.accuracy_high))))
            }),
        ];
        let row = |(label, range, of): &Quantity| {
            let ends = |row| {
                let (value, interval) = of(row)?;
                let (low, high) = interval.unwrap_or((value, value));
                Some([value, low, high])
            };
            let y_range = range.unwrap_or_else(|| span(report.rows.iter().filter_map(ends).flatten(), 0.0));
            let panel = |checkpoint: &CheckpointSummary| {
                let line = |((split, hops), line): ((&Split, usize), Series)| {
                    let of_line = report
                        .rows
                        .iter()
                        .filter(|row| checkpoint.owns(&row.origin) && row.split == *split && row.hops == hops);
                    let point = |row: &SettleRow| -> Option<Point> {
                        let (value, interval) = of(row)?;
                        Some((row.iteration as f64, value, interval))
                    };
                    line.points(of_line.filter_map(point))
                };
                Panel {
                    title: Title::column(column_title(checkpoint, several)),
                    content: Content::Lines {
                        x: iteration_axis(report.settings.chains.iterations.max(1)),
                        y_label: (*label).to_owned(),
                        y_range,
                        series: populations.iter().zip(populations.lines()).map(line).collect(),
                        marks: vec![(checkpoint.iterations as f64, "trained".to_owned())],
                    },
                }
            };
            report.checkpoints.iter().map(panel).collect()
        };
        let measured = quantities
            .iter()
            .filter(|(.., of)| report.rows.iter().any(|row| of(row).is_some()));
        Figure {
            title: "The loop's settling, at the readout position".to_owned(),
            conditions: vec![
                conditions(&report.checkpoints),
                bands(report, |row| (&row.split, row.hops, row.n)),
            ],
            legend: populations.legend(),
            panels: measured.map(row).collect(),
        }
    }
}
