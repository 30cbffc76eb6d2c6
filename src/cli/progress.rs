//! What a person sees of an experiment and of the training of runs: progress bars on a terminal, plain lines elsewhere.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::analyses::say_notes;
use super::compare;
use super::print::draws_progress;
use crate::error::Result;
use crate::experiment::{self, MeasuredResult, Phase};
use crate::figure::{self, Look};
use crate::graph::{Role, Split};
use crate::measure::{Comparison, Progress};
use crate::train::{CheckpointReason, Evaluation, Observer, StageOutcome, Trainer};
use crate::wording::duration;

/// The terminal, or wherever standard error goes.
pub(super) struct Terminal {
    bars: MultiProgress,
    look: Look,
}

impl Terminal {
    /// `look`: of figures.
    pub(super) fn new(look: &Look) -> Self {
        Self {
            bars: MultiProgress::new(),
            look: look.clone(),
        }
    }

    // Whether the figure of a result that was there is missing, or asked for with another look than it has by default.
    fn draws_again(&self, folder: &Path, name: &str) -> bool {
        self.look != Look::default() || !self.look.is_written(folder, name)
    }
}

impl experiment::Observer for Terminal {
    fn phase(&self, phase: &Phase) {
        err!("{}/{} {}", phase.number, phase.count, phase.title);
    }

    fn watch(&self, name: &str, trainer: &Trainer) -> Box<dyn Observer + '_> {
        Box::new(Watched::new(name, trainer, &self.bars))
    }

    fn progress(&self) -> Option<fn(&Progress)> {
        Some(counted_work)
    }

    fn measured(&self, result: &MeasuredResult) -> Result<()> {
        if result.fresh {
            say_notes(result.checkpoints, result.notes);
        }
        if result.fresh || self.draws_again(result.folder, result.method) {
            figure::draw_result(result.method, result.folder, &self.look)?;
        }
        Ok(())
    }

    fn compared(&self, comparison: &Comparison, folder: &Path, fresh: bool) -> Result<()> {
        if fresh {
            compare::say(comparison);
        }
        if fresh || self.draws_again(folder, compare::NAME) {
            figure::compare(comparison).write(folder, compare::NAME, &self.look)?;
        }
        compare::print(comparison)
    }
}

/// When plain lines are written where there is no terminal.
struct Lines {
    began: Instant,
    last: Instant,
}

impl Lines {
    fn new() -> Self {
        let began = Instant::now();
        Self { began, last: began }
    }

    // Ten seconds apart at first, and later a twentieth of the time so far, so that the log of a day stays short.
    fn interval(so_far: Duration) -> Duration {
        (so_far / 20).clamp(Duration::from_secs(10), Duration::from_mins(10))
    }

    /// Whether `intervals` of them have passed since the last line.
    fn are_due(&self, intervals: u32) -> bool {
        self.last.elapsed() >= intervals * Self::interval(self.began.elapsed())
    }

    fn written(&mut self) {
        self.last = Instant::now();
    }
}

fn bar(length: u64, template: &str, name: &str) -> ProgressBar {
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_prefix(name.to_owned());
    bar
}

/// Follows work that consists of parts: on a terminal by a bar, elsewhere by a line now and then, both with the time left.
pub(super) struct Counter {
    name: String,
    bar: Option<ProgressBar>,
    // The parts that were done when it began.
    first: usize,
    lines: Lines,
}

impl Counter {
    /// Of `total` parts, of which `done` are done.
    pub(super) fn new(name: &str, done: usize, total: usize) -> Self {
        let draw = || bar(total as u64, "{prefix:<24} {bar:24} {pos}/{len}{msg}", name).with_position(done as u64);
        Self {
            name: name.to_owned(),
            bar: draws_progress().then(draw),
            first: done,
            lines: Lines::new(),
        }
    }

    /// Shows that `done` of `total` parts are done.
    pub(super) fn at(&mut self, done: usize, total: usize) {
        let left = seconds_left(done - self.first, total - done, self.lines.began.elapsed())
            .map_or_else(String::new, |seconds| format!(", about {} left", duration(seconds)));
        if let Some(bar) = &self.bar {
            bar.set_length(total as u64);
            bar.set_message(left);
            bar.set_position(done as u64);
        } else if self.lines.are_due(1) {
            self.lines.written();
            err!("{}: {done}/{total}{left}", self.name);
        }
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

// The seconds that the parts that are left will take, as long each as those that are done; `None` before the first.
fn seconds_left(done: usize, left: usize, elapsed: Duration) -> Option<f64> {
    (done > 0).then(|| elapsed.as_secs_f64() * left as f64 / done as f64)
}

/// Shows how far a measurement is.
pub(super) fn counted_work(progress: &Progress) {
    static COUNTER: Mutex<Option<Counter>> = Mutex::new(None);
    let Progress { method, done, total } = *progress;
    let mut counter = COUNTER.lock().unwrap_or_else(PoisonError::into_inner);
    counter
        .get_or_insert_with(|| Counter::new(method, done, total))
        .at(done, total);
    if done == total {
        *counter = None;
    }
}

/// A run that is watched while it trains.
struct Watched {
    name: String,
    bar: Option<ProgressBar>,
    message: String,
    // Where and when this sitting began.
    began: (u64, Instant),
    // When the bar was last drawn.
    drawn: Instant,
    lines: Lines,
}

impl Watched {
    fn new(name: &str, trainer: &Trainer, bars: &MultiProgress) -> Self {
        let step = trainer.progress().step;
        let bar = draws_progress().then(|| {
            let template = "{prefix:<24} {bar:24} {pos}/{len} steps, {eta} left\n  {wide_msg}";
            let bar = bars.add(bar(trainer.config().train.steps, template, name).with_position(step));
            bar.reset_eta();
            bar
        });
        Self {
            name: name.to_owned(),
            bar,
            message: String::new(),
            began: (step, Instant::now()),
            drawn: Instant::now(),
            lines: Lines::new(),
        }
    }

    // Steps a second in this sitting.
    fn rate(&self, step: u64) -> f64 {
        (step - self.began.0) as f64 / self.began.1.elapsed().as_secs_f64()
    }

    // A plain line.
    fn line(&mut self, trainer: &Trainer, step: u64, loss: Option<f64>) {
        self.lines.written();
        let total = trainer.config().train.steps;
        let rate = self.rate(step);
        let loss = loss.map_or(String::new(), |loss| format!("loss {loss:.3} | "));
        let time = if rate > 0.0 {
            format!("{rate:.1} steps/s, {} left | ", duration((total - step) as f64 / rate))
        } else {
            String::new()
        };
        err!("{}: step {step}/{total} | {time}{loss}{}", self.name, self.message);
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
        let Some(bar) = &self.bar else {
            // Evaluations write the lines; this one is for steps that take long.
            if self.lines.are_due(3) {
                self.line(trainer, trainer.progress().step, Some(loss));
            }
            return Ok(());
        };
        if self.drawn.elapsed().as_millis() >= 100 {
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
        // An evaluation at which something happened has a line in any case.
        if self.bar.is_none() && (!reasons.is_empty() || self.lines.are_due(1)) {
            self.line(trainer, evaluation.step, evaluation.loss);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_of_a_day_has_some_hundred_lines() {
        let (mut time, mut lines) = (Duration::ZERO, 0);
        while time < Duration::from_hours(24) {
            time += Lines::interval(time);
            lines += 1;
        }
        assert!((100..300).contains(&lines), "{lines}");
        assert_eq!(Lines::interval(Duration::from_secs(30)), Duration::from_secs(10));
    }

    #[test]
    fn the_parts_left_take_as_long_as_those_done() {
        assert_eq!(seconds_left(0, 3, Duration::from_secs(9)), None);
        assert_eq!(seconds_left(2, 3, Duration::from_secs(10)), Some(15.0));
    }
}
