//! Attention patterns against values: matrices of the iteration that they are of by the effective layer that they are put in at.

use super::kit::{Content, Figure, Panel};
use super::{Draw, column_title, conditions, distinct, several_runs};
use crate::graph::Split;
use crate::measure::{Carried, CheckpointSummary, Giver, Report, Routing, RoutingRow};

impl Draw for Routing {
    /// A row a checkpoint and split, or of a single checkpoint one for each giver; columns for pattern, values and both. Of the
    /// source: the share of pairs that take its answer. Of the base itself at another iteration: the share that keeps the base's
    /// answer.
    fn draw(report: &Report<Self>) -> Figure {
        let all_heads: Vec<&RoutingRow> = report
            .rows
            .iter()
            .filter(|row| row.put.attention_head.is_none())
            .collect();
        let several = several_runs(&report.checkpoints);
        let splits = distinct(&all_heads, |row| row.split.clone());
        let mut panels = Vec::new();
        for checkpoint in &report.checkpoints {
            for split in &splits {
                let panel = |giver, carried| Panel {
                    title: format!(
                        "{}, {}: {}",
                        name(carried, giver),
                        split.title(),
                        column_title(checkpoint, several)
                    ),
                    content: cells(&all_heads, checkpoint, split, giver, carried),
                };
                let by_giver =
                    [Giver::Source, Giver::Base].map(|giver| Carried::ALL.map(|carried| panel(giver, carried)));
                // Of a single checkpoint a row for each giver, so that the figure does not get wide and flat.
                if report.checkpoints.len() == 1 {
                    panels.extend(by_giver.map(Vec::from));
                } else {
                    panels.push(by_giver.into_iter().flatten().collect());
                }
            }
        }
        let pairs = distinct(&all_heads, |row| format!("{} n = {}", row.split.title(), row.effect.n));
        Figure {
            title: format!(
                "Routing or content: attention at {} (corrupt {}, {})",
                report.settings.position,
                report.settings.pairing.corrupt.name(),
                report.settings.pairing.direction.name()
            ),
            conditions: vec![
                conditions(&report.checkpoints),
                format!("pairs: {}; all heads together", pairs.join(", ")),
                "of the source: share of pairs that take its answer; own, of another iteration: share that keeps the base's answer; \
                 white 0, dark 1; – = nothing is put in"
                    .to_owned(),
            ],
            legend: Vec::new(),
            panels,
        }
    }
}

fn name(carried: Carried, giver: Giver) -> &'static str {
    match (carried, giver) {
        (Carried::Routing, Giver::Source) => "source's pattern",
        (Carried::Content, Giver::Source) => "source's values",
        (Carried::Both, Giver::Source) => "source's both",
        (Carried::Routing, Giver::Base) => "own pattern",
        (Carried::Content, Giver::Base) => "own values",
        (Carried::Both, Giver::Base) => "own both",
    }
}

fn cells(
    rows: &[&RoutingRow],
    checkpoint: &CheckpointSummary,
    split: &Split,
    giver: Giver,
    carried: Carried,
) -> Content {
    let is_shown = |row: &&&RoutingRow| {
        checkpoint.owns(&row.origin) && row.split == *split && (row.put.giver, row.put.carried) == (giver, carried)
    };
    let of_panel: Vec<&RoutingRow> = rows.iter().filter(is_shown).copied().collect();
    let layers = distinct(&of_panel, |row| row.place.effective_layer);
    let mut iterations = distinct(&of_panel, |row| row.put.from_iteration);
    iterations.sort_unstable();
    let cell = |iteration: usize, layer: usize| {
        let is_cell = |row: &&&RoutingRow| (row.put.from_iteration, row.place.effective_layer) == (iteration, layer);
        let row = of_panel.iter().find(is_cell)?;
        match giver {
            Giver::Source => Some(row.effect.flips),
            Giver::Base => Some(row.keeps),
        }
    };
    Content::Cells {
        x_label: "put in at effective layer".to_owned(),
        y_label: "of iteration".to_owned(),
        columns: layers.iter().map(ToString::to_string).collect(),
        cells: (iterations.iter())
            .map(|&iteration| layers.iter().map(|&layer| cell(iteration, layer)).collect())
            .collect(),
        rows: iterations.iter().map(ToString::to_string).collect(),
        behind: Vec::new(),
        below: Vec::new(),
    }
}
