//! Accuracy lost by ablation: components over effective layers.

use super::kit::{Content, Figure, Panel};
use super::{Draw, column_title, conditions, distinct, sample_size, several_runs};
use crate::graph::{Position, Split};
use crate::measure::{Ablate, AblateRow, Ablated, CheckpointSummary, Report};

// What a row of panels shares.
type Line = (Split, usize, Option<Position>);

// A row of cells.
type Component = (Ablated, Option<usize>);

// A column of cells: an effective layer, or a layer at every iteration.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Effective(usize),
    Everywhere(usize),
}

impl Draw for Ablate {
    /// A column a checkpoint, a row a split, number of hops and position; each cell is the accuracy lost without the component in its
    /// row at the effective layer of its column, and right of the line at every iteration. Below the line, whole iterations.
    fn draw(report: &Report<Self>) -> Figure {
        let lines = distinct(&report.rows, line_of);
        let several = several_runs(&report.checkpoints);
        let row = |line: &Line| {
            let (split, _, position) = line;
            let at = position.map_or_else(String::new, |position| format!(" at {position}"));
            let columns = report.checkpoints.iter().map(|checkpoint| {
                let of_panel = of_panel(&report.rows, checkpoint, line);
                let before = of_panel.first().map_or(f64::NAN, |row| row.before);
                let checkpoint_title = column_title(checkpoint, several);
                Panel {
                    title: format!("{}{at} ({before:.2}): {checkpoint_title}", split.title()),
                    content: cells(&of_panel, checkpoint),
                }
            });
            columns.collect()
        };
        let whole = if report.settings.positions.is_empty() {
            ", at all positions (without input injection) a run of one iteration less or more, whichever it is"
        } else {
            ""
        };
        Figure {
            title: format!(
                "Ablation ({}): accuracy lost without each component",
                report.settings.replacement.name()
            ),
            conditions: vec![
                conditions(&report.checkpoints),
                format!(
                    "blue 1, white 0, red below 0 (accuracy gained); right of the line: at every iteration at once, layer by layer; below \
                     the line: whole iterations skipped or repeated{whole}; in brackets: accuracy without ablation; {}",
                    sample_size(&report.rows, |row| (&row.split, row.hops, row.n))
                ),
            ],
            legend: Vec::new(),
            panels: lines.iter().map(row).collect(),
        }
    }
}

fn line_of(row: &AblateRow) -> Line {
    (row.split.clone(), row.hops, row.at.position)
}

fn of_panel<'a>(rows: &'a [AblateRow], checkpoint: &CheckpointSummary, line: &Line) -> Vec<&'a AblateRow> {
    let is_of_panel = |row: &&AblateRow| checkpoint.owns(&row.origin) && line_of(row) == *line;
    rows.iter().filter(is_of_panel).collect()
}

fn cells(of_panel: &[&AblateRow], checkpoint: &CheckpointSummary) -> Content {
    let components = distinct(of_panel, |row| (row.at.ablated, row.at.attention_head));
    let is_whole = |(ablated, _): &Component| matches!(ablated, Ablated::SkippedIteration | Ablated::RepeatedIteration);
    let parts: Vec<&AblateRow> = of_panel.iter().copied().filter(|row| row.at.layer.is_some()).collect();
    let places = distinct(&parts, |row| match row.at.effective_layer {
        Some(layer) => Place::Effective(layer),
        None => Place::Everywhere(row.at.layer.unwrap_or_default()),
    });
    let lost = |component: Component, place: Place| {
        let is_of_cell = |row: &&&AblateRow| {
            (row.at.ablated, row.at.attention_head) == component
                && match place {
                    // A whole iteration is that of all its layers.
                    Place::Effective(layer) if is_whole(&component) => {
                        row.at.iteration == Some((layer - 1) / checkpoint.layers + 1)
                    }
                    Place::Effective(layer) => row.at.effective_layer == Some(layer),
                    Place::Everywhere(layer) => row.at.effective_layer.is_none() && row.at.layer == Some(layer),
                }
        };
        of_panel.iter().find(is_of_cell).map(|row| row.lost)
    };
    let effective = places
        .iter()
        .filter(|place| matches!(place, Place::Effective(_)))
        .count();
    Content::Cells {
        x_label: "effective layer".to_owned(),
        y_label: String::new(),
        columns: places.iter().map(|place| name_of_place(*place)).collect(),
        rows: components.iter().map(|&component| name(component)).collect(),
        cells: components
            .iter()
            .map(|&component| places.iter().map(|&place| lost(component, place)).collect())
            .collect(),
        behind: (effective < places.len()).then_some(effective).into_iter().collect(),
        below: vec![components.iter().filter(|component| !is_whole(component)).count()],
    }
}

fn name_of_place(place: Place) -> String {
    match place {
        Place::Effective(layer) => layer.to_string(),
        Place::Everywhere(_) => "all".to_owned(),
    }
}

// Short, so that it fits beside the cells.
fn name((ablated, head): Component) -> String {
    match (ablated, head) {
        (Ablated::Head, Some(head)) => format!("head {head}"),
        (Ablated::SkippedIteration, _) => "skip".to_owned(),
        (Ablated::RepeatedIteration, _) => "repeat".to_owned(),
        _ => "MLP".to_owned(),
    }
}
