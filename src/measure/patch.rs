//! Activation patching on the recurrent block (Kohli et al. 2026, Appendix E): corrupt a query, restore the clean state
//! at one (iteration, layer, position), and see how much of the answer returns; or the other way round.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::BATCH;
use super::checkpoint::{LoadedCheckpoint, Origin};
use super::columns::Column;
use super::judged::{Claim, Setting, SiteScore};
use super::method::{Method, Report};
use super::output::Output;
use super::pairs::{Corrupt, Direction, Effect, PairSet, PairValues, Pairing, Runs, Sides};
use super::place::Place;
use super::population::Group;
use super::query_rows::Asked;
use super::row::columns;
use super::splits::Wants;
use super::statistics::Clustering;
use crate::error::{Error, Result};
use crate::graph::{Position, Split};
use crate::model::{Cut, Hooks, Model, Pass, Point, Sharing, Site};

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
}

/// How much of a hook point is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Extent {
    /// The state at one position.
    One,
    /// Those at all positions.
    All,
    /// None.
    Nothing,
}

/// The effect of one restored state.
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
    /// How much is restored: one state, or, in the self-checks, all or nothing.
    pub restored: Extent,
    /// The hook point; absent in the self-check that restores nothing.
    pub hook: Option<Point>,
    /// Absent in the self-checks, which restore all positions or none.
    pub position: Option<Position>,
    /// The effective layer.
    #[serde(flatten)]
    pub place: Place,
    /// What comes of it.
    #[serde(flatten)]
    pub effect: Effect,
    /// What the intervals count for, of the clean queries.
    pub interval: Clustering,
}

columns! {
    PatchRow:
    Column::of("split"),
    Column::of("restored"),
    Column::of("hook"),
    Column::of("position"),
    Column::of("effective_layer").titled("effective layer"),
    Column::of("n"),
    Column::of("recovery").titled("recovery (95 %)").within("low", "high"),
    Column::of("flips").titled("flips (95 %)").within("flips_low", "flips_high"),
    Column::of("gap").decimals(2),
    Column::of("clean_accuracy").titled("clean"),
    Column::of("corrupt_accuracy").titled("corrupt"),
}

// A per-pair row.
#[derive(Serialize)]
struct PairRow {
    hook: Option<Point>,
    position: Option<Position>,
    #[serde(flatten)]
    place: Place,
    #[serde(flatten)]
    values: PairValues,
}

// What is put in: nothing, a whole site, or a site at one position.
type Restored = (Option<Site>, Option<Position>);

impl Method for Patch {
    const NAME: &'static str = "patch";
    const ABOUT: &'static str = "Activation patching on the recurrent block";
    const FORMAT: u32 = 4;
    type Row = PatchRow;

    fn seed(&self) -> u64 {
        self.pairing.seed
    }

    fn resolve(&mut self, checkpoints: &[LoadedCheckpoint]) -> Result<()> {
        self.check()?;
        self.pairing.resolve(Wants::HeldOutChains, checkpoints)
    }

    fn measure(&self, group: &Group, out: &mut Output<PatchRow>) -> Result<()> {
        self.pairing.each(group, out, |set, checkpoint, out| {
            let (restored, runs) = self.run_all(checkpoint, set)?;
            if out.wants_queries() {
                pair_rows(checkpoint, set, &restored, &runs, out)?;
            }
            let effects = runs.effects(set, checkpoint, out);
            let row = |(&(site, position), effect): (&Restored, Effect)| PatchRow {
                origin: checkpoint.info.origin.clone(),
                split: set.clean.split.clone(),
                corrupt: self.pairing.corrupt,
                direction: self.pairing.direction,
                restored: match (site, position) {
                    (None, _) => Extent::Nothing,
                    (Some(_), None) => Extent::All,
                    (Some(_), Some(_)) => Extent::One,
                },
                hook: site.map(Site::point),
                position,
                place: place(site, checkpoint),
                effect,
                interval: set.clustering(),
            };
            out.rows.extend(restored.iter().zip(effects).map(row));
            Ok(())
        })
    }

    fn to_verify(setting: &Setting) -> Result<Vec<Self>> {
        at_every_point(setting, Corrupt::Prefix)
    }

    // The same relations on both sides: whatever entity is exchanged, the answer that follows is the source's.
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
    let points = [
        Point::Embed,
        Point::ResidPre,
        Point::Z,
        Point::AttnOut,
        Point::ResidMid,
        Point::MlpOut,
        Point::ResidPost,
    ];
    Ok(points
        .map(|hook| Patch {
            hook,
            ..defaults.clone()
        })
        .into())
}

fn site_scores(row: &PatchRow) -> Option<[SiteScore; 2]> {
    // Most queries.
    const MOST: f64 = 0.5;
    let (point, position, hops) = (row.hook?, row.position?, row.split.hops()?);
    let score = |claim, score, is_called| SiteScore {
        claim,
        targets: row.corrupt.changes(hops),
        hops,
        point,
        position,
        place: row.place,
        head: None,
        score,
        is_called,
    };
    let effect = &row.effect;
    Some([
        // What a model uses for an answer that it does not give, nothing can say.
        score(
            Claim::Used,
            effect.recovery.unwrap_or_default(),
            effect.is_felt() && effect.clean_accuracy > MOST,
        ),
        score(Claim::Counterfactual, effect.flips, effect.flips_low > MOST),
    ])
}

fn place(site: Option<Site>, checkpoint: &LoadedCheckpoint) -> Place {
    site.map_or(Place::EMBEDDING, |site| Place::of(site, checkpoint.info.layers))
}

// A per-pair row for each run with something put in.
fn pair_rows(
    checkpoint: &LoadedCheckpoint,
    set: &PairSet,
    restored: &[Restored],
    runs: &Runs,
    out: &mut Output<PatchRow>,
) -> Result<()> {
    for (index, &(site, position)) in restored.iter().enumerate() {
        for pair in 0..set.pairs.len() {
            let values = PairRow {
                hook: site.map(Site::point),
                position,
                place: place(site, checkpoint),
                values: runs.of_pair(set, &checkpoint.data.vocab, index, pair),
            };
            let answer = runs.clean_answer(set, pair);
            out.query_row(checkpoint, &Asked::of(&set.clean, pair, answer), &values)?;
        }
    }
    Ok(())
}

impl Patch {
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

    // The source and the base run, and a run for each site and position with the source's state put in there.
    fn run_all(&self, checkpoint: &LoadedCheckpoint, set: &PairSet) -> Result<(Vec<Restored>, Runs)> {
        let model = &checkpoint.model;
        let positions = set.positions(model);
        let sites = Site::all(self.hook, set.iterations, checkpoint.info.layers);
        let at_site = |&site: &Site| (0..positions.len()).map(move |column| Cut { site, column });
        let cuts: Vec<Cut> = sites.iter().flat_map(at_site).collect();
        // The self-checks first: the whole embedding, then nothing.
        let mut restored: Vec<Restored> = vec![(Some(Site::embed()), None), (None, None)];
        restored.extend(cuts.iter().map(|cut| (Some(cut.site), Some(positions[cut.column]))));
        let mut runs = Runs::new(restored.len());
        for sides in set.sides.chunks(BATCH) {
            let tokens: Vec<[&[u32]; 2]> = sides.iter().map(|sides| [&*sides.source, &*sides.base]).collect();
            let found = model.interchange(&tokens, &cuts, set.iterations)?;
            let checks = self_checks(model, sides, set.iterations)?;
            runs.extend(sides, &found.source, &found.base, checks.iter().chain(&found.patched))?;
        }
        Ok((restored, runs))
    }
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
