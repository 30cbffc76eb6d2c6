//! Edits of one direction of the bridge, by effective layer.

use super::kit::{Axis, Colour, Content, Figure, Panel, Series, Stroke, UNIT};
use super::{Draw, Populations, bands, column_title, conditions, distinct, several_runs};
use crate::graph::{Position, Split};
use crate::measure::{Changed, CheckpointSummary, Edit, EditKind, EditRow, Report};

// What a panel of a checkpoint shows: a population, a position, and what is done along directions (absent where nothing is but
// the whole state or a random direction).
type Shown = (Split, usize, Position, Option<EditKind>);

impl Draw for Edit {
    /// A column a checkpoint, or of a single one a column a kind of edit; a row a split and position. The share of counterfactual
    /// answers by effective layer, where a direction is removed that of answers kept; a line for the whole state and for each kind
    /// of direction, dashed where it is clamped. The read window lies between the vertical lines.
    fn draw(report: &Report<Self>) -> Figure {
        let rows: Vec<&EditRow> = report.rows.iter().collect();
        let shown = shown(&rows, &report.settings.kinds);
        let several = several_runs(&report.checkpoints);
        let panel = |checkpoint: &CheckpointSummary, key: &Shown| Panel {
            title: format!(
                "{}: {}",
                title(key, &report.settings.kinds),
                column_title(checkpoint, several)
            ),
            content: panel(&rows, checkpoint, key),
        };
        let panels: Vec<Vec<Panel>> = match &*report.checkpoints {
            [alone] => {
                let by_place = shown.chunk_by(|a, b| (&a.0, a.1, a.2) == (&b.0, b.1, b.2));
                by_place
                    .map(|kinds| kinds.iter().map(|key| panel(alone, key)).collect())
                    .collect()
            }
            several => (shown.iter())
                .map(|key| several.iter().map(|checkpoint| panel(checkpoint, key)).collect())
                .collect(),
        };
        let labels = distinct(&rows, |row| row.label.to_string()).join(", ");
        let directions = distinct(&rows, |row| row.form.direction);
        let mut legend: Vec<(String, Series)> = directions
            .iter()
            .map(|&of| (name(of).to_owned(), line(of, false)))
            .collect();
        if report.settings.clamp {
            legend.push(("dashed: clamped".to_owned(), line(Changed::Whole, true)));
        }
        Figure {
            title: format!(
                "Edits of {}: another {labels} in its place",
                report.settings.hook.name()
            ),
            conditions: vec![
                conditions(&report.checkpoints),
                format!(
                    "share of queries whose answer becomes that of the other {labels} (removed: stays); {}",
                    bands(report, |row| (&row.split, row.hops, row.n))
                ),
                "between the vertical lines: the read window, in which the whole state redirects at least half"
                    .to_owned(),
            ],
            legend,
            panels,
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
            found.retain(|kind| of_population.iter().any(|row| row.form.kind == *kind));
            if found.is_empty() {
                found.push(None);
            }
            shown.extend(found.into_iter().map(|kind| (split.clone(), hops, position, kind)));
        }
    }
    shown
}

fn title((split, _, position, kind): &Shown, kinds: &[EditKind]) -> String {
    let kind = match kind {
        Some(EditKind::Swap) if kinds.len() > 1 => ", swap",
        Some(EditKind::Remove) => ", remove",
        Some(EditKind::Push) if kinds.len() > 1 => ", push",
        _ => "",
    };
    format!("{} at {position}{kind}", split.title())
}

fn panel(rows: &[&EditRow], checkpoint: &CheckpointSummary, (split, hops, position, kind): &Shown) -> Content {
    let is_shown = |row: &&&EditRow| {
        checkpoint.owns(&row.origin)
            && (&row.split, &row.hops, &row.position) == (split, hops, position)
            && (row.form.kind.is_none() || row.form.kind == *kind)
    };
    let of_panel: Vec<&EditRow> = rows.iter().filter(is_shown).copied().collect();
    let deepest = of_panel.iter().map(|row| row.place.effective_layer).max().unwrap_or(1);
    let is_removal = *kind == Some(EditKind::Remove);
    let lines = distinct(&of_panel, |row| (row.form.direction, row.form.clamped));
    let series = lines.into_iter().map(|(direction, clamped)| {
        let of_line = of_panel
            .iter()
            .filter(|row| (row.form.direction, row.form.clamped) == (direction, clamped));
        let point = |row: &&EditRow| {
            let (share, interval) = if is_removal {
                (row.original, (row.original_low, row.original_high))
            } else {
                (row.counterfactual, (row.low, row.high))
            };
            (row.place.effective_layer as f64, share, Some(interval))
        };
        line(direction, clamped).points(of_line.map(point))
    });
    Content::Lines {
        x: Axis {
            label: "effective layer".to_owned(),
            range: (0.85, deepest as f64 + 0.15),
            log: false,
        },
        y_label: if is_removal {
            "answers kept"
        } else {
            "counterfactual answers"
        }
        .to_owned(),
        y_range: UNIT,
        series: series.collect(),
        marks: window(&of_panel),
    }
}

// The first and the last layer of each run of layers in the read window.
fn window(rows: &[&EditRow]) -> Vec<(f64, String)> {
    let whole = rows
        .iter()
        .filter(|row| row.form.direction == Changed::Whole && !row.form.clamped && row.in_read_window);
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

fn line(of: Changed, clamped: bool) -> Series {
    let colour = match of {
        Changed::Whole => Colour::BLACK,
        Changed::Output => Colour::VERMILION,
        Changed::Probe => Colour::BLUE,
        Changed::Mean => Colour::GREEN,
        Changed::Random => Colour::GREY,
    };
    let stroke = if clamped { Stroke::Dashed } else { Stroke::Marked };
    Series::new(colour).stroke(stroke)
}
