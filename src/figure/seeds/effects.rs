//! The effect of each key: a forest plot for each number, with intervals over seeds.

use super::super::kit::{Colour, Content, Estimate, Figure, Panel};
use super::super::{distinct, wrapped};
use crate::graph::Split;
use crate::measure::seeds::EffectRow;

/// A panel a number and key, a line a value of the key; `None` without effects.
pub fn effects(rows: &[EffectRow]) -> Option<Figure> {
    if rows.is_empty() {
        return None;
    }
    let mut panels: Vec<Vec<&EffectRow>> = Vec::new();
    for row in rows {
        match panels
            .iter_mut()
            .find(|of_panel| panel_key(of_panel[0]) == panel_key(row))
        {
            Some(of_panel) => of_panel.push(row),
            None => panels.push(vec![row]),
        }
    }
    Some(Figure {
        title: "The effect of each key: the difference from its first value".to_owned(),
        conditions: conditions(rows),
        legend: Vec::new(),
        panels: wrapped(panels.iter().map(|rows| panel(rows)).collect()),
    })
}

type PanelKey<'a> = (Option<&'a str>, &'a str, &'a str, Option<&'a str>, Option<&'a str>);

fn panel_key(row: &EffectRow) -> PanelKey<'_> {
    (
        row.experiment.as_deref(),
        &row.key,
        &row.metric,
        row.split.as_ref().map(Split::title),
        row.stage.as_deref(),
    )
}

fn panel(rows: &[&EffectRow]) -> Panel {
    let first = rows[0];
    let (experiment, _, _, split, stage) = panel_key(first);
    let what = match (first.metric.as_str(), split.or(stage)) {
        ("accuracy", Some(split)) => format!("accuracy, {split}"),
        ("stage_step", Some(stage)) => format!("step of stage {stage}"),
        ("learned_hops", _) => "hops learned".to_owned(),
        ("seconds", _) => "seconds of training".to_owned(),
        (metric, _) => metric.to_owned(),
    };
    let estimate = |row: &&EffectRow| Estimate {
        name: format!("{} = {}", short(&row.key), row.value),
        colour: Colour::BLUE,
        value: row.difference,
        interval: row.low.zip(row.high),
    };
    Panel {
        title: experiment
            .map_or_else(|| what.clone(), |experiment| format!("{experiment}: {what}"))
            .into(),
        content: Content::Estimates {
            x_label: format!(
                "difference from {} = {} ({})",
                short(&first.key),
                first.reference,
                first.unit
            ),
            x_range: None,
            rows: rows.iter().map(estimate).collect(),
        },
    }
}

// The last part of a key.
fn short(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

fn conditions(rows: &[EffectRow]) -> Vec<String> {
    let how = |row: &EffectRow| {
        let seeds = if row.n == row.n_reference {
            format!("{} seeds", row.n)
        } else {
            format!("{} and {} seeds", row.n, row.n_reference)
        };
        let paired = if row.paired { "paired by seed" } else { "not paired" };
        format!("95 % over {seeds} ({paired}, {})", row.method)
    };
    let mut lines = vec![format!(
        "bars: {}; not over test rows; finished runs alone",
        distinct(rows, how).join("; ")
    )];
    if rows.iter().any(|row| row.n.min(row.n_reference) < 5) {
        lines.push(
            "with fewer than 5 seeds rough: in simulations such intervals hold the truth 88 to 95 % of the time, and of a thing that runs \
             either learn or do not 63 %"
                .to_owned(),
        );
    }
    if rows.iter().any(|row| row.low.is_some() && row.low == row.high) {
        lines.push(
            "a point without a bar: the same difference in every seed, which does not say that others have it too"
                .to_owned(),
        );
    }
    let contexts = rows.iter().map(|row| row.contexts).max().unwrap_or(1);
    if contexts > 1 {
        lines.push(format!(
            "each seed's difference is its mean over up to {contexts} sets of values of the other keys"
        ));
    }
    lines
}
