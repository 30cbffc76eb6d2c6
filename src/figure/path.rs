//! Path patching: senders over effective layers.

use super::kit::{Cells, Content, Figure, Panel, Title};
use super::{Draw, column_title, conditions, distinct, pairs, recovery, several_runs};
use crate::graph::{Position, Split};
use crate::measure::{CheckpointSummary, PathPatching, PathRow, Receivers, Report};
use crate::wording::counted;

// What a row of panels shares.
type Line = (Split, Receivers, Position, Option<Position>);

// Of many receivers most read nothing that matters: where a path moves this share, those without such a path are not drawn.
const MIN_RECOVERY: f64 = 0.05;

impl Draw for PathPatching {
    /// A column a checkpoint, a row a split, set of receivers, source and destination position; each cell is the recovery by one path,
    /// of the component in its row at the effective layer of its column, the embedding at 0. Panels in which no path moves much are
    /// left out.
    fn draw(report: &Report<Self>) -> Figure {
        let (lines, left_out) = lines(&report.rows, report.checkpoints.len());
        let several = several_runs(&report.checkpoints);
        let row = |line: &Line| {
            let (split, receiver, source, destination) = line;
            let destination = destination.filter(|_| report.settings.each_destination);
            let destination = destination.map_or_else(String::new, |position| format!(" for {position}"));
            let at = format!("{receiver} at {source}{destination}");
            let columns = report.checkpoints.iter().map(|checkpoint| {
                let of_panel = of_panel(&report.rows, checkpoint, line);
                let is_undefined = of_panel.iter().any(|row| row.effect.recovery.is_none());
                let undefined = if is_undefined { "NOT DEFINED" } else { "" };
                Panel {
                    title: Title::new(format!("{} → {at}", split.title()), column_title(checkpoint, several))
                        .note(undefined),
                    content: cells(&of_panel, checkpoint.layers),
                }
            });
            columns.collect()
        };
        let pairs = pairs(&report.rows, |row| (row.split.clone(), row.effect.n));
        let pairing = &report.settings.pairing;
        let undefined = if report.rows.iter().any(|row| row.effect.recovery.is_none()) {
            "; NOT DEFINED where the gap between clean and corrupt is not above 0 (95 % interval)"
        } else {
            ""
        };
        Figure {
            title: format!(
                "Path patching: direct effect of each component on the receiver (corrupt {}, {})",
                pairing.corrupt.name(),
                pairing.direction.name()
            ),
            conditions: vec![
                conditions(&report.checkpoints),
                format!(
                    "{}; share of the logit difference that one path moves: blue 1, white 0, vermilion below 0; – = no such \
                     path{undefined}{left_out}",
                    pairs
                ),
            ],
            legend: Vec::new(),
            panels: lines.iter().map(row).collect(),
        }
    }
}

fn line_of(row: &PathRow) -> Line {
    let path = &row.path;
    (
        row.split.clone(),
        path.receiver.clone(),
        path.source_position,
        path.destination_position,
    )
}

// The rows of panels, and what is said of those that are not drawn.
fn lines(rows: &[PathRow], checkpoints: usize) -> (Vec<Line>, String) {
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
    let panels = counted(left_out * checkpoints, "panel");
    let said =
        format!("; not drawn: {panels} (receiver, position, checkpoint) where no path moves {MIN_RECOVERY} or more");
    (drawn, said)
}

fn of_panel<'a>(rows: &'a [PathRow], checkpoint: &CheckpointSummary, line: &Line) -> Vec<&'a PathRow> {
    let is_of_panel = |row: &&PathRow| checkpoint.owns(&row.origin) && line_of(row) == *line;
    rows.iter().filter(is_of_panel).collect()
}

// Of blocks with this number of layers.
fn cells(of_panel: &[&PathRow], layers_of_iteration: usize) -> Content {
    let component_of = |row: &PathRow| (row.path.sender.component, row.path.sender.attention_head);
    let senders = distinct(of_panel, |row| component_of(row));
    let mut layers = distinct(of_panel, |row| row.path.sender.effective_layer);
    layers.sort_unstable();
    let cell = |sender, layer: usize| {
        let is_of_cell = |row: &&&PathRow| component_of(row) == sender && row.path.sender.effective_layer == layer;
        of_panel.iter().find(is_of_cell).and_then(|row| recovery(&row.effect))
    };
    Content::Cells(Cells {
        x_label: "effective layer of the sender (0: embedding)".to_owned(),
        y_label: String::new(),
        columns: layers.iter().map(ToString::to_string).collect(),
        rows: senders.iter().map(|&(component, head)| component.label(head)).collect(),
        numbers: senders
            .iter()
            .map(|&sender| layers.iter().map(|&layer| cell(sender, layer)).collect())
            .collect(),
        value: "share of the logit difference that the path moves".to_owned(),
        layers: Some(layers_of_iteration),
        ..Cells::default()
    })
}
