//! The stages of a run, and when each was reached.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::metrics::Evaluation;
use crate::error::{Result, allow};
use crate::graph::Split;

/// A threshold on the accuracy of a split. The stage is reached once `hold` evaluations in a row have met it, and a
/// checkpoint is written then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// The name of the stage; its checkpoint is `stage-N-NAME.safetensors`.
    pub name: String,
    /// The split whose accuracy is measured.
    pub split: Split,
    /// The smallest accuracy that meets the threshold, from 0 to 1.
    pub accuracy: f64,
    /// The number of evaluations in a row; by default 3, so that a single lucky evaluation is not taken for a stage.
    #[serde(default = "default_hold")]
    pub hold: u32,
}

fn default_hold() -> u32 {
    3
}

impl Stage {
    /// Checks the values of the stage with this index in `stages`. Its name becomes part of a file name.
    ///
    /// # Errors
    /// With the key, the value, and what is allowed.
    pub(crate) fn check(&self, index: usize) -> Result<()> {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let key = |field: &str| format!("stages.{index}.{field}");
        allow(
            !self.name.is_empty() && self.name.chars().all(word),
            &key("name"),
            &format!("{:?}", self.name),
            "letters, digits, - and _",
        )?;
        allow(
            (0.0..=1.0).contains(&self.accuracy),
            &key("accuracy"),
            &self.accuracy,
            "0 to 1",
        )?;
        allow(self.hold > 0, &key("hold"), &self.hold, "1 or more")
    }
}

/// The three grokking stages of Kohli et al. 2026, Section 5: memorization (training accuracy 0.99), in-distribution
/// generalization (0.95 on held-out chains), systematic generalization (0.50 on OOD chains).
pub fn grokking_stages() -> Vec<Stage> {
    [
        ("memorization", Split::train(), 0.99),
        ("id", Split::in_distribution(), 0.95),
        ("systematic", Split::ood(), 0.50),
    ]
    .map(|(name, split, accuracy)| Stage {
        name: name.to_owned(),
        split,
        accuracy,
        hold: default_hold(),
    })
    .into()
}

/// When a stage was reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reached {
    /// The step of the `hold`-th evaluation in a row that met the threshold; the checkpoint of the stage is of this step.
    pub step: u64,
    /// The step of the first of these evaluations; absent in runs of versions that did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_step: Option<u64>,
    /// Passes over the training rows until then.
    pub epoch: f64,
    /// Seconds of training until then.
    pub seconds: f64,
    /// Accuracy of every split at that evaluation.
    pub accuracy: BTreeMap<Split, f64>,
    /// The number of rows that the accuracy of the stage's split was measured on; absent where `since_step` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<usize>,
}

/// A stage with its outcome so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageOutcome {
    /// What the stage asks for.
    #[serde(flatten)]
    pub stage: Stage,
    /// `null` where the run has not reached it.
    pub reached: Option<Reached>,
}

/// Decides at each evaluation which stages are reached.
///
/// A stage is reached once its threshold was met in `hold` evaluations in a row, and not before the stage that precedes
/// it. Evaluations that met the threshold while the preceding stage was not yet reached count too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageTracker {
    /// The stages in order.
    pub outcomes: Vec<StageOutcome>,
    // One for each stage.
    #[serde(default)]
    streaks: Vec<Streak>,
}

/// The latest evaluations in a row that met a stage's threshold.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Streak {
    evaluations: u32,
    // The step of the first of them, where there is one.
    since: u64,
}

impl StageTracker {
    /// A tracker of these stages at the start of training.
    pub fn new(stages: &[Stage]) -> Self {
        Self {
            outcomes: stages
                .iter()
                .map(|stage| StageOutcome {
                    stage: stage.clone(),
                    reached: None,
                })
                .collect(),
            streaks: Vec::new(),
        }
    }

    /// The number of stages that have been reached.
    pub fn n_reached(&self) -> usize {
        self.outcomes
            .iter()
            .take_while(|outcome| outcome.reached.is_some())
            .count()
    }

    /// Records an evaluation, in which a split had `rows(split)` rows; gives the indices of the stages that it reached.
    pub fn observe(&mut self, evaluation: &Evaluation, rows: impl Fn(&Split) -> Option<usize>) -> Vec<usize> {
        // A state that was saved by a version without streaks has none.
        self.streaks.resize(self.outcomes.len(), Streak::default());
        for (outcome, streak) in self.outcomes.iter().zip(&mut self.streaks) {
            // A curriculum does not measure the stages that come after its next one.
            let accuracy = evaluation.accuracy.get(&outcome.stage.split);
            *streak = match accuracy {
                Some(&accuracy) if accuracy >= outcome.stage.accuracy => Streak {
                    evaluations: streak.evaluations.saturating_add(1),
                    since: if streak.evaluations == 0 {
                        evaluation.step
                    } else {
                        streak.since
                    },
                },
                _ => Streak::default(),
            };
        }
        let mut reached = Vec::new();
        let first = self.n_reached();
        for (index, (outcome, streak)) in self.outcomes.iter_mut().zip(&self.streaks).enumerate().skip(first) {
            if streak.evaluations < outcome.stage.hold {
                break;
            }
            outcome.reached = Some(Reached {
                step: evaluation.step,
                since_step: Some(streak.since),
                epoch: evaluation.epoch,
                seconds: evaluation.seconds,
                accuracy: evaluation.accuracy.clone(),
                rows: rows(&outcome.stage.split),
            });
            reached.push(index);
        }
        reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluation(step: u64, accuracies: [f64; 2]) -> Evaluation {
        Evaluation {
            step,
            epoch: 0.0,
            seconds: 0.0,
            loss: None,
            lr: 0.0,
            gradient_norm: None,
            accuracy: [("a".into(), accuracies[0]), ("b".into(), accuracies[1])].into(),
        }
    }

    fn observe(tracker: &mut StageTracker, step: u64, accuracies: [f64; 2]) -> Vec<usize> {
        tracker.observe(&evaluation(step, accuracies), |split| {
            (split.name() == "a").then_some(40)
        })
    }

    #[test]
    fn stages_come_in_order_and_must_hold() {
        let stage = |name: &str, split: &str, hold| Stage {
            name: name.to_owned(),
            split: split.into(),
            accuracy: 0.9,
            hold,
        };
        let mut tracker = StageTracker::new(&[stage("first", "a", 2), stage("second", "b", 1)]);
        assert!(observe(&mut tracker, 1, [0.95, 0.95]).is_empty());
        assert!(observe(&mut tracker, 2, [0.5, 0.95]).is_empty());
        assert!(observe(&mut tracker, 3, [0.9, 0.1]).is_empty());
        assert_eq!(observe(&mut tracker, 4, [0.9, 0.1]), [0]);
        assert_eq!(observe(&mut tracker, 5, [0.1, 0.9]), [1]);
        assert!(observe(&mut tracker, 6, [0.1, 0.9]).is_empty());
        let first = tracker.outcomes[0].reached.as_ref().unwrap();
        assert_eq!((first.step, first.since_step, first.rows), (4, Some(3), Some(40)));
    }

    #[test]
    fn what_a_stage_has_held_before_its_turn_counts() {
        let stage = |split: &str| Stage {
            name: split.to_owned(),
            split: split.into(),
            accuracy: 0.9,
            hold: 3,
        };
        let mut tracker = StageTracker::new(&[stage("a"), stage("b")]);
        for (step, accuracies, expected) in [
            (1, [0.0, 1.0], &[][..]),
            (2, [1.0, 1.0], &[]),
            (3, [1.0, 1.0], &[]),
            (4, [1.0, 1.0], &[0, 1]),
        ] {
            // As a state that is saved and restored between any two evaluations.
            let text = serde_json::to_string(&tracker).unwrap();
            tracker = serde_json::from_str(&text).unwrap();
            assert_eq!(observe(&mut tracker, step, accuracies), expected, "step {step}");
        }
        let since = |index: usize| tracker.outcomes[index].reached.as_ref().unwrap().since_step;
        assert_eq!((since(0), since(1)), (Some(2), Some(1)));
    }

    #[test]
    fn one_evaluation_can_reach_two_stages() {
        let stage = |split: &str| Stage {
            name: split.to_owned(),
            split: split.into(),
            accuracy: 0.9,
            hold: 1,
        };
        let mut tracker = StageTracker::new(&[stage("a"), stage("b")]);
        assert_eq!(observe(&mut tracker, 1, [1.0, 1.0]), [0, 1]);
    }
}
