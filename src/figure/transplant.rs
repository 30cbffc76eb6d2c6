//! Transplants between iterations.

use super::kit::{Cells, Content, Figure, Panel, Title};
use super::{Draw, column_title, conditions, distinct, intervals, pairs, recovery, several_runs};
use crate::graph::{Position, Split};
use crate::measure::{CheckpointSummary, Report, Transplant, TransplantRow};

// Positions side by side.
const IN_A_ROW: usize = 7;

impl Draw for Transplant {
    /// A row a split and checkpoint, a panel a position, all positions together first; each cell is the recovery when the state
    /// after one iteration of the source is put in before one of the base.
    fn draw(report: &Report<Self>) -> Figure {
        let several = several_runs(&report.checkpoints);
        let mut panels = Vec::new();
        for split in distinct(&report.rows, |row| row.split.clone()) {
            for checkpoint in &report.checkpoints {
                let is_of_panels = |row: &&TransplantRow| checkpoint.owns(&row.origin) && row.split == split;
                let rows: Vec<&TransplantRow> = report.rows.iter().filter(is_of_panels).collect();
                let positions = distinct(&rows, |row| row.position);
                let panel = |position: &Option<Position>| panel(&rows, *position, &split, checkpoint, several);
                panels.extend(positions.chunks(IN_A_ROW).map(|some| some.iter().map(panel).collect()));
            }
        }
        let pairs = pairs(&report.rows, |row| (row.split.clone(), row.effect.n));
        Figure {
            title: "Transplants: recovery when the state after one iteration is put in before another".to_owned(),
            conditions: vec![
                conditions(&report.checkpoints),
                format!(
                    "corrupt {}, {}; {}; 1 = the source's answer in full, – = not defined: the gap between clean and corrupt \
                     is not above 0; explained without j: the share of the variance of the answer's probability, over all (i, j, iterations left), that i and the iterations left explain; {}",
                    report.settings.pairing.corrupt.name(),
                    report.settings.pairing.direction.name(),
                    pairs,
                    intervals(&report.rows, |row| (&row.split, row.interval))
                ),
            ],
            legend: Vec::new(),
            panels,
        }
    }
}

fn panel(
    rows: &[&TransplantRow],
    position: Option<Position>,
    split: &Split,
    checkpoint: &CheckpointSummary,
    several: bool,
) -> Panel {
    let rows: Vec<&TransplantRow> = rows.iter().copied().filter(|row| row.position == position).collect();
    let sources = distinct(&rows, |row| row.source_iteration);
    let bases = distinct(&rows, |row| row.base_iteration);
    let cell = |source: usize, base: usize| {
        let is_of_cell = |row: &&&TransplantRow| (row.source_iteration, row.base_iteration) == (source, base);
        rows.iter().find(is_of_cell).and_then(|row| recovery(&row.effect))
    };
    let explained = rows.first().and_then(|row| {
        let of = &row.explained;
        let interval = of.by_source_and_left_low.zip(of.by_source_and_left_high);
        let interval = interval.map_or_else(String::new, |(low, high)| format!(" ({low:.2}–{high:.2})"));
        // Of probabilities that hardly differ there is nothing to explain.
        (of.deviation? >= 0.05).then_some(())?;
        Some(format!("; explained without j {:.2}{interval}", of.by_source_and_left?))
    });
    let at = position.map_or_else(|| "all (self-check)".to_owned(), |position| position.to_string());
    Panel {
        title: Title::new(format!("{at}, {}", split.title()), column_title(checkpoint, several)),
        content: Content::Cells(Cells {
            x_label: format!("before iteration j of the base{}", explained.unwrap_or_default()),
            y_label: "after iteration i of the source".to_owned(),
            columns: bases.iter().map(ToString::to_string).collect(),
            rows: sources.iter().map(ToString::to_string).collect(),
            numbers: sources
                .iter()
                .map(|&source| bases.iter().map(|&base| cell(source, base)).collect())
                .collect(),
            value: "recovery of the logit difference".to_owned(),
            ..Cells::default()
        }),
    }
}
