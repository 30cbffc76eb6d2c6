//! The logit margin by iteration (Kohli et al. 2026, Figure 8).

use super::kit::{Content, Figure, Panel, Series, Title};
use super::{Draw, Populations, bands, column_title, conditions, iteration_axis, several_runs, span, wrapped};
use crate::graph::Split;
use crate::measure::{CheckpointSummary, Margin, MarginRow, Report};

impl Draw for Margin {
    /// A panel a checkpoint, a line a split and number of hops.
    fn draw(report: &Report<Self>) -> Figure {
        let populations = Populations::of(&report.rows, |row| (&row.split, row.hops));
        let several = several_runs(&report.checkpoints);
        let ends = |row: &MarginRow| [Some(row.margin), row.low, row.high].into_iter().flatten();
        let y_range = span(report.rows.iter().flat_map(ends), 0.0);
        let panel = |checkpoint: &CheckpointSummary| {
            let line = |((split, hops), line): ((&Split, usize), Series)| {
                let of_line = report
                    .rows
                    .iter()
                    .filter(|row| checkpoint.owns(&row.origin) && row.split == *split && row.hops == hops);
                line.points(of_line.map(|row| (row.iteration as f64, row.margin, row.low.zip(row.high))))
            };
            Panel {
                title: Title::column(column_title(checkpoint, several)),
                content: Content::Lines {
                    x: iteration_axis(report.settings.chains.iterations.max(1)),
                    y_label: "logit margin".to_owned(),
                    y_range,
                    series: populations.iter().zip(populations.lines()).map(line).collect(),
                    marks: vec![(checkpoint.iterations as f64, "trained".to_owned())],
                },
            }
        };
        let panels: Vec<Panel> = report.checkpoints.iter().map(panel).collect();
        Figure {
            title: "Logit margin: the target minus the best other token".to_owned(),
            conditions: vec![
                conditions(&report.checkpoints),
                bands(report, |row| (&row.split, row.hops, row.n)),
            ],
            legend: populations.legend(),
            panels: wrapped(panels),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{origin, report};
    use super::*;
    use crate::measure::statistics::Clustering;
    use crate::measure::{BeyondTraining, Fall, Iterations, Largest, Rise};

    fn row(split: impl Into<Split>, hops: usize, margin: f64) -> MarginRow {
        MarginRow {
            origin: origin(),
            split: split.into(),
            hops,
            iteration: 1,
            n: 10,
            margin,
            low: Some(margin - 5.0),
            high: Some(margin + 5.0),
            interval: Clustering::Facts,
            largest: Largest::default(),
            fall: Fall::default(),
            rise: Rise::default(),
            ahead: 1.0,
            first: 1.0,
        }
    }

    fn lines(rows: Vec<MarginRow>) -> (Figure, Vec<usize>, (f64, f64)) {
        let settings = Margin {
            chains: BeyondTraining {
                splits: Vec::new(),
                iterations: Iterations::up_to(4),
                seed: 1,
            },
        };
        let figure = Margin::draw(&report(settings, rows));
        let Content::Lines { series, y_range, .. } = &figure.panels[0][0].content else {
            panic!("margins are lines");
        };
        let (points, y_range) = (series.iter().map(|line| line.points.len()).collect(), *y_range);
        (figure, points, y_range)
    }

    #[test]
    fn no_line_joins_two_splits_and_no_band_is_cut_off() {
        let rows = ["train_inferred", "test_inferred_iid", "test_inferred_ood"].map(|split| row(split, 2, 3.0));
        let (figure, points, y_range) = lines(rows.into());
        assert_eq!(points, [1, 1, 1]);
        assert_eq!(figure.legend.len(), 3);
        assert!(y_range.0 <= -2.0 && y_range.1 >= 8.0, "{y_range:?}");
        let (figure, points, _) = lines(vec![row("mixed", 2, 3.0), row("mixed", 3, 2.0)]);
        assert_eq!(points, [1, 1]);
        assert_eq!(figure.legend[1].0, "mixed, 3 hops");
        // Depths come in their order, whatever the rows' is.
        let (figure, _, _) = lines(vec![row("3hop_test", 3, 3.0), row("2hop_test", 2, 2.0)]);
        assert_eq!(figure.legend[0].0, "2 hops");
    }

    #[test]
    fn a_shortened_hash_is_shown_as_it_is() {
        let mut report = report(
            Margin {
                chains: BeyondTraining {
                    splits: Vec::new(),
                    iterations: Iterations::up_to(4),
                    seed: 1,
                },
            },
            vec![row("mixed", 2, 3.0)],
        );
        report.checkpoints[0].origin.checkpoint_hash = "abc".to_owned();
        assert!(Margin::draw(&report).conditions[0].contains("checkpoints abc"));
    }
}
