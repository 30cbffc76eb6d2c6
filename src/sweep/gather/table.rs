//! The tidy table: a row for each number of each point.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value};

use super::PointRun;
use crate::graph::Split;
use crate::measure::seeds::{MetricValue, metrics};
use crate::sweep::plan::Plan;
use crate::sweep::point::Point;

/// Whether a point is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PointState {
    /// To its end.
    Finished,
    /// As far as the row's step.
    NotFinished,
    /// Not at all, or no evaluation was saved.
    NotBegun,
}

/// Which point a row is of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PointKey {
    /// The number of the plan.
    pub plan: usize,
    /// Its hash.
    pub plan_hash: String,
    /// The number of the point in the plan, from 1.
    pub point: usize,
    /// Its name.
    pub name: String,
    /// Its run folder, relative to the sweep's.
    pub folder: String,
    /// The hash of its settings and data.
    pub point_hash: String,
    /// The keys that vary in the plan, a column each; absent where a point does not name the key.
    #[serde(flatten)]
    pub values: Map<String, Value>,
    /// Seed of the data; absent where they are a folder that was there before.
    pub data_seed: Option<u64>,
    /// Seed of the initial weights.
    pub init_seed: u64,
    /// Seed of what is drawn while training.
    pub order_seed: u64,
    /// Which seed it counts as; points of one seed have the same number.
    pub seed_unit: usize,
    /// The content hash of the data.
    pub data_hash: String,
    /// The first 16 digits of the SHA-256 of the checkpoint of the end of training; absent before that.
    pub checkpoint_hash: Option<String>,
    /// Whether it is trained.
    pub state: PointState,
}

/// One number of one point.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PointRow {
    /// The point.
    #[serde(flatten)]
    pub key: PointKey,
    /// The number.
    #[serde(flatten)]
    pub number: MetricValue,
}

/// The accuracy of one evaluation of one point on one split.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CurveRow {
    /// The point.
    #[serde(flatten)]
    pub key: PointKey,
    /// Training steps done.
    pub step: u64,
    /// Passes over the training rows.
    pub epoch: f64,
    /// Seconds of training.
    pub seconds: f64,
    /// The split.
    pub split: Split,
    /// The share of right answers.
    pub accuracy: f64,
    /// Mean training loss in nats since the evaluation before; absent before the first step.
    pub loss: Option<f64>,
}

/// The keys that vary in a plan.
pub(super) fn varied_keys(plan: &Plan) -> BTreeSet<&String> {
    plan.points.iter().flat_map(|point| point.values.keys()).collect()
}

/// The values of a point as columns: all keys that vary in the plan.
pub(super) fn value_columns(plan: &Plan, point: &Point) -> Map<String, Value> {
    let column = |key: &String| {
        let value = point.values.get(key).and_then(|value| serde_json::to_value(value).ok());
        (key.clone(), value.unwrap_or(Value::Null))
    };
    varied_keys(plan).into_iter().map(column).collect()
}

fn key(plan: &Plan, of: &PointRun) -> PointKey {
    let point = of.point;
    PointKey {
        plan: plan.number,
        plan_hash: plan.hash.clone(),
        point: point.number,
        name: point.name.clone(),
        folder: point.folder.display().to_string(),
        point_hash: point.hash.clone(),
        values: value_columns(plan, point),
        data_seed: point.seeds.data,
        init_seed: point.seeds.init,
        order_seed: point.seeds.order,
        seed_unit: of.seed,
        data_hash: point.data.hash.clone(),
        checkpoint_hash: of.checkpoint_hash.clone(),
        state: match &of.run {
            None => PointState::NotBegun,
            Some(run) if run.finished => PointState::Finished,
            Some(_) => PointState::NotFinished,
        },
    }
}

/// A row for each number of each point; of a point that was not begun that it has no steps.
pub(super) fn rows(plan: &Plan, runs: &[PointRun]) -> Vec<PointRow> {
    let of_point = |of: &PointRun| -> Vec<PointRow> {
        let key = key(plan, of);
        let Some(run) = &of.run else {
            return vec![PointRow {
                key,
                number: MetricValue::not_begun(),
            }];
        };
        let row = |number: MetricValue| PointRow {
            key: key.clone(),
            number,
        };
        metrics(run).into_iter().map(row).collect()
    };
    runs.iter().flat_map(of_point).collect()
}

/// Every evaluation of every point, a row a split.
pub(super) fn curves(plan: &Plan, runs: &[PointRun]) -> Vec<CurveRow> {
    let mut rows = Vec::new();
    for of in runs {
        let key = key(plan, of);
        for line in of.run.iter().flat_map(|run| &run.metrics) {
            rows.extend(line.accuracy.iter().map(|(split, &accuracy)| CurveRow {
                key: key.clone(),
                step: line.step,
                epoch: line.epoch,
                seconds: line.seconds,
                split: split.clone(),
                accuracy,
                loss: line.loss,
            }));
        }
    }
    rows
}
