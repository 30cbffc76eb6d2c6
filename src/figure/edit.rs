//! Edits of one direction of the bridge, by effective layer.

use super::kit::{Axis, Colour, Content, Figure, Panel, Series, Stroke, UNIT};
use super::{Draw, Populations, bands, column_title, conditions, distinct, several_runs};
use crate::graph::{Position, Split};
use crate::measure::{Changed, CheckpointSummary, Edit, EditKind, EditRow, Report};

// What a row of panels shows: a population, a position, what is done along directions (absent where nothing is but the whole state
// or a random direction), and whether it is held through later iterations.
type Shown = (Split, usize, Position, Option<EditKind>, bool);

impl Draw for Edit {
    /// A column a checkpoint; a row a split, position and kind of edit, written once or clamped: the share of counterfactual
    /// answers by effective layer, a line for the whole state and for each kind of direction. The read window lies between the
    /// vertical lines.
    fn draw(report: &Report<Self>) -> Figure {
        let rows: Vec<&EditRow> = report.rows.iter().collect();
        let shown = shown(&rows, &report.settings.kinds);
        let several = several_runs(&report.checkpoints);
        let row = |key: &Shown| {
            let panel = |checkpoint| Panel {
                title: format!(
                    "{}: {}",
                    title(key, &report.settings.kinds),
                    column_title(checkpoint, several)
                ),
                content: panel(&rows, checkpoint, key),
            };
            report.checkpoints.iter().map(panel).collect()
        };
        let labels = distinct(&rows, |row| row.label.to_string()).join(", ");
        let directions = distinct(&rows, |row| row.direction);
        Figure {
            title: format!(
                "Edits of {}: another {labels} in its place",
                report.settings.hook.name()
            ),
            conditions: vec![
                conditions(&report.checkpoints),
                format!(
                    "share of queries whose answer becomes that of the other {labels}; {}",
                    bands(report, |row| (&row.split, row.hops, row.n))
                ),
                "between the vertical lines: the read window, in which the whole state redirects at least half"
                    .to_owned(),
            ],
            legend: directions.iter().map(|&of| (name(of).to_owned(), line(of))).collect(),
            panels: shown.iter().map(row).collect(),
        }
    }
}

fn shown(rows: &[&EditRow], kinds: &[EditKind]) -> Vec<Shown> {
    let populations = Populations::of(rows, |row| (&row.split, row.hops));
    let mut shown = Vec::new();
    for (split, hops) in populations.iter() {
        let of_population: Vec<&&EditRow> = rows
            .iter()
            .filter(|row| (&row.split, row.hops) == (split, hops))
            .collect();
        for position in distinct(&of_population, |row| row.position) {
            let mut found: Vec<Option<EditKind>> = kinds.iter().copied().map(Some).collect();
            found.retain(|kind| of_population.iter().any(|row| row.kind == *kind));
            if found.is_empty() {
                found.push(None);
            }
            for kind in found {
                let clamps = distinct(&of_population, |row| row.clamped);
                shown.extend(
                    clamps
                        .into_iter()
                        .map(|clamped| (split.clone(), hops, position, kind, clamped)),
                );
            }
        }
    }
    shown
}

fn title((split, _, position, kind, clamped): &Shown, kinds: &[EditKind]) -> String {
    let kind = match kind {
        _ if kinds.len() < 2 => "",
        Some(EditKind::Swap) => ", swap",
        Some(EditKind::Remove) => ", remove",
        Some(EditKind::Push) => ", push",
        None => "",
    };
    format!(
        "{} at {position}{kind}{}",
        split.title(),
        if *clamped { ", clamped" } else { "" }
    )
}

fn panel(rows: &[&EditRow], checkpoint: &CheckpointSummary, (split, hops, position, kind, clamped): &Shown) -> Content {
    let is_shown = |row: &&&EditRow| {
        checkpoint.owns(&row.origin)
            && (&row.split, &row.hops, &row.position, &row.clamped) == (split, hops, position, clamped)
            && (row.kind.is_none() || row.kind == *kind)
    };
    let of_panel: Vec<&EditRow> = rows.iter().filter(is_shown).copied().collect();
    let deepest = of_panel.iter().map(|row| row.place.effective_layer).max().unwrap_or(1);
    let series = distinct(&of_panel, |row| row.direction).into_iter().map(|direction| {
        let of_line = of_panel.iter().filter(|row| row.direction == direction);
        let point = |row: &&EditRow| {
            (
                row.place.effective_layer as f64,
                row.counterfactual,
                Some((row.low, row.high)),
            )
        };
        line(direction).points(of_line.map(point))
    });
    Content::Lines {
        x: Axis {
            label: "effective layer".to_owned(),
            range: (0.85, deepest as f64 + 0.15),
            log: false,
        },
        y_label: "counterfactual answers".to_owned(),
        y_range: UNIT,
        series: series.collect(),
        marks: window(&of_panel),
    }
}

// The first and the last layer of each run of layers in the read window.
fn window(rows: &[&EditRow]) -> Vec<(f64, String)> {
    let whole = rows
        .iter()
        .filter(|row| row.direction == Changed::Whole && row.in_read_window);
    let layers: Vec<usize> = whole.map(|row| row.place.effective_layer).collect();
    let is_first = |layer: &&usize| !layers.contains(&(**layer - 1));
    let is_last = |layer: &&usize| !layers.contains(&(**layer + 1));
    let ends = layers.iter().filter(|layer| is_first(layer) || is_last(layer));
    ends.map(|&layer| (layer as f64, String::new())).collect()
}

fn name(of: Changed) -> &'static str {
    match of {
        Changed::Whole => "whole state",
        Changed::Output => "output matrix",
        Changed::Probe => "probe",
        Changed::Mean => "difference of means",
        Changed::Random => "random (as far)",
    }
}

fn line(of: Changed) -> Series {
    match of {
        Changed::Whole => Series::new(Colour::BLACK),
        Changed::Output => Series::new(Colour::VERMILION),
        Changed::Probe => Series::new(Colour::BLUE),
        Changed::Mean => Series::new(Colour::GREEN),
        Changed::Random => Series::new(Colour::GREY).stroke(Stroke::Dashed),
    }
}
