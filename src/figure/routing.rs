//! Attention patterns against values: matrices of the iteration that they are of by the effective layer that they are put in at.

use super::kit::{Cell, Cells, Content, Figure, Panel, Title};
use super::{Draw, bound_entry, column_title, conditions, distinct, several_runs, unit};
use crate::graph::Split;
use crate::measure::{Carried, CheckpointSummary, Donor, Report, Routing, RoutingRow};

impl Draw for Routing {
    /// A row a checkpoint and split, or of a single checkpoint one for each donor; columns for pattern, values and both. Of the
    /// source: the share of pairs that take its answer, below the line with crossed heads. Of the clean query itself at another
    /// iteration: the share of its true answers.
    fn draw(report: &Report<Self>) -> Figure {
        let all_heads: Vec<&RoutingRow> = report
            .rows
            .iter()
            .filter(|row| row.patch.attention_head.is_none())
            .collect();
        let several = several_runs(&report.checkpoints);
        let splits = distinct(&all_heads, |row| row.split.clone());
        let mut panels = Vec::new();
        for checkpoint in &report.checkpoints {
            for split in &splits {
                let panel = |donor, carried| {
                    let of_panel = of_panel(&all_heads, checkpoint, split, donor, carried);
                    let base_accuracy = of_panel.first().map_or(f64::NAN, |row| row.base_accuracy);
                    Panel {
                        title: Title::new(
                            format!("{}, {}", name(carried, donor), split.title()),
                            column_title(checkpoint, several),
                        )
                        .note(format!("accuracy {base_accuracy:.2}")),
                        content: cells(&of_panel, donor, checkpoint.layers),
                    }
                };
                let by_donor =
                    [Donor::Source, Donor::Own].map(|donor| Carried::ALL.map(|carried| panel(donor, carried)));
                // Of a single checkpoint a row for each donor, so that the figure does not get wide and flat.
                if report.checkpoints.len() == 1 {
                    panels.extend(by_donor.map(Vec::from));
                } else {
                    panels.push(by_donor.into_iter().flatten().collect());
                }
            }
        }
        let unit = unit(&report.rows);
        let pairs = distinct(&all_heads, |row| {
            format!("{} n = {}{unit}", row.split.title(), row.effect.n)
        });
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
                "of the source: share of pairs whose answer becomes its answer; below the line each head from the source's next head, \
                 same iteration"
                    .to_owned(),
                "own, of another iteration: share of clean queries with their true answer; in brackets: accuracy of the patched queries \
                 without it; white 0, dark 1; – = nothing is put in"
                    .to_owned(),
            ],
            legend: vec![bound_entry("below: the source's next head")],
            panels,
        }
    }
}

fn name(carried: Carried, donor: Donor) -> &'static str {
    match (carried, donor) {
        (Carried::Routing, Donor::Source) => "source's pattern",
        (Carried::Content, Donor::Source) => "source's values",
        (Carried::Both, Donor::Source) => "source's both",
        (Carried::Routing, Donor::Own) => "own pattern",
        (Carried::Content, Donor::Own) => "own values",
        (Carried::Both, Donor::Own) => "own both",
    }
}

fn of_panel<'a>(
    rows: &[&'a RoutingRow],
    checkpoint: &CheckpointSummary,
    split: &Split,
    donor: Donor,
    carried: Carried,
) -> Vec<&'a RoutingRow> {
    let is_shown = |row: &&&RoutingRow| {
        checkpoint.owns(&row.origin) && row.split == *split && (row.patch.donor, row.patch.carried) == (donor, carried)
    };
    rows.iter().filter(is_shown).copied().collect()
}

// Of blocks with this number of layers.
fn cells(of_panel: &[&RoutingRow], donor: Donor, layers_of_iteration: usize) -> Content {
    let layers = distinct(of_panel, |row| row.place.effective_layer);
    let (crossed, same): (Vec<&RoutingRow>, Vec<&RoutingRow>) = of_panel.iter().partition(|row| row.patch.crossed);
    let mut iterations = distinct(&same, |row| row.patch.from_iteration);
    iterations.sort_unstable();
    let share = |row: &RoutingRow| match donor {
        Donor::Source => (row.effect.flips, Some((row.effect.flips_low, row.effect.flips_high))),
        Donor::Own => (row.keeps, Some((row.keeps_low, row.keeps_high))),
    };
    let of_layer = |rows: &[&RoutingRow], is_of_row: &dyn Fn(&RoutingRow) -> bool| -> Vec<Option<Cell>> {
        let cell = |&layer: &usize| {
            let row = rows
                .iter()
                .find(|row| row.place.effective_layer == layer && is_of_row(row))?;
            Some(share(row))
        };
        layers.iter().map(cell).collect()
    };
    let mut names: Vec<String> = iterations.iter().map(ToString::to_string).collect();
    let mut cells: Vec<Vec<Option<Cell>>> = (iterations.iter())
        .map(|&iteration| of_layer(&same, &|row| row.patch.from_iteration == iteration))
        .collect();
    let mut below = Vec::new();
    if !crossed.is_empty() {
        below.push(cells.len());
        names.push("next head".to_owned());
        cells.push(of_layer(&crossed, &|_| true));
    }
    Content::Cells(Cells {
        x_label: "put in at effective layer".to_owned(),
        y_label: "of iteration".to_owned(),
        columns: layers.iter().map(ToString::to_string).collect(),
        numbers: cells,
        rows: names,
        below,
        value: "share of pairs".to_owned(),
        layers: Some(layers_of_iteration),
        ..Cells::default()
    })
}
