//! The grokking stages of a run, and when each was reached.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::config::Stage;
use super::metrics::Evaluation;

/// When a stage was reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reached {
    pub step: u64,
    pub epoch: f64,
    /// Seconds of training until then.
    pub seconds: f64,
    /// Accuracy of every split at that evaluation.
    pub accuracy: BTreeMap<String, f64>,
}

/// A stage with its outcome so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageOutcome {
    #[serde(flatten)]
    pub stage: Stage,
    /// `null` where the run has not reached it.
    pub reached: Option<Reached>,
}

/// Watches the evaluations of a run for its stages. A stage can be reached only after the one before it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageTracker {
    pub outcomes: Vec<StageOutcome>,
    // How many evaluations in a row have met the next stage's threshold.
    held: u32,
}

impl StageTracker {
    /// Nothing reached yet.
    pub fn new(stages: &[Stage]) -> Self {
        Self {
            outcomes: stages
                .iter()
                .map(|stage| StageOutcome {
                    stage: stage.clone(),
                    reached: None,
                })
                .collect(),
            held: 0,
        }
    }

    /// How many stages have been reached.
    pub fn count(&self) -> usize {
        self.outcomes
            .iter()
            .take_while(|outcome| outcome.reached.is_some())
            .count()
    }

    /// Takes note of an evaluation; gives the places of the stages that it reached.
    pub fn observe(&mut self, evaluation: &Evaluation) -> Vec<usize> {
        let mut reached = Vec::new();
        loop {
            let next = self.count();
            let Some(outcome) = self.outcomes.get_mut(next) else {
                break;
            };
            // A curriculum does not measure the stages after its next one.
            let Some(&accuracy) = evaluation.accuracy.get(&outcome.stage.split) else {
                break;
            };
            self.held = if accuracy >= outcome.stage.accuracy {
                self.held + 1
            } else {
                0
            };
            if self.held < outcome.stage.hold {
                break;
            }
            outcome.reached = Some(Reached {
                step: evaluation.step,
                epoch: evaluation.epoch,
                seconds: evaluation.seconds,
                accuracy: evaluation.accuracy.clone(),
            });
            self.held = 0;
            reached.push(next);
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
            accuracy: [("a".to_owned(), accuracies[0]), ("b".to_owned(), accuracies[1])].into(),
        }
    }

    #[test]
    fn stages_come_in_order_and_must_hold() {
        let stage = |name: &str, split: &str, hold| Stage {
            name: name.to_owned(),
            split: split.to_owned(),
            accuracy: 0.9,
            hold,
        };
        let mut tracker = StageTracker::new(&[stage("first", "a", 2), stage("second", "b", 1)]);
        assert!(tracker.observe(&evaluation(1, [0.95, 0.95])).is_empty());
        assert!(tracker.observe(&evaluation(2, [0.5, 0.95])).is_empty());
        assert!(tracker.observe(&evaluation(3, [0.9, 0.1])).is_empty());
        assert_eq!(tracker.observe(&evaluation(4, [0.9, 0.1])), [0]);
        assert_eq!(tracker.observe(&evaluation(5, [0.1, 0.9])), [1]);
        assert!(tracker.observe(&evaluation(6, [0.1, 0.9])).is_empty());
        assert_eq!(tracker.outcomes[0].reached.as_ref().map(|r| r.step), Some(4));
    }

    #[test]
    fn one_evaluation_can_reach_two_stages() {
        let stage = |split: &str| Stage {
            name: split.to_owned(),
            split: split.to_owned(),
            accuracy: 0.9,
            hold: 1,
        };
        let mut tracker = StageTracker::new(&[stage("a"), stage("b")]);
        assert_eq!(tracker.observe(&evaluation(1, [1.0, 1.0])), [0, 1]);
    }
}
