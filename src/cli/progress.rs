//! What a person sees of an experiment and of the training of runs: progress bars on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::path::Path;
use std::time::Instant;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::analyses::say_notes;
use super::compare;
use crate::error::Result;
use crate::experiment::{self, MeasuredResult, Phase};
use crate::figure;
use crate::graph::{Role, Split};
use crate::measure::Comparison;
use crate::train::{CheckpointReason, Evaluation, Observer, StageOutcome, Trainer};

/// The terminal, or wherever standard error goes.
pub(super) struct Terminal {
    bars: MultiProgress,
}

impl Terminal {
    pub(super) fn new() -> Self {
        Self {
            bars: MultiProgress::new(),
        }
    }
}

// Whether a figure is there in both formats.
fn is_drawn(folder: &Path, name: &str) -> bool {
    ["svg", "png"]
        .iter()
        .all(|kind| folder.join(format!("{name}.{kind}")).is_file())
}

impl experiment::Observer for Terminal {
    fn phase(&self, phase: &Phase) {
        err!("{}/{} {}", phase.number, phase.count, phase.title);
    }

    fn watch(&self, name: &str, trainer: &Trainer) -> Box<dyn Observer + '_> {
        Box::new(Watched::new(name, trainer, &self.bars))
    }

    fn measured(&self, result: &MeasuredResult) -> Result<()> {
        if result.fresh {
            say_notes(result.checkpoints, result.notes);
        }
        if result.fresh || !is_drawn(result.folder, result.method) {
            figure::draw_result(result.method, result.folder)?;
        }
        Ok(())
    }

    fn compared(&self, comparison: &Comparison, folder: &Path, fresh: bool) -> Result<()> {
        if fresh {
            compare::say(comparison);
        }
        if fresh || !is_drawn(folder, compare::NAME) {
            figure::compare(comparison).write(folder, compare::NAME)?;
        }
        compare::print(comparison);
        Ok(())
    }
}

/// A run that is watched while it trains.
struct Watched {
    name: String,
    bar: Option<ProgressBar>,
    message: String,
    // Where and when this sitting began.
    began: (u64, Instant),
    // When the bar or a plain line was last drawn.
    drawn: Instant,
}

impl Watched {
    fn new(name: &str, trainer: &Trainer, bars: &MultiProgress) -> Self {
        let step = trainer.progress().step;
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = bars.add(ProgressBar::new(trainer.config().train.steps).with_position(step));
            let template = "{prefix:<24} {bar:24} {pos}/{len} steps, {eta} left\n  {wide_msg}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_prefix(name.to_owned());
            bar.reset_eta();
            bar
        });
        Self {
            name: name.to_owned(),
            bar,
            message: String::new(),
            began: (step, Instant::now()),
            drawn: Instant::now(),
        }
    }

    // Steps a second in this sitting.
    fn rate(&self, step: u64) -> f64 {
        (step - self.began.0) as f64 / self.began.1.elapsed().as_secs_f64()
    }
}

// The bar's line is short.
fn short(split: &Split) -> &str {
    match split.role() {
        Role::InDistribution => "ID",
        Role::Ood => "OOD",
        _ => split.name(),
    }
}

fn summary(trainer: &Trainer, evaluation: &Evaluation) -> String {
    let stages = &trainer.progress().stages;
    let stage = match stages.n_reached() {
        0 if stages.outcomes.is_empty() => String::new(),
        0 => "before stage 1 | ".to_owned(),
        n => format!("stage {n}: {} | ", stages.outcomes[n - 1].stage.name),
    };
    // The splits that stages depend on come first: a narrow terminal cuts the rest.
    let mut splits: Vec<(&Split, &f64)> = evaluation.accuracy.iter().collect();
    let watched = |split: &Split| {
        let is_of = |outcome: &StageOutcome| outcome.stage.split == *split;
        stages.outcomes.iter().position(is_of)
    };
    splits.sort_by_key(|(split, _)| watched(split).unwrap_or(usize::MAX));
    let accuracies: Vec<String> = splits
        .iter()
        .map(|(split, accuracy)| format!("{} {accuracy:.3}", short(split)))
        .collect();
    format!("{stage}{}", accuracies.join(" "))
}

impl Observer for Watched {
    fn on_step(&mut self, trainer: &Trainer, loss: f64) -> Result<()> {
        if let Some(bar) = &self.bar
            && self.drawn.elapsed().as_millis() >= 100
        {
            self.drawn = Instant::now();
            let step = trainer.progress().step;
            bar.set_position(step);
            bar.set_message(format!(
                "{:.0} steps/s | loss {loss:.3} | {}",
                self.rate(step),
                self.message
            ));
        }
        Ok(())
    }

    fn on_evaluation(
        &mut self,
        trainer: &Trainer,
        evaluation: &Evaluation,
        reasons: &[CheckpointReason],
    ) -> Result<()> {
        self.message = summary(trainer, evaluation);
        // Plain lines keep to one in ten seconds, but for evaluations at which something happened.
        let worth_a_line = !reasons.is_empty() || self.drawn.elapsed().as_secs() >= 10;
        if self.bar.is_none() && worth_a_line {
            self.drawn = Instant::now();
            let (step, total) = (evaluation.step, trainer.config().train.steps);
            let rate = self.rate(step);
            let loss = evaluation
                .loss
                .map_or(String::new(), |loss| format!("loss {loss:.3} | "));
            let time = if rate > 0.0 {
                format!("{rate:.1} steps/s, {:.0} s left | ", (total - step) as f64 / rate)
            } else {
                String::new()
            };
            err!("{}: step {step}/{total} | {time}{loss}{}", self.name, self.message);
        }
        Ok(())
    }

    fn on_interrupt(&mut self, _: &Trainer) -> Result<()> {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
        Ok(())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}
