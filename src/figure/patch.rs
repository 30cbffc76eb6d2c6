//! Activation patching over effective layers and positions.

use super::kit::{Axis, Cells, Content, Figure, Panel, Series, Title};
use super::{Draw, column_title, conditions, cycled_line, distinct, pairs, recovery, several_runs, span, unit};
use crate::graph::{Position, Split};
use crate::measure::{CheckpointSummary, Direction, Effect, Patch, PatchRow, Report};

impl Draw for Patch {
    /// A column a checkpoint, a row a split and, where states have heads, a head; the heads of one checkpoint are columns. Each cell
    /// is the recovery when the source's state is put in there; where sites were listed, each of the lists is a cell.
    fn draw(report: &Report<Self>) -> Figure {
        let splits = distinct(&report.rows, |row| row.split.clone());
        let swept: Vec<&PatchRow> = report.rows.iter().filter(|row| row.patched.states > 0).collect();
        let heads = distinct(&swept, |row| row.patched.attention_head);
        let several = several_runs(&report.checkpoints);
        let panel = |split: &Split, checkpoint: &CheckpointSummary, head: Option<usize>| Panel {
            title: Title::new(
                head.map_or_else(
                    || split.title().to_owned(),
                    |head| format!("{}, head {head}", split.title()),
                ),
                column_title(checkpoint, several),
            ),
            content: if checkpoint.members.is_empty() {
                cells(&report.rows, checkpoint, split, head)
            } else {
                lines(&report.rows, checkpoint, split, head)
            },
        };
        let of_split = |split: &Split| -> Vec<Vec<Panel>> {
            let of_checkpoints = |&head: &Option<usize>| {
                let checkpoints = report.checkpoints.iter();
                checkpoints.map(|checkpoint| panel(split, checkpoint, head)).collect()
            };
            match &report.checkpoints[..] {
                [one] => vec![heads.iter().map(|&head| panel(split, one, head)).collect()],
                _ => heads.iter().map(of_checkpoints).collect(),
            }
        };
        let pairs = pairs(&report.rows, |row| (row.split.clone(), row.effect.n));
        Figure {
            title: title(&report.settings),
            conditions: vec![
                conditions(&report.checkpoints),
                format!(
                    "{}; {}1 = all of the logit difference, 0 = none, – = not defined: the gap between clean and corrupt is not \
                     above 0 (95 % interval)",
                    pairs,
                    if unit(&report.rows).is_empty() {
                        ""
                    } else {
                        "bands: 95 % intervals (over seeds); "
                    }
                ),
            ],
            legend: position_lines(&report.rows)
                .into_iter()
                .filter(|_| {
                    report
                        .checkpoints
                        .iter()
                        .any(|checkpoint| !checkpoint.members.is_empty())
                })
                .map(|(place, line)| (place_name(&place), line))
                .collect(),
            panels: splits.iter().flat_map(of_split).collect(),
        }
    }
}

fn title(settings: &Patch) -> String {
    let what = match settings.pairing.direction {
        Direction::Denoise => "recovery of the answer when clean",
        Direction::Noise => "loss of the answer when corrupt",
    };
    let together = match settings.window {
        _ if settings.whole_iteration => " of a whole iteration".to_owned(),
        1 => String::new(),
        layers => format!(" of {layers} effective layers"),
    };
    format!(
        "Activation patching: {what} {}{together} is put in (corrupt {})",
        settings.hook.name(),
        settings.pairing.corrupt.name()
    )
}

// A position, or the sites that were listed.
type PatchedPlace = (Option<Position>, Option<String>);

fn place_of(row: &PatchRow) -> PatchedPlace {
    (row.patched.position, row.patched.sites.clone())
}

fn place_name((position, sites): &PatchedPlace) -> String {
    let of_position = position.map(|position| position.to_string());
    sites.clone().or(of_position).unwrap_or_default()
}

// Each position of a sweep with its line, without points.
fn position_lines(rows: &[PatchRow]) -> Vec<(PatchedPlace, Series)> {
    let swept: Vec<&PatchRow> = rows.iter().filter(|row| row.patched.states > 0).collect();
    let places = distinct(&swept, |row| place_of(row));
    places
        .into_iter()
        .enumerate()
        .map(|(n, place)| (place, cycled_line(n)))
        .collect()
}

// As the cells of one checkpoint, for a group of runs: means over seeds, with bands.
fn lines(rows: &[PatchRow], checkpoint: &CheckpointSummary, split: &Split, attention_head: Option<usize>) -> Content {
    let of_panel = of_panel(rows, checkpoint, split, attention_head);
    let deepest = of_panel
        .iter()
        .map(|row| row.patched.place.effective_layer)
        .max()
        .unwrap_or(1);
    let series = position_lines(rows).into_iter().map(|(place, line)| {
        let of_line = of_panel.iter().filter(|row| place_of(row) == place);
        line.points(of_line.filter_map(|row| {
            let x = row.patched.place.effective_layer as f64;
            Some((x, row.effect.recovery?, row.effect.low.zip(row.effect.high)))
        }))
    });
    // The same in all panels.
    let values = rows.iter().filter(|row| row.patched.states > 0).flat_map(|row| {
        let Effect {
            recovery, low, high, ..
        } = row.effect;
        [recovery, low, high]
    });
    let (bottom, top) = span(values.flatten(), 0.0);
    Content::Lines {
        x: Axis {
            label: "effective layer".to_owned(),
            range: (0.85, deepest as f64 + 0.15),
            log: false,
            layers: Some(checkpoint.layers),
        },
        y_label: "recovery".to_owned(),
        y_range: (bottom, top.max(1.0)),
        series: series.collect(),
        marks: Vec::new(),
    }
}

// The rows of the sweep that a panel shows.
fn of_panel<'a>(
    rows: &'a [PatchRow],
    checkpoint: &CheckpointSummary,
    split: &Split,
    attention_head: Option<usize>,
) -> Vec<&'a PatchRow> {
    let is_of_panel = |row: &&PatchRow| {
        checkpoint.owns(&row.origin)
            && row.split == *split
            && row.patched.states > 0
            && row.patched.attention_head == attention_head
    };
    rows.iter().filter(is_of_panel).collect()
}

/// The recovery by effective layer (of several the first) and position, of the slices of one head or of whole states; where sites
/// were listed, a row a list.
pub(super) fn cells(
    rows: &[PatchRow],
    checkpoint: &CheckpointSummary,
    split: &Split,
    attention_head: Option<usize>,
) -> Content {
    let of_panel = of_panel(rows, checkpoint, split, attention_head);
    // A list has no layer of its own.
    let layer = |row: &PatchRow| row.patched.sites.is_none().then_some(row.patched.place.effective_layer);
    let layers = distinct(&of_panel, |row| layer(row));
    let places = distinct(&of_panel, |row| place_of(row));
    let cell = |place: &PatchedPlace, of: Option<usize>| {
        of_panel
            .iter()
            .find(|row| place_of(row) == *place && layer(row) == of)
            .and_then(|row| recovery(&row.effect))
    };
    let is_listed = of_panel.iter().any(|row| row.patched.sites.is_some());
    Content::Cells(Cells {
        x_label: if is_listed { "" } else { "effective layer" }.to_owned(),
        y_label: if is_listed { "" } else { "put in at" }.to_owned(),
        columns: layers
            .iter()
            .map(|layer| layer.map_or_else(|| "these states together".to_owned(), |layer| layer.to_string()))
            .collect(),
        numbers: places
            .iter()
            .map(|place| layers.iter().map(|&layer| cell(place, layer)).collect())
            .collect(),
        rows: places.iter().map(place_name).collect(),
        value: "recovery of the logit difference".to_owned(),
        layers: Some(checkpoint.layers),
        ..Cells::default()
    })
}
