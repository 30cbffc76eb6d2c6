//! Linear probes by effective layer.

use super::kit::{Axis, Cells, Colour, Content, Figure, Marker, Panel, Series, Stroke, Title, UNIT};
use super::{Draw, column_title, conditions, distinct, several_runs, split_legend, split_line};
use crate::graph::{Position, Split};
use crate::measure::statistics::intervals_in_words;
use crate::measure::{CheckpointSummary, Probe, ProbeRow, Report, SplitBy};

// The number of positions of a probe from which on a map says more than lines.
const MANY: usize = 4;

impl Draw for Probe {
    /// A panel a probe, position, split and checkpoint, with what the probe must beat there. Probes at many positions: maps by
    /// position and effective layer.
    fn draw(report: &Report<Self>) -> Figure {
        let probes = distinct(&report.rows, |row| (row.probe.clone(), row.position));
        let several = several_runs(&report.checkpoints);
        let names = distinct(&report.rows, |row| row.probe.clone());
        if probes.len() >= MANY * names.len().max(1) {
            return maps(report, &names);
        }
        let splits = distinct(&report.rows, |row| row.split.clone());
        let of_each = distinct(&report.rows, |row| (row.probe.clone(), row.position, row.split.clone()));
        let panels_of = |(probe, position, split): &(String, Position, Split)| -> Vec<Panel> {
            let panel = |checkpoint: &CheckpointSummary| {
                let of_panel = |row: &&ProbeRow| {
                    checkpoint.owns(&row.origin)
                        && row.probe == *probe
                        && row.position == *position
                        && row.split == *split
                };
                let rows: Vec<&ProbeRow> = report.rows.iter().filter(of_panel).collect();
                let label = rows.first().map_or_else(String::new, |row| row.label.to_string());
                Panel {
                    title: Title::new(
                        format!("{label} at {position}, {}", split.title()),
                        column_title(checkpoint, several),
                    ),
                    content: panel(&rows, &split_line(split, place(&splits, split)), checkpoint.layers),
                }
            };
            report.checkpoints.iter().map(panel).collect()
        };
        let panels = if report.checkpoints.len() == 1 {
            // A row a probe and position, a column a split.
            let of_probe = |(probe, position): &(String, Position)| {
                let here = of_each.iter().filter(|each| each.0 == *probe && each.1 == *position);
                here.flat_map(&panels_of).collect()
            };
            probes.iter().map(of_probe).collect()
        } else {
            of_each.iter().map(panels_of).collect()
        };
        let mut legend: Vec<(String, Series)> = split_legend(&splits)
            .into_iter()
            .map(|(split, line)| (format!("probe, {split}"), line))
            .collect();
        legend.extend(BEATEN.map(|(name, line, _)| (name.to_owned(), line())));
        Figure {
            title: TITLE.to_owned(),
            conditions: vec![
                conditions(&report.checkpoints),
                sizes(&report.rows),
                format!(
                    "bands: {}; {}",
                    intervals_in_words(
                        report
                            .rows
                            .iter()
                            .map(|row| (row.split.title().to_owned(), row.interval))
                    ),
                    solvers(&report.rows)
                ),
            ],
            legend,
            panels,
        }
    }
}

// What a probe must beat: name, line, and value.
type Beaten = (&'static str, fn() -> Series, fn(&ProbeRow) -> Option<f64>);
const BEATEN: [Beaten; 4] = [
    (
        "control task",
        || Series::new(Colour::BLACK).stroke(Stroke::Dashed),
        |row| Some(row.control),
    ),
    (
        "embeddings only",
        || Series::new(Colour::GREY).stroke(Stroke::Dotted),
        |row| Some(row.embeddings),
    ),
    (
        "untrained",
        || {
            Series::new(Colour::PURPLE)
                .stroke(Stroke::DashDotted)
                .marker(Marker::Diamond)
        },
        |row| Some(row.untrained),
    ),
    (
        "step 0",
        || Series::new(Colour::SKY).stroke(Stroke::Dashed).marker(Marker::Cross),
        |row| row.step_0,
    ),
];

fn place(splits: &[Split], split: &Split) -> usize {
    splits.iter().position(|other| other == split).unwrap_or(0)
}

const TITLE: &str = "Linear probes: what is decodable from the hidden states";

fn solvers(rows: &[ProbeRow]) -> String {
    match rows.iter().filter(|row| !row.converged).count() {
        0 => "every solver converged".to_owned(),
        unconverged => format!("{unconverged} of {} fits did NOT converge", rows.len()),
    }
}

fn classifiers(rows: &[ProbeRow]) -> String {
    distinct(rows, |row| row.classifier.name()).join(", ")
}

// A column a checkpoint, a row a probe and split, cells by position and effective layer.
fn maps(report: &Report<Probe>, names: &[String]) -> Figure {
    let splits = distinct(&report.rows, |row| row.split.clone());
    let several = several_runs(&report.checkpoints);
    let of_each = names
        .iter()
        .flat_map(|name| splits.iter().map(move |split| (name, split)));
    let row = |(name, split): (&String, &Split)| {
        let panel = |checkpoint: &CheckpointSummary| {
            let of_panel = |row: &&ProbeRow| checkpoint.owns(&row.origin) && row.probe == *name && row.split == *split;
            let rows: Vec<&ProbeRow> = report.rows.iter().filter(of_panel).collect();
            let layers = distinct(&rows, |row| row.place.effective_layer);
            let mut positions = distinct(&rows, |row| row.position);
            positions.reverse();
            let cell = |position: &Position, layer: usize| {
                let found = rows
                    .iter()
                    .find(|row| row.position == *position && row.place.effective_layer == layer);
                found.map(|row| (row.accuracy, Some((row.low, row.high))))
            };
            Panel {
                title: Title::new(format!("{name}, {}", split.title()), column_title(checkpoint, several)),
                content: Content::Cells(Cells {
                    x_label: "effective layer".to_owned(),
                    y_label: "at".to_owned(),
                    columns: layers.iter().map(ToString::to_string).collect(),
                    numbers: positions
                        .iter()
                        .map(|position| layers.iter().map(|&layer| cell(position, layer)).collect())
                        .collect(),
                    rows: positions.iter().map(Position::to_string).collect(),
                    value: "accuracy of the probe".to_owned(),
                    layers: Some(checkpoint.layers),
                    ..Cells::default()
                }),
            }
        };
        report.checkpoints.iter().map(panel).collect()
    };
    Figure {
        title: TITLE.to_owned(),
        conditions: vec![
            conditions(&report.checkpoints),
            format!(
                "{} accuracy, white 0, blue 1; those of controls and baselines are in the table; {}",
                classifiers(&report.rows),
                solvers(&report.rows)
            ),
            sizes(&report.rows),
        ],
        legend: Vec::new(),
        panels: of_each.map(row).collect(),
    }
}

// `line`: that of the split, without points; of blocks with this number of layers.
fn panel(rows: &[&ProbeRow], line: &Series, layers: usize) -> Content {
    let deepest = rows.iter().map(|row| row.place.effective_layer).max().unwrap_or(1);
    let x = |row: &ProbeRow| row.place.effective_layer as f64;
    let mut series: Vec<Series> = BEATEN
        .iter()
        .map(|(_, line, value)| line().points(rows.iter().filter_map(|row| Some((x(row), value(row)?, None)))))
        .collect();
    series.push(
        line.clone()
            .points(rows.iter().map(|row| (x(row), row.accuracy, Some((row.low, row.high))))),
    );
    let y_label = rows
        .first()
        .map_or(String::new(), |row| format!("{} accuracy", row.classifier.name()));
    Content::Lines {
        x: Axis {
            label: "effective layer".to_owned(),
            range: (0.85, deepest as f64 + 0.15),
            log: false,
            layers: Some(layers),
        },
        y_label,
        y_range: UNIT,
        series,
        marks: Vec::new(),
    }
}

// Causal prefixes fitted on and tested on, over all probes and positions.
fn sizes(rows: &[ProbeRow]) -> String {
    let range = |sizes: Vec<usize>| match (sizes.iter().min(), sizes.iter().max()) {
        (Some(min), Some(max)) if min == max => format!("{min}"),
        (Some(min), Some(max)) => format!("{min}–{max}"),
        _ => "0".to_owned(),
    };
    let tested = distinct(rows, |row| row.split.clone()).into_iter().map(|split| {
        let sizes = rows.iter().filter(|row| row.split == split).map(|row| row.n).collect();
        format!("{} {}{}", split.title(), range(sizes), super::unit(rows))
    });
    let tested: Vec<String> = tested.collect();
    let fitted = range(rows.iter().map(|row| row.n_fit).collect());
    let shared = distinct(rows, |row| match row.split_by {
        SplitBy::Facts => "no prefix and no fact of a label shared",
        SplitBy::BothFacts => "no prefix and no fact of a label, or from it, shared",
        SplitBy::Prefixes => "no prefix shared",
    });
    format!(
        "causal prefixes, {}: {fitted} fitted; tested: {}",
        shared.join(" or "),
        tested.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::{origin, report};
    use super::*;
    use crate::graph::Target;
    use crate::measure::statistics::Clustering;
    use crate::measure::{ClassifierKind, Iterations, Place};
    use crate::model::Point;

    fn row(split: Split, effective_layer: usize, step_0: Option<f64>) -> ProbeRow {
        ProbeRow {
            origin: origin(),
            probe: "bridge-at-r2".to_owned(),
            label: Target::Bridge,
            site: Point::ResidPost,
            position: Position::Relation(2),
            place: Place {
                effective_layer,
                iteration: effective_layer,
                layer: 1,
            },
            split,
            split_by: SplitBy::Facts,
            classifier: ClassifierKind::Logistic,
            penalty: 1e-3,
            n_fit: 100,
            n: 50,
            n_facts: 20,
            classes: 10,
            validation: 0.8,
            accuracy: 0.9,
            low: 0.8,
            high: 0.95,
            interval: Clustering::Facts,
            control: 0.11,
            selectivity: 0.79,
            shuffled: 0.1,
            embeddings: 0.22,
            untrained: 0.33,
            step_0,
            converged: true,
            residual: 0.0,
        }
    }

    #[test]
    fn a_panel_shows_one_split_with_the_control_and_every_baseline_and_names_the_classifier() {
        let rows = [(Split::train(), Some(0.44)), (Split::ood(), None)]
            .into_iter()
            .flat_map(|(split, step_0)| [row(split.clone(), 1, step_0), row(split, 2, step_0)])
            .collect();
        let settings = Probe {
            specs: Vec::new(),
            seed: 1,
            iterations: Iterations::Trained,
        };
        let figure = Probe::draw(&report(settings, rows));
        let panels: Vec<&Panel> = figure.panels.iter().flatten().collect();
        assert_eq!(panels.len(), 2);
        for (panel, (split, lines)) in panels.iter().zip([("train", 5), ("OOD test", 4)]) {
            let title = panel.title.whole();
            assert!(title.contains(split), "{title}");
            let Content::Lines { series, y_label, .. } = &panel.content else {
                panic!("{panel:?}");
            };
            assert!(y_label.contains("logistic"), "{y_label}");
            let drawn: Vec<&Series> = series.iter().filter(|line| !line.points.is_empty()).collect();
            assert_eq!(drawn.len(), lines);
            // The legend explains every line: by colour and stroke.
            for line in drawn {
                let explains = |(_, entry): &&(String, Series)| entry.looks_like(line);
                assert_eq!(figure.legend.iter().filter(explains).count(), 1, "{line:?}");
                assert_eq!(line.points.len(), 2);
            }
        }
    }
}
