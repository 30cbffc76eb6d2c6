//! Claims 4a and 4b: what patching says of the states that the answer is computed from.

use super::lens::{LensLine, R1};
use super::{Criterion, Judgement};
use crate::checkpoint::CheckpointRole;
use crate::experiment::RunView;
use crate::graph::{Split, Target};
use crate::measure::{Extent, Patch, PatchRow};

/// The recovery at r1 by effective layer, at the end of training.
pub(super) fn recovery<'a>(run: RunView<'a>, split: &Split) -> Vec<&'a PatchRow> {
    run.rows_at::<Patch>(CheckpointRole::End)
        .filter(|row| row.split == *split && row.patched.restored == Extent::One && row.patched.position == Some(R1))
        .collect()
}

fn recovery_text(rows: &[&PatchRow]) -> String {
    let cell = |row: &&PatchRow| {
        let layer = row.patched.place.effective_layer;
        match (row.effect.recovery, row.effect.low, row.effect.high) {
            (Some(r), Some(low), Some(high)) => format!("{layer}: {r:.2} ({low:.2}–{high:.2})"),
            (Some(r), ..) => format!("{layer}: {r:.2} (no interval)"),
            (None, ..) => format!("{layer}: not defined, the gap between clean and corrupt is not above 0"),
        }
    };
    let cells: Vec<String> = rows.iter().map(cell).collect();
    format!(
        "{}, n = {}",
        cells.join(", "),
        rows.first().map_or(0, |row| row.effect.n)
    )
}

/// Restoring the state at r1 after each layer of the first iteration brings the answer back.
pub struct FirstIterationCausal {
    /// Least recovery.
    pub min_recovery: f64,
}

impl Criterion<RunView<'_>> for FirstIterationCausal {
    fn text(&self) -> String {
        format!(
            "at the end of training, restoring the clean state at r1 after each layer of iteration 1 brings at least {:.2} of \
             the answer back, ID and OOD",
            self.min_recovery
        )
    }

    fn judge(&self, run: RunView) -> Judgement {
        let mut numbers = Vec::new();
        let mut met = Some(true);
        for (split, name) in [(Split::in_distribution(), "ID"), (Split::ood(), "OOD")] {
            let rows = recovery(run, &split);
            // Not defined where the gap between clean and corrupt is not above 0: then there is no answer to bring back.
            let of_layers: Option<Vec<f64>> = rows
                .iter()
                .filter(|row| row.patched.place.iteration == 1)
                .map(|row| row.effect.recovery)
                .collect();
            let all_back = of_layers
                .filter(|of_layers| !of_layers.is_empty())
                .map(|of_layers| of_layers.iter().all(|&recovery| recovery >= self.min_recovery));
            met = met.zip(all_back).map(|(met, all_back)| met && all_back);
            numbers.push(format!(
                "{}, {name}, recovery at r1 by effective layer: {}",
                CheckpointRole::End,
                recovery_text(&rows)
            ));
        }
        Judgement { met, numbers }
    }
}

/// The OOD bridge is visible only after the last layer at which the ID answer is computed from r1.
pub struct BridgeTooLate {
    /// The bridge is visible where the lens reads it for this share of chains.
    pub min_visible: f64,
    /// The answer is computed from r1 where the recovery is at least this.
    pub min_recovery: f64,
}

impl Criterion<RunView<'_>> for BridgeTooLate {
    fn text(&self) -> String {
        format!(
            "the lens shows the OOD bridge at r1 (top-1 for {:.2} of the chains) only after the last layer from which the ID \
             answer is read at r1 (recovery at least {:.2}), or never",
            self.min_visible, self.min_recovery
        )
    }

    fn judge(&self, run: RunView) -> Judgement {
        let used = recovery(run, &Split::in_distribution());
        // Without such a layer there is no answer for the bridge to come too late for.
        let last_used = used
            .iter()
            .rev()
            .find(|row| row.effect.recovery.is_some_and(|r| r >= self.min_recovery))
            .map(|row| row.patched.place.effective_layer);
        let bridge = LensLine::of(run, CheckpointRole::End, &Split::ood(), Target::Bridge, R1);
        let visible = bridge
            .first_at_least(self.min_visible)
            .map(|row| row.place.effective_layer);
        let comes_late = |last_used| visible.is_none_or(|layer| layer > last_used);
        // One layer leaves no room for too early or too late.
        let tested = run.model().layers > 1 && !bridge.is_empty();
        Judgement {
            met: last_used.filter(|_| tested).map(comes_late),
            numbers: vec![
                match visible {
                    Some(layer) => format!("OOD bridge visible from layer {layer}"),
                    None => "OOD bridge visible at no layer".to_owned(),
                },
                format!("ID, recovery at r1 by layer: {}", recovery_text(&used)),
                format!(
                    "OOD, recovery at r1 by layer: {}",
                    recovery_text(&recovery(run, &Split::ood()))
                ),
            ],
        }
    }
}
