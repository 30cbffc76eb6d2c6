//! The logit lens by effective layer (Kohli et al. 2026, Figure 4).

use super::kit::{Axis, Cells, Content, Figure, Panel, Series, Title, UNIT};
use super::{Draw, bound_entry, column_title, conditions, distinct, intervals, several_runs, split_legend};
use crate::graph::{Position, Split, Target};
use crate::measure::{CheckpointSummary, Lens, LensRow, Report};

impl Draw for Lens {
    /// Top-1 accuracy of the lens: a column a checkpoint, a row an entity and position, a line a split. For chains of more
    /// than two hops: maps of the wavefront of retrieval.
    fn draw(report: &Report<Self>) -> Figure {
        if report.rows.iter().any(|row| row.hops > 2) {
            return wavefront(report);
        }
        let splits = distinct(&report.rows, |row| row.split.clone());
        let named = split_legend(&splits).into_iter().map(|(_, line)| line);
        let lines: Vec<(Split, Series)> = splits.iter().cloned().zip(named).collect();
        let readings = distinct(&report.rows, reading);
        let several = several_runs(&report.checkpoints);
        let row = |key: &ReadingKey| {
            let columns = report.checkpoints.iter().map(|checkpoint| Panel {
                title: Title::new(name_of(key), column_title(checkpoint, several)),
                content: panel(&report.rows, checkpoint, key, &lines),
            });
            columns.collect()
        };
        Figure {
            title: "Logit lens: what the output matrix reads off the residual stream".to_owned(),
            conditions: vec![
                conditions(&report.checkpoints),
                format!(
                    "{}; bands: {}",
                    sample_sizes(&report.rows),
                    intervals(&report.rows, |row| (&row.split, row.interval))
                ),
            ],
            legend: split_legend(&splits),
            panels: readings.iter().map(row).collect(),
        }
    }
}

// Two columns a checkpoint (each entity at the relation that leads to it, and at the last one), a third where the answer is
// read at a position of its own; a row a split and number of hops, cells by entity and effective layer.
fn wavefront(report: &Report<Lens>) -> Figure {
    let several = several_runs(&report.checkpoints);
    let chains = distinct(&report.rows, |row| (row.split.clone(), row.hops));
    let row = |(split, hops): &(Split, usize)| {
        let panels = report.checkpoints.iter().flat_map(|checkpoint| {
            let of_panel = |row: &&LensRow| checkpoint.owns(&row.origin) && row.split == *split && row.hops == *hops;
            let rows: Vec<&LensRow> = report.rows.iter().filter(of_panel).collect();
            let places = [
                ("own relation", None),
                ("last relation", Some(Position::Relation(*hops))),
                ("readout", Some(Position::Readout)),
            ];
            let is_there = |(_, position): &(&str, Option<Position>)| {
                *position != Some(Position::Readout) || rows.iter().any(|row| row.position == Position::Readout)
            };
            let panel = |(place, position)| Panel {
                title: Title::new(format!("{}, {place}", split.title()), column_title(checkpoint, several)),
                content: cells(&rows, *hops, position, checkpoint),
            };
            places.into_iter().filter(is_there).map(panel).collect::<Vec<_>>()
        });
        panels.collect()
    };
    Figure {
        title: "Logit lens: the wavefront of retrieval".to_owned(),
        conditions: vec![
            conditions(&report.checkpoints),
            format!("top-1, white 0, blue 1; {}", sample_sizes(&report.rows)),
            "rows: the entity after that number of hops, the topmost is the target; vertical line: effective layers of training"
                .to_owned(),
        ],
        legend: vec![bound_entry("effective layers of training end")],
        panels: chains.iter().map(row).collect(),
    }
}

// `at`: the position that every entity is read at; without it, each is read at its own relation.
pub(super) fn cells(rows: &[&LensRow], hops: usize, at: Option<Position>, checkpoint: &CheckpointSummary) -> Content {
    let layers = distinct(rows, |row| row.place.effective_layer);
    let cell = |hop: usize, layer: usize| {
        let position = at.unwrap_or(Position::Relation(hop));
        let label = Target::entity(hop, hops);
        rows.iter()
            .find(|row| row.label == label && row.position == position && row.place.effective_layer == layer)
            .map(|row| (row.top1, Some((row.low, row.high))))
    };
    let row = |hop: usize| layers.iter().map(|&layer| cell(hop, layer)).collect();
    Content::Cells(Cells {
        x_label: "effective layer (0: embedding)".to_owned(),
        y_label: "entity after hop".to_owned(),
        columns: layers.iter().map(ToString::to_string).collect(),
        rows: (1..=hops).rev().map(|hop| hop.to_string()).collect(),
        numbers: (1..=hops).rev().map(row).collect(),
        behind: vec![checkpoint.layers * checkpoint.iterations + 1],
        value: "top-1 accuracy of the lens".to_owned(),
        layers: Some(checkpoint.layers),
        ..Cells::default()
    })
}

/// What a line of the lens reads: the number of hops of the chains, an entity, and a position.
pub(super) type ReadingKey = (usize, Target, Position);

/// In words.
pub(super) fn name_of((_, label, position): &ReadingKey) -> String {
    format!("{label} at {position}")
}

pub(super) fn reading(row: &LensRow) -> ReadingKey {
    (row.hops, row.label, row.position)
}

// `lines`: each split with its line, without points.
pub(super) fn panel(
    rows: &[LensRow],
    checkpoint: &CheckpointSummary,
    key: &ReadingKey,
    lines: &[(Split, Series)],
) -> Content {
    let of_subject = |row: &&LensRow| checkpoint.owns(&row.origin) && reading(row) == *key;
    let deepest = rows
        .iter()
        .filter(of_subject)
        .map(|row| row.place.effective_layer)
        .max()
        .unwrap_or(1);
    let line = |(split, line): &(Split, Series)| {
        let points = rows.iter().filter(of_subject).filter(|row| row.split == *split);
        line.clone()
            .points(points.map(|row| (row.place.effective_layer as f64, row.top1, Some((row.low, row.high)))))
    };
    Content::Lines {
        x: effective_layer_axis(deepest, checkpoint.layers),
        y_label: "top-1 accuracy".to_owned(),
        y_range: UNIT,
        series: lines.iter().map(line).collect(),
        marks: Vec::new(),
    }
}

// Of blocks with this number of layers.
fn effective_layer_axis(deepest: usize, layers: usize) -> Axis {
    Axis {
        label: "effective layer (0: embedding)".to_owned(),
        range: (-0.15, deepest as f64 + 0.15),
        log: false,
        layers: Some(layers),
    }
}

pub(super) fn sample_sizes(rows: &[LensRow]) -> String {
    let (sizes, unit) = (
        distinct(rows, |row| (row.split.clone(), row.hops, row.n)),
        super::unit(rows),
    );
    let text: Vec<String> = sizes
        .iter()
        .map(|(split, hops, n)| format!("{}, {}: n = {n}{unit}", split.title(), super::counted(*hops, "hop")))
        .collect();
    text.join("; ")
}
