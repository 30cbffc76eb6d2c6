//! Accuracy lost by ablation: components over effective layers.

use super::kit::{Cells, Content, Figure, Panel, Title};
use super::{Draw, bound_entry, column_title, conditions, distinct, sample_size, several_runs};
use crate::graph::{Position, Split};
use crate::measure::{Ablate, AblateRow, Ablated, CheckpointSummary, Component, Report};

// What a row of panels shares.
type Line = (Split, usize, Option<Position>);

// A row of cells.
type Part = (Ablated, Option<usize>);

// A column of cells: an effective layer, or a layer at every iteration.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Effective(usize),
    Everywhere(usize),
}

impl Draw for Ablate {
    // The first number with an interval is the accuracy without an ablation.
    const OVER_STEPS: Option<&'static str> = Some("lost");

    /// A column a checkpoint, a row a split, number of hops and position; each cell is the accuracy lost without the component in its
    /// row at the effective layer of its column, and right of a line at every iteration, layer by layer. Below the line, whole
    /// iterations; what is the same whichever it is stands at each.
    fn draw(report: &Report<Self>) -> Figure {
        let lines = distinct(&report.rows, line_of);
        let several = several_runs(&report.checkpoints);
        let row = |line: &Line| {
            let (split, _, position) = line;
            let at = position.map_or_else(String::new, |position| format!(" at {position}"));
            let columns = report.checkpoints.iter().map(|checkpoint| {
                let of_panel = of_panel(&report.rows, checkpoint, line);
                let base = of_panel.first().map_or(f64::NAN, |row| row.base_accuracy);
                let checkpoint_title = column_title(checkpoint, several);
                Panel {
                    title: Title::new(format!("{}{at}", split.title()), checkpoint_title)
                        .note(format!("accuracy {base:.2}")),
                    content: cells(&of_panel, checkpoint),
                }
            });
            columns.collect()
        };
        let is_every = |row: &AblateRow| row.at.layer.is_some() && row.at.iteration.is_none();
        let every = match report
            .rows
            .iter()
            .filter(|row| is_every(row))
            .filter_map(|row| row.at.layer)
            .max()
        {
            None => "",
            Some(1) => "; all: at every iteration at once",
            Some(_) => "; L1, L2, …: this layer at every iteration at once",
        };
        let any = if report.rows.iter().any(is_any) {
            " (at all positions it is the same which one)"
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
                    "blue 1, white 0, vermilion below 0 (accuracy gained){every}; below the line: a whole iteration skipped or repeated{any}; \
                     in brackets: accuracy without ablation; {}",
                    sample_size(&report.rows, |row| (&row.split, row.hops, row.n))
                ),
            ],
            legend: vec![bound_entry("below: whole iterations; right: at every iteration")],
            panels: lines.iter().map(row).collect(),
        }
    }
}

fn line_of(row: &AblateRow) -> Line {
    (row.split.clone(), row.hops, row.at.position)
}

// One whole iteration, whichever it is.
fn is_any(row: &AblateRow) -> bool {
    row.at.layer.is_none() && row.at.iteration.is_none()
}

fn of_panel<'a>(rows: &'a [AblateRow], checkpoint: &CheckpointSummary, line: &Line) -> Vec<&'a AblateRow> {
    let is_of_panel = |row: &&AblateRow| checkpoint.owns(&row.origin) && line_of(row) == *line;
    rows.iter().filter(is_of_panel).collect()
}

fn cells(of_panel: &[&AblateRow], checkpoint: &CheckpointSummary) -> Content {
    let components = distinct(of_panel, |row| (row.at.ablated, row.at.attention_head));
    let is_whole = |(ablated, _): &Part| matches!(ablated, Ablated::SkippedIteration | Ablated::RepeatedIteration);
    let parts: Vec<&AblateRow> = of_panel.iter().copied().filter(|row| row.at.layer.is_some()).collect();
    let places = distinct(&parts, |row| match row.at.effective_layer {
        Some(layer) => Place::Effective(layer),
        None => Place::Everywhere(row.at.layer.unwrap_or_default()),
    });
    let effective = places
        .iter()
        .filter(|place| matches!(place, Place::Effective(_)))
        .count();
    let lost = |component: Part, place: Place| {
        let is_of_cell = |row: &&&AblateRow| {
            (row.at.ablated, row.at.attention_head) == component
                && match place {
                    // A whole iteration is that of all its layers.
                    Place::Effective(layer) if is_whole(&component) => row
                        .at
                        .iteration
                        .is_none_or(|iteration| iteration == (layer - 1) / checkpoint.layers + 1),
                    Place::Effective(layer) => row.at.effective_layer == Some(layer),
                    Place::Everywhere(layer) => row.at.effective_layer.is_none() && row.at.layer == Some(layer),
                }
        };
        of_panel
            .iter()
            .find(is_of_cell)
            .map(|row| (row.lost, row.lost_low.zip(row.lost_high)))
    };
    Content::Cells(Cells {
        x_label: "effective layer".to_owned(),
        y_label: String::new(),
        columns: places
            .iter()
            .map(|place| name_of_place(*place, checkpoint.layers))
            .collect(),
        rows: components.iter().map(|&component| name(component)).collect(),
        numbers: components
            .iter()
            .map(|&component| places.iter().map(|&place| lost(component, place)).collect())
            .collect(),
        behind: (effective < places.len()).then_some(effective).into_iter().collect(),
        below: vec![components.iter().filter(|component| !is_whole(component)).count()],
        value: "accuracy lost".to_owned(),
        layers: Some(checkpoint.layers),
        ..Cells::default()
    })
}

fn name_of_place(place: Place, layers: usize) -> String {
    match place {
        Place::Effective(layer) => layer.to_string(),
        Place::Everywhere(_) if layers == 1 => "all".to_owned(),
        Place::Everywhere(layer) => format!("L{layer}"),
    }
}

fn name((ablated, head): Part) -> String {
    match ablated {
        Ablated::Head => Component::Head.label(head),
        Ablated::Mlp => Component::Mlp.label(head),
        Ablated::SkippedIteration => "skip".to_owned(),
        Ablated::RepeatedIteration => "repeat".to_owned(),
    }
}
