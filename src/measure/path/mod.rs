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
//! A key or a value is read from other positions: the head's output is replaced at one *reader*, the position itself or a later one;
//! for all other receivers it is the position itself. Logits read the readout alone.

#[cfg(test)]
mod known_circuit;
mod nodes;
mod sweep;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use self::nodes::{HeadAt, Input, LayerAt, Receiver, Sender};
use self::sweep::DirectPath;
use super::attribute::{Component, ComponentAt};
use super::checkpoint::{LoadedCheckpoint, Origin};
use super::columns::Column;
use super::judged::{Claim, Setting, SiteScore};
use super::method::{Method, Report};
use super::output::Output;
use super::pairs::{Corrupt, Direction, Effect, PairSet, PairValues, Pairing, Runs};
use super::population::Group;
use super::query_rows::Asked;
use super::row::columns;
use super::splits::Wants;
use super::statistics::Clustering;
use super::{BATCH, column_of};
use crate::error::{Error, Result};
use crate::graph::{Position, Split};
use crate::model::{Budget, Point};

/// Which paths to patch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
pub struct PathPatching {
    /// Which pairs of queries.
    #[command(flatten)]
    #[serde(flatten)]
    pub pairing: Pairing,
    /// Senders, separated by commas: embedding, ITERATION.injection, ITERATION.LAYER.HEAD, ITERATION.LAYER.mlp [default: all that
    /// come before the receiver]
    #[arg(long, value_delimiter = ',', value_name = "SENDER")]
    pub from: Vec<Sender>,
    /// Receivers, separated by commas: logits, ITERATION.LAYER.mlp, ITERATION.LAYER.HEAD.q, .k or .v
    #[arg(long, value_delimiter = ',', value_name = "RECEIVER", default_value = "logits")]
    pub to: Vec<Receiver>,
    /// Positions at which senders write, separated by commas [default: all that the receiver reads]
    #[arg(long = "position", value_delimiter = ',', value_name = "POSITION")]
    pub positions: Vec<Position>,
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
    /// The sender.
    #[serde(flatten)]
    pub sender: ComponentAt,
    /// The receiver.
    pub receiver: Receiver,
    /// Where the sender writes and the receiver reads.
    pub position: Position,
    /// Where the receiver's output changes: at a key or a value this position or a later one, else this position.
    pub reader: Position,
    /// What comes of it.
    #[serde(flatten)]
    pub effect: Effect,
    /// What the intervals count for, of clean and corrupt queries.
    pub interval: Clustering,
}

columns! {
    PathRow:
    Column::of("split"),
    Column::of("component").titled("sender"),
    Column::of("attention_head").titled("head"),
    Column::of("iteration"),
    Column::of("layer"),
    Column::of("receiver"),
    Column::of("position"),
    Column::of("reader"),
    Column::of("n"),
    Column::of("recovery").titled("recovery (95 %)").within("low", "high"),
    Column::of("flips").titled("flips (95 %)").within("flips_low", "flips_high"),
    Column::of("gap").decimals(2),
}

// A per-pair row.
#[derive(Serialize)]
struct PairRow {
    #[serde(flatten)]
    sender: ComponentAt,
    receiver: Receiver,
    position: Position,
    reader: Position,
    #[serde(flatten)]
    values: PairValues,
}

impl Method for PathPatching {
    const NAME: &'static str = "path";
    const ABOUT: &'static str = "Path patching: the direct effect of a head or an MLP on a later one or on the logits";
    const FORMAT: u32 = 1;
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
            let paths = self.paths(checkpoint, set, &positions)?;
            let runs = run_all(checkpoint, set, &paths, out.budget(set.iterations))?;
            if out.wants_queries() {
                pair_rows(checkpoint, set, &paths, &runs, out)?;
            }
            let effects = runs.effects(set, checkpoint, out);
            let row = |(path, effect): (&DirectPath, Effect)| PathRow {
                origin: checkpoint.info.origin.clone(),
                split: set.clean.split.clone(),
                corrupt: self.pairing.corrupt,
                direction: self.pairing.direction,
                sender: path.sender.component(checkpoint.info.layers),
                receiver: path.receiver,
                position: positions[path.column],
                reader: positions[path.reader],
                effect,
                interval: set.clustering(),
            };
            out.rows.extend(paths.iter().zip(effects).map(row));
            Ok(())
        })
    }

    // The paths that recover a fiftieth or more, either way, or of which that is not known.
    fn shown(report: &Report<Self>) -> Vec<&PathRow> {
        let is_large = |row: &&PathRow| row.effect.recovery.is_none_or(|recovery| recovery.abs() >= 0.02);
        report.rows.iter().filter(is_large).collect()
    }

    // To everything that reads the stream, on few pairs, since the paths are many.
    fn to_verify(setting: &Setting) -> Result<Vec<Self>> {
        const PAIRS: usize = 24;
        let mut settings = Self::defaults()?;
        settings.pairing.correct_only = setting.answers_right;
        settings.pairing.pairs = PAIRS;
        settings.to = Receiver::all(setting);
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
    let sender = row.sender;
    let point = match sender.component {
        Component::Embedding => Point::Embed,
        Component::Head => Point::Z,
        Component::Mlp => Point::MlpOut,
        _ => return None,
    };
    let hops = row.split.hops()?;
    Some(SiteScore {
        claim: Claim::Used,
        targets: row.corrupt.changes(hops),
        hops,
        point,
        position: row.position,
        place: sender.place,
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
        for &receiver in &self.to {
            receiver.check(config, iterations).map_err(of_model)?;
            if let Some(sender) = self.from.iter().find(|from| !from.precedes(receiver, config.layers)) {
                return Err(of_model(Error::input(format!(
                    "--from {sender} --to {receiver}: the receiver reads before the sender writes; allowed: paths that go forward"
                ))));
            }
        }
        Ok(())
    }

    // The paths, receiver by receiver, and for each those of one position and reader together.
    fn paths(&self, checkpoint: &LoadedCheckpoint, set: &PairSet, positions: &[Position]) -> Result<Vec<DirectPath>> {
        let named = self.positions.iter();
        let named: Vec<usize> = named
            .map(|&position| column_of(position, positions, set.clean.split))
            .collect::<Result<_>>()?;
        let layers = checkpoint.info.layers;
        let reads_apart = checkpoint.model.config().reads_apart(set.hops());
        let is_wanted = |column: &usize| named.is_empty() || named.contains(column);
        let is_named = |sender: &Sender| self.from.is_empty() || self.from.contains(sender);
        let all = Sender::all(checkpoint.model.config(), set.iterations);
        let senders: Vec<Sender> = all.into_iter().filter(is_named).collect();
        let mut paths = Vec::new();
        for &receiver in &self.to {
            let read = sweep::columns_read(receiver, positions.len(), reads_apart);
            for (column, reader) in read.into_iter().filter(|(column, _)| is_wanted(column)) {
                let before = senders.iter().filter(|sender| sender.precedes(receiver, layers));
                paths.extend(before.map(|&sender| DirectPath {
                    sender,
                    receiver,
                    column,
                    reader,
                }));
            }
        }
        if paths.is_empty() {
            return Err(Error::input(format!(
                "split {}: no receiver of --to reads at a position of --position",
                set.clean.split
            )));
        }
        Ok(paths)
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

// A per-pair row for each path.
fn pair_rows(
    checkpoint: &LoadedCheckpoint,
    set: &PairSet,
    paths: &[DirectPath],
    runs: &Runs,
    out: &mut Output<PathRow>,
) -> Result<()> {
    let positions = set.positions(&checkpoint.model);
    for (index, path) in paths.iter().enumerate() {
        for pair in 0..set.pairs.len() {
            let values = PairRow {
                sender: path.sender.component(checkpoint.info.layers),
                receiver: path.receiver,
                position: positions[path.column],
                reader: positions[path.reader],
                values: runs.of_pair(set, &checkpoint.data.vocab, index, pair),
            };
            let answer = runs.clean_answer(set, pair);
            out.query_row(checkpoint, &Asked::of(&set.clean, pair, answer), &values)?;
        }
    }
    Ok(())
}
