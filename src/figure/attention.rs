//! Attention patterns: matrices of the position that attends by the one that it attends to.

use super::kit::{Cells, Content, Figure, Panel, Title};
use super::{Draw, column_title, conditions, distinct, intervals, sample_size, several_runs};
use crate::graph::Split;
use crate::measure::{Attention, AttentionRow, CheckpointSummary, Report};

impl Draw for Attention {
    /// A row a checkpoint, split, number of hops and head, a column an effective layer; each cell is the attention that the position in
    /// its row pays to that of its column.
    fn draw(report: &Report<Self>) -> Figure {
        let several = several_runs(&report.checkpoints);
        let mut panels = Vec::new();
        for (split, hops) in distinct(&report.rows, |row| (row.split.clone(), row.hops)) {
            for checkpoint in &report.checkpoints {
                let is_shown =
                    |row: &&AttentionRow| checkpoint.owns(&row.origin) && (&row.split, row.hops) == (&split, hops);
                let rows: Vec<&AttentionRow> = report.rows.iter().filter(is_shown).collect();
                let several_hops = distinct(&report.rows, |row| row.hops).len() > 1;
                let of = Shown {
                    split: &split,
                    hops: several_hops.then_some(hops),
                    checkpoint: (report.checkpoints.len() > 1).then(|| column_title(checkpoint, several)),
                };
                panels.extend(of.rows_of_heads(&rows, checkpoint));
            }
        }
        Figure {
            title: "Attention patterns: what each head attends to".to_owned(),
            conditions: vec![
                conditions(&report.checkpoints),
                format!(
                    "cells: mean attention probability from the position in the row to that in the column; {}; {}",
                    sample_size(&report.rows, |row| (&row.split, row.hops, row.n)),
                    intervals(&report.rows, |row| (&row.split, row.interval))
                ),
            ],
            legend: Vec::new(),
            panels,
        }
    }
}

// What panels are of beside head and layer.
struct Shown<'a> {
    split: &'a Split,
    hops: Option<usize>,
    checkpoint: Option<String>,
}

impl Shown<'_> {
    fn rows_of_heads(&self, rows: &[&AttentionRow], checkpoint: &CheckpointSummary) -> Vec<Vec<Panel>> {
        let layers = distinct(rows, |row| row.place.effective_layer);
        let of_head = |head: usize| {
            let panel = |&layer: &usize| {
                let is_of_panel =
                    |row: &&&AttentionRow| (row.attention_head, row.place.effective_layer) == (head, layer);
                let rows: Vec<&AttentionRow> = rows.iter().filter(is_of_panel).copied().collect();
                Panel {
                    title: Title::new(self.row(head), column(layer, checkpoint)),
                    content: cells(&rows),
                }
            };
            layers.iter().map(panel).collect()
        };
        let heads = distinct(rows, |row| row.attention_head);
        heads.into_iter().map(of_head).collect()
    }

    fn row(&self, head: usize) -> String {
        let hops = self.hops.map(|hops| crate::wording::counted(hops, "hop"));
        let parts = [Some(self.split.title().to_owned()), hops, self.checkpoint.clone()];
        let parts: Vec<String> = parts.into_iter().flatten().chain([format!("head {head}")]).collect();
        parts.join(", ")
    }
}

fn column(layer: usize, checkpoint: &CheckpointSummary) -> String {
    let layers = checkpoint.layers.max(1);
    let (iteration, inside) = ((layer - 1) / layers + 1, (layer - 1) % layers + 1);
    if layers == 1 {
        format!("iteration {iteration}")
    } else {
        format!("iteration {iteration}, layer {inside}")
    }
}

fn cells(rows: &[&AttentionRow]) -> Content {
    let positions = distinct(rows, |row| row.position);
    let cell = |position, key| {
        let is_of_cell = |row: &&&AttentionRow| (row.position, row.key_position) == (position, key);
        let row = rows.iter().find(is_of_cell)?;
        Some((row.attention, row.low.zip(row.high)))
    };
    Content::Cells(Cells {
        x_label: "attends to".to_owned(),
        y_label: "from".to_owned(),
        value: "attention probability".to_owned(),
        columns: positions.iter().map(ToString::to_string).collect(),
        rows: positions.iter().map(ToString::to_string).collect(),
        numbers: positions
            .iter()
            .map(|&position| positions.iter().map(|&key| cell(position, key)).collect())
            .collect(),
        ..Cells::default()
    })
}
