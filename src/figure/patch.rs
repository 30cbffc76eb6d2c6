//! Activation patching over effective layers and positions.

use super::kit::{Content, Figure, Panel};
use super::{Draw, column_title, conditions, distinct, several_runs, split_sizes};
use crate::graph::{Position, Split};
use crate::measure::{CheckpointSummary, Direction, Patch, PatchRow, Report};

impl Draw for Patch {
    /// A column a checkpoint, a row a split and, where states have heads, a head; the heads of one checkpoint are columns. Each cell
    /// is the recovery when the source's state is put in there; where sites were listed, each of the lists is a cell.
    fn draw(report: &Report<Self>) -> Figure {
        let splits = distinct(&report.rows, |row| row.split.clone());
        let swept: Vec<&PatchRow> = report.rows.iter().filter(|row| row.patched.states > 0).collect();
        let heads = distinct(&swept, |row| row.patched.attention_head);
        let several = several_runs(&report.checkpoints);
        let panel = |split: &Split, checkpoint: &CheckpointSummary, head: Option<usize>| Panel {
            title: format!(
                "{}: {}{}",
                split.title(),
                column_title(checkpoint, several),
                head.map_or_else(String::new, |head| format!(", head {head}"))
            ),
            content: cells(&report.rows, checkpoint, split, head),
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
        let pairs = split_sizes(&report.rows, |row| (row.split.clone(), row.effect.n));
        Figure {
            title: title(&report.settings),
            conditions: vec![
                conditions(&report.checkpoints),
                format!(
                    "pairs: {}; 1 = all of the logit difference, 0 = none, – = not defined: the gap between clean and corrupt is not \
                     above 0 (95 % interval)",
                    pairs
                ),
            ],
            legend: Vec::new(),
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

/// The recovery by effective layer (of several the first) and position, of the slices of one head or of whole states; where sites
/// were listed, a row a list.
pub(super) fn cells(
    rows: &[PatchRow],
    checkpoint: &CheckpointSummary,
    split: &Split,
    attention_head: Option<usize>,
) -> Content {
    let is_of_panel = |row: &&PatchRow| {
        checkpoint.owns(&row.origin)
            && row.split == *split
            && row.patched.states > 0
            && row.patched.attention_head == attention_head
    };
    let of_panel: Vec<&PatchRow> = rows.iter().filter(is_of_panel).collect();
    // A list has no layer of its own.
    let layer = |row: &PatchRow| row.patched.sites.is_none().then_some(row.patched.place.effective_layer);
    let layers = distinct(&of_panel, |row| layer(row));
    let places = distinct(&of_panel, |row| (row.patched.position, row.patched.sites.clone()));
    let cell = |(position, sites): &(Option<Position>, Option<String>), of: Option<usize>| {
        of_panel
            .iter()
            .find(|row| (&row.patched.position, &row.patched.sites) == (position, sites) && layer(row) == of)
            .and_then(|row| row.effect.recovery)
    };
    let name = |(position, sites): &(Option<Position>, Option<String>)| {
        let of_position = position.map(|position| position.to_string());
        sites.clone().or(of_position).unwrap_or_default()
    };
    let is_listed = of_panel.iter().any(|row| row.patched.sites.is_some());
    Content::Cells {
        x_label: if is_listed { "" } else { "effective layer" }.to_owned(),
        y_label: if is_listed { "" } else { "put in at" }.to_owned(),
        columns: layers
            .iter()
            .map(|layer| layer.map_or_else(|| "these states together".to_owned(), |layer| layer.to_string()))
            .collect(),
        cells: places
            .iter()
            .map(|place| layers.iter().map(|&layer| cell(place, layer)).collect())
            .collect(),
        rows: places.iter().map(name).collect(),
        behind: Vec::new(),
        below: Vec::new(),
    }
}
