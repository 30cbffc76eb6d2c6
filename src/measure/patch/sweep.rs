//! The runs of a sweep: sources and bases as they are, two self-checks, and a run for everything that is put in.

use std::collections::BTreeSet;

use candle_core::Tensor;

use super::estimate::estimates;
use super::sites::{JointPatch, State};
use crate::error::Result;
use crate::measure::BATCH;
use crate::measure::pairs::{Direction, Effect, PairSet, Runs, Sides};
use crate::measure::states::States;
use crate::measure::statistics::{Interval, mean};
use crate::model::{Branch, Budget, Cut, Edit, Hooks, Model, Pass, Sharing, Site, Write};

/// The runs before those of the sites: with the whole embedding of the source, and with nothing of it.
pub(super) const SELF_CHECKS: usize = 2;

/// A recovery to first order, with its 95 % interval.
pub(super) type Estimate = (f64, Option<Interval>);

pub(super) struct Sweep {
    /// The self-checks first.
    pub(super) runs: Runs,
    // Where they are asked for, of the runs after the self-checks: `[run][pair]`.
    estimates: Option<Vec<Vec<f64>>>,
}

impl Sweep {
    pub(super) fn of(
        model: &Model,
        set: &PairSet,
        together: &[JointPatch],
        budget: Budget,
        attribution: bool,
    ) -> Result<Self> {
        let mut runs = Runs::new(SELF_CHECKS + together.len());
        let mut found = attribution.then(|| vec![Vec::new(); together.len()]);
        let of_pair = bytes_of_pair(model, set, together, budget.iterations, attribution);
        let are_single = together.iter().all(JointPatch::is_one_whole_state);
        for sides in set.sides.chunks(budget.at_once(of_pair).min(BATCH)) {
            let checks = self_checks(model, sides, budget.iterations)?;
            let source = (attribution || !are_single)
                .then(|| source(model, sides, together, budget.iterations))
                .transpose()?;
            match &source {
                Some(source) if !are_single => {
                    let (base, edited) = put_in(model, sides, source, together, budget)?;
                    runs.extend(sides, &source.logits, &base, checks.iter().chain(&edited))?;
                }
                _ => {
                    let cut = |run: &JointPatch| Cut {
                        site: run.states[0].site,
                        column: run.states[0].column,
                    };
                    let cuts: Vec<Cut> = together.iter().map(cut).collect();
                    let tokens: Vec<[&[u32]; 2]> = sides.iter().map(|sides| [&*sides.source, &*sides.base]).collect();
                    let logits = model.interchange(&tokens, &cuts, budget)?;
                    let edited = checks.iter().chain(&logits.patched);
                    runs.extend(sides, &logits.source, &logits.base, edited)?;
                }
            }
            if let Some((found, source)) = found.as_mut().zip(source.as_ref()) {
                let of_chunk = estimates(model, sides, source, together, budget.iterations)?;
                for (all, of_chunk) in found.iter_mut().zip(of_chunk) {
                    all.extend(of_chunk);
                }
            }
        }
        Ok(Self { runs, estimates: found })
    }

    /// The recovery of each run to first order, where that is asked for and recovery is defined; the self-checks have none.
    pub(super) fn recoveries(&self, set: &PairSet, effects: &[Effect]) -> Vec<Option<Estimate>> {
        let gaps = self.runs.gaps(set);
        let sign = match set.direction {
            Direction::Denoise => 1.0,
            Direction::Noise => -1.0,
        };
        let estimate = |(run, effect): (usize, &Effect)| {
            let of_pairs = self.estimates.as_ref()?.get(run.checked_sub(SELF_CHECKS)?)?;
            effect.recovery?;
            let moved: Vec<f64> = of_pairs.iter().map(|change| sign * change).collect();
            let interval = set.clean.resamples().ratio(&moved, &gaps);
            Some((mean(moved) / effect.gap, interval))
        };
        effects.iter().enumerate().map(estimate).collect()
    }
}

#[cfg(test)]
impl Sweep {
    /// The estimate of one pair in one run after the self-checks.
    pub(super) fn of_pair(&self, run: usize, pair: usize) -> f64 {
        self.estimates.as_ref().unwrap()[run][pair]
    }
}

// At most: the logits of every run with the states that it gets, the source's states at their sites, and, for gradients, about 40
// numbers of d_model that the backward pass needs of every row at every effective layer.
fn bytes_of_pair(model: &Model, set: &PairSet, together: &[JointPatch], iterations: usize, attribution: bool) -> usize {
    let config = model.config();
    let columns = set.hops() + 2;
    // No state is wider than that of an MLP's activations, or a pattern over all columns.
    let width = (4 * config.d_model).max(config.heads * columns);
    let put_in: usize = together
        .iter()
        .map(|run| run.states.len() * width + model.vocab())
        .sum();
    let sites = iterations * config.layers;
    let backward = if attribution { 40 * config.d_model } else { 0 };
    (put_in + sites * columns * (width + backward)) * size_of::<f32>()
}

// The states of the sources that are put in.
fn source(model: &Model, sides: &[Sides], together: &[JointPatch], iterations: usize) -> Result<States> {
    let sites: BTreeSet<Site> = together
        .iter()
        .flat_map(|run| run.states.iter().map(|state| state.site))
        .collect();
    States::of(model, sides.iter().map(|sides| &*sides.source), &sites, iterations)
}

// The logits of the bases, and of each run.
fn put_in(
    model: &Model,
    sides: &[Sides],
    source: &States,
    together: &[JointPatch],
    budget: Budget,
) -> Result<(Tensor, Vec<Tensor>)> {
    let bases: Vec<&[u32]> = sides.iter().map(|sides| &*sides.base).collect();
    let mut branches = Vec::with_capacity(together.len() * sides.len());
    for run in together {
        let mut of_run: Vec<Branch> = (0..sides.len())
            .map(|query| Branch {
                query,
                edits: Vec::with_capacity(run.states.len()),
            })
            .collect();
        for &State { site, column, head } in &run.states {
            let states = source.states(site, column, head)?;
            for (branch, numbers) in of_run.iter_mut().zip(states) {
                branch.edits.push(Edit {
                    site,
                    column,
                    head,
                    write: Write::Set(numbers),
                });
            }
        }
        branches.extend(of_run);
    }
    let found = model.intervene(&bases, &branches, budget)?;
    let of_run = |run: usize| found.edited.narrow(0, run * sides.len(), sides.len());
    let edited = (0..together.len()).map(of_run).collect::<candle_core::Result<_>>()?;
    Ok((found.base, edited))
}

// The logits of the base queries with the whole embedding of the source, which brings everything over, and with nothing of
// it: whole passes with hooks, which share nothing with the sweep.
fn self_checks(model: &Model, sides: &[Sides], iterations: usize) -> Result<[Tensor; 2]> {
    let source = model.pack(sides.iter().map(|sides| &*sides.source), Sharing::Nothing)?;
    let base = model.pack(sides.iter().map(|sides| &*sides.base), Sharing::Nothing)?;
    let mut pass = Pass {
        hooks: Hooks::none().record(Site::embed()),
        ..Pass::default()
    };
    model.forward(&source, 1, &mut pass)?;
    let all = (0..base.len() as u32).collect();
    let whole = Hooks::none().replace(Site::embed(), all, pass.hooks.recorded(Site::embed())?);
    let run = |hooks| {
        let mut pass = Pass {
            hooks,
            ..Pass::default()
        };
        model.forward(&base, iterations, &mut pass)
    };
    Ok([run(whole)?, run(Hooks::none())?])
}
