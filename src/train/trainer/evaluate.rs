//! Evaluations: when one is due, what it measures, and which checkpoints it calls for.

use super::Trainer;
use crate::error::Result;
use crate::graph::Split;
use crate::train::interval::Interval;
use crate::train::metrics::{self, Evaluation};
use crate::train::progress::CheckpointReason;

impl Trainer {
    // Whether the run is to be evaluated before its next step.
    pub(super) fn evaluation_is_due(&self) -> bool {
        let (progress, config) = (&self.progress, &self.config.train);
        let steps = |interval: Interval| interval.steps(self.batches());
        let (every, early) = (config.evaluate_every, config.evaluate_early);
        let before_first_stage = progress.stages.n_reached() == 0 && !progress.stages.outcomes.is_empty();
        let interval = if before_first_stage && steps(early) < steps(every) {
            early
        } else {
            every
        };
        let elapsed = match interval {
            Interval::Steps(_) => progress.step,
            Interval::Epochs(_) => self.stage_step(),
        };
        let on_schedule = elapsed.is_multiple_of(steps(interval)) || self.finished();
        on_schedule && progress.evaluated != Some(progress.step)
    }

    // Measures accuracy on every evaluation set; gives the reasons to write a checkpoint, if any.
    pub(super) fn evaluate(&mut self) -> Result<(Evaluation, Vec<CheckpointReason>)> {
        let iterations = self.config.model.iterations;
        let accuracy = self
            .evaluation_sets
            .iter()
            .map(|(name, rows)| Ok((name.clone(), metrics::accuracy(&self.model, rows, iterations)?)))
            .collect::<Result<_>>()?;
        let step = self.progress.step;
        let count = self.progress.loss_count;
        let mut evaluation = Evaluation {
            step,
            epoch: self.epoch(),
            seconds: self.seconds(),
            loss: (count > 0).then(|| self.progress.loss_sum / count as f64),
            lr: self.learning_rate(),
            gradient_norm: self.progress.gradient_norm,
            accuracy,
        };
        self.progress.evaluated = Some(step);
        (self.progress.loss_sum, self.progress.loss_count) = (0.0, 0);
        let sets = &self.evaluation_sets;
        let rows = |split: &Split| {
            sets.iter()
                .find(|(known, _)| known == split)
                .map(|(_, rows)| rows.len())
        };
        let reached = self.progress.stages.observe(&evaluation, rows);
        if !reached.is_empty() && self.config.curriculum.is_some() {
            self.begin_stage()?;
            evaluation.lr = self.learning_rate();
        }
        let mut reasons: Vec<CheckpointReason> = reached.into_iter().map(CheckpointReason::Stage).collect();
        if step as f64 >= self.progress.log_spaced_step as f64 * self.config.train.checkpoint_growth {
            self.progress.log_spaced_step = step;
            reasons.push(CheckpointReason::LogSpaced);
        }
        if self.finished() {
            reasons.push(CheckpointReason::Final);
        }
        Ok((evaluation, reasons))
    }
}
