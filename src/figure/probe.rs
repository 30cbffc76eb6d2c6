//! Linear probes by effective layer.

use super::kit::{Axis, Colour, Content, Figure, Panel, Series, Stroke, UNIT};
use super::{column_title, conditions, distinct, several_runs, split_colour, split_legend, split_name};
use crate::graph::Position;
use crate::measure::{Probe, ProbeRow, Report, SubjectInfo};

// From so many positions a probe on, a map says more than lines.
const MANY: usize = 4;

/// A column a checkpoint, a row a probe and position, a line a split; the control and the embedding-only baseline of
/// each split are dashed and dotted in its colour. Probes at many positions: maps by position and effective layer.
pub fn probe(report: &Report<Probe, ProbeRow>) -> Figure {
    let splits = distinct(&report.rows, |row| row.split.clone());
    let probes = distinct(&report.rows, |row| (row.probe.clone(), row.position));
    let several = several_runs(&report.subjects);
    let names = distinct(&report.rows, |row| row.probe.clone());
    if probes.len() >= MANY * names.len().max(1) {
        return maps(report, &names, &splits);
    }
    let row = |(probe, position): &(String, Position)| {
        let columns = report.subjects.iter().map(|subject| Panel {
            title: column_title(subject, several),
            content: panel(report, subject, probe, *position, &splits),
        });
        columns.collect()
    };
    let mut legend = split_legend(&splits);
    legend.push((
        "control (shuffled labels)".to_owned(),
        Series::new(Colour::GREY).stroke(Stroke::Dashed),
    ));
    legend.push((
        "embeddings only".to_owned(),
        Series::new(Colour::GREY).stroke(Stroke::Dotted),
    ));
    Figure {
        title: TITLE.to_owned(),
        conditions: vec![
            conditions(&report.subjects),
            format!(
                "{}; bands: 95 % bootstrap intervals over prefixes; {}",
                sizes(&report.rows),
                solvers(&report.rows)
            ),
        ],
        legend,
        panels: probes.iter().map(row).collect(),
    }
}

const TITLE: &str = "Linear probes: what is decodable from the hidden states";

fn solvers(rows: &[ProbeRow]) -> String {
    match rows.iter().filter(|row| !row.converged).count() {
        0 => "every solver converged".to_owned(),
        unconverged => format!("{unconverged} of {} fits did NOT converge", rows.len()),
    }
}

// A column a checkpoint, a row a probe and split, cells by position and effective layer.
fn maps(report: &Report<Probe, ProbeRow>, names: &[String], splits: &[String]) -> Figure {
    let several = several_runs(&report.subjects);
    let of_each = names
        .iter()
        .flat_map(|name| splits.iter().map(move |split| (name, split)));
    let row = |(name, split): (&String, &String)| {
        let panel = |subject: &SubjectInfo| {
            let of_panel = |row: &&ProbeRow| subject.owns(&row.origin) && row.probe == *name && row.split == *split;
            let rows: Vec<&ProbeRow> = report.rows.iter().filter(of_panel).collect();
            let layers = distinct(&rows, |row| row.effective_layer);
            let mut positions = distinct(&rows, |row| row.position);
            positions.reverse();
            let cell = |position: &Position, layer: usize| {
                let found = rows
                    .iter()
                    .find(|row| row.position == *position && row.effective_layer == layer);
                found.map(|row| row.accuracy)
            };
            Panel {
                title: format!("{name}, {}: {}", split_name(split), column_title(subject, several)),
                content: Content::Cells {
                    x_label: "effective layer".to_owned(),
                    y_label: "at".to_owned(),
                    columns: layers.iter().map(ToString::to_string).collect(),
                    cells: positions
                        .iter()
                        .map(|position| layers.iter().map(|&layer| cell(position, layer)).collect())
                        .collect(),
                    rows: positions.iter().map(Position::to_string).collect(),
                    behind: Vec::new(),
                    below: Vec::new(),
                },
            }
        };
        report.subjects.iter().map(panel).collect()
    };
    Figure {
        title: TITLE.to_owned(),
        conditions: vec![
            conditions(&report.subjects),
            format!(
                "accuracy, white 0, blue 1, the control's is in the table; {}",
                solvers(&report.rows)
            ),
            sizes(&report.rows),
        ],
        legend: Vec::new(),
        panels: of_each.map(row).collect(),
    }
}

fn panel(
    report: &Report<Probe, ProbeRow>,
    subject: &SubjectInfo,
    probe: &str,
    position: Position,
    splits: &[String],
) -> Content {
    let of_panel = |row: &&ProbeRow| subject.owns(&row.origin) && row.probe == probe && row.position == position;
    let deepest = report
        .rows
        .iter()
        .filter(of_panel)
        .map(|row| row.effective_layer)
        .max()
        .unwrap_or(1);
    let mut series = Vec::new();
    for (place, split) in splits.iter().enumerate() {
        let rows = || report.rows.iter().filter(of_panel).filter(|row| row.split == *split);
        let line = |stroke, y: fn(&ProbeRow) -> f64| {
            Series::new(split_colour(split, place))
                .stroke(stroke)
                .points(rows().map(move |row| (row.effective_layer as f64, y(row), None)))
        };
        series.push(line(Stroke::Dashed, |row| row.control));
        series.push(line(Stroke::Dotted, |row| row.baseline));
        series.push(
            Series::new(split_colour(split, place))
                .points(rows().map(|row| (row.effective_layer as f64, row.accuracy, Some((row.low, row.high))))),
        );
    }
    let label = report.rows.iter().find(of_panel).map_or("", |row| row.label.as_str());
    Content::Lines {
        x: Axis {
            label: "effective layer".to_owned(),
            range: (0.85, deepest as f64 + 0.15),
            log: false,
        },
        y_label: format!("{label} ({position}), accuracy"),
        y_range: UNIT,
        series,
        marks: Vec::new(),
    }
}

// Causal prefixes fitted on and tested on, over all probes and positions.
fn sizes(rows: &[ProbeRow]) -> String {
    let range = |sizes: Vec<usize>| match (sizes.iter().min(), sizes.iter().max()) {
        (Some(least), Some(most)) if least == most => format!("{least}"),
        (Some(least), Some(most)) => format!("{least}–{most}"),
        _ => "0".to_owned(),
    };
    let tested = distinct(rows, |row| row.split.clone()).into_iter().map(|split| {
        let sizes = rows.iter().filter(|row| row.split == split).map(|row| row.n).collect();
        format!("{} {}", super::split_name(&split), range(sizes))
    });
    let tested: Vec<String> = tested.collect();
    let fitted = range(rows.iter().map(|row| row.n_fit).collect());
    format!(
        "causal prefixes, none shared: {fitted} fitted; tested: {}",
        tested.join(", ")
    )
}
