//! Cones of influence.

use super::kit::{Cells, Content, Figure, Panel, Title};
use super::{Draw, bound_entry, column_title, conditions, distinct, intervals, sample_size, several_runs};
use crate::measure::{CheckpointSummary, Cone, ConeRow, Report};

// Sources side by side.
const IN_A_ROW: usize = 7;

impl Draw for Cone {
    /// A row a population, checkpoint and iteration, a panel a position where something is put in; each cell is the change of the
    /// state at one position and effective layer.
    fn draw(report: &Report<Self>) -> Figure {
        let several = several_runs(&report.checkpoints);
        let mut panels = Vec::new();
        for (split, hops) in distinct(&report.rows, |row| (row.split.clone(), row.hops)) {
            for checkpoint in &report.checkpoints {
                let is_of_panels =
                    |row: &&ConeRow| checkpoint.owns(&row.origin) && (&row.split, row.hops) == (&split, hops);
                let rows: Vec<&ConeRow> = report.rows.iter().filter(is_of_panels).collect();
                for before in distinct(&rows, |row| row.before) {
                    let rows: Vec<&ConeRow> = rows.iter().copied().filter(|row| row.before == before).collect();
                    let sources = distinct(&rows, |row| row.put_at);
                    let panel = |put_at: &_| {
                        let rows: Vec<&ConeRow> = rows.iter().copied().filter(|row| row.put_at == *put_at).collect();
                        panel(&rows, checkpoint, several)
                    };
                    panels.extend(sources.chunks(IN_A_ROW).map(|some| some.iter().map(panel).collect()));
                }
            }
        }
        Figure {
            title: format!(
                "Cones of influence: change of the residual stream by {} at one iteration and position",
                match report.settings.put.name() {
                    "query" => "another query's state",
                    name => name,
                }
            ),
            conditions: vec![
                conditions(&report.checkpoints),
                format!(
                    "cells: change over the distance between two queries; dashed: where it is put in; speed: of the arrival of {} of \
                     that distance; {}; {}",
                    report.settings.threshold,
                    intervals(&report.rows, |row| (&row.split, row.interval)),
                    sample_size(&report.rows, |row| (&row.split, row.hops, row.n))
                ),
            ],
            legend: vec![bound_entry("the state is put in here")],
            panels,
        }
    }
}

// The rows of one source; there are some.
fn panel(rows: &[&ConeRow], checkpoint: &CheckpointSummary, several: bool) -> Panel {
    let layers = distinct(rows, |row| row.place.effective_layer);
    let positions = distinct(rows, |row| row.position);
    let cell = |position, layer: usize| {
        let is_of_cell = |row: &&&ConeRow| row.position == position && row.place.effective_layer == layer;
        rows.iter()
            .find(is_of_cell)
            .and_then(|row| Some((row.change?, row.low.zip(row.high))))
    };
    let (title, speed, put_in) = rows.first().map_or_else(Default::default, |row| {
        let title = Title::new(
            format!("{} before iteration {}, {}", row.put_at, row.before, row.split.title()),
            column_title(checkpoint, several),
        );
        let interval = match (row.speed_low, row.speed_high) {
            (Some(low), Some(high)) => format!(" ({low:.2}–{high:.2})"),
            (Some(low), None) => format!(" ({low:.2}–∞)"),
            _ => String::new(),
        };
        let speed = row
            .speed
            .map(|speed| format!("; {speed:.2}{interval} hops an iteration"));
        (title, speed.unwrap_or_default(), (row.before - 1) * checkpoint.layers)
    });
    Panel {
        title,
        content: Content::Cells(Cells {
            x_label: format!("effective layer{speed}"),
            y_label: "arrives at".to_owned(),
            columns: layers.iter().map(ToString::to_string).collect(),
            numbers: positions
                .iter()
                .map(|&position| layers.iter().map(|&layer| cell(position, layer)).collect())
                .collect(),
            rows: positions.iter().map(ToString::to_string).collect(),
            // Changed states stand to the right of it: the one that is put in is the first.
            behind: if put_in > 0 { vec![put_in] } else { Vec::new() },
            value: "change over the distance between two queries".to_owned(),
            layers: Some(checkpoint.layers),
            ..Cells::default()
        }),
    }
}
