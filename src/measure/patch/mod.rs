//! Activation patching on the recurrent block (Kohli et al. 2026, Appendix E): corrupt a query, restore the clean state
//! at one (iteration, layer, position), and see how much of the answer returns; or the other way round.

mod estimate;
mod matrix;
mod sites;
mod sweep;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::checkpoint::{LoadedCheckpoint, Origin};
use super::columns::{Column, Matrix};
use super::judged::{Claim, Setting, SiteScore};
use super::method::{Method, Report};
use super::output::Output;
use super::pairs::{Corrupt, Direction, Effect, PairSet, Pairing};
use super::place::Place;
use super::population::Group;
use super::positive;
use super::quantity::quantities;
use super::row::columns;
use super::splits::Wants;
use super::statistics::{Clustering, spearman};
use crate::error::{Error, Result};
use crate::graph::{Position, Split};
use crate::model::Point;

use self::sites::{Bounds, JointPatch};
pub use self::sites::{JointSites, SiteAt};
use self::sweep::{Estimate, Sweep};

/// What to patch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, clap::Args)]
pub struct Patch {
    /// Which pairs of queries.
    #[command(flatten)]
    #[serde(flatten)]
    pub pairing: Pairing,
    /// The hook point whose state is put in
    #[arg(long, value_enum, default_value = "resid_post")]
    pub hook: Point,
    /// Put in the states of this number of consecutive effective layers together
    #[arg(long, value_name = "LAYERS", default_value_t = 1, value_parser = positive)]
    pub window: usize,
    /// Put in the states of all layers of an iteration together
    #[arg(long, conflicts_with = "window")]
    pub whole_iteration: bool,
    /// Put in the states of these sites together and sweep none: POSITION@ITERATION.LAYER, perhaps with .HEAD and after HOOK:, joined
    /// by +
    #[arg(long, value_name = "SITE+SITE", value_delimiter = ',', conflicts_with_all = ["window", "whole_iteration"])]
    pub sites: Vec<JointSites>,
    /// Estimate every effect to first order too, from one backward pass (attribution patching)
    #[arg(long)]
    pub attribution: bool,
}

/// How much of a hook point is put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Extent {
    /// The state at one position.
    One,
    /// Those of several effective layers at one position.
    Window,
    /// Those at the sites that were listed.
    Listed,
    /// Those at all positions.
    All,
    /// None.
    Nothing,
}

/// What one run gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patched {
    /// How much is put in: a state, several, or, in the self-checks, all or nothing.
    pub restored: Extent,
    /// The hook point; absent in the self-check that puts in nothing, and where sites of several were listed.
    pub hook: Option<Point>,
    /// The attention head whose slice is put in, from 1; absent where it is the whole state.
    pub attention_head: Option<usize>,
    /// Absent in the self-checks, which put in all positions or none, and where sites were listed.
    pub position: Option<Position>,
    /// The effective layer, of several the first.
    #[serde(flatten)]
    pub place: Place,
    /// The number of states that are put in together; 0 in the self-checks.
    pub states: usize,
    /// The sites that were listed.
    pub sites: Option<String>,
}

/// The effect of the states that one run gets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PatchRow {
    /// The checkpoint and the data.
    #[serde(flatten)]
    pub origin: Origin,
    /// The split.
    pub split: Split,
    /// What the corrupt query has in place of the clean one's.
    pub corrupt: Corrupt,
    /// Which way states go.
    pub direction: Direction,
    /// What is put in.
    #[serde(flatten)]
    pub patched: Patched,
    /// What comes of it.
    #[serde(flatten)]
    pub effect: Effect,
    /// `recovery` estimated to first order, where that is asked for and recovery is defined.
    pub estimate: Option<f64>,
    /// The rank correlation (Spearman) of `estimate` with `recovery` over the runs of the same checkpoint and split that change
    /// anything.
    pub rank_correlation: Option<f64>,
    /// 95 % interval of `estimate`.
    pub estimate_low: Option<f64>,
    /// The upper end of that interval.
    pub estimate_high: Option<f64>,
    /// What the intervals count for, of clean and corrupt queries.
    pub interval: Clustering,
}

columns! {
    PatchRow:
    Column::of("split"),
    Column::of("direction"),
    Column::of("restored"),
    Column::of("hook"),
    Column::of("attention_head").titled("head"),
    Column::of("position"),
    Column::of("effective_layer").titled("effective layer"),
    Column::of("sites"),
    Column::of("n"),
    Column::of("recovery").titled("recovery (95 %)").within("low", "high"),
    Column::of("estimate").titled("first order (95 %)").within("estimate_low", "estimate_high"),
    Column::of("flips").titled("flips (95 %)").within("flips_low", "flips_high"),
    Column::of("gap").decimals(2),
    Column::of("clean_accuracy").titled("clean"),
    Column::of("corrupt_accuracy").titled("corrupt");
    measured
    Effect::QUANTITIES,
    quantities![of estimate within estimate_low estimate_high, of rank_correlation]
}

impl Method for Patch {
    const NAME: &'static str = "patch";
    const ABOUT: &'static str = "Activation patching on the recurrent block";
    const MISLEADS: &'static str = "Exchanging one of several copies changes nothing, so a backup hides what is used; and a corrupt query leads to states that no query has.";
    const FORMAT: u32 = 4;
    type Row = PatchRow;

    fn seed(&self) -> u64 {
        self.pairing.seed
    }

    fn matrices(report: &Report<Self>) -> Vec<Matrix> {
        matrix::matrices(report)
    }

    fn resolve(&mut self, checkpoints: &[LoadedCheckpoint]) -> Result<()> {
        self.check()?;
        self.pairing.resolve(Wants::HeldOutChains, checkpoints)
    }

    fn measure(&self, group: &Group, out: &mut Output<PatchRow>) -> Result<()> {
        self.pairing.each(group, out, |set, checkpoint, out| {
            let model = &checkpoint.model;
            let positions = set.positions(model);
            let together = self.together(Bounds {
                iterations: set.iterations,
                layers: checkpoint.info.layers,
                heads: model.config().heads,
                positions: &positions,
            })?;
            let found = Sweep::of(model, set, &together, out.budget(set.iterations), self.attribution)?;
            let effects = found.runs.effects(set, checkpoint, out);
            let estimates = found.recoveries(set, &effects);
            let rank_correlation = self
                .attribution
                .then(|| rank_correlation(checkpoint, set, &effects, &estimates, &mut out.notes))
                .flatten();
            let patched = Self::patched(&together, &positions, checkpoint);
            for (index, (patched, effect)) in patched.iter().zip(effects).enumerate() {
                found.runs.write_rows(set, checkpoint, out, index, |_| patched)?;
                let estimate = estimates[index];
                out.rows.push(PatchRow {
                    origin: checkpoint.info.origin.clone(),
                    split: set.clean.split.clone(),
                    corrupt: self.pairing.corrupt,
                    direction: self.pairing.direction,
                    patched: patched.clone(),
                    effect,
                    estimate: estimate.map(|(mean, _)| mean),
                    rank_correlation,
                    estimate_low: estimate.and_then(|(_, interval)| Some(interval?.0)),
                    estimate_high: estimate.and_then(|(_, interval)| Some(interval?.1)),
                    interval: set.clustering(),
                });
            }
            Ok(())
        })
    }

    fn to_verify(setting: &Setting) -> Result<Vec<Self>> {
        at_every_point(setting, Corrupt::Prefix)
    }

    // The same relations on both sides: whatever entity is interchanged, the answer that follows is the source's.
    fn to_edit(setting: &Setting) -> Result<Vec<Self>> {
        at_every_point(setting, Corrupt::Head)
    }

    fn site_scores(report: &Report<Self>) -> Vec<SiteScore> {
        report.rows.iter().filter_map(site_scores).flatten().collect()
    }
}

// At every hook point whose states hold tokens.
fn at_every_point(setting: &Setting, corrupt: Corrupt) -> Result<Vec<Patch>> {
    let mut defaults = Patch::defaults()?;
    defaults.pairing.correct_only = setting.answers_right;
    defaults.pairing.corrupt = corrupt;
    Ok(Point::OF_TOKENS
        .map(|hook| Patch {
            hook,
            ..defaults.clone()
        })
        .into())
}

fn site_scores(row: &PatchRow) -> Option<[SiteScore; 2]> {
    // Most queries.
    const MOST: f64 = 0.5;
    let patched = &row.patched;
    let (point, position, hops) = (patched.hook?, patched.position?, row.split.hops()?);
    let score = |claim, score, is_called| SiteScore {
        claim,
        targets: row.corrupt.changes(hops),
        hops,
        point,
        position,
        place: patched.place,
        head: patched.attention_head,
        score,
        is_called,
    };
    let effect = &row.effect;
    Some([
        score(Claim::Used, effect.recovery.unwrap_or_default(), effect.is_used()),
        score(Claim::Counterfactual, effect.flips, effect.flips_low > MOST),
    ])
}

// How well the first-order estimates order the runs as the sweep does, which is noted. Runs that change nothing, since no path leads
// from their states to the readout, would count as agreement.
fn rank_correlation(
    checkpoint: &LoadedCheckpoint,
    set: &PairSet,
    effects: &[Effect],
    estimates: &[Option<Estimate>],
    notes: &mut Vec<String>,
) -> Option<f64> {
    let both = effects
        .iter()
        .zip(estimates)
        .filter_map(|(effect, estimate)| Some((effect.recovery?, estimate.as_ref()?.0)))
        .filter(|(recovery, _)| *recovery != 0.0);
    let (exact, estimated): (Vec<f64>, Vec<f64>) = both.unzip();
    let rho = spearman(&exact, &estimated);
    notes.push(format!(
        "{}, split {}: rank correlation (Spearman) of the first-order estimate with the exact sweep {}, over {} runs that change \
         anything",
        checkpoint.info.name(),
        set.clean.split,
        rho.map_or_else(|| "not defined".to_owned(), |rho| format!("{rho:.3}")),
        exact.len()
    ));
    rho
}

impl Patch {
    /// Each state of a hook point alone.
    #[must_use]
    pub fn sweep(pairing: Pairing, hook: Point) -> Self {
        Self {
            pairing,
            hook,
            window: 1,
            whole_iteration: false,
            sites: Vec::new(),
            attribution: false,
        }
    }

    /// Refuses a hook point that no state can be put in at.
    pub(crate) fn check(&self) -> Result<()> {
        if self.hook.in_block() || self.hook == Point::Embed {
            return Ok(());
        }
        Err(Error::input(format!(
            "hook {}; allowed: embed and the points of a layer",
            self.hook.name()
        )))
    }

    // What each run gets, the self-checks first.
    fn patched(together: &[JointPatch], positions: &[Position], checkpoint: &LoadedCheckpoint) -> Vec<Patched> {
        let whole_embedding = Patched {
            restored: Extent::All,
            hook: Some(Point::Embed),
            attention_head: None,
            position: None,
            place: Place::EMBEDDING,
            states: 0,
            sites: None,
        };
        let nothing = Patched {
            restored: Extent::Nothing,
            hook: None,
            ..whole_embedding.clone()
        };
        let of_run = |run: &JointPatch| {
            let first = run.states[0];
            let is_listed = run.listed.is_some();
            Patched {
                restored: match run.states.len() {
                    _ if is_listed => Extent::Listed,
                    1 => Extent::One,
                    _ => Extent::Window,
                },
                hook: Some(first.site.point())
                    .filter(|hook| run.states.iter().all(|state| state.site.point() == *hook)),
                attention_head: first.head.filter(|_| !is_listed).map(|head| head + 1),
                position: (!is_listed).then(|| positions[first.column]),
                place: Place::of(first.site, checkpoint.info.layers),
                states: run.states.len(),
                sites: run.listed.clone(),
            }
        };
        [whole_embedding, nothing]
            .into_iter()
            .chain(together.iter().map(of_run))
            .collect()
    }
}
