//! Claims 1 and 2, and more iterations than in training: how well the runs of the systematic experiment answer.

use super::words::{accuracy, or_dash};
use super::{Criterion, Judgement};
use crate::checkpoint::CheckpointRole;
use crate::experiment::{Recurrence, RunView};
use crate::graph::Split;
use crate::measure::{Eval, EvalRow};
use crate::train::StageOutcome;

impl<'a> RunView<'a> {
    /// The accuracy on a split at the end of training, after the training iterations.
    pub(crate) fn final_accuracy(self, split: &Split) -> Option<&'a EvalRow> {
        let trained = self.model().iterations;
        self.rows_at::<Eval>(CheckpointRole::End)
            .find(|row| row.split == *split && row.iterations == trained)
    }
}

/// The looped model reaches a stage, and answers OOD chains better than all vanilla models.
pub struct Generalizes {
    /// The stage, from 1.
    pub stage: usize,
    /// The paper's accuracies on OOD chains, which a note compares with.
    pub paper: [f64; 2],
}

impl Criterion<RunView<'_>> for Generalizes {
    fn text(&self) -> String {
        format!(
            "the looped model reaches stage {}, and its final OOD interval lies above those of all vanilla models",
            self.stage
        )
    }

    fn judge(&self, run: RunView) -> Judgement {
        let own = run.final_accuracy(&Split::ood());
        let reached = run
            .training()
            .and_then(|training| training.stages.get(self.stage - 1))
            .map(|outcome| outcome.reached.is_some());
        let text = |row: Option<&EvalRow>| or_dash(row.map(accuracy));
        let mut numbers = vec![format!("{}: {} OOD at the end", run.name(), text(own))];
        let vanilla = run
            .others()
            .filter(|other| other.role().recurrence == Recurrence::Vanilla);
        // Unknown without a vanilla model, or where any of them was not evaluated.
        let mut below = None;
        for (place, other) in vanilla.enumerate() {
            let theirs = other.final_accuracy(&Split::ood());
            let this = own.zip(theirs).map(|(own, theirs)| theirs.high < own.low);
            below = match place {
                0 => this,
                _ => below.zip(this).map(|(all, this)| all && this),
            };
            let evaluations = other.training().map(|training| {
                let ood = training
                    .metrics
                    .iter()
                    .filter_map(|line| line.accuracy.get(&Split::ood()));
                let best = ood.fold(0.0_f64, |best, &accuracy| best.max(accuracy));
                format!(", {best:.3} at its best evaluation in {} steps", training.steps)
            });
            numbers.push(format!(
                "{}: {} OOD at the end{}",
                other.name(),
                text(theirs),
                evaluations.unwrap_or_default()
            ));
        }
        let [low, high] = self.paper;
        if let Some(own) = own.filter(|own| own.high < low) {
            numbers.push(format!(
                "the paper's level ({low:.2} to {high:.2}) is not reached: the interval ends at {:.3}",
                own.high
            ));
        }
        Judgement {
            met: reached.zip(below).map(|(reached, below)| reached && below),
            numbers,
        }
    }
}

/// Three stages one after the other, and OOD accuracy still low at the second.
pub struct ThreeStages {
    /// OOD accuracy at the second stage is below this share of the third's threshold.
    pub max_share_at_second: f64,
}

impl ThreeStages {
    fn met(&self, stages: &[StageOutcome]) -> Option<bool> {
        let [first, second, third] = stages else {
            return None;
        };
        let step = |outcome: &StageOutcome| outcome.reached.as_ref().map(|reached| reached.step);
        let (Some(a), Some(b), Some(c)) = (step(first), step(second), step(third)) else {
            return Some(false);
        };
        let ood = *second.reached.as_ref()?.accuracy.get(&Split::ood())?;
        Some(a < b && b < c && ood < self.max_share_at_second * third.stage.accuracy)
    }
}

impl Criterion<RunView<'_>> for ThreeStages {
    fn text(&self) -> String {
        format!(
            "all three stages are reached at increasing steps, and at the second OOD is below {:.2} of the third's threshold",
            self.max_share_at_second
        )
    }

    fn judge(&self, run: RunView) -> Judgement {
        let Some(training) = run.training() else {
            return Judgement {
                met: None,
                numbers: Vec::new(),
            };
        };
        let line = |outcome: &StageOutcome| match &outcome.reached {
            None => format!("{}: not reached in {} steps", outcome.stage.name, training.steps),
            Some(reached) => {
                let accuracy = |split: &Split| reached.accuracy.get(split).copied().unwrap_or(f64::NAN);
                format!(
                    "{}: step {} (epoch {:.0}, {:.0} s); train {:.3}, ID {:.3}, OOD {:.3}",
                    outcome.stage.name,
                    reached.step,
                    reached.epoch,
                    reached.seconds,
                    accuracy(&Split::train()),
                    accuracy(&Split::in_distribution()),
                    accuracy(&Split::ood())
                )
            }
        };
        Judgement {
            met: self.met(&training.stages),
            numbers: training.stages.iter().map(line).collect(),
        }
    }
}

/// The largest accuracy beyond the training iterations gains on that at the training iterations.
pub struct MoreIterations {
    /// The interval of the gain lies above this.
    pub min_gain: f64,
}

impl Criterion<RunView<'_>> for MoreIterations {
    fn text(&self) -> String {
        format!(
            "the largest accuracy beyond the training iterations is above that at the training iterations: the interval of \
             their difference on the same chains lies above {}",
            self.min_gain
        )
    }

    fn judge(&self, run: RunView) -> Judgement {
        let rows: Vec<&EvalRow> = run
            .rows_at::<Eval>(CheckpointRole::End)
            .filter(|row| row.split == Split::ood())
            .collect();
        let beyond = rows
            .iter()
            .find_map(|row| Some((row, row.gain?, row.gain_low?, row.gain_high?)));
        let course: Vec<String> = rows
            .iter()
            .map(|row| format!("{}: {:.3}", row.iterations, row.accuracy))
            .collect();
        let own = or_dash(run.final_accuracy(&Split::ood()).map(accuracy));
        let mut numbers = vec![format!("trained with {}: {own}", run.model().iterations)];
        numbers.extend(beyond.map(|(row, gain, low, high)| {
            format!(
                "at most {:.3} beyond, with {}: {gain:+.3} ({low:+.3} to {high:+.3}, paired, the selection included)",
                row.accuracy, row.iterations
            )
        }));
        numbers.push(format!("all: {}", course.join(", ")));
        Judgement {
            met: beyond.map(|(_, _, low, _)| low > self.min_gain),
            numbers,
        }
    }
}
