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

// How deep a run goes, and whether nothing deeper could have been seen.
struct Reach {
    hops: usize,
    is_ceiling: bool,
}

// A difference with a ceiling is a bound, and one of two ceilings nothing at all.
fn difference(more: &Reach, less: &Reach) -> Measured {
    let value = more.hops as f64 - less.hops as f64;
    match (more.is_ceiling, less.is_ceiling) {
        (false, false) => Measured::Value(value),
        (true, false) => Measured::AtLeast(value),
        (false, true) => Measured::AtMost(value),
        (true, true) => Measured::Missing(format!(
            "both went as deep as could be seen, {} and {} hops",
            more.hops, less.hops
        )),
    }
}

pub(super) fn learned_difference(more: RunView, less: RunView) -> Measured {
    let of = |run: RunView| Reach {
        hops: run.learned(),
        // The last stage of a curriculum is its deepest chains.
        is_ceiling: run
            .training()
            .and_then(|training| training.stages.last())
            .is_some_and(|last| last.reached.is_some()),
    };
    difference(&of(more), &of(less))
}

pub(super) fn answered_difference(more: RunView, less: RunView, learned: usize) -> Measured {
    // Later checkpoints may have learned as many hops: the first of them is that of the stage.
    let at = |run: RunView| {
        let rows = run.rows::<Extrapolate>().filter(|row| row.learned == learned);
        rows.min_by_key(|row| row.origin.step).map(|row| Reach {
            hops: row.extrapolated,
            is_ceiling: row.next.is_none(),
        })
    };
    match at(more).zip(at(less)) {
        Some((more, less)) => difference(&more, &less),
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

// How KL alone and KL with entropy halt chains of this number of hops.
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

pub(super) fn layer_distance(run: RunView) -> Option<f64> {
    let hops = run.depth();
    let rows = run.rows::<Settle>().filter(|row| row.hops == hops);
    rows.max_by_key(|row| row.iteration)?.apart
}
