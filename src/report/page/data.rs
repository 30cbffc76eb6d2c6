//! What the script of a page reads: one JSON block.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::PageRun;
use super::moments::Moment;
use super::queries::Queries;
use crate::figure::FoundMethod;
use crate::graph::Split;
use crate::measure::CheckpointSummary;
use crate::train::Evaluation;

/// The data of a page.
#[derive(Serialize)]
pub(super) struct PageData<'a> {
    pub(super) title: &'a str,
    pub(super) runs: Vec<RunData<'a>>,
    pub(super) moments: &'a [Moment],
    pub(super) methods: Vec<MethodData<'a>>,
    pub(super) queries: Queries<'a>,
}

#[derive(Serialize)]
pub(super) struct RunData<'a> {
    name: &'a str,
    kind: String,
    looped: bool,
    checkpoints: Vec<CheckpointData>,
    training: TrainingData<'a>,
}

#[derive(Serialize)]
struct CheckpointData {
    label: String,
    step: u64,
}

#[derive(Serialize)]
struct TrainingData<'a> {
    steps: Vec<u64>,
    accuracy: BTreeMap<&'a Split, Vec<Option<f64>>>,
    titles: BTreeMap<&'a Split, &'a str>,
    loss: Vec<Option<f64>>,
    stages: Vec<StageData<'a>>,
}

#[derive(Serialize)]
struct StageData<'a> {
    name: &'a str,
    step: u64,
}

#[derive(Serialize)]
pub(super) struct MethodData<'a> {
    name: &'a str,
    title: String,
    about: &'a str,
    misleads: &'a str,
    figures: Vec<FigureData>,
    overall: Vec<FigureData>,
}

#[derive(Serialize)]
struct FigureData {
    run: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<usize>,
    figure: Value,
}

/// The most evaluations of a run that a page has; of more, those that are spread evenly over the logarithm of the step.
const MAX_EVALUATIONS: usize = 400;

impl<'a> RunData<'a> {
    pub(super) fn of(run: &'a PageRun) -> Self {
        let model = &run.summary.model;
        Self {
            name: &run.name,
            kind: run.kind(),
            looped: model.iterations > 1,
            checkpoints: run.checkpoints.iter().map(|it| CheckpointData::of(&it.info)).collect(),
            training: TrainingData::of(run),
        }
    }
}

impl CheckpointData {
    fn of(info: &CheckpointSummary) -> Self {
        Self {
            label: info.origin.checkpoint.clone(),
            step: info.origin.step,
        }
    }
}

impl<'a> TrainingData<'a> {
    fn of(run: &'a PageRun) -> Self {
        let shown = thinned(&run.summary.metrics);
        let splits: Vec<&Split> = shown.last().map_or(Vec::new(), |line| line.accuracy.keys().collect());
        let accuracy = |split: &Split| {
            let of_line = |line: &&Evaluation| line.accuracy.get(split).copied().map(rounded);
            shown.iter().map(of_line).collect()
        };
        let reached = run.summary.stages.iter().filter_map(|outcome| {
            let reached = outcome.reached.as_ref()?;
            Some(StageData {
                name: &outcome.stage.name,
                step: reached.step,
            })
        });
        Self {
            steps: shown.iter().map(|line| line.step).collect(),
            accuracy: splits.iter().map(|&split| (split, accuracy(split))).collect(),
            titles: splits.iter().map(|&split| (split, split.title())).collect(),
            loss: shown.iter().map(|line| line.loss.map(rounded)).collect(),
            stages: reached.collect(),
        }
    }
}

// The first and the last are among them.
fn thinned(metrics: &[Evaluation]) -> Vec<&Evaluation> {
    let Some(last) = metrics.last().filter(|_| metrics.len() > MAX_EVALUATIONS) else {
        return metrics.iter().collect();
    };
    let end = (last.step.max(1) as f64).ln();
    let mut shown = Vec::new();
    let mut next = 0.0;
    for line in metrics {
        if (line.step.max(1) as f64).ln() >= next || line.step == last.step {
            shown.push(line);
            next = (line.step.max(1) as f64).ln() + end / MAX_EVALUATIONS as f64;
        }
    }
    shown
}

fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

impl<'a> MethodData<'a> {
    /// A method's figures, each under the run and checkpoint that it is of.
    pub(super) fn of(found: &'a FoundMethod, runs: &[PageRun]) -> Self {
        let owner = |checkpoint: usize| {
            let mut first = 0;
            for (index, run) in runs.iter().enumerate() {
                if checkpoint < first + run.checkpoints.len() {
                    return (index, checkpoint - first);
                }
                first += run.checkpoints.len();
            }
            (0, 0)
        };
        let (mut figures, mut overall) = (Vec::new(), Vec::new());
        let mut title = String::new();
        for found in &found.figures {
            // A figure is of one checkpoint or more, all of one run.
            let (run, checkpoint) = owner(found.checkpoints[0]);
            // Plain data; nothing in it refuses to be JSON.
            let figure = serde_json::to_value(&found.figure).unwrap_or_default();
            if let Some(Value::String(of_figure)) = figure.get("title") {
                title.clone_from(of_figure);
            }
            let alone = found.checkpoints.len() == 1;
            let data = FigureData {
                run,
                checkpoint: alone.then_some(checkpoint),
                figure,
            };
            if alone { figures.push(data) } else { overall.push(data) }
        }
        Self {
            name: found.name,
            title,
            about: found.about,
            misleads: found.misleads,
            figures,
            overall,
        }
    }
}
