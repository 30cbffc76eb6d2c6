//! The numbers of a run, one by one.

use serde::{Deserialize, Serialize};

use crate::graph::Split;
use crate::measure::compare::RunSummary;

/// One number of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricValue {
    /// What it is: `accuracy`, `steps`, `seconds`, `parameters`, `forward_flops`, `learned_hops`, `stage_step`, `stage_epoch`,
    /// `stage_seconds` or `stage_updates`.
    pub metric: String,
    /// The split, of an accuracy.
    pub split: Option<Split>,
    /// The stage, of a time at which one was reached.
    pub stage: Option<String>,
    /// Training steps done when it was measured.
    pub step: u64,
    /// The number; absent where the run has no evaluation to tell it from.
    pub value: Option<f64>,
    /// Its unit.
    pub unit: String,
    /// Whether it is the last time at which the stage was not reached, so that the time of the stage is larger.
    pub censored: bool,
}

impl MetricValue {
    /// That a run has done no steps.
    pub fn not_begun() -> Self {
        Self {
            metric: "steps".to_owned(),
            split: None,
            stage: None,
            step: 0,
            value: Some(0.0),
            unit: "steps".to_owned(),
            censored: false,
        }
    }
}

/// The numbers of a run, accuracies at the iterations of training.
///
/// `stage_updates` are the steps from the stage before; of a stage whose predecessor was not reached 0, censored.
pub fn metrics(run: &RunSummary) -> Vec<MetricValue> {
    let number = |metric: &str, value: f64, unit: &str| MetricValue {
        metric: metric.to_owned(),
        split: None,
        stage: None,
        step: run.steps,
        value: Some(value),
        unit: unit.to_owned(),
        censored: false,
    };
    let last = run.metrics.last();
    let mut all: Vec<MetricValue> = run
        .accuracy
        .iter()
        .map(|(split, &accuracy)| MetricValue {
            split: Some(split.clone()),
            step: last.map_or(run.steps, |line| line.step),
            ..number("accuracy", accuracy, "share")
        })
        .collect();
    all.push(number("steps", run.steps as f64, "steps"));
    all.push(number("seconds", run.seconds, "s"));
    all.push(number("parameters", run.parameters as f64, "weights"));
    all.push(number("forward_flops", run.forward_flops as f64, "FLOP per query"));
    all.extend(run.learned_hops.map(|hops| number("learned_hops", hops as f64, "hops")));
    let mut before = Some(0);
    for outcome in &run.stages {
        let reached = outcome.reached.as_ref();
        let step = reached.map_or(run.steps, |reached| reached.step);
        let of_stage = |metric: &str, value: Option<f64>, unit: &str| MetricValue {
            stage: Some(outcome.stage.name.clone()),
            step,
            value,
            censored: reached.is_none(),
            ..number(metric, 0.0, unit)
        };
        let epoch = reached
            .map(|reached| reached.epoch)
            .or_else(|| last.map(|line| line.epoch));
        let seconds = reached.map_or(run.seconds, |reached| reached.seconds);
        let updates = before.map_or(0, |before: u64| step.saturating_sub(before));
        all.push(of_stage("stage_step", Some(step as f64), "steps"));
        all.push(of_stage("stage_epoch", epoch, "epochs"));
        all.push(of_stage("stage_seconds", Some(seconds), "s"));
        all.push(of_stage("stage_updates", Some(updates as f64), "steps"));
        before = reached.map(|reached| reached.step);
    }
    all
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::ModelConfig;
    use crate::train::{Evaluation, Reached, Stage, StageOutcome, grokking_stages};

    /// A run of 100 steps, evaluated at its end alone, that reached its first stages at these steps.
    pub fn run(reached: &[u64], ood: f64) -> RunSummary {
        let accuracy = BTreeMap::from([(Split::ood(), ood)]);
        let outcome = |(i, stage): (usize, Stage)| StageOutcome {
            stage,
            reached: reached.get(i).map(|&step| Reached {
                step,
                since_step: None,
                epoch: step as f64 / 10.0,
                seconds: step as f64 / 2.0,
                accuracy: accuracy.clone(),
                rows: None,
            }),
        };
        RunSummary {
            name: "run".to_owned(),
            model: ModelConfig::new(1, 2, 16, 2),
            parameters: 1000,
            forward_flops: 5000,
            seed: 1,
            steps: 100,
            seconds: 50.0,
            finished: true,
            learned_hops: None,
            stages: grokking_stages().into_iter().enumerate().map(outcome).collect(),
            accuracy: accuracy.clone(),
            metrics: vec![Evaluation {
                step: 100,
                epoch: 10.0,
                seconds: 50.0,
                loss: None,
                lr: 1e-3,
                gradient_norm: None,
                accuracy,
            }],
        }
    }

    #[test]
    fn a_stage_that_was_not_reached_is_censored_at_the_last_step() {
        let all = metrics(&run(&[30, 70], 0.25));
        let of = |metric: &str| -> Vec<(f64, bool)> {
            let found = all.iter().filter(|value| value.metric == metric);
            found.map(|value| (value.value.unwrap(), value.censored)).collect()
        };
        assert_eq!(of("stage_step"), [(30.0, false), (70.0, false), (100.0, true)]);
        assert_eq!(of("stage_epoch"), [(3.0, false), (7.0, false), (10.0, true)]);
        assert_eq!(of("stage_updates"), [(30.0, false), (40.0, false), (30.0, true)]);
        assert_eq!(of("accuracy"), [(0.25, false)]);
        let none = metrics(&run(&[], 0.25));
        let updates = none.iter().filter(|value| value.metric == "stage_updates");
        let updates: Vec<(Option<f64>, bool)> = updates.map(|value| (value.value, value.censored)).collect();
        assert_eq!(updates, [(Some(100.0), true), (Some(0.0), true), (Some(0.0), true)]);
    }
}
