//! The trainer and one step of it. Its loop, stages, evaluations and saved state have a file each.

mod evaluate;
mod run;
mod stage;
mod state;

use std::sync::Arc;
use std::time::Instant;

use candle_core::Device;

pub(crate) use stage::{evaluated_splits, stages_of};

use super::config::RunConfig;
use super::optimizer::{self, Gradients, Parameter};
use super::progress::Progress;
use super::stages::StageTracker;
use crate::error::{Error, Result};
use crate::graph::{Dataset, Query, Split};
use crate::model::{Model, Pass, Rows, Sharing, Weights};
use crate::random::Stream;

/// Trains one model: a state that [`Trainer::step`] advances and [`Trainer::run`] trains to the end.
///
/// Every number that it draws is a function of the run's seed and the step, so that a run that is saved and restored
/// continues bit for bit.
pub struct Trainer {
    config: RunConfig,
    data: Arc<Dataset>,
    model: Model,
    parameters: Vec<Parameter>,
    progress: Progress,
    // Indices of the training rows of this stage.
    stage_rows: Vec<u32>,
    // An epoch, and the same indices in the order of that epoch.
    epoch_order: (u64, Vec<u32>),
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
        let stages = stages_of(&config, &data)?;
        let vocab = data.vocab.len();
        let initial = Weights::init(&config.model, vocab, config.seeds().init, device)?;
        let parameters: Vec<Parameter> = initial
            .leaves()
            .iter()
            .map(|leaf| Parameter::new(leaf, config.optimizer.decay))
            .collect::<Result<_>>()?;
        let mut trained = parameters.iter();
        let weights = initial.map(|leaf| {
            // There is one parameter for each leaf, in the same order.
            Ok(trained
                .next()
                .map_or_else(|| leaf.tensor.clone(), |parameter| parameter.var.as_tensor().clone()))
        })?;
        let model = Model::new(config.model.clone(), vocab, &weights)?;
        let mut trainer = Self {
            model,
            progress: Progress {
                step: 0,
                evaluated: None,
                log_spaced_step: 0,
                stages: StageTracker::new(&stages),
                stage_start: 0,
                loss_sum: 0.0,
                loss_count: 0,
                gradient_norm: None,
                seconds: 0.0,
            },
            sharing: sharing(&config),
            stage_rows: Vec::new(),
            epoch_order: (u64::MAX, Vec::new()),
            clock: Instant::now(),
            config,
            data,
            parameters,
            evaluation_sets: Vec::new(),
        };
        trainer.enter_stage();
        Ok(trainer)
    }

    /// The settings of the run.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// The data that the model trains on.
    pub fn data(&self) -> &Dataset {
        &self.data
    }

    /// The model with its present weights.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Passes over the training rows so far; with a curriculum, passes over the rows of this stage since it began.
    pub fn epoch(&self) -> f64 {
        self.stage_step() as f64 / self.batches() as f64
    }

    // Steps since the stage of the curriculum began; all steps where there is no curriculum.
    fn stage_step(&self) -> u64 {
        self.progress.step - self.progress.stage_start
    }

    /// Whether the run is over: all steps are done, every stage of the curriculum has been passed, or one takes too many
    /// steps.
    pub fn finished(&self) -> bool {
        let curriculum_is_over = self.config.curriculum.is_some_and(|curriculum| {
            let stages = &self.progress.stages;
            let passed = stages.n_reached();
            passed == stages.outcomes.len() || self.stage_step() >= curriculum.max_steps(passed)
        });
        self.progress.step >= self.config.train.steps || curriculum_is_over
    }

    // Seconds of training so far, over all processes that trained the run.
    fn seconds(&self) -> f64 {
        self.progress.seconds + self.clock.elapsed().as_secs_f64()
    }

    fn training_rows(&self) -> &[Query] {
        // `Trainer::new` checks that there is a split `train`, which is always the first.
        &self.data.splits[0].1
    }

    // Batches in an epoch of this stage.
    fn batches(&self) -> u64 {
        self.stage_rows.len().div_ceil(self.config.train.batch) as u64
    }

    // Indices of the rows of the next batch, a function of (seed, stage, epoch, index of the batch in the epoch) alone.
    fn batch(&mut self) -> Vec<u32> {
        let (epoch, index) = (self.stage_step() / self.batches(), self.stage_step() % self.batches());
        if self.epoch_order.0 != epoch {
            let purpose = match self.max_hops() {
                None => "batch order".to_owned(),
                Some(hops) => format!("batch order to {hops} hops"),
            };
            let mut order = self.stage_rows.clone();
            Stream::new(self.config.seeds().order, &purpose, epoch).shuffle(&mut order);
            self.epoch_order = (epoch, order);
        }
        let size = self.config.train.batch;
        self.epoch_order
            .1
            .chunks(size)
            .nth(index as usize)
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

    /// The packed rows of the next step.
    ///
    /// # Errors
    /// When a query does not fit the model, which [`Trainer::new`] has checked.
    pub fn next_batch(&mut self) -> Result<Rows> {
        let queries = self.next_queries();
        self.model
            .pack(queries.iter().map(|query| &*query.tokens), self.sharing)
    }

    /// Does one training step; gives the loss of its batch in nats. `last_good_checkpoint` names a file for the message
    /// of a run that diverges.
    ///
    /// # Errors
    /// When the loss or a gradient is not finite (the weights are then those of before the step), or the device fails.
    pub fn step(&mut self, last_good_checkpoint: impl Fn() -> String) -> Result<f64> {
        let step = self.progress.step;
        let batch = self.batch();
        let queries = || batch.iter().map(|&i| &self.training_rows()[i as usize]);
        let rows = self.model.pack(queries().map(|query| &*query.tokens), self.sharing)?;
        let targets: Vec<u32> = queries().map(|query| query.target).collect();
        let mut pass = Pass {
            dropout: (self.config.model.dropout > 0.0).then(|| Stream::new(self.config.seeds().order, "dropout", step)),
            gradients: true,
            ..Pass::default()
        };
        let iterations = match &self.config.train.dynamic {
            Some(dynamic) => dynamic.iterations(self.config.seeds().order, step),
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
            checkpoint: last_good_checkpoint(),
        };
        if !value.is_finite() {
            return Err(diverged("the loss".to_owned()));
        }
        let gradients = self.model.backward(&loss)?;
        let norm = match optimizer::check_gradients(self.model.backend(), &self.parameters, &gradients)? {
            Gradients::Finite { norm } => norm,
            Gradients::NotFinite { name } => return Err(diverged(format!("the gradient of {name}"))),
        };
        let lr = self.learning_rate();
        let optimizer_step = self.optimizer_step();
        optimizer::update(
            self.model.backend(),
            &self.config.optimizer,
            &mut self.parameters,
            &gradients,
            norm,
            lr,
            optimizer_step,
        )?;
        self.progress.step += 1;
        self.progress.loss_sum += value;
        self.progress.loss_count += 1;
        self.progress.gradient_norm = Some(norm);
        Ok(value)
    }

    // The learning rate of the next step.
    fn learning_rate(&self) -> f64 {
        let rate = optimizer::learning_rate(&self.config.optimizer, self.optimizer_step(), self.config.train.steps);
        let factor = self.config.curriculum.map_or(1.0, |curriculum| {
            let stages = i32::try_from(self.progress.stages.n_reached()).unwrap_or(i32::MAX);
            curriculum.lr_factor.powi(stages)
        });
        rate * factor
    }

    // Steps since the moments of the optimizer were 0.
    fn optimizer_step(&self) -> u64 {
        match self.config.curriculum {
            Some(curriculum) if curriculum.reset_optimizer => self.stage_step(),
            _ => self.progress.step,
        }
    }
}

/// Whether the queries of a training batch share rows.
pub(crate) fn sharing(config: &RunConfig) -> Sharing {
    if config.train.share_prefixes && config.model.dropout == 0.0 {
        Sharing::Prefixes
    } else {
        Sharing::Nothing
    }
}
