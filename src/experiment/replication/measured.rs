//! How the quantities of the replication are measured on a run: read off the rows of methods and the record of its training.

use super::Number;
use crate::experiment::RunView;
use crate::experiment::claims::words::max_interval;
use crate::graph::Position;
use crate::measure::statistics::Interval;
use crate::measure::{Lens, LensRow, Margin, MarginRow, Rise, Settle, SettleRow};

/// The deepest chains that they measured.
pub(super) const MAX_HOPS: usize = 10;

// Their 10 hops are answered in iteration 4, this many before the eighth.
const AFTER_ARRIVAL: usize = 4;

// The iterations at which later motion is looked at.
const LATER: [usize; 6] = [9, 12, 16, 24, 32, 40];

// A stage of the curriculum is hard where it takes this share of the epochs of the longest one. Theirs: 2 and 5 hops.
const HARD: f64 = 0.1;

// The numbers of hops of which there are numbers: those that the run has learned, as far as theirs go.
fn learned_hops(run: RunView) -> impl Iterator<Item = usize> {
    2..=run.learned().min(MAX_HOPS)
}

/// Epochs of the stage in which the curriculum passes this depth, at least those that it had where training ended in it; nothing
/// where it was not begun.
pub(super) fn epochs(run: RunView, hops: usize) -> Option<Number> {
    let training = run.training()?;
    let stages = &training.stages;
    let place = stages
        .iter()
        .position(|outcome| outcome.stage.split.depth() == Some(hops))?;
    let reached = stages[place].reached.as_ref();
    let is_begun = place == 0 || stages[place - 1].reached.is_some();
    let so_far = training.metrics.last().filter(|_| is_begun);
    let epochs = reached
        .map(|reached| reached.epoch)
        .or(so_far.map(|evaluation| evaluation.epoch))?;
    Some(Number {
        at: Some(hops),
        at_least: reached.is_none(),
        ..Number::alone(epochs)
    })
}

pub(super) fn hard_stages(run: RunView) -> Vec<Number> {
    let stages: Vec<Number> = (2..=MAX_HOPS).filter_map(|hops| epochs(run, hops)).collect();
    let longest = stages.iter().map(|stage| stage.value).fold(0.0, f64::max);
    let hard = stages.iter().filter(|stage| stage.value >= HARD * longest);
    let number = Number {
        at_least: stages.iter().any(|stage| stage.at_least),
        ..Number::alone(hard.count() as f64)
    };
    (!stages.is_empty()).then_some(number).into_iter().collect()
}

// The row that says when chains of this many hops are answered.
fn rise_row(run: RunView<'_>, hops: usize) -> Option<&MarginRow> {
    let mut rows = run.rows_of::<Margin>(run.last_reached()?);
    rows.find(|row| row.hops == hops && row.split.depth() == Some(hops) && row.rise.never.is_some())
}

/// The queries that a number is over, of all of the row.
pub(super) fn all_queries(row: &MarginRow) -> usize {
    row.n
}

pub(super) fn answered(row: &MarginRow) -> usize {
    let never = row.rise.never.unwrap_or(1.0);
    (row.n as f64 * (1.0 - never)).round() as usize
}

pub(super) fn jumped(row: &MarginRow) -> usize {
    row.rise.hit_jump_n.unwrap_or(0)
}

/// A number of each learned depth.
pub(super) fn rises(
    run: RunView,
    value: fn(&Rise) -> Option<f64>,
    interval: fn(&Rise) -> Option<Interval>,
    queries: fn(&MarginRow) -> usize,
) -> Vec<Number> {
    let number = |hops| {
        let row = rise_row(run, hops)?;
        let n = queries(row);
        Some(Number {
            at: Some(hops),
            interval: interval(&row.rise),
            over: Some(row.interval),
            n: Some(n),
            left_out: (n < row.n).then(|| 1.0 - n as f64 / row.n as f64),
            ..Number::alone(value(&row.rise)?)
        })
    };
    learned_hops(run).filter_map(number).collect()
}

pub(super) fn hops_an_iteration(run: RunView) -> Vec<Number> {
    let hits = rises(run, |rise| rise.hit, |rise| rise.hit_low.zip(rise.hit_high), answered);
    let deepest = hits.last().and_then(|hit| {
        let hops = hit.at? as f64;
        Some(Number {
            at: None,
            value: hops / hit.value,
            interval: hit.interval.map(|(low, high)| (hops / high, hops / low)),
            ..*hit
        })
    });
    deepest.into_iter().collect()
}

/// A number of every learned depth after one iteration.
pub(super) fn at_iteration(run: RunView, iteration: usize, of: fn(&SettleRow) -> Option<Number>) -> Vec<Number> {
    let number = |hops| {
        Some(Number {
            at: Some(hops),
            ..of(settle_row(run, hops, iteration)?)?
        })
    };
    learned_hops(run).filter_map(number).collect()
}

fn settle_row(run: RunView<'_>, hops: usize, iteration: usize) -> Option<&SettleRow> {
    let mut rows = run.rows_of::<Settle>(run.last_reached()?);
    rows.find(|row| row.hops == hops && row.split.depth() == Some(hops) && row.iteration == iteration)
}

pub(super) fn of_settle(row: &SettleRow, value: f64, interval: Option<Interval>) -> Number {
    Number {
        interval,
        over: Some(row.interval),
        n: Some(row.n),
        ..Number::alone(value)
    }
}

/// A number of every learned depth, some iterations after the median first right answer.
pub(super) fn after_arrival(run: RunView, of: fn(&SettleRow) -> Number) -> Vec<Number> {
    let number = |hops| {
        let hit = rise_row(run, hops)?.rise.hit?;
        let iteration = hit.round() as usize + AFTER_ARRIVAL;
        Some(Number {
            at: Some(hops),
            ..of(settle_row(run, hops, iteration)?)
        })
    };
    learned_hops(run).filter_map(number).collect()
}

pub(super) fn turns(run: RunView, iteration: usize) -> Vec<Number> {
    at_iteration(run, iteration, |row| {
        Some(of_settle(row, row.angle, row.angle_low.zip(row.angle_high)))
    })
}

pub(super) fn angle_of_steps(row: &SettleRow) -> Option<Number> {
    let degrees = |cosine: f64| cosine.clamp(-1.0, 1.0).acos().to_degrees();
    // A larger cosine is a smaller angle.
    let ends = row.cosine_low.zip(row.cosine_high);
    let interval = ends.map(|(low, high)| (degrees(high), degrees(low)));
    Some(of_settle(row, degrees(row.cosine?), interval))
}

pub(super) fn later_motion(run: RunView) -> Vec<Number> {
    let Some(hops) = learned_hops(run).last() else {
        return Vec::new();
    };
    let number = |iteration| {
        let row = settle_row(run, hops, iteration)?;
        Some(Number {
            at: Some(iteration),
            ..of_settle(row, row.radial, row.radial_low.zip(row.radial_high))
        })
    };
    LATER.into_iter().filter_map(number).collect()
}

/// The bridge that is read of most queries at the positions that are meant: `is_meant(position, hop of the bridge, readout)`.
pub(super) fn bridge_read(run: RunView, is_meant: fn(Position, usize, Position) -> bool) -> Vec<Number> {
    let hops = run.depth();
    let Some(checkpoint) = run.last_reached() else {
        return Vec::new();
    };
    let of_depth = || {
        let rows = run.rows_of::<Lens>(checkpoint);
        rows.filter(|row| row.hops == hops && row.split.depth() == Some(hops))
    };
    let reads_apart = of_depth().any(|row| row.position == Position::Readout);
    let readout = if reads_apart {
        Position::Readout
    } else {
        Position::Relation(hops)
    };
    let is_of_bridge = |row: &&LensRow| {
        let hop = row.label.hop(hops).filter(|hop| (1..hops).contains(hop));
        row.largest.is_max && hop.is_some_and(|hop| is_meant(row.position, hop, readout))
    };
    let number = |row: &LensRow| Number {
        interval: max_interval(&row.largest),
        over: Some(row.interval),
        n: Some(row.n),
        ..Number::alone(row.top1)
    };
    let bridges = of_depth().filter(is_of_bridge);
    let largest = bridges.max_by(|a, b| a.top1.total_cmp(&b.top1));
    largest.map(number).into_iter().collect()
}
