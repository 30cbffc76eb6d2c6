//! Transplants between iterations: the state after iteration i of the source run is put in before iteration j of the base
//! run, at one position. The weights are the same in every iteration; does it matter which iteration it is?
//!
//! Where i + 1 = j this is activation patching between two iterations. A state from a later iteration skips work, one from
//! an earlier iteration does work again. What else differs between iterations is the states of the other positions, which
//! stay those of the base: with the states of all positions put in, the run continues as the source run does, whatever j.

mod explained;
#[cfg(test)]
mod tests;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

pub use self::explained::Explained;
use self::explained::{Cell, explained};
use super::checkpoint::{LoadedCheckpoint, Origin};
use super::columns::Column;
use super::judged::{Claim, Setting, SiteScore};
use super::method::{Method, Report};
use super::output::Output;
use super::pairs::{Corrupt, Direction, Effect, PairSet, Pairing, Runs, Sides};
use super::place::{Place, residual_stream};
use super::population::Group;
use super::row::columns;
use super::splits::Wants;
use super::states::States;
use super::statistics::Clustering;
use super::{BATCH, rows_of};
use crate::error::Result;
use crate::graph::{Position, Split};
use crate::model::{Branch, Budget, Cut, Edit, Model, Point, Write, log_softmax};

/// What to transplant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
pub struct Transplant {
    /// Which pairs of queries.
    #[command(flatten)]
    #[serde(flatten)]
    pub pairing: Pairing,
}

/// The effect of the state after one iteration, put in before another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TransplantRow {
    /// The checkpoint and the data.
    #[serde(flatten)]
    pub origin: Origin,
    /// The split.
    pub split: Split,
    /// What the corrupt query has in place of the clean one's.
    pub corrupt: Corrupt,
    /// Which way states go.
    pub direction: Direction,
    /// Iterations of the source run that made the state; 0: its embedding.
    pub source_iteration: usize,
    /// The iteration of the base run that the state is put in before, from 1.
    pub base_iteration: usize,
    /// Iterations that the state has left: all of the run, less those before `base_iteration`.
    pub iterations_left: usize,
    /// Absent in the self-check, where the states of all positions are put in: the run then continues as the source run does,
    /// whatever j, and its outcome depends on i and the iterations left alone (but an embedding that is injected stays the
    /// base's).
    pub position: Option<Position>,
    /// What comes of it.
    #[serde(flatten)]
    pub effect: Effect,
    /// What the effect at this position depends on, over all iterations.
    #[serde(flatten)]
    pub explained: Explained,
    /// What the intervals count for, of clean and corrupt queries.
    pub interval: Clustering,
}

columns! {
    TransplantRow:
    Column::of("split"),
    Column::of("position"),
    Column::of("source_iteration").titled("after"),
    Column::of("base_iteration").titled("before"),
    Column::of("iterations_left").titled("left"),
    Column::of("n"),
    Column::of("recovery").titled("recovery (95 %)").within("low", "high"),
    Column::of("flips").titled("flips (95 %)").within("flips_low", "flips_high"),
    Column::of("deviation"),
    Column::of("by_source_and_left")
        .titled("explained without the base's iteration (95 %)")
        .within("by_source_and_left_low", "by_source_and_left_high"),
    Column::of("by_depth").titled("by depth").within("by_depth_low", "by_depth_high");
    measured
    Effect::QUANTITIES,
    Explained::QUANTITIES
}

// What a per-pair row is of.
#[derive(Serialize)]
struct PairRow {
    source_iteration: usize,
    base_iteration: usize,
    iterations_left: usize,
    position: Option<Position>,
}

impl Method for Transplant {
    const NAME: &'static str = "transplant";
    const ABOUT: &'static str = "Patching between iterations: the state after one iteration put in before another; does the loop care which it is?";
    const MISLEADS: &'static str = "A state of another iteration may be right in part: a loop that does the same in every iteration and one that does nothing at that place look alike.";
    const FORMAT: u32 = 1;
    type Row = TransplantRow;

    fn seed(&self) -> u64 {
        self.pairing.seed
    }

    fn resolve(&mut self, checkpoints: &[LoadedCheckpoint]) -> Result<()> {
        self.pairing.resolve(Wants::OneHeldOutDepth, checkpoints)
    }

    fn measure(&self, group: &Group, out: &mut Output<TransplantRow>) -> Result<()> {
        self.pairing.each(group, out, |set, checkpoint, out| {
            let moves = moves(set.iterations, set.positions(&checkpoint.model).len());
            let (runs, cells) = run_all(checkpoint, set, &moves, out.budget(set.iterations))?;
            let positions = set.positions(&checkpoint.model);
            for (index, of_move) in moves.iter().enumerate() {
                let row = PairRow {
                    source_iteration: of_move.source,
                    base_iteration: of_move.base,
                    iterations_left: of_move.left(set.iterations),
                    position: of_move.column.map(|column| positions[column]),
                };
                runs.write_rows(set, checkpoint, out, index, |_| &row)?;
            }
            let effects = runs.effects(set, checkpoint, out);
            self.rows(checkpoint, set, &moves, effects, &cells, out);
            Ok(())
        })
    }

    // Where the source's iteration is the base's; all others are drawn.
    fn shown(report: &Report<Self>) -> Vec<&TransplantRow> {
        let is_shown = |row: &&TransplantRow| row.source_iteration + 1 == row.base_iteration;
        report.rows.iter().filter(is_shown).collect()
    }

    fn to_verify(setting: &Setting) -> Result<Vec<Self>> {
        let mut settings = Self::defaults()?;
        settings.pairing.correct_only = setting.answers_right;
        Ok(vec![settings])
    }

    // Between the same iterations, where it says what a state is used for.
    fn site_scores(report: &Report<Self>) -> Vec<SiteScore> {
        let score = |row: &TransplantRow| {
            if row.source_iteration + 1 != row.base_iteration {
                return None;
            }
            let layers = report.checkpoint_of(row)?.layers;
            let hops = row.split.hops()?;
            let after = row.source_iteration * layers;
            // Before the first iteration it is the embedding that is put in.
            let point = if after == 0 {
                Point::Embed
            } else {
                residual_stream(after, layers).point()
            };
            Some(SiteScore {
                claim: Claim::Used,
                targets: row.corrupt.changes(hops),
                hops,
                point,
                position: row.position?,
                place: Place::after(after, layers),
                head: None,
                score: row.effect.recovery.unwrap_or_default(),
                is_called: row.effect.is_used(),
            })
        };
        report.rows.iter().filter_map(score).collect()
    }
}

impl Transplant {
    fn rows(
        &self,
        checkpoint: &LoadedCheckpoint,
        set: &PairSet,
        moves: &[Move],
        effects: Vec<Effect>,
        cells: &[Vec<Cell>],
        out: &mut Output<TransplantRow>,
    ) {
        let positions = set.positions(&checkpoint.model);
        let resamples = set.clean.resamples();
        let of_columns: Vec<Explained> = cells.iter().map(|cells| explained(cells, resamples)).collect();
        for (of_move, effect) in moves.iter().zip(effects) {
            out.rows.push(TransplantRow {
                origin: checkpoint.info.origin.clone(),
                split: set.clean.split.clone(),
                corrupt: self.pairing.corrupt,
                direction: self.pairing.direction,
                source_iteration: of_move.source,
                base_iteration: of_move.base,
                iterations_left: of_move.left(set.iterations),
                position: of_move.column.map(|column| positions[column]),
                effect,
                explained: of_columns[of_move.group()].clone(),
                interval: set.clustering(),
            });
        }
    }
}

// What is put in where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Move {
    // Iterations of the source run that made the state.
    source: usize,
    // The iteration of the base run that it is put in before, from 1.
    base: usize,
    // `None` means all.
    column: Option<usize>,
}

impl Move {
    fn left(self, iterations: usize) -> usize {
        iterations + 1 - self.base
    }

    // All columns at 0, then each.
    fn group(self) -> usize {
        self.column.map_or(0, |column| column + 1)
    }
}

// All of a run of `iterations` on queries of this many columns.
fn moves(iterations: usize, columns: usize) -> Vec<Move> {
    let columns = std::iter::once(None).chain((0..columns).map(Some));
    let of_column = |column| {
        let of_source = move |source| (1..=iterations).map(move |base| Move { source, base, column });
        (0..=iterations).flat_map(of_source)
    };
    columns.flat_map(of_column).collect()
}

// What comes of the moves of some pairs.
struct Transplanted {
    // Of the queries as they are, `[pairs, vocab]`.
    source: Tensor,
    base: Tensor,
    // The logits after each iteration, the first first: `[moves × pairs, vocab]`, all pairs of a move together.
    after: Vec<Tensor>,
}

impl Transplanted {
    // `[pairs, vocab]`
    fn logits(&self, of_move: usize, iterations: usize) -> Result<Tensor> {
        let pairs = self.base.dim(0)?;
        Ok(self.after[iterations - 1].narrow(0, of_move * pairs, pairs)?)
    }
}

// Every run, and by column (all first) the probability of the source's answer in every cell.
fn run_all(
    checkpoint: &LoadedCheckpoint,
    set: &PairSet,
    moves: &[Move],
    budget: Budget,
) -> Result<(Runs, Vec<Vec<Cell>>)> {
    let iterations = set.iterations;
    let model = &checkpoint.model;
    // The state and the logits of every branch after every iteration.
    let of_pair = moves.len() * iterations * (model.config().d_model + model.vocab()) * size_of::<f32>();
    let mut runs = Runs::new(moves.len());
    // [move][iterations left − 1][pair]
    let mut probabilities: Vec<Vec<Vec<f64>>> = moves
        .iter()
        .map(|of_move| vec![Vec::new(); of_move.left(iterations)])
        .collect();
    for sides in set.sides.chunks(budget.at_once(of_pair).min(BATCH)) {
        let found = transplant(model, sides, moves, budget)?;
        let edited = (0..moves.len()).map(|index| found.logits(index, iterations));
        let edited: Vec<Tensor> = edited.collect::<Result<_>>()?;
        runs.extend(sides, &found.source, &found.base, &edited)?;
        for (index, of_left) in probabilities.iter_mut().enumerate() {
            for (left, of_pairs) in of_left.iter_mut().enumerate() {
                let logits = found.logits(index, moves[index].base + left)?;
                let rows = rows_of(&log_softmax(&logits)?)?;
                let answers = rows.iter().zip(sides);
                of_pairs.extend(answers.map(|(log, sides)| f64::from(log[sides.source_answer as usize]).exp()));
            }
        }
    }
    let groups = moves.iter().map(|of_move| of_move.group() + 1).max().unwrap_or(0);
    let mut cells: Vec<Vec<Cell>> = (0..groups).map(|_| Vec::new()).collect();
    for (of_move, of_left) in moves.iter().zip(probabilities) {
        let of_column = of_left.into_iter().zip(1..).map(|(values, left)| Cell {
            source: of_move.source,
            base: of_move.base,
            left,
            values,
        });
        cells[of_move.group()].extend(of_column);
    }
    Ok((runs, cells))
}

fn transplant(model: &Model, sides: &[Sides], moves: &[Move], budget: Budget) -> Result<Transplanted> {
    let (layers, iterations) = (model.config().layers, budget.iterations);
    let sites = (0..=iterations).map(|after| residual_stream(after * layers, layers));
    let source = States::of(
        model,
        sides.iter().map(|sides| &*sides.source),
        &sites.collect(),
        iterations,
    )?;
    let base: Vec<&[u32]> = sides.iter().map(|sides| &*sides.base).collect();
    let mut branches = Vec::with_capacity(moves.len() * sides.len());
    for of_move in moves {
        let [from, to] = [of_move.source, of_move.base - 1].map(|after| residual_stream(after * layers, layers));
        let columns = of_move.column.map_or(0..source.columns(), |column| column..column + 1);
        let states: Vec<(usize, Vec<Vec<f32>>)> = columns
            .map(|column| Ok((column, source.states(from, column, None)?)))
            .collect::<Result<_>>()?;
        branches.extend((0..sides.len()).map(|query| {
            let edit =
                |(column, states): &(usize, Vec<Vec<f32>>)| Edit::new(to, *column, Write::Set(states[query].clone()));
            Branch {
                query,
                edits: states.iter().map(edit).collect(),
            }
        }));
    }
    // The logits after every iteration but the last are those of the states there.
    let readout = source.columns() - 1;
    let places: Vec<Cut> = (1..iterations)
        .map(|after| Cut {
            site: residual_stream(after * layers, layers),
            column: readout,
        })
        .collect();
    let found = model.intervene_recording(&base, &branches, &places, budget)?;
    let mut after = Vec::with_capacity(iterations);
    for states in &found.recorded {
        after.push(model.unembed(states)?);
    }
    after.push(found.edited);
    Ok(Transplanted {
        source: source.logits,
        base: found.base,
        after,
    })
}
