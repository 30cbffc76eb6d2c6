//! Activation patching over effective layers and positions.

use super::kit::{Content, Figure, Panel};
use super::{Draw, column_title, conditions, distinct, several_runs};
use crate::graph::{Position, Split};
use crate::measure::{CheckpointSummary, Patch, PatchRow, Report};

impl Draw for Patch {
    /// A column a checkpoint, a row a split; each cell is the recovery when the clean state is restored there.
    fn draw(report: &Report<Self>) -> Figure {
        let splits = distinct(&report.rows, |row| row.split.clone());
        let several = several_runs(&report.checkpoints);
        let row = |split: &Split| {
            let columns = report.checkpoints.iter().map(|checkpoint| Panel {
                title: format!("{}: {}", split.title(), column_title(checkpoint, several)),
                content: cells(&report.rows, checkpoint, split),
            });
            columns.collect()
        };
        let pairs = distinct(&report.rows, |row| (row.split.clone(), row.effect.n));
        let pairs: Vec<String> = pairs
            .iter()
            .map(|(split, n)| format!("{} n = {n}", split.title()))
            .collect();
        Figure {
            title: format!(
                "Activation patching: recovery of the answer when {} is restored (corrupt {})",
                report.settings.hook.name(),
                report.settings.pairing.corrupt.name()
            ),
            conditions: vec![
                conditions(&report.checkpoints),
                format!(
                    "pairs: {}; 1 = clean answer fully back, 0 = none, – = not defined: the gap between clean and corrupt is not \
                 above 0 (95 % interval)",
                    pairs.join(", ")
                ),
            ],
            legend: Vec::new(),
            panels: splits.iter().map(row).collect(),
        }
    }
}

pub(super) fn cells(rows: &[PatchRow], checkpoint: &CheckpointSummary, split: &Split) -> Content {
    let of_panel: Vec<&PatchRow> = rows
        .iter()
        .filter(|row| checkpoint.owns(&row.origin) && row.split == *split)
        .collect();
    let at_positions: Vec<&PatchRow> = of_panel.iter().copied().filter(|row| row.position.is_some()).collect();
    let layers = distinct(&at_positions, |row| row.place.effective_layer);
    let positions = distinct(&of_panel, |row| row.position)
        .into_iter()
        .flatten()
        .collect::<Vec<Position>>();
    let cell = |position: Position, layer: usize| {
        of_panel
            .iter()
            .find(|row| row.position == Some(position) && row.place.effective_layer == layer)
            .and_then(|row| row.effect.recovery)
    };
    Content::Cells {
        x_label: "effective layer".to_owned(),
        y_label: "restored at".to_owned(),
        columns: layers.iter().map(ToString::to_string).collect(),
        cells: positions
            .iter()
            .map(|&position| layers.iter().map(|&layer| cell(position, layer)).collect())
            .collect(),
        rows: positions.iter().map(ToString::to_string).collect(),
        behind: Vec::new(),
        below: Vec::new(),
    }
}
