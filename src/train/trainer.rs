//! The trainer: one step, one evaluation, and a state that continues bit for bit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use candle_core::{Device, Tensor};

use super::config::{RunConfig, Stage, grokking_stages};
use super::curriculum::Curriculum;
use super::interval::Interval;
use super::metrics::{self, Evaluation};
use super::optimizer::{self, Gradients, Parameter};
use super::progress::{Observer, Occasion, Progress, SavedParameter};
use super::stages::StageTracker;
use crate::error::{Error, Result};
use crate::graph::{Dataset, Query, Role, Split, TRAIN};
use crate::model::{Model, Pass, Rows, Sharing, Weights};
use crate::random::Stream;

/// Trains one model.
pub struct Trainer {
    config: RunConfig,
    data: Arc<Dataset>,
    model: Model,
    parameters: Vec<Parameter>,
    progress: Progress,
    // The training rows of this stage, and their order in this epoch.
    active: Vec<u32>,
    order: (u64, Vec<u32>),
    evaluation_sets: Vec<(Split, Vec<Query>)>,
    clock: Instant,
    sharing: Sharing,
}

impl Trainer {
    /// A trainer at step 0.
    ///
    /// # Errors
    /// When the config does not fit the data (a stage's split is missing or empty, the model's positions are too few), or
    /// the device fails.
    pub fn new(config: RunConfig, data: Arc<Dataset>, device: &Device) -> Result<Self> {
        config.check()?;
        if data.split(TRAIN)?.is_empty() {
            return Err(Error::input("the data has no training rows"));
        }
        let stages = match &config.curriculum {
            Some(curriculum) => curriculum.stages(&data)?,
            None => config.stages.clone(),
        };
        for stage in &stages {
            check_stage(stage, &config, &data)?;
        }
        let vocab = data.vocab.len();
        let initial = Weights::init(&config.model, vocab, config.seed, device)?;
        let parameters: Vec<Parameter> = initial
            .leaves()
            .iter()
            .map(|leaf| Parameter::new(leaf, config.optimizer.decay))
            .collect::<Result<_>>()?;
        let mut live = parameters.iter();
        let weights = initial.map(|leaf| {
            // One parameter a leaf, in the same order.
            Ok(live
                .next()
                .map_or_else(|| leaf.tensor.clone(), |parameter| parameter.var.as_tensor().clone()))
        })?;
        let model = Model::new(config.model.clone(), vocab, &weights)?;
        // A row that does not fit is told now, not when its batch comes.
        let longest = data
            .splits
            .iter()
            .flat_map(|(_, rows)| rows)
            .max_by_key(|query| query.tokens.len());
        model.pack(longest.map(|query| &*query.tokens), Sharing::Nothing)?;
        let mut trainer = Self {
            model,
            progress: Progress {
                step: 0,
                evaluated: None,
                kept: 0,
                stages: StageTracker::new(&stages),
                stage_start: 0,
                loss_sum: 0.0,
                loss_count: 0,
                gradient_norm: None,
                seconds: 0.0,
            },
            sharing: if config.train.share_prefixes && config.model.dropout == 0.0 {
                Sharing::Prefixes
            } else {
                Sharing::Nothing
            },
            active: Vec::new(),
            order: (u64::MAX, Vec::new()),
            clock: Instant::now(),
            config,
            data,
            parameters,
            evaluation_sets: Vec::new(),
        };
        trainer.enter_stage();
        Ok(trainer)
    }

    // Takes up the rows of the stage that the run is in: all, but for a curriculum.
    fn enter_stage(&mut self) {
        let deepest = self.deepest();
        let rows = self.training_rows();
        let fits = |query: &Query| deepest.is_none_or(|deepest| query.hops() <= deepest);
        let active: Vec<u32> = (0..rows.len() as u32).filter(|&i| fits(&rows[i as usize])).collect();
        let sampled = Stream::new(self.config.seed, "evaluated training rows", 0)
            .sample(&active, self.config.train.train_sample)
            .into_iter()
            .map(|i| rows[i as usize].clone())
            .collect();
        let stages = &self.progress.stages.outcomes;
        let is_stage = |split: &Split| stages.iter().any(|outcome| outcome.stage.split == *split);
        let watched = |split: &Split| split.role() != Role::Validation || is_stage(split);
        let tests = self.data.splits[1..]
            .iter()
            .filter(|(split, rows)| watched(split) && rows.first().is_some_and(fits));
        self.evaluation_sets = std::iter::once((Split::train(), sampled))
            .chain(tests.cloned())
            .collect();
        self.active = active;
        self.order.0 = u64::MAX;
    }

    // The most hops of the stage that the run is in, where it has a curriculum.
    fn deepest(&self) -> Option<usize> {
        self.config.curriculum?;
        let last = self.progress.stages.outcomes.len().saturating_sub(1);
        Some(Curriculum::FIRST + self.progress.stages.count().min(last))
    }

    /// The learnable recursion depth so far, the most hops that the curriculum has passed (1: facts alone), where there
    /// is one.
    pub fn learned_hops(&self) -> Option<usize> {
        self.config.curriculum?;
        Some(Curriculum::FIRST - 1 + self.progress.stages.count())
    }

    /// Goes back to a saved state; `find` gives a weight's value and moments by name.
    ///
    /// # Errors
    /// When `find` fails, a tensor has another shape or type than the model's, or `progress` is not that of such a run.
    pub fn restore(&mut self, progress: Progress, mut find: impl FnMut(&str) -> Result<[Tensor; 3]>) -> Result<()> {
        progress.check(&self.progress.stages)?;
        for parameter in &mut self.parameters {
            let mut parts = [const { Vec::new() }; 3];
            let dtype = parameter.var.dtype();
            for slot in &parameter.leaf.slots {
                for (parts, part) in parts.iter_mut().zip(find(&slot.name)?) {
                    if part.dims() != slot.shape || part.dtype() != dtype {
                        return Err(Error::input(format!(
                            "value and moments of {} must be {dtype:?} of shape {:?}, not {:?} of {:?}",
                            slot.name,
                            slot.shape,
                            part.dtype(),
                            part.dims()
                        )));
                    }
                    parts.push(part);
                }
            }
            let [value, first_moment, second_moment] = parts;
            parameter.var.set(&parameter.leaf.join(&value)?)?;
            parameter.first_moment = parameter.leaf.join(&first_moment)?;
            parameter.second_moment = parameter.leaf.join(&second_moment)?;
        }
        self.progress = progress;
        self.enter_stage();
        self.clock = Instant::now();
        Ok(())
    }

    /// The run's settings.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// The data it trains on.
    pub fn data(&self) -> &Dataset {
        &self.data
    }

    /// The model as it stands.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Where the run stands, the clock read now.
    pub fn progress(&self) -> Progress {
        Progress {
            seconds: self.seconds(),
            ..self.progress.clone()
        }
    }

    /// The weights and moments as they stand.
    ///
    /// # Errors
    /// When the device fails.
    pub fn parameters(&self) -> Result<Vec<SavedParameter>> {
        let mut saved = Vec::new();
        for parameter in &self.parameters {
            let leaf = &parameter.leaf;
            let values = leaf.views(parameter.var.as_tensor())?;
            let moments = leaf
                .views(&parameter.first_moment)?
                .into_iter()
                .zip(leaf.views(&parameter.second_moment)?);
            for ((slot, value), (first_moment, second_moment)) in leaf.slots.iter().zip(values).zip(moments) {
                saved.push(SavedParameter {
                    name: slot.name.clone(),
                    value,
                    first_moment,
                    second_moment,
                });
            }
        }
        Ok(saved)
    }

    /// Passes over the training rows so far; with a curriculum, over those of this stage since it began.
    pub fn epoch(&self) -> f64 {
        self.stage_step() as f64 / self.batches() as f64
    }

    // Steps since the curriculum's stage began; without one, all.
    fn stage_step(&self) -> u64 {
        self.progress.step - self.progress.stage_start
    }

    /// Whether the run is over: its steps are done, or its curriculum has been passed or takes too long.
    pub fn finished(&self) -> bool {
        let curriculum_is_over = self.config.curriculum.is_some_and(|curriculum| {
            let stages = &self.progress.stages;
            stages.count() == stages.outcomes.len() || self.stage_step() >= curriculum.stage_steps
        });
        self.progress.step >= self.config.train.steps || curriculum_is_over
    }

    fn seconds(&self) -> f64 {
        self.progress.seconds + self.clock.elapsed().as_secs_f64()
    }

    fn training_rows(&self) -> &[Query] {
        // `train` is checked to be there, and stands first.
        &self.data.splits[0].1
    }

    fn batches(&self) -> u64 {
        self.active.len().div_ceil(self.config.train.batch) as u64
    }

    // The rows of a step's batch: a function of (seed, stage, epoch) and the place in it alone.
    fn batch(&mut self) -> Vec<u32> {
        let (epoch, place) = (self.stage_step() / self.batches(), self.stage_step() % self.batches());
        if self.order.0 != epoch {
            let purpose = match self.deepest() {
                None => "batch order".to_owned(),
                Some(hops) => format!("batch order to {hops} hops"),
            };
            let mut order = self.active.clone();
            Stream::new(self.config.seed, &purpose, epoch).shuffle(&mut order);
            self.order = (epoch, order);
        }
        let size = self.config.train.batch;
        self.order
            .1
            .chunks(size)
            .nth(place as usize)
            .unwrap_or_default()
            .to_vec()
    }

    /// The queries of the next step.
    pub fn next_queries(&mut self) -> Vec<Query> {
        let batch = self.batch();
        batch
            .iter()
            .map(|&i| self.training_rows()[i as usize].clone())
            .collect()
    }

    /// The rows of the next step.
    ///
    /// # Errors
    /// None that [`Trainer::new`] has not met.
    pub fn next_batch(&mut self) -> Result<Rows> {
        let queries = self.next_queries();
        self.model
            .pack(queries.iter().map(|query| &*query.tokens), self.sharing)
    }

    /// One training step; gives the loss in nats.
    ///
    /// # Errors
    /// When loss or gradient are not finite (the weights are then as before the step), or the device fails.
    pub fn step(&mut self, last_good: impl Fn() -> String) -> Result<f64> {
        let step = self.progress.step;
        let batch = self.batch();
        let queries = || batch.iter().map(|&i| &self.training_rows()[i as usize]);
        let rows = self.model.pack(queries().map(|query| &*query.tokens), self.sharing)?;
        let targets: Vec<u32> = queries().map(|query| query.target).collect();
        let mut pass = Pass {
            dropout: (self.config.model.dropout > 0.0).then(|| Stream::new(self.config.seed, "dropout", step)),
            gradients: true,
            ..Pass::default()
        };
        let iterations = match &self.config.train.dynamic {
            Some(dynamic) => dynamic.iterations(self.config.seed, step),
            None => self.config.model.iterations,
        };
        let logits = self.model.forward(&rows, iterations, &mut pass)?;
        let loss = self
            .model
            .cross_entropy(&logits, &targets, self.config.train.label_smoothing)?;
        let value = f64::from(loss.to_scalar::<f32>()?);
        let diverged = |tensor: String| Error::Diverged {
            step,
            tensor,
            checkpoint: last_good(),
        };
        if !value.is_finite() {
            return Err(diverged("the loss".to_owned()));
        }
        let gradients = self.model.backward(&loss)?;
        let norm = match optimizer::inspect(self.model.backend(), &self.parameters, &gradients)? {
            Gradients::Finite { norm } => norm,
            Gradients::NotFinite { name } => return Err(diverged(format!("the gradient of {name}"))),
        };
        let lr = self.learning_rate();
        let since = self.optimizer_step();
        optimizer::update(
            self.model.backend(),
            &self.config.optimizer,
            &mut self.parameters,
            &gradients,
            norm,
            lr,
            since,
        )?;
        self.progress.step += 1;
        self.progress.loss_sum += value;
        self.progress.loss_count += 1;
        self.progress.gradient_norm = Some(norm);
        Ok(value)
    }

    // The rate of the next step.
    fn learning_rate(&self) -> f64 {
        let rate = optimizer::learning_rate(&self.config.optimizer, self.optimizer_step(), self.config.train.steps);
        let factor = self.config.curriculum.map_or(1.0, |curriculum| {
            let stages = i32::try_from(self.progress.stages.count()).unwrap_or(i32::MAX);
            curriculum.lr_factor.powi(stages)
        });
        rate * factor
    }

    // Steps that the optimizer has done since it was fresh.
    fn optimizer_step(&self) -> u64 {
        match self.config.curriculum {
            Some(curriculum) if curriculum.reset_optimizer => self.stage_step(),
            _ => self.progress.step,
        }
    }

    fn evaluation_is_due(&self) -> bool {
        let (progress, config) = (&self.progress, &self.config.train);
        let steps = |interval: Interval| interval.steps(self.batches());
        let (every, early) = (config.evaluate_every, config.evaluate_early);
        let before_the_first = progress.stages.count() == 0 && !progress.stages.outcomes.is_empty();
        let interval = if before_the_first && steps(early) < steps(every) {
            early
        } else {
            every
        };
        let passed = match interval {
            Interval::Steps(_) => progress.step,
            Interval::Epochs(_) => self.stage_step(),
        };
        let on_time = passed.is_multiple_of(steps(interval)) || self.finished();
        on_time && progress.evaluated != Some(progress.step)
    }

    // Measures every split; gives the occasions to keep a checkpoint.
    fn evaluate(&mut self) -> Result<(Evaluation, Vec<Occasion>)> {
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
        let mut occasions: Vec<Occasion> = reached.into_iter().map(Occasion::Stage).collect();
        if step as f64 >= self.progress.kept as f64 * self.config.train.checkpoint_growth {
            self.progress.kept = step;
            occasions.push(Occasion::Growth);
        }
        if self.finished() {
            occasions.push(Occasion::Final);
        }
        Ok((evaluation, occasions))
    }

    // The curriculum's next stage, from the next step on.
    fn begin_stage(&mut self) -> Result<()> {
        self.progress.stage_start = self.progress.step;
        if self
            .config
            .curriculum
            .is_some_and(|curriculum| curriculum.reset_optimizer)
        {
            for parameter in &mut self.parameters {
                parameter.first_moment = parameter.first_moment.zeros_like()?;
                parameter.second_moment = parameter.second_moment.zeros_like()?;
            }
        }
        self.enter_stage();
        Ok(())
    }

    /// Trains until the last step, or until `stop` is set: then the step is finished, the state saved by the observer,
    /// and [`Error::Interrupted`] given back.
    ///
    /// # Errors
    /// Those of [`Trainer::step`] and of the observer.
    pub fn run(&mut self, stop: &AtomicBool, observer: &mut dyn Observer) -> Result<()> {
        loop {
            if self.evaluation_is_due() {
                let (evaluation, occasions) = self.evaluate()?;
                observer.evaluated(self, &evaluation, &occasions)?;
            }
            if self.finished() {
                return Ok(());
            }
            if stop.load(Ordering::Relaxed) {
                observer.interrupted(self)?;
                return Err(Error::Interrupted);
            }
            let loss = self.step(|| observer.last_good())?;
            observer.stepped(self, loss)?;
        }
    }
}

// Whether the data can tell when the stage is reached.
fn check_stage(stage: &Stage, config: &RunConfig, data: &Dataset) -> Result<()> {
    let name = &stage.name;
    let rows = data.split(&stage.split).map_err(|e| {
        let mut text = format!("stage `{name}`: {e}");
        if config.stages == grokking_stages() {
            let instead = if data.depths().is_empty() {
                "[[stages]]"
            } else {
                "[curriculum] with stage_steps, or [[stages]]"
            };
            text.push_str(
                ". A config with no [[stages]] has the three grokking stages, for systematic data; for this data add ",
            );
            text.push_str(instead);
            text.push_str(" with name, split and accuracy, or stages = [] to watch for none");
        }
        Error::input(text)
    })?;
    if rows.is_empty() {
        return Err(Error::input(format!(
            "stage `{name}`: the split `{}` has no rows, so that the stage could never be reached",
            stage.split
        )));
    }
    Ok(())
}
