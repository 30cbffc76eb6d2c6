//! Routing or content: what a head looks at, against what it gets there (attention patterns against values; 2609.39892).
//!
//! What a head gathers is z = pattern · values. Of another run (the giver) at some iteration, the pattern is put in at one place
//! (*routing*), or the values (*content*), or both, which is to patch z. The giver is the source of a pair of queries, or the base
//! query itself at another iteration. Each predicts another answer: content the source's, routing the base's, unless the two look
//! at different positions. Two controls: the giver's pattern or values of another iteration, and of another head.
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

mod mix;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use self::mix::{Gathered, gather};
use super::checkpoint::{LoadedCheckpoint, Origin};
use super::columns::Column;
use super::judged::{Claim, Setting, SiteScore};
use super::method::{Method, Report};
use super::output::Output;
use super::pairs::{Corrupt, Direction, Effect, PairSet, PairValues, Pairing, Runs};
use super::place::Place;
use super::population::Group;
use super::query_rows::Asked;
use super::row::columns;
use super::splits::Wants;
use super::statistics::{Clustering, share};
use crate::error::{Error, Result};
use crate::graph::{Position, Split};
use crate::model::{Branch, Budget, Edit, Point, Site, Write};

/// Pairs whose outcomes of all interventions are held at a time.
const PAIRS: usize = 64;

/// What to put in, and where.
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

/// What of attention is put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Carried {
    /// The attention pattern: z becomes the giver's pattern times the base's values.
    Routing,
    /// The values: z becomes the base's pattern times the giver's values.
    Content,
    /// Both, which is the giver's z.
    Both,
}

impl Carried {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Routing, Self::Content, Self::Both];
}

/// Whose pattern or values are put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Giver {
    /// The source query of the pair.
    Source,
    /// The base query itself.
    Base,
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
    /// Which way states go.
    pub direction: Direction,
    /// The position whose attention is patched.
    pub position: Position,
    /// What is put in.
    #[serde(flatten)]
    pub put: Given,
    /// The effective layer at which it is put in.
    #[serde(flatten)]
    pub place: Place,
    /// What comes of it.
    #[serde(flatten)]
    pub effect: Effect,
    /// Share of pairs whose most likely token is the base's true answer.
    pub keeps: f64,
    /// 95 % interval of `keeps`.
    pub keeps_low: f64,
    /// The upper end of that interval.
    pub keeps_high: f64,
    /// What the intervals count for, of clean and corrupt queries.
    pub interval: Clustering,
}

/// What is put in at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// Pattern, values or both.
    pub carried: Carried,
    /// Whose they are.
    pub giver: Giver,
    /// The iteration that they are of, from 1; another one than that of the place is a control between queries.
    pub from_iteration: usize,
    /// The attention head that is patched, from 1; all where absent.
    pub attention_head: Option<usize>,
    /// The giver's head, from 1; another one is a control.
    pub from_attention_head: Option<usize>,
}

columns! {
    RoutingRow:
    Column::of("split"),
    Column::of("position"),
    Column::of("giver"),
    Column::of("carried"),
    Column::of("attention_head").titled("head"),
    Column::of("from_attention_head").titled("from head"),
    Column::of("from_iteration").titled("from iteration"),
    Column::of("effective_layer").titled("effective layer"),
    Column::of("n"),
    Column::of("recovery").titled("recovery (95 %)").within("low", "high"),
    Column::of("flips").titled("flips (95 %)").within("flips_low", "flips_high"),
    Column::of("keeps").titled("keeps (95 %)").within("keeps_low", "keeps_high"),
}

// A per-pair row.
#[derive(Serialize)]
struct PairRow {
    position: Position,
    #[serde(flatten)]
    put: Given,
    #[serde(flatten)]
    place: Place,
    keeps: bool,
    #[serde(flatten)]
    values: PairValues,
}

impl Method for Routing {
    const NAME: &'static str = "routing";
    const ABOUT: &'static str = "Attention patterns against values, patched between queries and between iterations";
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
            let puts = puts(checkpoint, set.iterations);
            let runs = run_all(checkpoint, set, column, &puts, out.budget(set.iterations))?;
            if out.wants_queries() {
                self.pair_rows(checkpoint, set, &puts, &runs, out)?;
            }
            let effects = runs.effects(set, checkpoint, out);
            for (index, (&(put, site), effect)) in puts.iter().zip(effects).enumerate() {
                let keeps = runs.base_answers(set, index);
                let (keeps_low, keeps_high) = set.clean.resamples().share(&keeps);
                out.rows.push(RoutingRow {
                    origin: checkpoint.info.origin.clone(),
                    split: set.clean.split.clone(),
                    corrupt: self.pairing.corrupt,
                    direction: self.pairing.direction,
                    position: self.position,
                    put,
                    place: Place::of(site, checkpoint.info.layers),
                    effect,
                    keeps: share(&keeps),
                    keeps_low,
                    keeps_high,
                    interval: set.clustering(),
                });
            }
            Ok(())
        })
    }

    // All heads together, between queries at the same iteration.
    fn shown(report: &Report<Self>) -> Vec<&RoutingRow> {
        let is_shown = |row: &&RoutingRow| {
            row.put.giver == Giver::Source
                && row.put.from_iteration == row.place.iteration
                && row.put.attention_head.is_none()
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
            let put = row.put;
            let is_own = (put.from_iteration, put.from_attention_head) == (row.place.iteration, put.attention_head);
            if (put.carried, put.giver) != (Carried::Both, Giver::Source) || !is_own {
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
                head: put.attention_head,
                score: row.effect.recovery.unwrap_or_default(),
                is_called: row.effect.is_used(),
            })
        };
        report.rows.iter().filter_map(score).collect()
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

    fn pair_rows(
        &self,
        checkpoint: &LoadedCheckpoint,
        set: &PairSet,
        puts: &[(Given, Site)],
        runs: &Runs,
        out: &mut Output<RoutingRow>,
    ) -> Result<()> {
        for (index, &(put, site)) in puts.iter().enumerate() {
            let keeps = runs.base_answers(set, index);
            for (pair, &keeps) in keeps.iter().enumerate() {
                let values = PairRow {
                    position: self.position,
                    put,
                    place: Place::of(site, checkpoint.info.layers),
                    keeps,
                    values: runs.of_pair(set, &checkpoint.data.vocab, index, pair),
                };
                let answer = runs.clean_answer(set, pair);
                out.query_row(checkpoint, &Asked::of(&set.clean, pair, answer), &values)?;
            }
        }
        Ok(())
    }
}

// Everything that is put in, site by site: each with the site of the pattern that it changes.
fn puts(checkpoint: &LoadedCheckpoint, iterations: usize) -> Vec<(Given, Site)> {
    let heads = checkpoint.model.config().heads;
    let of_site = |site: Site| {
        let mut found = Vec::new();
        for giver in [Giver::Source, Giver::Base] {
            for from_iteration in 1..=iterations {
                let is_own = from_iteration == site.iteration() + 1;
                // The base's own pattern and values at the same iteration change nothing.
                if giver == Giver::Base && is_own {
                    continue;
                }
                let whole = std::iter::once((None, None));
                let same = (1..=heads).map(|head| (Some(head), Some(head)));
                let next = (1..=heads).map(|head| (Some(head), Some(head % heads + 1)));
                let next = next.filter(|_| is_own && heads > 1);
                for (head, from_head) in whole.chain(same).chain(next) {
                    found.extend(Carried::ALL.map(|carried| Given {
                        carried,
                        giver,
                        from_iteration,
                        attention_head: head,
                        from_attention_head: from_head,
                    }));
                }
            }
        }
        found.into_iter().map(move |put| (put, site))
    };
    let sites = Site::all(Point::AttnPattern, iterations, checkpoint.info.layers);
    sites.into_iter().flat_map(of_site).collect()
}

// The source and the base run, and a run for each put.
fn run_all(
    checkpoint: &LoadedCheckpoint,
    set: &PairSet,
    column: usize,
    puts: &[(Given, Site)],
    budget: Budget,
) -> Result<Runs> {
    let model = &checkpoint.model;
    let mut runs = Runs::new(puts.len());
    for sides in set.sides.chunks(PAIRS) {
        let base: Vec<&[u32]> = sides.iter().map(|sides| &*sides.base).collect();
        let source: Vec<&[u32]> = sides.iter().map(|sides| &*sides.source).collect();
        let of_base = gather(model, &base, column, set.iterations)?;
        let of_source = gather(model, &source, column, set.iterations)?;
        let unedited = model.intervene(&source, &[], set.iterations)?.base;
        let mut of_puts = Vec::with_capacity(puts.len());
        let mut of_pairs = None;
        for at_site in puts.chunk_by(|(_, a), (_, b)| a == b) {
            let branches = at_site.iter().flat_map(|&(put, site)| {
                let (of_base, of_source) = (&of_base, &of_source);
                (0..sides.len()).map(move |query| {
                    let giver = match put.giver {
                        Giver::Source => of_source,
                        Giver::Base => of_base,
                    };
                    let edit = edit(put, site, column, [&of_base[query], &giver[query]]);
                    Branch {
                        query,
                        edits: vec![edit],
                    }
                })
            });
            let found = model.intervene(&base, &branches.collect::<Vec<_>>(), budget)?;
            for index in 0..at_site.len() {
                of_puts.push(found.edited.narrow(0, index * sides.len(), sides.len())?);
            }
            of_pairs = Some(found.base);
        }
        if let Some(base) = of_pairs {
            runs.extend(sides, &unedited, &base, &of_puts)?;
        }
    }
    Ok(runs)
}

// The edit of the base's pattern, or of its z.
fn edit(put: Given, site: Site, column: usize, [base, giver]: [&Gathered; 2]) -> Edit {
    let from = Site::new(site.point(), put.from_iteration - 1, site.layer());
    let heads: Vec<(usize, usize)> = match (put.attention_head, put.from_attention_head) {
        (Some(head), Some(from_head)) => vec![(head - 1, from_head - 1)],
        _ => (0..base.heads()).map(|head| (head, head)).collect(),
    };
    let mixed = heads.iter().flat_map(|&(head, from_head)| match put.carried {
        Carried::Routing => giver.pattern(from, from_head).to_vec(),
        Carried::Content => Gathered::z(base.pattern(site, head), giver.values(from, from_head)),
        Carried::Both => Gathered::z(giver.pattern(from, from_head), giver.values(from, from_head)),
    });
    let point = match put.carried {
        Carried::Routing => Point::AttnPattern,
        Carried::Content | Carried::Both => Point::Z,
    };
    Edit {
        site: Site::new(point, site.iteration(), site.layer()),
        column,
        head: put.attention_head.map(|head| head - 1),
        write: Write::Set(mixed.collect()),
    }
}
