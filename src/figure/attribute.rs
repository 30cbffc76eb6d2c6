//! Direct logit attribution over the loop.

use super::kit::{Axis, Content, Figure, Panel, Title};
use super::{Draw, Populations, bands, column_title, conditions, cycled_line, distinct, several_runs, span};
use crate::measure::{Attribute, AttributeRow, CheckpointSummary, Component, LogitOf, Report};

impl Draw for Attribute {
    /// A column a checkpoint, a row a split and number of hops: what each head, the MLP and the bias of attention add to the
    /// logit difference of the target and the best other token, by effective layer; the embedding at 0.
    fn draw(report: &Report<Self>) -> Figure {
        let is_drawn = |row: &&AttributeRow| {
            row.of.logit_of == LogitOf::LogitDifference && row.component.component != Component::FinalBias
        };
        let rows: Vec<&AttributeRow> = report.rows.iter().filter(is_drawn).collect();
        let populations = Populations::of(&rows, |row| (&row.split, row.hops));
        let lines = distinct(&rows, |row| (row.component.component, row.component.attention_head));
        let several = several_runs(&report.checkpoints);
        let layers = rows.iter().map(|row| row.component.place.effective_layer);
        let deepest = layers.max().unwrap_or(1) as f64;
        let ends = |row: &&AttributeRow| {
            let mean = row.contribution;
            [mean, row.low.unwrap_or(mean), row.high.unwrap_or(mean)]
        };
        let y_range = span(rows.iter().flat_map(ends), 0.0);
        let panels = populations.iter().map(|(split, hops)| {
            let panel = |checkpoint: &CheckpointSummary| {
                let line = |(index, of): (usize, &(Component, Option<usize>))| {
                    let is_of_line = |row: &&&AttributeRow| {
                        report.checkpoint_of(row) == Some(checkpoint)
                            && (&row.split, row.hops) == (split, hops)
                            && (row.component.component, row.component.attention_head) == *of
                    };
                    let point = |row: &&AttributeRow| {
                        let layer = row.component.place.effective_layer;
                        (layer as f64, row.contribution, row.low.zip(row.high))
                    };
                    cycled_line(index).points(rows.iter().filter(is_of_line).map(point))
                };
                Panel {
                    title: Title::new(split.title(), column_title(checkpoint, several)),
                    content: Content::Lines {
                        x: Axis {
                            label: "effective layer (0: embedding)".to_owned(),
                            range: (-0.15, deepest + 0.15),
                            log: false,
                            layers: Some(checkpoint.layers),
                        },
                        y_label: "logit of target − best other".to_owned(),
                        y_range,
                        series: lines.iter().enumerate().map(line).collect(),
                        marks: Vec::new(),
                    },
                }
            };
            report.checkpoints.iter().map(panel).collect()
        });
        let entry = |(index, of): (usize, &(Component, Option<usize>))| (of.0.label(of.1), cycled_line(index));
        Figure {
            title: "Direct logit attribution: what each component adds to the logit difference".to_owned(),
            conditions: vec![
                conditions(&report.checkpoints),
                format!(
                    "logits, through the final layer norm at its own scale; {}",
                    bands(report, |row| (&row.split, row.hops, row.n))
                ),
            ],
            legend: lines.iter().enumerate().map(entry).collect(),
            panels: panels.collect(),
        }
    }
}

impl Component {
    /// What figures call it, `attention_head` where it is one: short, so that it fits beside cells.
    pub(super) fn label(self, attention_head: Option<usize>) -> String {
        match (self, attention_head) {
            (Self::Head, Some(head)) => return format!("head {head}"),
            (Self::Head, None) => "heads",
            (Self::Embedding, _) => "embedding",
            (Self::Injection, _) => "injection",
            (Self::AttentionBias, _) => "attention bias",
            (Self::Mlp, _) => "MLP",
            (Self::FinalBias, _) => "final bias",
        }
        .to_owned()
    }
}
