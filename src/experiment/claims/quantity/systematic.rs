//! Quantities of the systematic experiment.

use super::{Cost, Measured, NOT_MEASURED};
use crate::checkpoint::CheckpointRole;
use crate::experiment::RunView;
use crate::experiment::claims::causal::recovery;
use crate::experiment::claims::lens::{LensLine, R1, R2, bridge_probe};
use crate::graph::{Position, Split, Target};
use crate::measure::Eval;

// When a run reached a stage.
struct Arrival {
    // Until then; those of the whole run where it was not reached.
    updates: f64,
    is_reached: bool,
    // Of a query's forward pass.
    flops: f64,
}

fn arrival(run: RunView<'_>, stage: usize) -> Option<Arrival> {
    let training = run.training()?;
    let reached = &training.stages.get(stage.checked_sub(1)?)?.reached;
    Some(Arrival {
        updates: reached.as_ref().map_or(training.steps, |reached| reached.step) as f64,
        is_reached: reached.is_some(),
        flops: training.forward_flops as f64,
    })
}

impl Arrival {
    fn cost(&self, cost: Cost) -> f64 {
        match cost {
            Cost::Updates => self.updates,
            Cost::Flops => self.updates * self.flops,
        }
    }
}

pub(super) fn stage_step(run: RunView, stage: usize) -> Measured {
    match arrival(run, stage) {
        None => Measured::Missing(NOT_MEASURED.to_owned()),
        Some(arrival) if arrival.is_reached => Measured::Value(arrival.updates),
        Some(arrival) => Measured::AtLeast(arrival.updates),
    }
}

pub(super) fn stage_ratio(slow: RunView, fast: RunView, stage: usize, cost: Cost) -> Measured {
    let Some((slow, fast)) = arrival(slow, stage).zip(arrival(fast, stage)) else {
        return Measured::Missing(NOT_MEASURED.to_owned());
    };
    let ratio = slow.cost(cost) / fast.cost(cost);
    match (slow.is_reached, fast.is_reached) {
        (true, true) => Measured::Value(ratio),
        (false, true) => Measured::AtLeast(ratio),
        (true, false) => Measured::AtMost(ratio),
        (false, false) => Measured::Missing(format!("neither run reached stage {stage}")),
    }
}

pub(super) fn ood_at_second_stage(run: RunView) -> Measured {
    let Some([first, second, third]) = run.training().map(|training| training.stages.as_slice()) else {
        return Measured::Missing(NOT_MEASURED.to_owned());
    };
    let reached = [first, second, third].map(|outcome| outcome.reached.as_ref());
    // Where the third stage came before the second, OOD accuracy is high at the second.
    let [Some(_), Some(second), Some(_)] = reached else {
        return Measured::Missing("not all three stages were reached".to_owned());
    };
    Measured::of(second.accuracy.get(&Split::ood()).copied(), NOT_MEASURED)
}

fn largest(run: RunView, role: CheckpointRole, split: &Split, label: Target, position: Position) -> Option<f64> {
    LensLine::of(run, role, split, label, position)
        .max()
        .map(|row| row.top1)
}

pub(super) fn lens(run: RunView, split: &Split, label: Target, position: Position) -> Option<f64> {
    largest(run, CheckpointRole::End, split, label, position)
}

pub(super) fn target_before_bridge(run: RunView, stage: usize) -> Measured {
    let role = CheckpointRole::Stage(stage);
    if run.checkpoint(role).is_none() {
        return Measured::Missing(format!("stage {stage} was not reached"));
    }
    let of = |label, position| largest(run, role, &Split::train_chains(), label, position);
    let difference = of(Target::Answer, R2)
        .zip(of(Target::Bridge, R1))
        .map(|(target, bridge)| target - bridge);
    Measured::of(difference, NOT_MEASURED)
}

pub(super) fn read_at_own_relation(run: RunView, split: &Split) -> Option<f64> {
    let bridge = lens(run, split, Target::Bridge, R1)?;
    Some(bridge.min(lens(run, split, Target::Answer, R2)?))
}

pub(super) fn appears_in_iteration(run: RunView, share_of_max: f64, top1: f64) -> Measured {
    let line = LensLine::of(run, CheckpointRole::End, &Split::ood(), Target::Answer, R2);
    let Some(max) = line.max() else {
        return Measured::Missing(NOT_MEASURED.to_owned());
    };
    match line.first_at_least((share_of_max * max.top1).max(top1)) {
        Some(row) => Measured::Value(row.place.iteration as f64),
        None => Measured::Missing("it never appears".to_owned()),
    }
}

pub(super) fn first_iteration_recovery(run: RunView, split: &Split) -> Option<f64> {
    let rows = recovery(run, split);
    let of_first = rows.iter().filter(|row| row.patched.place.iteration == 1);
    // Not defined where there is no answer to bring back.
    let recoveries: Option<Vec<f64>> = of_first.map(|row| row.effect.recovery).collect();
    recoveries?.into_iter().reduce(f64::min)
}

pub(super) fn bridge_lateness(run: RunView, visible: f64, min_recovery: f64) -> Option<f64> {
    let used = recovery(run, &Split::in_distribution());
    let last_used = used
        .iter()
        .rev()
        .find(|row| row.effect.recovery.is_some_and(|r| r >= min_recovery))?;
    let line = LensLine::of(run, CheckpointRole::End, &Split::ood(), Target::Bridge, R1);
    line.max()?;
    let last_used = last_used.patched.place.effective_layer as f64;
    Some(
        line.first_at_least(visible)
            .map_or(f64::INFINITY, |row| row.place.effective_layer as f64 - last_used),
    )
}

pub(super) fn probe_above_lens(run: RunView, split: &Split) -> Option<f64> {
    let probe = bridge_probe(run, split)?;
    Some(probe.accuracy - lens(run, split, Target::Bridge, R2)?)
}

pub(super) fn gain(run: RunView, split: &Split) -> Option<f64> {
    let mut rows = run
        .rows_at::<Eval>(CheckpointRole::End)
        .filter(|row| row.split == *split);
    rows.find_map(|row| row.gain)
}
