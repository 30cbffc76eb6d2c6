//! Activation patching over effective layers and positions.

use super::kit::{Content, Figure, Panel};
use super::{column_title, conditions, distinct, several_runs, split_name};
use crate::measure::{Patch, PatchRow, Report, SubjectInfo};

/// A column a checkpoint, a row a split; each cell is the recovery when the clean state is restored there.
pub fn patch(report: &Report<Patch, PatchRow>) -> Figure {
    let splits = distinct(&report.rows, |row| row.split.clone());
    let several = several_runs(&report.subjects);
    let row = |split: &String| {
        let columns = report.subjects.iter().map(|subject| Panel {
            title: format!("{}: {}", split_name(split), column_title(subject, several)),
            content: cells(&report.rows, subject, split),
        });
        columns.collect()
    };
    let pairs = distinct(&report.rows, |row| (row.split.clone(), row.n));
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(split, n)| format!("{} n = {n}", split_name(split)))
        .collect();
    Figure {
        title: format!(
            "Activation patching: recovery of the answer when {} is restored (corrupt {})",
            report.settings.hook.name(),
            report.settings.corrupt.name()
        ),
        conditions: vec![
            conditions(&report.subjects),
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

pub(super) fn cells(rows: &[PatchRow], subject: &SubjectInfo, split: &str) -> Content {
    let of_panel: Vec<&PatchRow> = rows
        .iter()
        .filter(|row| subject.owns(&row.origin) && row.split == split && row.position != "all")
        .collect();
    let layers = distinct(&of_panel, |row| row.effective_layer);
    let positions = distinct(&of_panel, |row| row.position.clone());
    let cell = |position: &String, layer: usize| {
        of_panel
            .iter()
            .find(|row| row.position == *position && row.effective_layer == layer)
            .and_then(|row| row.recovery)
    };
    Content::Cells {
        x_label: "effective layer".to_owned(),
        y_label: "restored at".to_owned(),
        columns: layers.iter().map(ToString::to_string).collect(),
        cells: positions
            .iter()
            .map(|position| layers.iter().map(|&layer| cell(position, layer)).collect())
            .collect(),
        rows: positions,
        behind: Vec::new(),
        below: Vec::new(),
    }
}
