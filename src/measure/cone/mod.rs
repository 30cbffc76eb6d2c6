//! The cone of influence: noise, or the state of another query, is put in at one (iteration, position) of the residual
//! stream; where does the change arrive, and when? Where each hop needs an iteration, a change at the head arrives a position
//! later with every iteration: the slope is the speed of retrieval, in hops an iteration (beside n_train / T_train, the
//! hops and iterations of training, 2607.20594).

mod arrival;
mod influence;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use self::arrival::{Arrival, Slope, trained_speed};
use self::influence::{Influence, Source};
use super::checkpoint::{LoadedCheckpoint, Origin};
use super::columns::Column;
use super::iterations::Iterations;
use super::judged::{Check, Design, designed_hit, mean_of};
use super::method::{Method, Report};
use super::output::Output;
use super::place::Place;
use super::population::{Group, Per, Population};
use super::quantity::quantities;
use super::query_rows::Asked;
use super::row::columns;
use super::sampling::Sampling;
use super::splits::Wants;
use super::statistics::{Clustering, share};
use crate::error::{Error, Result};
use crate::graph::{Position, Query, Split};
use crate::random::Stream;

/// What to put in where.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, clap::Args)]
pub struct Cone {
    /// Which queries.
    #[command(flatten)]
    #[serde(flatten)]
    pub sampling: Sampling,
    /// What is put in
    #[arg(long, value_enum, default_value = "query")]
    pub put: Put,
    /// Iterations that it is put in before, each alone, as in 1,3 or 1..4
    #[arg(long, value_parser = Iterations::parse_list, default_value = "1")]
    pub before: Iterations,
    /// Positions that it is put in at, each alone, separated by commas [default: all]
    #[arg(long = "position", value_delimiter = ',')]
    pub positions: Vec<Position>,
    /// A change has arrived where it is at least this much of the distance between the states of two queries: near 1, or what
    /// attention sees ahead of the front counts too
    #[arg(long, default_value_t = 0.75, value_parser = threshold)]
    pub threshold: f64,
}

/// What is put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Put {
    /// Gaussian noise is added, in each dimension as large as the difference of two queries.
    Noise,
    /// The state of another query, whose token at the position is another.
    Query,
}

impl Put {
    /// The name that users type.
    pub fn name(self) -> &'static str {
        match self {
            Self::Noise => "noise",
            Self::Query => "query",
        }
    }
}

// Reads a share of the distance between states from the command line.
fn threshold(text: &str) -> std::result::Result<f64, String> {
    let number = text.parse().ok().filter(|x: &f64| x.is_finite() && *x > 0.0);
    number.ok_or_else(|| "allowed: numbers above 0".to_owned())
}

/// The change of one state by what was put in at another; all intervals are of 95 %.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConeRow {
    /// The checkpoint and the data.
    #[serde(flatten)]
    pub origin: Origin,
    /// The split.
    pub split: Split,
    /// Hops of the chains.
    pub hops: usize,
    /// What was put in.
    pub put: Put,
    /// The iteration that it was put in before, from 1.
    pub before: usize,
    /// The position that it was put in at.
    pub put_at: Position,
    /// The position of the state that is looked at.
    pub position: Position,
    /// The place of the state that is looked at, after that layer; effective layer 0 is the embedding.
    #[serde(flatten)]
    pub place: Place,
    /// Queries.
    pub n: usize,
    /// ‖Δ‖ of the residual stream, mean over queries, over the root of the mean squared distance between the states of two
    /// queries there; absent where these are all the same.
    pub change: Option<f64>,
    /// The lower end of the interval of `change`, which takes the distance between queries for known; absent where no two queries
    /// differ in their facts.
    pub low: Option<f64>,
    /// The upper end of that interval.
    pub high: Option<f64>,
    /// Mean ‖Δ‖ over the mean norm of the state.
    pub relative: f64,
    /// The lower end of the interval of `relative`.
    pub relative_low: Option<f64>,
    /// The upper end of that interval.
    pub relative_high: Option<f64>,
    /// Share of queries in which the change has reached the threshold here or at an earlier effective layer.
    pub arrived: f64,
    /// The lower end of the interval of `arrived`.
    pub arrived_low: f64,
    /// The upper end of that interval.
    pub arrived_high: f64,
    /// The first effective layer at which `arrived` is at least a half at this position (the median time of arrival); absent
    /// where it never is.
    pub arrival: Option<usize>,
    /// The lower end of the interval of `arrival` (Brookmeyer and Crowley 1982).
    pub arrival_low: Option<usize>,
    /// The upper end of that interval; absent where it is beyond the run.
    pub arrival_high: Option<usize>,
    /// Share of queries whose answer changes.
    pub answers_changed: f64,
    /// The lower end of the interval of `answers_changed`.
    pub answers_changed_low: f64,
    /// The upper end of that interval.
    pub answers_changed_high: f64,
    /// Slope of the median time of arrival, in iterations, against the distance, in relations: least squares over the positions
    /// at which it arrives in half of the queries; absent with fewer than two of them.
    pub iterations_per_hop: Option<f64>,
    /// The lower end of the interval of `iterations_per_hop`.
    pub iterations_per_hop_low: Option<f64>,
    /// The upper end of that interval.
    pub iterations_per_hop_high: Option<f64>,
    /// The positions that this slope is over: with two it is a difference, which any change that takes that long has.
    pub slope_positions: usize,
    /// The speed of retrieval, 1 / `iterations_per_hop`; absent where that is not above 0.
    pub speed: Option<f64>,
    /// The lower end of the interval of `speed`.
    pub speed_low: Option<f64>,
    /// The upper end of that interval; absent where it is infinite.
    pub speed_high: Option<f64>,
    /// The most hops in training over the iterations in training; absent where the data of training are not at hand.
    pub trained_speed: Option<f64>,
    /// What the intervals count for.
    pub interval: Clustering,
}

columns! {
    ConeRow:
    Column::of("split"),
    Column::of("hops"),
    Column::of("before"),
    Column::of("put_at").titled("put at"),
    Column::of("position").titled("arrives at"),
    Column::of("n"),
    Column::of("change").titled("change in the end (95 %)").within("low", "high"),
    Column::of("arrived").titled("arrived (95 %)").within("arrived_low", "arrived_high"),
    Column::of("arrival")
        .titled("effective layer (95 %)")
        .within("arrival_low", "arrival_high"),
    Column::of("answers_changed")
        .titled("answers that change (95 %)")
        .within("answers_changed_low", "answers_changed_high"),
    Column::of("slope_positions").titled("positions"),
    Column::of("speed").titled("hops an iteration (95 %)").within("speed_low", "speed_high"),
    Column::of("trained_speed").titled("in training");
    measured
    quantities![
        sample n, of change within low high, of relative within relative_low relative_high,
        share answers_changed within answers_changed_low answers_changed_high,
    ],
    Arrival::QUANTITIES,
    Slope::QUANTITIES
}

// A per-query row.
#[derive(Serialize)]
struct QueryCone {
    before: usize,
    put_at: Position,
    position: Position,
    // The effective layer.
    arrival: Option<usize>,
    answer_after: String,
}

impl Method for Cone {
    const NAME: &'static str = "cone";
    const ABOUT: &'static str =
        "Where a change at one iteration and position arrives, and when: the speed of retrieval";
    const MISLEADS: &'static str =
        "A change arrives wherever attention can reach: that it is there does not say that the answer depends on it.";
    const FORMAT: u32 = 1;
    type Row = ConeRow;

    fn seed(&self) -> u64 {
        self.sampling.seed
    }

    fn resolve(&mut self, checkpoints: &[LoadedCheckpoint]) -> Result<()> {
        self.sampling.resolve(Wants::OneHeldOutDepth, checkpoints)?;
        self.before.resolve(checkpoints);
        Ok(())
    }

    fn measure(&self, group: &Group, out: &mut Output<ConeRow>) -> Result<()> {
        group.each(&self.sampling.splits, Per::Hops, out, |population, checkpoint, out| {
            let purpose = format!("cone queries {}", population.split);
            let hops = population.hops.unwrap_or_default();
            let sample = population.sample(
                &mut Stream::new(self.sampling.seed, &purpose, hops as u64),
                self.sampling.queries,
            );
            let iterations = self.sampling.iterations(checkpoint);
            let sources = self.sources(checkpoint, &sample, iterations)?;
            let found = Influence::of(self, &checkpoint.model, &sample, &sources, out.budget(iterations))?;
            for of_source in 0..sources.len() {
                self.rows(&found, of_source, checkpoint, &sample, out)?;
            }
            Ok(())
        })
    }

    // The last state of every position that the change can reach.
    fn shown(report: &Report<Self>) -> Vec<&ConeRow> {
        let is_shown = |row: &&ConeRow| {
            let last = report.checkpoint_of(row).map(|of| {
                let iterations = report.settings.sampling.iterations.max(of.iterations);
                iterations * of.layers
            });
            Some(row.place.effective_layer) == last && row.position >= row.put_at
        };
        report.rows.iter().filter(is_shown).collect()
    }

    // The speed from the head: of a model whose answers to chains of k hops are right from iteration t on, k / t; an answer that is
    // read at a position of its own takes an iteration more to get there.
    fn checks(report: &Report<Self>, design: &dyn Design) -> Vec<Check> {
        let check = |row: &ConeRow| {
            let is_of_head = (row.before, row.put_at, row.position) == (1, Position::Head, Position::Head);
            if !is_of_head || row.place.effective_layer > 0 {
                return None;
            }
            let iterations = report.checkpoint_of(row)?.iterations;
            let hit = |query: &Query| designed_hit(design, query, iterations);
            let first = mean_of(design, &row.split, Some(row.hops), hit)?;
            let apart = report.rows.iter().any(|other| other.position == Position::Readout);
            Some(Check {
                what: format!("hops an iteration, {}", row.split),
                expected: row.hops as f64 / (first - f64::from(u8::from(apart))),
                found: row.speed?,
            })
        };
        report.rows.iter().filter_map(check).collect()
    }
}

impl Cone {
    // Where things are put in, the iterations first.
    fn sources(
        &self,
        checkpoint: &LoadedCheckpoint,
        population: &Population,
        iterations: usize,
    ) -> Result<Vec<Source>> {
        let before = self.before.list(checkpoint.info.iterations);
        if let Some(beyond) = before.iter().find(|&&before| before > iterations) {
            return Err(Error::input(format!(
                "--before {beyond}: {} runs {iterations} iterations here; allowed: 1 to {iterations}",
                checkpoint.info.name()
            )));
        }
        let all = positions(checkpoint, population);
        let column = |position: &Position| {
            all.iter().position(|other| other == position).ok_or_else(|| {
                let names: Vec<String> = all.iter().map(ToString::to_string).collect();
                Error::input(format!(
                    "--position {position}: the chains of split {} have no such position; allowed: {}",
                    population.split,
                    names.join(", ")
                ))
            })
        };
        let mut columns: Vec<usize> = match &self.positions[..] {
            [] => (0..all.len()).collect(),
            named => named.iter().map(column).collect::<Result<_>>()?,
        };
        columns.sort_unstable();
        columns.dedup();
        let of_iteration = |before| columns.iter().map(move |&column| Source { before, column });
        Ok(before.into_iter().flat_map(of_iteration).collect())
    }

    // The rows of one source.
    fn rows(
        &self,
        found: &Influence,
        index: usize,
        checkpoint: &LoadedCheckpoint,
        population: &Population,
        out: &mut Output<ConeRow>,
    ) -> Result<()> {
        let layers = checkpoint.info.layers;
        let positions = positions(checkpoint, population);
        let resamples = population.resamples();
        let source = found.sources[index];
        let put_in = (source.before - 1) * layers;
        let arrivals: Vec<Arrival> = (0..positions.len())
            .map(|column| Arrival::of(&found.changes_at(index, column), self.threshold, resamples))
            .collect();
        let is_behind = |column: &usize| *column > source.column && positions[*column] != Position::Readout;
        let times = (0..positions.len()).filter(is_behind).map(|column| {
            let time = |arrival: &Option<usize>| arrival.map(|at| (at - put_in) as f64 / layers as f64);
            let distance = (column - source.column) as f64;
            (distance, arrivals[column].of_queries.iter().map(time).collect())
        });
        let slope = Slope::of(&times.collect::<Vec<_>>(), resamples);
        let after = &found.answers_after[index];
        let changed: Vec<bool> = after
            .iter()
            .zip(&found.answers)
            .map(|(after, before)| after != before)
            .collect();
        let (answers_changed_low, answers_changed_high) = resamples.share(&changed);
        for (column, arrival) in arrivals.iter().enumerate() {
            if out.wants_queries() {
                for (query, &answer) in found.answers.iter().enumerate() {
                    let values = QueryCone {
                        before: source.before,
                        put_at: positions[source.column],
                        position: positions[column],
                        arrival: arrival.of_queries[query],
                        answer_after: checkpoint.data.vocab.tokens()[after[query] as usize].clone(),
                    };
                    out.query_row(checkpoint, &Asked::of(population, query, answer), &values)?;
                }
            }
            for (layer, &(arrived, (arrived_low, arrived_high))) in arrival.arrived.iter().enumerate() {
                let (change, relative) = found.change(index, layer, column, resamples);
                out.rows.push(ConeRow {
                    origin: checkpoint.info.origin.clone(),
                    split: population.split.clone(),
                    hops: population.hops.unwrap_or_default(),
                    put: self.put,
                    before: source.before,
                    put_at: positions[source.column],
                    position: positions[column],
                    place: Place::after(layer, layers),
                    n: population.queries.len(),
                    change: change.map(|(change, _)| change),
                    low: change.and_then(|(_, interval)| Some(interval?.0)),
                    high: change.and_then(|(_, interval)| Some(interval?.1)),
                    relative: relative.0,
                    relative_low: relative.1.map(|(low, _)| low),
                    relative_high: relative.1.map(|(_, high)| high),
                    arrived,
                    arrived_low,
                    arrived_high,
                    arrival: arrival.median,
                    arrival_low: arrival.low,
                    arrival_high: arrival.high,
                    answers_changed: share(&changed),
                    answers_changed_low,
                    answers_changed_high,
                    iterations_per_hop: slope.map(|slope| slope.iterations),
                    iterations_per_hop_low: slope.and_then(|slope| Some(slope.interval?.0)),
                    iterations_per_hop_high: slope.and_then(|slope| Some(slope.interval?.1)),
                    slope_positions: slope.map_or(0, |slope| slope.positions),
                    speed: slope.and_then(Slope::speed),
                    speed_low: slope.and_then(Slope::speed_low),
                    speed_high: slope.and_then(Slope::speed_high),
                    trained_speed: trained_speed(checkpoint),
                    interval: resamples.clustering(),
                });
            }
        }
        Ok(())
    }
}

fn positions(checkpoint: &LoadedCheckpoint, population: &Population) -> Vec<Position> {
    let hops = population.hops.unwrap_or_default();
    Position::of_chain(hops, checkpoint.model.config().reads_apart(hops))
}
