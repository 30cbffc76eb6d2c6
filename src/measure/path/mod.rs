//! Path patching in the loop (Wang et al. 2022, 2211.00593; Goldowsky-Dill et al. 2023, 2304.05969): the direct effect of what one
//! component writes on one input of a later one, with everything else frozen.
//!
//! A *sender* (the embedding, a head or an MLP, at an iteration) writes into the residual stream at a position; a *receiver* (the
//! query, key or value of a head, an MLP, or the logits) reads the stream at the same position, at a later place of the pass. The
//! same head at two iterations is two nodes. For a pair of queries, states of the source go into the base:
//!
//! 1. Let δ be what the sender wrote in the source's run less what it wrote in the base's. The stream is a sum and all other
//!    components are frozen as in the base's run, so the path adds δ to the base's stream where the receiver reads it, and changes
//!    nothing else. A copy of the stream that a component in between reads and writes anew is not on the path.
//! 2. The receiver is recomputed, through its layer norm, with stream + δ in that one input: a head's query keeps its keys and
//!    values, a key keeps the query and the values, and so on.
//! 3. Its new output goes into the base's run, and everything after it is live. With the logits as the receiver this is the
//!    effect itself.
//!
//! Where the sender writes and the receiver reads is the *source position*. A key or a value is attended to from there and from later
//! positions: the head's output changes at all of these *destination positions* together, or at one alone; for all other receivers
//! the source is the destination. Logits read the readout alone.
//!
//! Several receivers can be one end (Wang et al. patch sets of them): each is recomputed by itself from the base's stream + δ, and all
//! their new outputs go into the base's run together.

#[cfg(test)]
mod known_circuit;
mod nodes;
mod receivers;
mod sender_at;
mod sweep;
#[cfg(test)]
mod tests;

use std::ops::Range;

use serde::{Deserialize, Serialize};

pub use self::nodes::{HeadAt, LayerAt, Receiver, Sender};
pub use self::receivers::Receivers;
pub use self::sender_at::SenderAt;
use self::sweep::DirectPath;
use super::checkpoint::{LoadedCheckpoint, Origin};
use super::columns::Column;
use super::judged::{Claim, Setting, SiteScore};
use super::largest::large_rows;
use super::method::{Method, Report};
use super::output::Output;
use super::pairs::{Corrupt, Direction, Effect, PairSet, Pairing, Runs};
use super::population::Group;
use super::row::columns;
use super::splits::Wants;
use super::statistics::Clustering;
use super::{BATCH, columns_of};
use crate::error::{Error, Result};
use crate::graph::{Position, Split};
use crate::model::Budget;

/// Which paths to patch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
pub struct PathPatching {
    /// Which pairs of queries.
    #[command(flatten)]
    #[serde(flatten)]
    pub pairing: Pairing,
    /// Senders, separated by commas: embedding, ITERATION.injection, ITERATION.LAYER.HEAD, ITERATION.LAYER.mlp [default: all that
    /// come before the receivers]
    #[arg(long, value_delimiter = ',', value_name = "SENDER")]
    pub from: Vec<Sender>,
    /// Receivers, separated by commas: logits, ITERATION.LAYER.mlp, ITERATION.LAYER.HEAD.q, .k or .v; those joined by + are changed
    /// together
    #[arg(long, value_delimiter = ',', value_name = "RECEIVERS", default_value = "logits")]
    pub to: Vec<Receivers>,
    /// Positions at which senders write and receivers read, separated by commas [default: all that the receivers read]
    #[arg(long = "position", value_delimiter = ',', value_name = "POSITION")]
    pub positions: Vec<Position>,
    /// Also change what keys and values do at each position that attends to them alone, beside all of these together
    #[arg(long)]
    pub each_destination: bool,
}

/// A path as results name it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PathAt {
    /// The sender.
    #[serde(flatten)]
    pub sender: SenderAt,
    /// The receiver, or the receivers that are changed together.
    pub receiver: Receivers,
    /// Where the sender writes and the receivers read.
    pub source_position: Position,
    /// Where the outputs of the receivers change: of a query, an MLP and the logits the source position, of a key or a value that or
    /// a later one; absent where at all of several together.
    pub destination_position: Option<Position>,
}

/// The effect of one path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PathRow {
    /// The checkpoint and the data.
    #[serde(flatten)]
    pub origin: Origin,
    /// The split.
    pub split: Split,
    /// What the corrupt query has in place of the clean one's.
    pub corrupt: Corrupt,
    /// Which way states go.
    pub direction: Direction,
    /// The path.
    #[serde(flatten)]
    pub path: PathAt,
    /// How far the path moves the answers of base queries towards those of their sources.
    #[serde(flatten)]
    pub effect: Effect,
    /// What the intervals count for, of clean and corrupt queries.
    pub interval: Clustering,
}

columns! {
    PathRow:
    Column::of("split"),
    Column::of("sender_component").titled("sender"),
    Column::of("sender_attention_head").titled("head"),
    Column::of("sender_iteration").titled("iteration"),
    Column::of("sender_layer").titled("layer"),
    Column::of("receiver"),
    Column::of("source_position").titled("source"),
    Column::of("destination_position").titled("destination"),
    Column::of("n"),
    Column::of("recovery").titled("recovery (95 %)").within("low", "high"),
    Column::of("flips").titled("flips (95 %)").within("flips_low", "flips_high"),
    Column::of("gap").decimals(2);
    measured
    Effect::QUANTITIES
}

impl Method for PathPatching {
    const NAME: &'static str = "path";
    const ABOUT: &'static str = "Path patching: the direct effect of a head or an MLP on a later one or on the logits";
    const MISLEADS: &'static str = "A path into an MLP that takes out what it reads is real where exchanging the whole output that it begins with changes nothing.";
    const FORMAT: u32 = 2;
    type Row = PathRow;

    fn seed(&self) -> u64 {
        self.pairing.seed
    }

    fn resolve(&mut self, checkpoints: &[LoadedCheckpoint]) -> Result<()> {
        self.pairing.resolve(Wants::OneHeldOutDepth, checkpoints)?;
        checkpoints.iter().try_for_each(|checkpoint| self.check(checkpoint))
    }

    fn measure(&self, group: &Group, out: &mut Output<PathRow>) -> Result<()> {
        self.pairing.each(group, out, |set, checkpoint, out| {
            let positions = set.positions(&checkpoint.model);
            let paths = self.paths(checkpoint, set, &positions, &mut out.notes)?;
            let runs = run_all(checkpoint, set, &paths, out.budget(set.iterations))?;
            let effects = runs.effects(set, checkpoint, out);
            for (index, (path, effect)) in paths.iter().zip(effects).enumerate() {
                let path = PathAt {
                    sender: path.sender.component(checkpoint.info.layers),
                    receiver: path.receivers.clone(),
                    source_position: positions[path.source],
                    destination_position: path.destination.map(|column| positions[column]),
                };
                runs.write_rows(set, checkpoint, out, index, |_| &path)?;
                out.rows.push(PathRow {
                    origin: checkpoint.info.origin.clone(),
                    split: set.clean.split.clone(),
                    corrupt: self.pairing.corrupt,
                    direction: self.pairing.direction,
                    path,
                    effect,
                    interval: set.clustering(),
                });
            }
            Ok(())
        })
    }

    // The paths that recover a fiftieth or more, either way, or of which that is not known; else the one that recovers most.
    fn shown(report: &Report<Self>) -> Vec<&PathRow> {
        large_rows(&report.rows, 0.02, |row| {
            row.effect.recovery.map_or(f64::INFINITY, f64::abs)
        })
    }

    // To everything that reads the stream, on few pairs, since the paths are many.
    fn to_verify(setting: &Setting) -> Result<Vec<Self>> {
        const PAIRS: usize = 24;
        let mut settings = Self::defaults()?;
        settings.pairing.correct_only = setting.answers_right;
        settings.pairing.pairs = PAIRS;
        settings.to = Receiver::all(setting).into_iter().map(Receivers::one).collect();
        Ok(vec![settings])
    }

    // A component is used where one that reads it passes on what it writes.
    fn site_scores(report: &Report<Self>) -> Vec<SiteScore> {
        let mut found: Vec<SiteScore> = Vec::new();
        for row in &report.rows {
            let Some(score) = site_score(row) else { continue };
            let is_same = |other: &&mut SiteScore| {
                (&other.targets, other.point, other.position, other.place, other.head)
                    == (&score.targets, score.point, score.position, score.place, score.head)
            };
            match found.iter_mut().find(is_same) {
                Some(other) => {
                    other.score = other.score.max(score.score);
                    other.is_called |= score.is_called;
                }
                None => found.push(score),
            }
        }
        found
    }
}

fn site_score(row: &PathRow) -> Option<SiteScore> {
    let sender = row.path.sender;
    let point = sender.component.point()?;
    let hops = row.split.hops()?;
    Some(SiteScore {
        claim: Claim::Used,
        targets: row.corrupt.changes(hops),
        hops,
        point,
        position: row.path.source_position,
        place: sender.place(),
        head: sender.attention_head,
        score: row.effect.recovery.unwrap_or_default(),
        is_called: row.effect.is_used(),
    })
}

impl PathPatching {
    // Refuses nodes that a model does not have, and paths that go back.
    fn check(&self, checkpoint: &LoadedCheckpoint) -> Result<()> {
        let config = checkpoint.model.config();
        let iterations = self.pairing.iterations.max(checkpoint.info.iterations);
        let of_model = |error: Error| Error::input(format!("{}: {error}", checkpoint.info.name()));
        for sender in &self.from {
            sender.check(config, iterations).map_err(of_model)?;
        }
        for receivers in &self.to {
            receivers.check(config, iterations).map_err(of_model)?;
            let back = |sender: &&Sender| !receivers.follow(**sender, config.layers);
            if let Some(sender) = self.from.iter().find(back) {
                return Err(of_model(Error::input(format!(
                    "--from {sender} --to {receivers}: the receiver reads before the sender writes; allowed: paths that go forward"
                ))));
            }
        }
        Ok(())
    }

    // The paths, receivers by receivers, and for each those of one source and destination together; receivers without one are noted.
    fn paths(
        &self,
        checkpoint: &LoadedCheckpoint,
        set: &PairSet,
        positions: &[Position],
        notes: &mut Vec<String>,
    ) -> Result<Vec<DirectPath<'_>>> {
        let split = set.clean.split;
        let named = columns_of(&self.positions, positions, split)?;
        let config = checkpoint.model.config();
        let reads_apart = config.reads_apart(set.hops());
        let is_wanted = |column: &usize| named.is_empty() || named.contains(column);
        let is_named = |sender: &Sender| self.from.is_empty() || self.from.contains(sender);
        let all = Sender::all(config, set.iterations);
        let senders: Vec<Sender> = all.into_iter().filter(is_named).collect();
        let mut paths = Vec::new();
        for (index, receivers) in self.to.iter().enumerate() {
            let read = receivers.columns_read(positions.len(), reads_apart);
            let read: Vec<usize> = read.into_iter().filter(is_wanted).collect();
            if read.is_empty() {
                notes.push(format!(
                    "split {split}: {receivers} of --to reads at no position of --position; left out"
                ));
            }
            if self.to[..index].contains(receivers) {
                continue;
            }
            for source in read {
                let before = senders
                    .iter()
                    .filter(|sender| receivers.follow(**sender, config.layers));
                for destination in self.destinations(receivers.destinations(source, positions.len())) {
                    paths.extend(before.clone().map(|&sender| DirectPath {
                        sender,
                        receivers,
                        source,
                        destination,
                    }));
                }
            }
        }
        if paths.is_empty() {
            return Err(Error::input(format!(
                "split {split}: no receiver of --to reads at a position of --position"
            )));
        }
        Ok(paths)
    }

    // The destinations of paths that can change these columns: all together (`None`), and each alone where that is asked for.
    fn destinations(&self, columns: Range<usize>) -> Vec<Option<usize>> {
        if columns.len() == 1 {
            return vec![Some(columns.start)];
        }
        let each = columns.filter(|_| self.each_destination).map(Some);
        std::iter::once(None).chain(each).collect()
    }
}

fn run_all(checkpoint: &LoadedCheckpoint, set: &PairSet, paths: &[DirectPath], budget: Budget) -> Result<Runs> {
    let mut runs = Runs::new(paths.len());
    for sides in set.sides.chunks(BATCH) {
        let found = sweep::run(&checkpoint.model, sides, paths, budget)?;
        runs.extend(sides, &found.source, &found.base, &found.patched)?;
    }
    Ok(runs)
}
