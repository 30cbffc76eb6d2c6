//! Quantities of the depth experiment.

use super::{Measured, NOT_MEASURED};
use crate::experiment::RunView;
use crate::experiment::claims::depth::steps_of_depths;
use crate::experiment::claims::overthinking::{kl_rules, peak_and_end};
use crate::measure::{Extrapolate, Halt, HaltRow, Interchange, Settle};

pub(super) fn late_depths(run: RunView, late: f64) -> Option<f64> {
    let steps = steps_of_depths(run)?;
    let end = run.last_reached()?.origin.step as f64;
    let count = steps.iter().filter(|&&step| step as f64 >= late * end).count();
    (!steps.is_empty()).then(|| count as f64 / steps.len() as f64)
}

pub(super) fn answered_beyond(run: RunView) -> Measured {
    let Some(row) = run.answered() else {
        return Measured::Missing(NOT_MEASURED.to_owned());
    };
    let beyond = row.extrapolated as f64 - row.learned as f64;
    // Deeper chains than all that are answered are not in the data.
    if row.next.is_none() {
        return Measured::AtLeast(beyond);
    }
    Measured::Value(beyond)
}

pub(super) fn answered_difference(more: RunView, less: RunView, learned: usize) -> Measured {
    // The first of the checkpoints that have learned so many hops is that of the stage.
    let at = |run: RunView| {
        let rows = run.rows::<Extrapolate>().filter(|row| row.learned == learned);
        rows.min_by_key(|row| row.origin.step)
            .map(|row| row.extrapolated as f64)
    };
    match at(more).zip(at(less)) {
        Some((more, less)) => Measured::Value(more - less),
        None => Measured::Missing(format!("not both learned {learned} hops")),
    }
}

pub(super) fn margin_fall(run: RunView) -> Option<f64> {
    let [peak, end] = peak_and_end(run, run.depth())?;
    Some(peak.margin - end.margin)
}

pub(super) fn peak_difference(run: RunView, hops: usize) -> Option<f64> {
    let [shallow, _] = peak_and_end(run, hops)?;
    let [deep, _] = peak_and_end(run, run.depth())?;
    Some(shallow.margin - deep.margin)
}

pub(super) fn loss(run: RunView, hops: usize) -> Option<f64> {
    let (max, last) = run.max_and_last(hops)?;
    Some(max.accuracy - last.accuracy)
}

// How KL alone and KL with entropy halt chains of so many hops.
fn halted(run: RunView<'_>, kl: f64, entropy: f64, hops: usize) -> Option<[&HaltRow; 2]> {
    let [kl, both] = kl_rules(kl, entropy).map(|rule| {
        let mut rows = run.rows::<Halt>();
        rows.find(|row| !row.swept && row.rule == rule && row.hops == hops)
    });
    Some([kl?, both?])
}

pub(super) fn kl_share(run: RunView, kl: f64, entropy: f64) -> Option<f64> {
    let deepest = run.rows::<Halt>().map(|row| row.hops).max()?;
    let [kl, both] = halted(run, kl, entropy, deepest)?;
    Some(kl.mean / both.mean)
}

pub(super) fn kl_accuracy_lost(run: RunView, kl: f64, entropy: f64) -> Option<f64> {
    let [kl, both] = halted(run, kl, entropy, run.depth())?;
    Some(both.accuracy - kl.accuracy)
}

pub(super) fn suffix(run: RunView) -> Option<f64> {
    run.interchanged(Interchange::Before).next()?;
    let relations = run.shortest_suffix().unwrap_or(run.depth());
    Some(relations as f64 / run.depth() as f64)
}

pub(super) fn apart(run: RunView) -> Option<f64> {
    let hops = run.depth();
    let rows = run.rows::<Settle>().filter(|row| row.hops == hops);
    rows.max_by_key(|row| row.iteration)?.apart
}
