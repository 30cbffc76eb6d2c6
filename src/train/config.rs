//! The settings of a run, read from TOML and checked once.

mod differences;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::curriculum::{Curriculum, Dynamic};
use super::interval::Interval;
use super::overrides;
use super::stages::{Stage, grokking_stages};
use crate::error::{Error, Result, allow};
use crate::files;
use crate::model::ModelConfig;

/// The settings of a run: with the content of the data, everything that the trained weights depend on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// The data folder; in a file, relative to that file.
    pub data: PathBuf,
    /// The short form of the two seeds below: the value of each that is absent.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// Seed of the initial weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_seed: Option<u64>,
    /// Seed of what is drawn while training: the order of batches, dropout, the iterations of a dynamic run, and the
    /// training rows that are evaluated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_seed: Option<u64>,
    /// The architecture.
    pub model: ModelConfig,
    /// AdamW and its schedule.
    #[serde(default)]
    pub optimizer: OptimizerConfig,
    /// The training loop: steps, batches, evaluations, checkpoints.
    pub train: LoopConfig,
    /// The curriculum of rising depth; absent: all training rows from the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curriculum: Option<Curriculum>,
    /// The stages in order; in a file, the three grokking stages where absent. A curriculum makes its own.
    #[serde(default)]
    pub stages: Vec<Stage>,
}

fn default_seed() -> u64 {
    1
}

/// The seeds of a run, beside that of its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seeds {
    /// Seed of the initial weights.
    pub init: u64,
    /// Seed of what is drawn while training.
    pub order: u64,
}

/// The weights that weight decay applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decay {
    /// Matrices and embeddings, not biases and layer norms.
    #[default]
    Matrices,
    /// All parameters, as the published code does.
    All,
}

/// AdamW (Loshchilov & Hutter 2019) with linear warm-up and gradient clipping.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerConfig {
    /// The learning rate after warm-up.
    pub lr: f64,
    /// β₁ and β₂, the decay rates of the two moments.
    pub betas: [f64; 2],
    /// ε, added to the square root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay: each step multiplies a decaying weight by 1 − lr × `weight_decay`.
    pub weight_decay: f64,
    /// The weights that decay.
    pub decay: Decay,
    /// Steps of linear warm-up.
    pub warmup: u64,
    /// The number of steps at the end of the run over which the learning rate falls linearly to `final_lr`; 0 keeps it
    /// constant.
    pub cooldown: u64,
    /// Learning rate of the last step of a cooldown, as a share of `lr`.
    pub final_lr: f64,
    /// The largest L2 norm of the gradient, to which larger ones are scaled; 0 turns clipping off.
    pub clip: f64,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            lr: 1e-4,
            betas: [0.9, 0.999],
            epsilon: 1e-8,
            weight_decay: 0.01,
            decay: Decay::Matrices,
            warmup: 2000,
            cooldown: 0,
            final_lr: 0.1,
            clip: 1.0,
        }
    }
}

/// The training loop: its length, its batches, and when to evaluate and save.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoopConfig {
    /// The number of steps of the run.
    pub steps: u64,
    /// The number of queries in a batch.
    pub batch: usize,
    /// Label smoothing ε, from 0 up to below 1.
    #[serde(default)]
    pub label_smoothing: f64,
    /// Whether queries of a batch share the rows of their common prefixes (exact; never done under dropout).
    #[serde(default = "default_share_prefixes")]
    pub share_prefixes: bool,
    /// The interval between evaluations.
    #[serde(default = "default_evaluate_every")]
    pub evaluate_every: Interval,
    /// The interval between evaluations until the first stage is reached, which often comes early.
    #[serde(default = "default_evaluate_early")]
    pub evaluate_early: Interval,
    /// The largest number of training rows in an evaluation, a sample; test splits are evaluated whole.
    #[serde(default = "default_train_sample")]
    pub train_sample: usize,
    /// The ratio between the steps of two log-spaced checkpoints.
    #[serde(default = "default_checkpoint_growth")]
    pub checkpoint_growth: f64,
    /// The shortest time in seconds between two saves of the state that a resumed run continues from.
    #[serde(default = "default_save_every_seconds")]
    pub save_every_seconds: f64,
    /// Dynamic recurrence: iterations drawn anew for every batch; absent: always `model.iterations`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dynamic: Option<Dynamic>,
}

impl LoopConfig {
    /// A loop of `steps` steps of 512 queries, with the defaults for everything else.
    pub fn of_steps(steps: u64) -> Self {
        Self {
            steps,
            batch: 512,
            label_smoothing: 0.0,
            share_prefixes: default_share_prefixes(),
            evaluate_every: default_evaluate_every(),
            evaluate_early: default_evaluate_early(),
            train_sample: default_train_sample(),
            checkpoint_growth: default_checkpoint_growth(),
            save_every_seconds: default_save_every_seconds(),
            dynamic: None,
        }
    }
}

fn default_share_prefixes() -> bool {
    true
}
fn default_evaluate_every() -> Interval {
    Interval::Steps(250)
}
fn default_evaluate_early() -> Interval {
    Interval::Steps(50)
}
fn default_train_sample() -> usize {
    3000
}
fn default_checkpoint_growth() -> f64 {
    1.3
}
fn default_save_every_seconds() -> f64 {
    30.0
}

impl RunConfig {
    /// The settings of a run on the data in the folder `data`, with seed 1, the default optimizer, no curriculum and no
    /// stages. A trainer is given the data itself; the path is what a run folder records.
    pub fn new(data: impl Into<PathBuf>, model: ModelConfig, train: LoopConfig) -> Self {
        Self {
            data: data.into(),
            seed: default_seed(),
            init_seed: None,
            order_seed: None,
            model,
            optimizer: OptimizerConfig::default(),
            train,
            curriculum: None,
            stages: Vec::new(),
        }
    }

    /// Reads a config file, applies `key=value` overrides, and checks the result. The data folder becomes relative to the
    /// working folder.
    ///
    /// # Errors
    /// When the file cannot be read, a key is unknown, or a value is impossible; the message names it.
    pub fn read(path: &Path, overrides: &[String]) -> Result<Self> {
        let text = files::read_text(path)?;
        let mut config: Self = toml::from_str(&text).map_err(|e| Error::file(path, e))?;
        // A table has the integers of TOML, up to 2⁶³ − 1; overrides and other programs know no larger ones.
        let table: toml::Table = toml::from_str(&text).map_err(|e| Error::file(path, e))?;
        let has_curriculum = config.curriculum.is_some() || overrides::set_section(overrides, "curriculum");
        if !table.contains_key("stages") && !has_curriculum {
            config.stages = grokking_stages();
        }
        config = overrides::apply(&config, overrides).map_err(|e| Error::input(format!("--set {e}")))?;
        config.check().map_err(|e| Error::file(path, e))?;
        if config.data.is_relative()
            && let Some(folder) = path.parent()
        {
            config.data = folder.join(&config.data);
        }
        Ok(config)
    }

    /// The settings with `key=value` overrides put over them, checked. The data folder is left as it is.
    ///
    /// # Errors
    /// When a key is unknown or a value is impossible; the message names it.
    pub fn with(&self, overrides: &[String]) -> Result<Self> {
        let config = overrides::apply(self, overrides)?;
        config.check()?;
        Ok(config)
    }

    /// The seeds of initial weights and of training.
    pub fn seeds(&self) -> Seeds {
        Seeds {
            init: self.init_seed.unwrap_or(self.seed),
            order: self.order_seed.unwrap_or(self.seed),
        }
    }

    /// The seeds of initial weights and of training where they are not both `seed`.
    pub fn own_seeds(&self) -> Option<Seeds> {
        let seeds = self.seeds();
        let short = Seeds {
            init: self.seed,
            order: self.seed,
        };
        (seeds != short).then_some(seeds)
    }

    /// Whether `seed` sets neither of the two seeds, because each has its own.
    pub fn ignores_seed(&self) -> bool {
        self.init_seed.is_some() && self.order_seed.is_some()
    }

    /// Warnings of settings that are possible but hardly meant, a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let warmup = self.optimizer.warmup;
        let of_stage = self
            .curriculum
            .filter(|curriculum| curriculum.reset_optimizer)
            .map(|curriculum| ("curriculum.stage_steps", curriculum.stage_steps));
        let lengths = [Some(("train.steps", self.train.steps)), of_stage];
        let all_warmup = lengths.into_iter().flatten().filter(|&(_, steps)| warmup >= steps);
        all_warmup
            .map(|(key, steps)| {
                format!(
                    "optimizer.warmup = {warmup} is not less than {key} = {steps}: the learning rate rises to the last \
                     step and never stays at optimizer.lr"
                )
            })
            .collect()
    }

    /// Checks all values.
    ///
    /// # Errors
    /// With the key, the value, and what is allowed.
    pub fn check(&self) -> Result<()> {
        self.model.check()?;
        // TOML has no larger integers, and the run's own config.toml will be read again.
        let largest = i64::MAX as u64;
        for (key, seed) in [
            ("seed", Some(self.seed)),
            ("init_seed", self.init_seed),
            ("order_seed", self.order_seed),
        ] {
            let seed = seed.unwrap_or_default();
            allow(seed <= largest, key, &seed, &format!("0 to {largest}"))?;
        }
        let o = &self.optimizer;
        let finite = |x: f64| x.is_finite() && x >= 0.0;
        allow(finite(o.lr) && o.lr > 0.0, "optimizer.lr", &o.lr, "above 0")?;
        for beta in o.betas {
            allow((0.0..1.0).contains(&beta), "optimizer.betas", &beta, "0 up to below 1")?;
        }
        allow(
            finite(o.epsilon) && o.epsilon > 0.0,
            "optimizer.epsilon",
            &o.epsilon,
            "above 0",
        )?;
        allow(
            finite(o.weight_decay),
            "optimizer.weight_decay",
            &o.weight_decay,
            "0 or more",
        )?;
        allow(
            (0.0..=1.0).contains(&o.final_lr),
            "optimizer.final_lr",
            &o.final_lr,
            "0 to 1",
        )?;
        allow(finite(o.clip), "optimizer.clip", &o.clip, "0 (off) or more")?;
        let t = &self.train;
        allow(t.steps > 0, "train.steps", &t.steps, "1 or more")?;
        allow(t.batch > 0, "train.batch", &t.batch, "1 or more")?;
        allow(
            (0.0..1.0).contains(&t.label_smoothing),
            "train.label_smoothing",
            &t.label_smoothing,
            "0 up to below 1",
        )?;
        allow(t.train_sample > 0, "train.train_sample", &t.train_sample, "1 or more")?;
        allow(
            t.checkpoint_growth.is_finite() && t.checkpoint_growth > 1.0,
            "train.checkpoint_growth",
            &t.checkpoint_growth,
            "above 1",
        )?;
        allow(
            finite(t.save_every_seconds),
            "train.save_every_seconds",
            &t.save_every_seconds,
            "0 or more",
        )?;
        if let Some(dynamic) = &t.dynamic {
            dynamic.check(self.model.iterations)?;
        }
        if let Some(curriculum) = &self.curriculum {
            curriculum.check()?;
            let count = format!("a list of {}", self.stages.len());
            let none = "none beside a curriculum, which makes its own";
            allow(self.stages.is_empty(), "stages", &count, none)?;
            let none = "0 beside a curriculum, whose end is not known";
            allow(o.cooldown == 0, "optimizer.cooldown", &o.cooldown, none)?;
        }
        for (i, stage) in self.stages.iter().enumerate() {
            stage.check(i)?;
        }
        Ok(())
    }
}
