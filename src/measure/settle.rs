//! How the loop settles: the size of its states and steps, whether its steps go the same way, and whether its layers
//! draw near one common state or one each (2604.11791), beside the accuracy that more iterations bring or cost.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::report::{Method, Origin, Report, Specimen};
use super::statistics::{Clustering, Clusters, Interval, Resamples, mean, share};
use super::{BATCH, by_hops, dot, minus, norm, queries_of, rows_of};
use crate::error::Result;
use crate::graph::{Dataset, Query};
use crate::model::{Hooks, Pass, Point, Sharing, Site};
use crate::train::top1;

/// Where to look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settle {
    pub splits: Vec<String>,
    /// Inference iterations.
    pub most: usize,
    /// Seed of the bootstrap.
    pub seed: u64,
}

/// One iteration on one split at one number of hops; all numbers are of the readout rows, and means over queries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SettleRow {
    #[serde(flatten)]
    pub origin: Origin,
    pub split: String,
    pub hops: usize,
    /// From 1.
    pub iteration: usize,
    /// Queries.
    pub n: usize,
    /// ‖xₜ‖, the residual stream after the last layer.
    pub state: f64,
    /// 95 % interval of `state`, as for all that follow; absent where no two queries differ in their facts.
    pub state_low: Option<f64>,
    pub state_high: Option<f64>,
    /// ‖xₜ − xₜ₋₁‖ / ‖xₜ‖, with x₀ the embedding.
    pub moved: f64,
    pub moved_low: Option<f64>,
    pub moved_high: Option<f64>,
    /// Cosine of xₜ − xₜ₋₁ and xₜ₋₁ − xₜ₋₂; absent at the first iteration.
    pub cosine: Option<f64>,
    pub cosine_low: Option<f64>,
    pub cosine_high: Option<f64>,
    /// Mean distance between the states after any two layers of this iteration, over ‖xₜ‖; absent with one layer.
    pub apart: Option<f64>,
    pub apart_low: Option<f64>,
    pub apart_high: Option<f64>,
    /// Share of right answers after this iteration, with its 95 % interval.
    pub accuracy: f64,
    pub accuracy_low: f64,
    pub accuracy_high: f64,
    /// What the intervals count for.
    pub interval: Clustering,
}

// One query at one iteration.
#[derive(Debug, Clone, Copy)]
struct Seen {
    state: f64,
    moved: f64,
    cosine: Option<f64>,
    apart: Option<f64>,
    right: bool,
}

impl Method for Settle {
    const NAME: &'static str = "settle";
    const FORMAT: u32 = 2;
    type Row = SettleRow;

    fn measure(&self, specimens: &[&Specimen], data: &Dataset, report: &mut Report<Self, SettleRow>) -> Result<()> {
        for specimen in specimens {
            for split in &self.splits {
                for (hops, of_length) in by_hops(queries_of(data, split, &mut report.notes)?) {
                    let seen = look(specimen, &of_length, self.most)?;
                    let resamples = Resamples::new(Clusters::of_queries(of_length), self.seed);
                    let rows = (1..).zip(&seen);
                    report
                        .rows
                        .extend(rows.map(|(iteration, seen)| row(specimen, split, hops, iteration, seen, &resamples)));
                }
            }
        }
        Ok(())
    }
}

fn row(
    specimen: &Specimen,
    split: &str,
    hops: usize,
    iteration: usize,
    seen: &[Seen],
    resamples: &Resamples,
) -> SettleRow {
    let with_interval = |values: Vec<f64>| -> (f64, Option<Interval>) {
        let interval = resamples.mean(&values);
        (mean(values), interval)
    };
    let all = |of: fn(&Seen) -> f64| with_interval(seen.iter().map(of).collect());
    let optional = |of: fn(&Seen) -> Option<f64>| {
        let values: Option<Vec<f64>> = seen.iter().map(of).collect();
        values.map(with_interval)
    };
    let (state, moved) = (all(|point| point.state), all(|point| point.moved));
    let (cosine, apart) = (optional(|point| point.cosine), optional(|point| point.apart));
    let low = |(_, interval): (f64, Option<Interval>)| interval.map(|(low, _)| low);
    let high = |(_, interval): (f64, Option<Interval>)| interval.map(|(_, high)| high);
    let right: Vec<bool> = seen.iter().map(|point| point.right).collect();
    let (accuracy_low, accuracy_high) = resamples.share(&right);
    SettleRow {
        origin: specimen.info.origin.clone(),
        split: split.to_owned(),
        hops,
        iteration,
        n: seen.len(),
        state: state.0,
        state_low: low(state),
        state_high: high(state),
        moved: moved.0,
        moved_low: low(moved),
        moved_high: high(moved),
        cosine: cosine.map(|(x, _)| x),
        cosine_low: cosine.and_then(low),
        cosine_high: cosine.and_then(high),
        apart: apart.map(|(x, _)| x),
        apart_low: apart.and_then(low),
        apart_high: apart.and_then(high),
        accuracy: share(&right),
        accuracy_low,
        accuracy_high,
        interval: resamples.clustering(),
    }
}

// [iteration][query]
fn look(specimen: &Specimen, queries: &[&Query], most: usize) -> Result<Vec<Vec<Seen>>> {
    let layers = specimen.info.layers;
    let mut seen = vec![Vec::with_capacity(queries.len()); most];
    for chunk in queries.chunks(BATCH) {
        let rows = specimen
            .model
            .pack(chunk.iter().map(|query| &*query.tokens), Sharing::Prefixes)?;
        let readout: Vec<u32> = (0..chunk.len())
            .filter_map(|query| rows.of_query(query).last().copied())
            .collect();
        let record = |hooks: Hooks, site: Site| hooks.record_rows(site, readout.clone());
        let states = Site::all(Point::ResidPost, most, layers);
        let hooks = states.into_iter().chain([Site::embed()]).fold(Hooks::none(), record);
        let logits = Site::all(Point::Logits, most, layers);
        let mut pass = Pass {
            hooks: logits.into_iter().fold(hooks, Hooks::record),
            ..Pass::default()
        };
        specimen.model.forward(&rows, most, &mut pass)?;
        let mut last = rows_of(&pass.hooks.recorded(Site::embed())?)?;
        let mut last_step: Option<Vec<Vec<f32>>> = None;
        for (iteration, seen) in seen.iter_mut().enumerate() {
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
                let cosine = last_step.as_ref().map(|last| {
                    dot(&step[query], &last[query]) / (norm(&step[query]) * norm(&last[query])).max(f64::MIN_POSITIVE)
                });
                let pairs = (0..layers).flat_map(|a| (0..a).map(move |b| (a, b)));
                let apart = pairs.map(|(a, b)| norm(&minus(&of_layers[a][query], &of_layers[b][query])) / size);
                seen.push(Seen {
                    state: size,
                    moved: norm(&step[query]) / size,
                    cosine,
                    apart: (layers > 1).then(|| mean(apart)),
                    right: answer == chunk[query].target,
                });
            }
            last.clone_from(now);
            last_step = Some(step);
        }
    }
    Ok(seen)
}
