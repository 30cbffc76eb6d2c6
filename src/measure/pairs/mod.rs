//! Pairs of a clean and a corrupt query, between which interventions put states: what all such methods share.

mod draw;
mod effect;

use serde::{Deserialize, Serialize};

pub use self::draw::{Corrupt, Pair};
pub use self::effect::Effect;
pub(super) use self::effect::Runs;
use super::checkpoint::LoadedCheckpoint;
use super::iterations::Iterations;
use super::output::Output;
use super::population::{Group, Per, Population};
use super::positive;
use super::splits::Wants;
use super::statistics::Clustering;
use crate::error::Result;
use crate::graph::{Position, Split};
use crate::model::Model;
use crate::train::answers;

/// Which pairs of queries to intervene on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
pub struct Pairing {
    /// Splits, separated by commas [default: test_inferred_iid and test_inferred_ood, or held-out chains by depth]
    #[arg(long = "split", value_delimiter = ',')]
    pub splits: Vec<Split>,
    /// What the corrupt query has in place of the clean one's
    #[arg(long, value_enum, default_value = "prefix")]
    pub corrupt: Corrupt,
    /// Put states of the clean query into the corrupt one, or the other way round
    #[arg(long, value_enum, default_value = "denoise")]
    pub direction: Direction,
    /// Pairs a split, at most
    #[arg(long, default_value_t = 500, value_parser = positive)]
    pub pairs: usize,
    /// Only pairs that the model answers right, clean and corrupt
    #[arg(long)]
    pub correct_only: bool,
    /// Inference iterations [default: the model's own]
    #[arg(long, value_parser = Iterations::parse_one, default_value = "trained", hide_default_value = true)]
    pub iterations: Iterations,
    /// Seed of the pairs and the bootstrap
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Which query of a pair gives states, and which gets them (Heimersheim and Nanda 2024, 2404.15255).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Clean states in the corrupt run: what suffices for the answer.
    Denoise,
    /// Corrupt states in the clean run: what the answer needs.
    Noise,
}

impl Direction {
    /// The name that users type.
    pub fn name(self) -> &'static str {
        match self {
            Self::Denoise => "denoise",
            Self::Noise => "noise",
        }
    }
}

/// A pair in the direction of an intervention: states of the source are put into the base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sides {
    /// The tokens of the query that gives states.
    pub source: Vec<u32>,
    /// The tokens of the query that gets them.
    pub base: Vec<u32>,
    /// The true answer of the source.
    pub source_answer: u32,
    /// The true answer of the clean query, whichever side it is.
    pub clean_answer: u32,
    /// The true answer of the corrupt query.
    pub corrupt_answer: u32,
}

impl Sides {
    /// The true answer of the query that gets states.
    pub fn base_answer(&self) -> u32 {
        if self.source_answer == self.clean_answer {
            self.corrupt_answer
        } else {
            self.clean_answer
        }
    }
}

/// The pairs of one split for one checkpoint: one or more, all of the same number of hops.
pub struct PairSet<'a> {
    /// The clean queries, paired with their corrupt ones: intervals count for the facts of both.
    pub clean: Population<'a>,
    /// The pairs, in the order of `clean`.
    pub pairs: Vec<Pair>,
    /// The pairs in the direction of the intervention.
    pub sides: Vec<Sides>,
    /// Which way states go.
    pub direction: Direction,
    /// Inference iterations.
    pub iterations: usize,
}

impl PairSet<'_> {
    /// Hops of all its queries.
    pub fn hops(&self) -> usize {
        self.pairs.first().map_or(0, |pair| pair.clean.hops())
    }

    /// The positions of its queries in a model, the head first; the index is the column of the row.
    pub fn positions(&self, model: &Model) -> Vec<Position> {
        Position::of_chain(self.hops(), model.config().reads_apart(self.hops()))
    }

    /// What the intervals over its pairs count for, of clean and corrupt queries.
    pub fn clustering(&self) -> Clustering {
        self.clean.resamples().clustering()
    }
}

impl Pairing {
    /// Fills in what was left open; `wants`: which splits the method can use.
    pub(super) fn resolve(&mut self, wants: Wants, checkpoints: &[LoadedCheckpoint]) -> Result<()> {
        self.splits = wants.splits(&self.splits, checkpoints)?;
        self.iterations.resolve(checkpoints);
        Ok(())
    }

    /// Intervenes on the pairs of each split with each checkpoint; what is left out is noted.
    pub(super) fn each<'a, R>(
        &'a self,
        group: &Group<'a>,
        out: &mut Output<R>,
        mut intervene: impl FnMut(&PairSet<'a>, &'a LoadedCheckpoint, &mut Output<R>) -> Result<()>,
    ) -> Result<()> {
        group.each(&self.splits, Per::Split, out, |population, checkpoint, out| {
            let (mut pairs, notes) = draw::draw(population, group.data, self.corrupt, self.pairs, self.seed)?;
            out.notes.extend(notes);
            let iterations = self.iterations.max(checkpoint.info.iterations);
            if self.correct_only {
                pairs = answered_right(&checkpoint.model, pairs, iterations)?;
            }
            if pairs.is_empty() {
                out.notes.push(format!(
                    "{}, split {}: no pair is answered right clean and corrupt; nothing to patch",
                    checkpoint.info.name(),
                    population.split
                ));
                return Ok(());
            }
            let clean = population.at(pairs.iter().map(|pair| pair.place));
            let set = PairSet {
                clean: clean.paired_with(pairs.iter().map(|pair| pair.corrupt.clone()).collect()),
                sides: pairs.iter().map(|pair| pair.sides(self.direction)).collect(),
                pairs,
                direction: self.direction,
                iterations,
            };
            intervene(&set, checkpoint, out)
        })
    }
}

impl Pair {
    fn sides(&self, direction: Direction) -> Sides {
        let (clean, corrupt) = (self.clean.tokens.to_vec(), self.corrupt.tokens.to_vec());
        let (clean_answer, corrupt_answer) = (self.clean.target, self.corrupt.target);
        let (source, base, source_answer) = match direction {
            Direction::Denoise => (clean, corrupt, clean_answer),
            Direction::Noise => (corrupt, clean, corrupt_answer),
        };
        Sides {
            source,
            base,
            source_answer,
            clean_answer,
            corrupt_answer,
        }
    }
}

fn answered_right(model: &Model, pairs: Vec<Pair>, iterations: usize) -> Result<Vec<Pair>> {
    let clean = answers(model, pairs.iter().map(|pair| &*pair.clean.tokens), iterations)?;
    let corrupt = answers(model, pairs.iter().map(|pair| &*pair.corrupt.tokens), iterations)?;
    let all = pairs.into_iter().zip(clean.into_iter().zip(corrupt));
    let is_right =
        |(pair, (clean, corrupt)): &(Pair, (u32, u32))| *clean == pair.clean.target && *corrupt == pair.corrupt.target;
    Ok(all.filter(is_right).map(|(pair, _)| pair).collect())
}
