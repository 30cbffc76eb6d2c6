//! How the loop settles: the size of its states and steps, whether its steps go the same way, and whether its layers
//! draw near one common state or one each (2604.11791), beside the accuracy that more iterations bring or cost.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::report::{Method, Origin, Report, Specimen};
use super::statistics::{Interval, mean};
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
    /// 95 % interval of `state` (normal), as for all that follow.
    pub state_low: f64,
    pub state_high: f64,
    /// ‖xₜ − xₜ₋₁‖ / ‖xₜ‖, with x₀ the embedding.
    pub moved: f64,
    pub moved_low: f64,
    pub moved_high: f64,
    /// Cosine of xₜ − xₜ₋₁ and xₜ₋₁ − xₜ₋₂; absent at the first iteration.
    pub cosine: Option<f64>,
    pub cosine_low: Option<f64>,
    pub cosine_high: Option<f64>,
    /// Mean distance between the states after any two layers of this iteration, over ‖xₜ‖; absent with one layer.
    pub apart: Option<f64>,
    pub apart_low: Option<f64>,
    pub apart_high: Option<f64>,
    /// Share of right answers after this iteration.
    pub accuracy: f64,
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
    const FORMAT: u32 = 1;
    type Row = SettleRow;

    fn measure(&self, specimens: &[&Specimen], data: &Dataset, report: &mut Report<Self, SettleRow>) -> Result<()> {
        for specimen in specimens {
            for split in &self.splits {
                for (hops, of_length) in by_hops(queries_of(data, split, &mut report.notes)?) {
                    let seen = look(specimen, &of_length, self.most)?;
                    let rows = seen.iter().enumerate();
                    report
                        .rows
                        .extend(rows.map(|(i, seen)| row(specimen, split, hops, i + 1, seen)));
                }
            }
        }
        Ok(())
    }
}

fn row(specimen: &Specimen, split: &str, hops: usize, iteration: usize, seen: &[Seen]) -> SettleRow {
    let (state, (state_low, state_high)) = mean_with_interval(seen.iter().map(|point| point.state));
    let (moved, (moved_low, moved_high)) = mean_with_interval(seen.iter().map(|point| point.moved));
    let optional = |of: fn(&Seen) -> Option<f64>| {
        let values: Option<Vec<f64>> = seen.iter().map(of).collect();
        values.map(|values| mean_with_interval(values.into_iter()))
    };
    let (cosine, apart) = (optional(|point| point.cosine), optional(|point| point.apart));
    SettleRow {
        origin: specimen.info.origin.clone(),
        split: split.to_owned(),
        hops,
        iteration,
        n: seen.len(),
        state,
        state_low,
        state_high,
        moved,
        moved_low,
        moved_high,
        cosine: cosine.map(|(x, _)| x),
        cosine_low: cosine.map(|(_, (low, _))| low),
        cosine_high: cosine.map(|(_, (_, high))| high),
        apart: apart.map(|(x, _)| x),
        apart_low: apart.map(|(_, (low, _))| low),
        apart_high: apart.map(|(_, (_, high))| high),
        accuracy: mean(seen.iter().map(|point| f64::from(u8::from(point.right)))),
    }
}

// The mean and its 95 % interval by the normal approximation.
fn mean_with_interval(values: impl Iterator<Item = f64>) -> (f64, Interval) {
    let values: Vec<f64> = values.collect();
    let average = mean(values.iter().copied());
    let n = values.len() as f64;
    let variance = values.iter().map(|x| (x - average).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    let half = 1.96 * (variance / n).sqrt();
    (average, (average - half, average + half))
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
