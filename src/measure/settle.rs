//! How the loop settles: the size of its states and steps, whether its steps go the same way, and whether its layers
//! draw near one common state or one each (2604.11791), beside the accuracy that more iterations bring or cost.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::checkpoint::{LoadedCheckpoint, Origin};
use super::columns::Column;
use super::iterations::Iterations;
use super::judged::{Check, Design, Setting};
use super::method::{Method, Report};
use super::output::Output;
use super::population::{Group, Per, Population};
use super::quantity::quantities;
use super::query_rows::Asked;
use super::row::columns;
use super::sampling::BeyondTraining;
use super::statistics::{Clustering, Interval, mean, share};
use super::{BATCH, dot, minus, norm, rows_of};
use crate::error::Result;
use crate::graph::{Query, Split};
use crate::model::{Hooks, Pass, Point, Sharing, Site};
use crate::train::top1;

/// Where to look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
pub struct Settle {
    /// Which queries.
    #[command(flatten)]
    #[serde(flatten)]
    pub chains: BeyondTraining,
}

/// One iteration on one split at one number of hops; all numbers are of the readout rows, and means over queries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SettleRow {
    /// The checkpoint and the data.
    #[serde(flatten)]
    pub origin: Origin,
    /// The split.
    pub split: Split,
    /// Hops of the chains.
    pub hops: usize,
    /// From 1.
    pub iteration: usize,
    /// Queries.
    pub n: usize,
    /// ‖xₜ‖, the residual stream after the last layer.
    pub state: f64,
    /// 95 % interval of `state`, as for all that follow; absent where no two queries differ in their facts.
    pub state_low: Option<f64>,
    /// The upper end of that interval.
    pub state_high: Option<f64>,
    /// ‖xₜ − xₜ₋₁‖ / ‖xₜ‖, with x₀ the embedding.
    pub moved: f64,
    /// The lower end of the interval of `moved`.
    pub moved_low: Option<f64>,
    /// The upper end of that interval.
    pub moved_high: Option<f64>,
    /// Cosine of xₜ − xₜ₋₁ and xₜ₋₁ − xₜ₋₂; absent at the first iteration.
    pub cosine: Option<f64>,
    /// The lower end of the interval of `cosine`.
    pub cosine_low: Option<f64>,
    /// The upper end of that interval.
    pub cosine_high: Option<f64>,
    /// Angle between xₜ₋₁ and xₜ, in degrees from 0 to 180: how far the step turns the state.
    pub angle: f64,
    /// The lower end of the interval of `angle`.
    pub angle_low: Option<f64>,
    /// The upper end of that interval.
    pub angle_high: Option<f64>,
    /// Share of ‖xₜ − xₜ₋₁‖² that is along xₜ₋₁, from 0 (the step is orthogonal to the state) to 1 (it changes the length of the
    /// state alone); that of a step in any direction alike is 1 / width on average.
    pub radial: f64,
    /// The lower end of the interval of `radial`.
    pub radial_low: Option<f64>,
    /// The upper end of that interval.
    pub radial_high: Option<f64>,
    /// Mean distance between the states after any two layers of this iteration, over ‖xₜ‖; absent with one layer.
    pub apart: Option<f64>,
    /// The lower end of the interval of `apart`.
    pub apart_low: Option<f64>,
    /// The upper end of that interval.
    pub apart_high: Option<f64>,
    /// Share of right answers after this iteration, with its 95 % interval.
    pub accuracy: f64,
    /// The lower end of the interval of `accuracy`.
    pub accuracy_low: f64,
    /// The upper end of that interval.
    pub accuracy_high: f64,
    /// What the intervals count for.
    pub interval: Clustering,
}

columns! {
    SettleRow:
    Column::of("split"),
    Column::of("hops"),
    Column::of("iteration"),
    Column::of("n"),
    Column::of("state").titled("state norm").decimals(1),
    Column::of("moved").titled("step / state"),
    Column::of("cosine").titled("cosine of steps"),
    Column::of("angle").titled("turn of the state (°)").decimals(1),
    Column::of("radial").titled("step along the state"),
    Column::of("apart").titled("layers apart"),
    Column::of("accuracy")
        .titled("accuracy (95 %)")
        .within("accuracy_low", "accuracy_high");
    measured
    quantities![
        sample n, of state within state_low state_high, of moved within moved_low moved_high,
        of cosine within cosine_low cosine_high, of angle within angle_low angle_high,
        of radial within radial_low radial_high, of apart within apart_low apart_high,
        share accuracy within accuracy_low accuracy_high,
    ]
}

// One query after one iteration.
#[derive(Debug, Clone, Copy, Serialize)]
struct Motion {
    iteration: usize,
    state: f64,
    moved: f64,
    cosine: Option<f64>,
    angle: f64,
    radial: f64,
    apart: Option<f64>,
    #[serde(skip)]
    answer: u32,
    #[serde(skip)]
    right: bool,
}

impl Method for Settle {
    const NAME: &'static str = "settle";
    const ABOUT: &'static str = "Convergence of the loop: norms and directions of its steps";
    const MISLEADS: &'static str = "A small step can still change the answer, and a large one along the state itself changes nothing, since the final layer norm removes length.";
    const FORMAT: u32 = 4;
    type Row = SettleRow;

    fn seed(&self) -> u64 {
        self.chains.seed
    }

    fn resolve(&mut self, checkpoints: &[LoadedCheckpoint]) -> Result<()> {
        self.chains.resolve(checkpoints)
    }

    fn measure(&self, group: &Group, out: &mut Output<SettleRow>) -> Result<()> {
        group.each(&self.chains.splits, Per::Hops, out, |population, checkpoint, out| {
            let max = self.chains.max_iterations(checkpoint);
            for motions in motions(checkpoint, &population.queries, max)? {
                if out.wants_queries() {
                    for (query, motion) in motions.iter().enumerate() {
                        out.query_row(checkpoint, &Asked::of(population, query, motion.answer), motion)?;
                    }
                }
                out.rows.extend(row(checkpoint, population, &motions));
            }
            Ok(())
        })
    }

    // The iterations of training and the last.
    fn shown(report: &Report<Self>) -> Vec<&SettleRow> {
        let is_shown = |row: &&SettleRow| {
            let trained = report.checkpoint_of(row).map_or(0, |checkpoint| checkpoint.iterations);
            row.iteration == trained || row.iteration == report.settings.chains.iterations.max(trained)
        };
        report.rows.iter().filter(is_shown).collect()
    }

    fn to_verify(setting: &Setting) -> Result<Vec<Self>> {
        let mut settings = Self::defaults()?;
        settings.chains.iterations = Iterations::up_to(setting.beyond());
        Ok(vec![settings])
    }

    fn checks(report: &Report<Self>, design: &dyn Design) -> Vec<Check> {
        let lines = report.rows.iter().filter(|row| row.iteration == 1);
        lines.filter_map(|row| check(row, report, design)).collect()
    }
}

// The last iteration with a step, against that after which nothing is to change any more. Less than a tenth of the largest step
// is the drift that small errors of weights add in every iteration.
fn check(row: &SettleRow, report: &Report<Settle>, design: &dyn Design) -> Option<Check> {
    const STEP: f64 = 0.1;
    let max = report.settings.chains.iterations.max(row.iteration);
    let queries = design.queries(&row.split, Some(row.hops));
    let changes: Option<Vec<usize>> = queries.iter().map(|query| design.last_change(query, max)).collect();
    let of_line = report
        .rows
        .iter()
        .filter(|other| (&other.split, other.hops) == (&row.split, row.hops));
    let largest = of_line.clone().map(|row| row.moved).fold(0.0, f64::max);
    let steps = of_line
        .filter(|row| row.moved > STEP * largest)
        .map(|row| row.iteration);
    Some(Check {
        what: format!("{}, {} hops: the last iteration with a step", row.split, row.hops),
        expected: changes?.into_iter().max()? as f64,
        found: steps.max().unwrap_or_default() as f64,
    })
}

// The means over a population after one iteration; nothing of an empty one.
fn row(checkpoint: &LoadedCheckpoint, population: &Population, motions: &[Motion]) -> Option<SettleRow> {
    let resamples = population.resamples();
    let with_interval = |values: Vec<f64>| -> (f64, Option<Interval>) {
        let interval = resamples.mean(&values);
        (mean(values), interval)
    };
    let all = |of: fn(&Motion) -> f64| with_interval(motions.iter().map(of).collect());
    let optional = |of: fn(&Motion) -> Option<f64>| {
        let values: Option<Vec<f64>> = motions.iter().map(of).collect();
        values.map(with_interval)
    };
    let (state, moved) = (all(|motion| motion.state), all(|motion| motion.moved));
    let (angle, radial) = (all(|motion| motion.angle), all(|motion| motion.radial));
    let (cosine, apart) = (optional(|motion| motion.cosine), optional(|motion| motion.apart));
    let low = |(_, interval): (f64, Option<Interval>)| interval.map(|(low, _)| low);
    let high = |(_, interval): (f64, Option<Interval>)| interval.map(|(_, high)| high);
    let right: Vec<bool> = motions.iter().map(|motion| motion.right).collect();
    let (accuracy_low, accuracy_high) = resamples.share(&right);
    Some(SettleRow {
        origin: checkpoint.info.origin.clone(),
        split: population.split.clone(),
        hops: population.hops?,
        iteration: motions.first()?.iteration,
        n: motions.len(),
        state: state.0,
        state_low: low(state),
        state_high: high(state),
        moved: moved.0,
        moved_low: low(moved),
        moved_high: high(moved),
        cosine: cosine.map(|(x, _)| x),
        cosine_low: cosine.and_then(low),
        cosine_high: cosine.and_then(high),
        angle: angle.0,
        angle_low: low(angle),
        angle_high: high(angle),
        radial: radial.0,
        radial_low: low(radial),
        radial_high: high(radial),
        apart: apart.map(|(x, _)| x),
        apart_low: apart.and_then(low),
        apart_high: apart.and_then(high),
        accuracy: share(&right),
        accuracy_low,
        accuracy_high,
        interval: resamples.clustering(),
    })
}

// [iteration][query]
fn motions(checkpoint: &LoadedCheckpoint, queries: &[&Query], max: usize) -> Result<Vec<Vec<Motion>>> {
    let layers = checkpoint.info.layers;
    let mut motions = vec![Vec::with_capacity(queries.len()); max];
    for chunk in queries.chunks(BATCH) {
        let rows = checkpoint
            .model
            .pack(chunk.iter().map(|query| &*query.tokens), Sharing::Prefixes)?;
        let readout: Vec<u32> = (0..chunk.len())
            .filter_map(|query| rows.of_query(query).last().copied())
            .collect();
        let record = |hooks: Hooks, site: Site| hooks.record_rows(site, readout.clone());
        let states = Site::all(Point::ResidPost, max, layers);
        let hooks = states.into_iter().chain([Site::embed()]).fold(Hooks::none(), record);
        let logits = Site::all(Point::Logits, max, layers);
        let mut pass = Pass {
            hooks: logits.into_iter().fold(hooks, Hooks::record),
            ..Pass::default()
        };
        checkpoint.model.forward(&rows, max, &mut pass)?;
        let mut last = rows_of(&pass.hooks.recorded(Site::embed())?)?;
        let mut last_step: Option<Vec<Vec<f32>>> = None;
        for (iteration, motions) in motions.iter_mut().enumerate() {
            let state_of = |layer| -> Result<Vec<Vec<f32>>> {
                rows_of(&pass.hooks.recorded(Site::new(Point::ResidPost, iteration, layer))?)
            };
            let of_layers = (0..layers).map(state_of).collect::<Result<Vec<_>>>()?;
            let logits: Tensor = pass.hooks.recorded(Site::new(Point::Logits, iteration, 0))?;
            let answers = top1(&logits)?;
            let now = &of_layers[layers - 1];
            let step: Vec<Vec<f32>> = now.iter().zip(&last).map(|(a, b)| minus(a, b)).collect();
            for (query, &answer) in answers.iter().enumerate() {
                let size = norm(&now[query]);
                let (angle, radial) = turn(&last[query], &now[query]);
                let of_steps = last_step.as_ref().map(|steps| cosine(&step[query], &steps[query]));
                let pairs = (0..layers).flat_map(|a| (0..a).map(move |b| (a, b)));
                let apart = pairs.map(|(a, b)| norm(&minus(&of_layers[a][query], &of_layers[b][query])) / size);
                motions.push(Motion {
                    iteration: iteration + 1,
                    state: size,
                    moved: norm(&step[query]) / size,
                    cosine: of_steps,
                    angle,
                    radial,
                    apart: (layers > 1).then(|| mean(apart)),
                    answer,
                    right: answer == chunk[query].target,
                });
            }
            last.clone_from(now);
            last_step = Some(step);
        }
    }
    Ok(motions)
}

// Of two vectors; 0 where one of them is 0.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    dot(a, b) / (norm(a) * norm(b)).max(f64::MIN_POSITIVE)
}

// The angle between two successive states in degrees, and the share of the squared step between them that is along the first.
fn turn(before: &[f32], now: &[f32]) -> (f64, f64) {
    let angle = cosine(before, now).clamp(-1.0, 1.0).acos().to_degrees();
    (angle, cosine(before, &minus(now, before)).powi(2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::tests::untrained_checkpoint;

    #[test]
    fn a_step_turns_the_state_and_is_in_part_along_it() {
        let close = |(angle, radial): (f64, f64), expected: (f64, f64)| {
            assert!(
                (angle - expected.0).abs() < 1e-5 && (radial - expected.1).abs() < 1e-12,
                "{angle}, {radial}, not {expected:?}"
            );
        };
        // A step as long as the state and at right angles to it.
        close(turn(&[2.0, 0.0], &[2.0, 2.0]), (45.0, 0.0));
        // A step that changes the length alone, outwards and inwards.
        close(turn(&[2.0, 0.0], &[5.0, 0.0]), (0.0, 1.0));
        close(turn(&[2.0, 0.0], &[1.0, 0.0]), (0.0, 1.0));
        // A cosine of 6 / (√5 √20), and a step of (−3, 2), of which 1 / √5 is along (1, 2) / √5.
        close(turn(&[1.0, 2.0], &[-2.0, 4.0]), (53.130_102, 1.0 / 65.0));
        close(turn(&[1.0, 1.0], &[-1.0, -1.0]), (180.0, 1.0));
        // No step has no direction.
        assert_eq!(turn(&[1.0, 0.0], &[1.0, 0.0]), (0.0, 0.0));
    }

    // The lengths of two states and of the step between them give the angle, and the step's part along the first.
    #[test]
    fn angles_and_radial_shares_agree_with_the_lengths_of_states_and_steps() {
        let checkpoint = untrained_checkpoint(false);
        let queries: Vec<&Query> = checkpoint.data.split("3hop_test").unwrap().iter().collect();
        let motions = motions(&checkpoint, &queries, 5).unwrap();
        let mut compared = 0;
        for (before, now) in motions.iter().zip(&motions[1..]) {
            for (before, now) in before.iter().zip(now) {
                let step = now.moved * now.state;
                let (a, b) = (before.state.powi(2), now.state.powi(2));
                let of_angle = (a + b - step.powi(2)) / (2.0 * before.state * now.state);
                let along = (b - a - step.powi(2)) / (2.0 * before.state);
                assert!(
                    (now.angle.to_radians().cos() - of_angle).abs() < 1e-5,
                    "{before:?} {now:?}"
                );
                assert!((now.radial - (along / step).powi(2)).abs() < 1e-4, "{before:?} {now:?}");
                compared += usize::from(now.angle > 1.0 && now.radial > 0.0);
            }
        }
        assert!(compared > 20, "{compared}");
    }
}
