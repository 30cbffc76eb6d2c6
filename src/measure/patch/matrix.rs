//! The recoveries of a sweep as a matrix of position and effective layer, for a terminal.

use super::{Extent, Patch, PatchRow};
use crate::graph::Position;
use crate::measure::columns::{Matrix, Table};
use crate::measure::method::Report;

/// A matrix for each checkpoint, split and head; none where sites were listed, which have no layer of their own, or where every effect
/// has an estimate beside it.
pub(super) fn matrices(report: &Report<Patch>) -> Vec<Matrix> {
    let swept: Vec<&PatchRow> = report.rows.iter().filter(|row| row.patched.states > 0).collect();
    if report.settings.attribution || swept.iter().any(|row| row.patched.position.is_none()) {
        return Vec::new();
    }
    let mut groups: Vec<Vec<&PatchRow>> = Vec::new();
    for row in swept {
        match groups.iter_mut().find(|group| is_of_one_matrix(group[0], row)) {
            Some(group) => group.push(row),
            None => groups.push(vec![row]),
        }
    }
    groups.iter().map(|group| matrix(report, group)).collect()
}

fn is_of_one_matrix(a: &PatchRow, b: &PatchRow) -> bool {
    (&a.origin, &a.split, a.patched.attention_head) == (&b.origin, &b.split, b.patched.attention_head)
}

// Of rows of one matrix, at least one.
fn matrix(report: &Report<Patch>, rows: &[&PatchRow]) -> Matrix {
    let mut positions: Vec<Position> = rows.iter().filter_map(|row| row.patched.position).collect();
    positions.sort_unstable();
    positions.dedup();
    let mut layers: Vec<usize> = rows.iter().map(|row| row.patched.place.effective_layer).collect();
    layers.sort_unstable();
    layers.dedup();
    let cell = |position, layer: usize| {
        let found = rows
            .iter()
            .find(|row| row.patched.position == Some(position) && row.patched.place.effective_layer == layer);
        found.map_or_else(String::new, |row| recovery(row))
    };
    let line = |position: Position| {
        let cells = layers.iter().map(|&layer| cell(position, layer));
        std::iter::once(position.to_string()).chain(cells).collect()
    };
    let headings = std::iter::once("put in at \\ effective layer".to_owned());
    Matrix {
        title: title(report, rows[0]),
        table: Table {
            headings: headings.chain(layers.iter().map(ToString::to_string)).collect(),
            rows: positions.iter().map(|&position| line(position)).collect(),
            data: Vec::new(),
        },
    }
}

// A dot where the 95 % interval has 0 in it.
fn recovery(row: &PatchRow) -> String {
    let effect = &row.effect;
    let Some(recovery) = effect.recovery else {
        return "–".to_owned();
    };
    // Without a sign on what rounds to zero.
    let text = format!("{:.2}", if recovery.abs() < 0.005 { 0.0 } else { recovery });
    let has_zero = effect
        .low
        .zip(effect.high)
        .is_some_and(|(low, high)| low <= 0.0 && high >= 0.0);
    if has_zero { text + "·" } else { text }
}

fn title(report: &Report<Patch>, row: &PatchRow) -> String {
    let (origin, effect) = (&row.origin, &row.effect);
    let head = row
        .patched
        .attention_head
        .map_or_else(String::new, |head| format!(", head {head}"));
    let of_check = |extent: Extent| {
        let is_check = |other: &&PatchRow| is_of_one_matrix(other, row) && other.patched.restored == extent;
        let check = report.rows.iter().find(is_check);
        check
            .and_then(|check| check.effect.recovery)
            .map(|recovery| format!("{recovery:.2}"))
    };
    let checks = of_check(Extent::All).zip(of_check(Extent::Nothing));
    let checks = checks.map_or_else(String::new, |(all, nothing)| {
        format!("; all states {all}, none {nothing}")
    });
    format!(
        "{}, {}, {}{head}: recovery, {}; n = {}, gap {:.2}, accuracy clean {:.3}, corrupt {:.3}{checks}",
        origin.run,
        origin.checkpoint,
        row.split,
        row.direction.name(),
        effect.n,
        effect.gap,
        effect.clean_accuracy,
        effect.corrupt_accuracy
    )
}
