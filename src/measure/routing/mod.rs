//! Routing or content: what a head looks at, against what it gets there (attention patterns against values; 2609.39892).
//!
//! What a head gathers is z = pattern · values. Of another run (the donor) at some iteration, the pattern is put in at one place
//! (*routing*), or the values (*content*), or both, which is to patch z. Between queries, the donor is the source of a pair and the
//! base gets it: content predicts the source's answer, routing the base's, unless the two look at different positions. Between
//! iterations, the clean query is its own donor, whichever way states go between queries. Two controls: the donor's pattern or
//! values of another iteration, and of another head (crossed: every head gets those of the next one).
//!
//! # What was expected before it was run
//!
//! In the source of this idea the graph stands in the context, and where a head looks *is* the retrieval. Here the facts lie in the
//! weights, and both queries of a pair have the same form (h, r1, r2, …), so that what is to be read stands at the same position:
//!
//! 1. Between queries, routing carries next to nothing: a recovery near 0 at every place.
//! 2. Content carries everything that both together carry, at the layer where the state of one position moves to the next (at r2,
//!    what stands at r1), and nothing after that.
//! 3. Content of another iteration carries less, the more so the farther away; content of another head nothing.
//! 4. Between iterations of one query, routing matters where a loop copies in one iteration and looks up in the next: then a
//!    pattern of an iteration that does not copy, put in where it copies, loses the answer. In a loop that does the same in every
//!    iteration it loses nothing.
//!
//! # What was found
//!
//! Preset `laptop`, run `looped`, end of training: the readout of 500 ID pairs, all heads, effective layer 3 of 4. The answer becomes
//! the source's in .98 of pairs by values, .00 by the pattern, 1.00 by both, and at no other layer in more than .00: as 1 and 2 say.
//! Values of iterations 1, 2 and 4 there: .05, .11 and .45. Crossed heads refute 3 in part: both together recover .50 of the logit
//! difference (one head crossed .23 on average, the same head .50), though the answer becomes the source's in .04 of pairs only. They
//! take the base's answer away (true answers .99 → .04) rather than bring the source's. As 4 says of a loop that copies in one
//! iteration: at layer 3, the clean query's own pattern of iterations 1, 2 and 4 leaves .04, .04 and .23 of its true answers, at all
//! other layers .92 or more.

mod mix;
mod sweep;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use self::sweep::Sweep;
use super::checkpoint::{LoadedCheckpoint, Origin};
use super::columns::Column;
use super::judged::{Claim, Setting, SiteScore};
use super::method::{Method, Report};
use super::output::Output;
use super::pairs::{Corrupt, Direction, Effect, PairSet, Pairing, Runs, Sides};
use super::place::Place;
use super::population::Group;
use super::quantity::quantities;
use super::row::columns;
use super::splits::Wants;
use super::statistics::{Clustering, share};
use crate::error::{Error, Result};
use crate::graph::{Position, Split};
use crate::model::{Point, Site};

/// Which pairs to patch attention in, and at which position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
pub struct Routing {
    /// Which pairs of queries.
    #[command(flatten)]
    #[serde(flatten)]
    pub pairing: Pairing,
    /// The position whose attention is patched [default: where the answer is read]
    #[arg(long, default_value = "readout", hide_default_value = true)]
    pub position: Position,
}

/// The part of attention that is patched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Carried {
    /// The attention pattern: z becomes the donor's pattern times the base's values.
    Routing,
    /// The values: z becomes the base's pattern times the donor's values.
    Content,
    /// Both, which is the donor's z.
    Both,
}

impl Carried {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Routing, Self::Content, Self::Both];
}

/// The run that a pattern or values are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Donor {
    /// The source query of the pair, for its base query.
    Source,
    /// The clean query, for itself at another iteration.
    Own,
}

/// The effect of one pattern, value or both at one place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoutingRow {
    /// The checkpoint and the data.
    #[serde(flatten)]
    pub origin: Origin,
    /// The split.
    pub split: Split,
    /// What the corrupt query has in place of the clean one's.
    pub corrupt: Corrupt,
    /// Which way states go; between iterations `noise`, as the clean query is patched.
    pub direction: Direction,
    /// The position whose attention is patched.
    pub position: Position,
    /// What is put in.
    #[serde(flatten)]
    pub patch: AttentionPatch,
    /// The effective layer at which it is put in.
    #[serde(flatten)]
    pub place: Place,
    /// What comes of it; between iterations recovery is what is lost of the gap between the clean and the corrupt query.
    #[serde(flatten)]
    pub effect: Effect,
    /// Share of pairs whose most likely token is the true answer of the patched query.
    pub keeps: f64,
    /// 95 % interval of `keeps`.
    pub keeps_low: f64,
    /// The upper end of that interval.
    pub keeps_high: f64,
    /// Accuracy on the patched queries, without intervention.
    pub base_accuracy: f64,
    /// What the intervals count for, of clean and corrupt queries.
    pub interval: Clustering,
}

/// A pattern, values or both of a donor, as they are put in at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttentionPatch {
    /// Pattern, values or both.
    pub carried: Carried,
    /// Whose they are.
    pub donor: Donor,
    /// The iteration that they are of, from 1; another one than that of the place is a control between queries.
    pub from_iteration: usize,
    /// The attention head that is patched, from 1; all where absent.
    pub attention_head: Option<usize>,
    /// Whether each patched head gets those of the donor's next head, the last one those of the first: a control.
    pub crossed: bool,
}

columns! {
    RoutingRow:
    Column::of("split"),
    Column::of("position"),
    Column::of("donor"),
    Column::of("carried"),
    Column::of("attention_head").titled("head"),
    Column::of("crossed"),
    Column::of("from_iteration").titled("from iteration"),
    Column::of("effective_layer").titled("effective layer"),
    Column::of("n"),
    Column::of("recovery").titled("recovery (95 %)").within("low", "high"),
    Column::of("flips").titled("flips (95 %)").within("flips_low", "flips_high"),
    Column::of("keeps").titled("true answer (95 %)").within("keeps_low", "keeps_high"),
    Column::of("base_accuracy").titled("base accuracy");
    measured
    Effect::QUANTITIES,
    quantities![share keeps within keeps_low keeps_high, share base_accuracy]
}

// What a per-pair row is of.
#[derive(Serialize)]
struct PairRow {
    position: Position,
    #[serde(flatten)]
    patch: AttentionPatch,
    #[serde(flatten)]
    place: Place,
    keeps: bool,
}

impl Method for Routing {
    const NAME: &'static str = "routing";
    const ABOUT: &'static str = "Attention patterns against values, patched between queries and between iterations";
    const MISLEADS: &'static str = "In single queries of one form heads attend to the same positions whatever they are asked, so that patterns carry nothing to exchange.";
    const FORMAT: u32 = 1;
    type Row = RoutingRow;

    fn seed(&self) -> u64 {
        self.pairing.seed
    }

    fn resolve(&mut self, checkpoints: &[LoadedCheckpoint]) -> Result<()> {
        self.pairing.resolve(Wants::OneHeldOutDepth, checkpoints)
    }

    fn measure(&self, group: &Group, out: &mut Output<RoutingRow>) -> Result<()> {
        self.pairing.each(group, out, |set, checkpoint, out| {
            let column = self.column(set, checkpoint)?;
            let own = patched_clean(set);
            let sweep = Sweep::new(checkpoint, column, out.budget(set.iterations));
            let found = sweep.run(set, &own)?;
            for ((set, patches), runs) in [(set, &sweep.from_source), (&own, &sweep.from_itself)]
                .into_iter()
                .zip(&found)
            {
                for (index, &(patch, site)) in patches.iter().enumerate() {
                    let keeps = runs.base_answers(set, index);
                    let place = Place::of(site, checkpoint.info.layers);
                    runs.write_rows(set, checkpoint, out, index, |pair| PairRow {
                        position: self.position,
                        patch,
                        place,
                        keeps: keeps[pair],
                    })?;
                }
                self.rows(checkpoint, set, patches, runs, out);
            }
            Ok(())
        })
    }

    // All heads together, between queries at the same iteration, each from itself and from the next.
    fn shown(report: &Report<Self>) -> Vec<&RoutingRow> {
        let is_shown = |row: &&RoutingRow| {
            row.patch.donor == Donor::Source
                && row.patch.from_iteration == row.place.iteration
                && row.patch.attention_head.is_none()
        };
        report.rows.iter().filter(is_shown).collect()
    }

    fn to_verify(setting: &Setting) -> Result<Vec<Self>> {
        let mut settings = Self::defaults()?;
        settings.pairing.correct_only = setting.answers_right;
        Ok(vec![settings])
    }

    // Pattern and values together, of the same iteration and head: all that attention brings there.
    fn site_scores(report: &Report<Self>) -> Vec<SiteScore> {
        let score = |row: &RoutingRow| {
            let patch = row.patch;
            let is_own = patch.from_iteration == row.place.iteration && !patch.crossed;
            if (patch.carried, patch.donor) != (Carried::Both, Donor::Source) || !is_own {
                return None;
            }
            let hops = row.split.hops()?;
            Some(SiteScore {
                claim: Claim::Used,
                targets: row.corrupt.changes(hops),
                hops,
                point: Point::Z,
                position: row.position,
                place: row.place,
                head: patch.attention_head,
                score: row.effect.recovery.unwrap_or_default(),
                is_called: row.effect.is_used(),
            })
        };
        report.rows.iter().filter_map(score).collect()
    }
}

// The pairs in the direction in which the clean query is patched.
fn patched_clean<'a>(set: &PairSet<'a>) -> PairSet<'a> {
    let corrupt = set.pairs.iter().map(|pair| pair.corrupt.clone());
    let sides = set.pairs.iter().map(|pair| Sides {
        source: pair.corrupt.tokens.to_vec(),
        base: pair.clean.tokens.to_vec(),
        source_answer: pair.corrupt.target,
        clean_answer: pair.clean.target,
        corrupt_answer: pair.corrupt.target,
    });
    PairSet {
        clean: set.clean.at(0..set.pairs.len()).paired_with(corrupt.collect()),
        pairs: set.pairs.clone(),
        sides: sides.collect(),
        direction: Direction::Noise,
        iterations: set.iterations,
    }
}

impl Routing {
    // The column of the patched position.
    fn column(&self, set: &PairSet, checkpoint: &LoadedCheckpoint) -> Result<usize> {
        let positions = set.positions(&checkpoint.model);
        if self.position != Position::Readout && !positions.contains(&self.position) {
            let names: Vec<String> = positions.iter().map(ToString::to_string).collect();
            return Err(Error::input(format!(
                "position {} is outside chains of {} hops; allowed: {}, readout",
                self.position,
                set.hops(),
                names.join(", ")
            )));
        }
        let reads_apart = checkpoint.model.config().reads_apart(set.hops());
        Ok(self.position.column(set.hops(), reads_apart))
    }

    fn rows(
        &self,
        checkpoint: &LoadedCheckpoint,
        set: &PairSet,
        patches: &[(AttentionPatch, Site)],
        runs: &Runs,
        out: &mut Output<RoutingRow>,
    ) {
        let effects = runs.effects(set, checkpoint, out);
        for (index, (&(patch, site), effect)) in patches.iter().zip(effects).enumerate() {
            let keeps = runs.base_answers(set, index);
            let (keeps_low, keeps_high) = set.clean.resamples().share(&keeps);
            let base_accuracy = match set.direction {
                Direction::Denoise => effect.corrupt_accuracy,
                Direction::Noise => effect.clean_accuracy,
            };
            out.rows.push(RoutingRow {
                origin: checkpoint.info.origin.clone(),
                split: set.clean.split.clone(),
                corrupt: self.pairing.corrupt,
                direction: set.direction,
                position: self.position,
                patch,
                place: Place::of(site, checkpoint.info.layers),
                effect,
                keeps: share(&keeps),
                keeps_low,
                keeps_high,
                base_accuracy,
                interval: set.clustering(),
            });
        }
    }
}
