//! Path patching: senders over effective layers.

use super::kit::{Content, Figure, Panel};
use super::{Draw, column_title, conditions, distinct, several_runs, split_sizes};
use crate::graph::{Position, Split};
use crate::measure::{CheckpointSummary, Component, PathPatching, PathRow, Receiver, Report};

// What a row of panels shares.
type Line = (Split, Receiver, Position, Position);

// Of many receivers most read nothing that matters: where a path moves this share, those without such a path are not drawn.
const MIN_RECOVERY: f64 = 0.05;

impl Draw for PathPatching {
    /// A column a checkpoint, a row a split, receiver, position and reader; each cell is the recovery by one path, of the component
    /// in its row at the effective layer of its column, the embedding at 0. Receivers that no path moves are left out.
    fn draw(report: &Report<Self>) -> Figure {
        let (lines, left_out) = lines(&report.rows);
        let several = several_runs(&report.checkpoints);
        let row = |line: &Line| {
            let (split, receiver, position, reader) = line;
            let at = if position == reader {
                format!("{receiver} at {position}")
            } else {
                format!("{receiver} at {position} for {reader}")
            };
            let columns = report.checkpoints.iter().map(|checkpoint| Panel {
                title: format!("{} → {at}: {}", split.title(), column_title(checkpoint, several)),
                content: cells(&report.rows, checkpoint, line),
            });
            columns.collect()
        };
        let pairs = split_sizes(&report.rows, |row| (row.split.clone(), row.effect.n));
        let pairing = &report.settings.pairing;
        Figure {
            title: format!(
                "Path patching: direct effect of each component on the receiver (corrupt {}, {})",
                pairing.corrupt.name(),
                pairing.direction.name()
            ),
            conditions: vec![
                conditions(&report.checkpoints),
                format!(
                    "pairs: {}; share of the logit difference that one path moves: blue 1, white 0, red below 0; – = no such path, or \
                     not defined: the gap between clean and corrupt is not above 0 (95 % interval){left_out}",
                    pairs
                ),
            ],
            legend: Vec::new(),
            panels: lines.iter().map(row).collect(),
        }
    }
}

fn line_of(row: &PathRow) -> Line {
    (row.split.clone(), row.receiver, row.position, row.reader)
}

// The rows of panels, and what is said of those that are not drawn.
fn lines(rows: &[PathRow]) -> (Vec<Line>, String) {
    let all = distinct(rows, line_of);
    let is_large = |row: &&PathRow| {
        let recovery = row.effect.recovery;
        recovery.is_some_and(|recovery| recovery.abs() >= MIN_RECOVERY)
    };
    let large = rows.iter().filter(is_large).map(line_of).collect::<Vec<_>>();
    let drawn: Vec<Line> = all.iter().filter(|line| large.contains(line)).cloned().collect();
    if drawn.is_empty() || drawn.len() == all.len() {
        return (all, String::new());
    }
    let left_out = all.len() - drawn.len();
    let said = format!("; not drawn: {left_out} receivers that no path moves by {MIN_RECOVERY} or more");
    (drawn, said)
}

fn cells(rows: &[PathRow], checkpoint: &CheckpointSummary, line: &Line) -> Content {
    let of_panel: Vec<&PathRow> = rows
        .iter()
        .filter(|row| checkpoint.owns(&row.origin) && line_of(row) == *line)
        .collect();
    let senders = distinct(&of_panel, |row| (row.sender.component, row.sender.attention_head));
    let mut layers = distinct(&of_panel, |row| row.sender.place.effective_layer);
    layers.sort_unstable();
    let cell = |sender, layer: usize| {
        let is_of_cell = |row: &&&PathRow| {
            (row.sender.component, row.sender.attention_head) == sender && row.sender.place.effective_layer == layer
        };
        of_panel.iter().find(is_of_cell).and_then(|row| row.effect.recovery)
    };
    Content::Cells {
        x_label: "effective layer of the sender (0: embedding)".to_owned(),
        y_label: String::new(),
        columns: layers.iter().map(ToString::to_string).collect(),
        rows: senders.iter().map(|&(component, head)| name(component, head)).collect(),
        cells: senders
            .iter()
            .map(|&sender| layers.iter().map(|&layer| cell(sender, layer)).collect())
            .collect(),
        behind: Vec::new(),
        below: Vec::new(),
    }
}

// Short, so that it fits beside the cells.
fn name(component: Component, head: Option<usize>) -> String {
    match (component, head) {
        (Component::Head, Some(head)) => format!("head {head}"),
        (Component::Embedding, _) => "embed".to_owned(),
        (Component::Injection, _) => "inject".to_owned(),
        _ => "MLP".to_owned(),
    }
}
