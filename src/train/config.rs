//! The settings of a run, read from TOML and checked once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::curriculum::{Curriculum, Dynamic};
use super::interval::Interval;
use super::overrides;
use crate::error::{Error, Result};
use crate::files;
use crate::graph::Split;
use crate::model::ModelConfig;

/// Everything that a run depends on, beside the content of the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// The data folder; in a file, relative to that file.
    pub data: PathBuf,
    /// Seed of initial weights, batch order and dropout.
    #[serde(default = "one")]
    pub seed: u64,
    pub model: ModelConfig,
    #[serde(default)]
    pub optimizer: OptimizerConfig,
    pub train: LoopConfig,
    /// Chains of more hops, step by step; absent: all training rows from the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curriculum: Option<Curriculum>,
    /// What the run is watched for, in order; in a file, the three grokking stages where absent. A curriculum makes its
    /// own.
    #[serde(default)]
    pub stages: Vec<Stage>,
}

fn one() -> u64 {
    1
}

/// Which weights decay.
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
    /// Learning rate after warm-up.
    pub lr: f64,
    pub betas: [f64; 2],
    pub epsilon: f64,
    /// Decoupled: a decaying weight loses lr × decay of itself a step.
    pub weight_decay: f64,
    pub decay: Decay,
    /// Steps of linear warm-up.
    pub warmup: u64,
    /// Last steps of the run, over which the rate falls linearly to `final_lr`; 0 keeps it constant.
    pub cooldown: u64,
    /// Learning rate of the last step of a cooldown, as a share of `lr`.
    pub final_lr: f64,
    /// Largest gradient norm; 0 turns clipping off.
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

/// How long to train, on what batches, and when to look.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoopConfig {
    /// Steps of the whole run.
    pub steps: u64,
    /// Queries in a batch.
    pub batch: usize,
    /// Label smoothing ε.
    #[serde(default)]
    pub label_smoothing: f64,
    /// Whether queries of a batch share the rows of their common prefixes (exact; never done under dropout).
    #[serde(default = "yes")]
    pub share_prefixes: bool,
    /// From one evaluation to the next.
    #[serde(default = "two_hundred_and_fifty")]
    pub evaluate_every: Interval,
    /// The same until the first stage is reached, so that it is not missed.
    #[serde(default = "fifty")]
    pub evaluate_early: Interval,
    /// Rows of the train split that an evaluation samples, at most; test splits are evaluated whole.
    #[serde(default = "three_thousand")]
    pub train_sample: usize,
    /// A checkpoint is kept whenever the step has grown by this factor since the last one kept.
    #[serde(default = "growth")]
    pub checkpoint_growth: f64,
    /// Seconds between two saves of the state that `--resume` goes on from, at least.
    #[serde(default = "thirty")]
    pub save_every_seconds: f64,
    /// Iterations drawn anew for every batch; absent: always `model.iterations`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dynamic: Option<Dynamic>,
}

impl LoopConfig {
    /// So many steps, all else by default.
    pub fn of_steps(steps: u64) -> Self {
        Self {
            steps,
            batch: 512,
            label_smoothing: 0.0,
            share_prefixes: yes(),
            evaluate_every: two_hundred_and_fifty(),
            evaluate_early: fifty(),
            train_sample: three_thousand(),
            checkpoint_growth: growth(),
            save_every_seconds: thirty(),
            dynamic: None,
        }
    }
}

fn yes() -> bool {
    true
}
fn two_hundred_and_fifty() -> Interval {
    Interval::Steps(250)
}
fn fifty() -> Interval {
    Interval::Steps(50)
}
fn three_thousand() -> usize {
    3000
}
fn growth() -> f64 {
    1.3
}
fn thirty() -> f64 {
    30.0
}

/// Refuses a value that is not allowed.
pub(super) fn allow(fine: bool, key: &str, value: &dyn std::fmt::Display, allowed: &str) -> Result<()> {
    if fine {
        Ok(())
    } else {
        Err(Error::input(format!("{key} = {value}; allowed: {allowed}")))
    }
}

/// A stage is reached at the evaluation at which a split's accuracy has been at least a threshold for `hold` evaluations in
/// a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Its name; the checkpoint is `stage-N-NAME.safetensors`.
    pub name: String,
    pub split: Split,
    /// Least accuracy.
    pub accuracy: f64,
    /// Evaluations in a row; by default 3, so that a single lucky one does not pass for a stage.
    #[serde(default = "three_evaluations")]
    pub hold: u32,
}

fn three_evaluations() -> u32 {
    3
}

impl Stage {
    /// Says which value of the stage at this place is impossible, if one is. Its name is a part of a file's.
    ///
    /// # Errors
    /// With the key, the value, and what is allowed.
    pub(crate) fn check(&self, place: usize) -> Result<()> {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let key = |field: &str| format!("stages.{place}.{field}");
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

/// The three stages of Kohli et al. 2026, Section 5.
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
        hold: three_evaluations(),
    })
    .into()
}

impl RunConfig {
    /// Reads a config, puts `key=value` overrides over it, and checks it. The data folder becomes relative to the
    /// working folder.
    ///
    /// # Errors
    /// When the file cannot be read, a key is unknown, or a value is impossible; the message names it.
    pub fn read(path: &Path, overrides: &[String]) -> Result<Self> {
        let text = files::read_text(path)?;
        let mut config: Self = toml::from_str(&text).map_err(|e| Error::file(path, e))?;
        // Read as a table it has TOML's own integers, up to 2⁶³ − 1, which are all that overrides and other programs know.
        let table: toml::Table = toml::from_str(&text).map_err(|e| Error::file(path, e))?;
        let has_curriculum = config.curriculum.is_some() || overrides::reach(overrides, "curriculum");
        if !table.contains_key("stages") && !has_curriculum {
            config.stages = grokking_stages();
        }
        config = overrides::apply(&config, overrides)?;
        config.check().map_err(|e| Error::file(path, e))?;
        if config.data.is_relative()
            && let Some(folder) = path.parent()
        {
            config.data = folder.join(&config.data);
        }
        Ok(config)
    }

    /// What is possible but hardly meant, a sentence each.
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
                    "optimizer.warmup = {warmup} is no shorter than {key} = {steps}: the learning rate rises to the last \
                     step and never stays at optimizer.lr"
                )
            })
            .collect()
    }

    /// The settings in which `other` differs: the key, the value here and the value there.
    pub fn differences(&self, other: &Self) -> Vec<(String, String, String)> {
        let [ours, theirs] = [self, other].map(|config| {
            let mut values = BTreeMap::new();
            // A config is plain data; nothing in it refuses to be TOML.
            if let Ok(value) = toml::Value::try_from(config) {
                flatten("", &value, &mut values);
            }
            values
        });
        let absent = || "absent".to_owned();
        let keys: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        keys.into_iter()
            .filter(|key| ours.get(*key) != theirs.get(*key))
            .map(|key| {
                let of = |values: &BTreeMap<String, String>| values.get(key).cloned().unwrap_or_else(absent);
                (key.clone(), of(&ours), of(&theirs))
            })
            .collect()
    }

    /// Says which value is impossible, if one is.
    ///
    /// # Errors
    /// With the key, the value, and what is allowed.
    pub fn check(&self) -> Result<()> {
        self.model.check()?;
        // TOML has no larger integers, and the run's own config.toml will be read again.
        let largest = i64::MAX as u64;
        allow(self.seed <= largest, "seed", &self.seed, &format!("0 to {largest}"))?;
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

// Every value by its whole key, as in `stages.0.hold`.
fn flatten(prefix: &str, value: &toml::Value, into: &mut BTreeMap<String, String>) {
    let key = |part: &str| {
        if prefix.is_empty() {
            part.to_owned()
        } else {
            format!("{prefix}.{part}")
        }
    };
    match value {
        toml::Value::Table(table) => table.iter().for_each(|(part, inner)| flatten(&key(part), inner, into)),
        toml::Value::Array(items) if items.iter().any(toml::Value::is_table) => {
            for (i, inner) in items.iter().enumerate() {
                flatten(&key(&i.to_string()), inner, into);
            }
        }
        other => {
            into.insert(prefix.to_owned(), other.to_string());
        }
    }
}
