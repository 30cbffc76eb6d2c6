//! The tables of a sweep's page: its sets of values, and its points with what shows each of them alone.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::pictures::{Pictures, Rows};
use super::super::summary::within;
use super::PageSweep;
use crate::graph::Split;
use crate::measure::RunSummary;
use crate::measure::seeds::{RunGroup, interval_in_words};
use crate::measure::statistics::mean;
use crate::measure::statistics::seeds::OverSeeds;
use crate::sweep::{Point, PointState};
use crate::wording::shell_word;

/// A number of the finished runs of a set of values, over its seeds.
pub(super) struct OfSeeds {
    pub(super) n: usize,
    pub(super) mean: f64,
    pub(super) interval: Option<(f64, f64)>,
}

impl OfSeeds {
    /// `None` where no finished run has it. Runs of one seed count as one, by their mean.
    pub(super) fn of(group: &RunGroup, seed: u64, number: impl Fn(&RunSummary) -> Option<f64>) -> Option<Self> {
        let mut by_seed: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
        for run in group.runs.iter().filter(|run| run.run.finished) {
            if let Some(value) = number(&run.run) {
                by_seed.entry(run.seed).or_default().push(value);
            }
        }
        let values: Vec<f64> = by_seed.into_values().map(mean).collect();
        (!values.is_empty()).then(|| Self {
            n: values.len(),
            mean: mean(values.iter().copied()),
            interval: OverSeeds::new(values.len(), seed).mean(&values),
        })
    }

    /// `0.848 (0.746–0.914)`.
    pub(super) fn words(&self) -> String {
        match self.interval {
            Some(interval) => within(self.mean, interval),
            None => format!("{:.3} (1 seed)", self.mean),
        }
    }
}

/// A row a set of values.
pub(super) fn sets(sweep: &PageSweep) -> Pictures {
    let (groups, splits, seed) = (&sweep.gathered.groups, sweep.splits(), sweep.gathered.seed);
    let stages = &sweep.gathered.stages;
    let mut heads = vec![
        "set of values".to_owned(),
        "seeds".to_owned(),
        "runs".to_owned(),
        "finished".to_owned(),
    ];
    heads.extend(
        splits
            .iter()
            .map(|split| format!("{} (95 % over seeds)", split.title())),
    );
    for times in stages {
        heads.push(format!("{}: reached", times.stage.name));
        heads.push(format!("{}: median step", times.stage.name));
    }
    let row = |group: &RunGroup| -> Vec<Value> {
        let finished = group.runs.iter().filter(|run| run.run.finished).count();
        let mut row: Vec<Value> = vec![
            group.title.as_str().into(),
            group.n_seeds().into(),
            group.runs.len().into(),
            finished.into(),
        ];
        row.extend(splits.iter().map(|split| {
            let accuracy = OfSeeds::of(group, seed, |run| run.accuracy.get(*split).copied());
            accuracy.map_or(Value::Null, |accuracy| accuracy.words().into())
        }));
        for times in stages {
            let curve = times.curves.iter().find(|curve| curve.group == group.title);
            row.push(curve.map_or(Value::Null, |curve| {
                format!("{} of {}", curve.reached, curve.runs).into()
            }));
            row.push(curve.and_then(|curve| curve.median).into());
        }
        row
    };
    let sizes: BTreeSet<usize> = groups.iter().map(RunGroup::n_seeds).filter(|n| *n > 1).collect();
    let intervals: Vec<String> = sizes.into_iter().map(interval_in_words).collect();
    Pictures::of_rows(Rows {
        title: "Sets of values".to_owned(),
        heads,
        lines: groups.iter().map(row).collect(),
        conditions: format!(
            "accuracy at the last evaluation, mean of finished runs; intervals: {}, not over test rows; times of stages: of all runs, those \
             that are not there yet censored",
            if intervals.is_empty() {
                "none of one seed".to_owned()
            } else {
                intervals.join("; ")
            }
        ),
    })
}

/// A row a point: the tidy table, with the command that makes its own page.
pub(super) fn points(sweep: &PageSweep) -> Pictures {
    let splits = sweep.splits();
    let keys: BTreeSet<&String> = sweep.plan.points.iter().flat_map(|point| point.values.keys()).collect();
    let runs: BTreeMap<&str, &RunSummary> = sweep
        .gathered
        .groups
        .iter()
        .flat_map(|group| group.runs.iter().map(|run| (run.run.name.as_str(), &run.run)))
        .collect();
    let mut stages: Vec<&str> = Vec::new();
    for outcome in runs.values().flat_map(|run| &run.stages) {
        if !stages.contains(&outcome.stage.name.as_str()) {
            stages.push(&outcome.stage.name);
        }
    }
    let learns = runs.values().any(|run| run.learned_hops.is_some());
    let mut heads: Vec<String> = ["point", "name", "state", "step", "seconds"].map(str::to_owned).into();
    heads.extend(keys.iter().map(|key| (*key).clone()));
    heads.extend(["data seed", "weights seed", "order seed"].map(str::to_owned));
    heads.extend(splits.iter().map(|split| split.title().to_owned()));
    heads.extend(learns.then(|| "learned hops".to_owned()));
    heads.extend(stages.iter().map(|stage| format!("{stage}: step")));
    heads.push("its own page".to_owned());
    let row = |(point, state): &(Point, PointState)| -> Vec<Value> {
        let run = runs.get(point.name.as_str());
        let mut row: Vec<Value> = vec![point.number.into(), point.name.as_str().into(), words(state).into()];
        row.push(run.map(|run| run.steps).into());
        row.push(run.map(|run| run.seconds.round()).into());
        let values = keys.iter().map(|key| {
            point
                .values
                .get(*key)
                .and_then(|value| serde_json::to_value(value).ok())
        });
        row.extend(values.map(|value| value.unwrap_or(Value::Null)));
        row.extend([
            point.seeds.data.into(),
            point.seeds.init.into(),
            point.seeds.order.into(),
        ]);
        row.extend(splits.iter().map(|split| accuracy(run.copied(), split)));
        row.extend(learns.then(|| run.and_then(|run| run.learned_hops).into()));
        row.extend(stages.iter().map(|stage| reached(run.copied(), stage)));
        let folder = sweep.folder.join(&point.folder);
        row.push(format!("loopscope report {}", shell_word(&folder.to_string_lossy())).into());
        row
    };
    Pictures::of_rows(Rows {
        title: "Points".to_owned(),
        heads,
        lines: sweep.status.points.iter().map(row).collect(),
        conditions: "accuracy at the last evaluation of each run; intervals over its test rows are on its own page; sweep gather writes this \
                     table with a row for each number"
            .to_owned(),
    })
}

fn accuracy(run: Option<&RunSummary>, split: &Split) -> Value {
    let known = run.and_then(|run| run.accuracy.get(split).copied());
    known.map(super::super::data::rounded).into()
}

fn reached(run: Option<&RunSummary>, stage: &str) -> Value {
    let outcome = run.and_then(|run| run.stages.iter().find(|outcome| outcome.stage.name == stage));
    outcome.and_then(|outcome| Some(outcome.reached.as_ref()?.step)).into()
}

// What `sweep status` calls it; of a failed point with its error.
fn words(state: &PointState) -> String {
    match state {
        PointState::Done { .. } => "done".to_owned(),
        PointState::Running { .. } => "running".to_owned(),
        PointState::Silent { .. } => "silent".to_owned(),
        PointState::Failed { error, .. } => format!("failed: {error}"),
        PointState::Waiting { saved } if saved.step > 0 => "stopped".to_owned(),
        PointState::Waiting { .. } => "waiting".to_owned(),
    }
}
