//! The settings of a run, read from TOML and checked once.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::curriculum::{Curriculum, Dynamic};
use super::interval::Interval;
use crate::error::{Error, Result};
use crate::files;
use crate::graph::TRAIN;
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

/// A stage is reached when a split's accuracy is at least a threshold for some evaluations in a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Its name; the checkpoint is `stage-N-NAME.safetensors`.
    pub name: String,
    pub split: String,
    /// Least accuracy.
    pub accuracy: f64,
    /// Evaluations in a row.
    #[serde(default = "one_evaluation")]
    pub hold: u32,
}

fn one_evaluation() -> u32 {
    1
}

/// The three stages of Kohli et al. 2026, Section 5.
pub fn grokking_stages() -> Vec<Stage> {
    [
        ("memorization", TRAIN, 0.99),
        ("id", "test_inferred_iid", 0.95),
        ("systematic", "test_inferred_ood", 0.50),
    ]
    .map(|(name, split, accuracy)| Stage {
        name: name.to_owned(),
        split: split.to_owned(),
        accuracy,
        hold: 1,
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
        let says_stages = toml::from_str::<toml::Table>(&text).is_ok_and(|table| table.contains_key("stages"));
        if !says_stages && config.curriculum.is_none() {
            config.stages = grokking_stages();
        }
        for setting in overrides {
            config = config.with(setting)?;
        }
        config.check().map_err(|e| Error::file(path, e))?;
        if config.data.is_relative()
            && let Some(folder) = path.parent()
        {
            config.data = folder.join(&config.data);
        }
        Ok(config)
    }

    // `key.inner=value`; the value is TOML, or a bare string.
    fn with(&self, setting: &str) -> Result<Self> {
        let bad = |reason: String| Error::input(format!("--set {setting}: {reason}"));
        let (key, value) = setting
            .split_once('=')
            .ok_or_else(|| bad("expected key=value, as in optimizer.lr=1e-3".to_owned()))?;
        let (key, value) = (key.trim(), value.trim());
        let parsed: toml::Value = toml::from_str::<toml::Table>(&format!("value = {value}"))
            .ok()
            .and_then(|mut table| table.remove("value"))
            .unwrap_or_else(|| toml::Value::String(value.to_owned()));
        let mut root = toml::Value::try_from(self).map_err(|e| bad(e.to_string()))?;
        let mut at = &mut root;
        let mut keys = key.split('.').peekable();
        while let Some(part) = keys.next() {
            let last = keys.peek().is_none();
            at = match at {
                toml::Value::Table(table) => {
                    if !last && !table.contains_key(part) {
                        let names = table.keys().cloned().collect::<Vec<_>>().join(", ");
                        return Err(bad(format!("no section `{part}`; there are: {names}")));
                    }
                    table.entry(part).or_insert_with(|| toml::Value::String(String::new()))
                }
                toml::Value::Array(items) => {
                    let count = items.len();
                    part.parse::<usize>()
                        .ok()
                        .and_then(|i| items.get_mut(i))
                        .ok_or_else(|| {
                            bad(format!(
                                "`{part}` is no index; allowed: 0 to {}",
                                count.saturating_sub(1)
                            ))
                        })?
                }
                _ => return Err(bad(format!("`{part}` is inside a value that has no keys"))),
            };
        }
        // An integer where a fraction is meant is what people type.
        *at = match (&at, parsed) {
            (toml::Value::Float(_), toml::Value::Integer(i)) => toml::Value::Float(i as f64),
            (_, parsed) => parsed,
        };
        root.try_into()
            .map_err(|e: toml::de::Error| bad(e.message().to_owned()))
    }

    /// Says which value is impossible, if one is.
    ///
    /// # Errors
    /// With the key, the value, and what is allowed.
    pub fn check(&self) -> Result<()> {
        self.model.check()?;
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
            let word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            let key = |field: &str| format!("stages.{i}.{field}");
            allow(
                !stage.name.is_empty() && stage.name.chars().all(word),
                &key("name"),
                &format!("{:?}", stage.name),
                "letters, digits, - and _",
            )?;
            allow(
                (0.0..=1.0).contains(&stage.accuracy),
                &key("accuracy"),
                &stage.accuracy,
                "0 to 1",
            )?;
            allow(stage.hold > 0, &key("hold"), &stage.hold, "1 or more")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        data = "data"
        [model]
        layers = 1
        iterations = 4
        d_model = 64
        heads = 2
        [train]
        steps = 100
        batch = 16
    "#;

    fn read(text: &str, overrides: &[&str]) -> Result<RunConfig> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.toml");
        std::fs::write(&path, text).unwrap();
        let overrides: Vec<String> = overrides.iter().map(|&s| s.to_owned()).collect();
        RunConfig::read(&path, &overrides)
    }

    #[test]
    fn overrides_reach_every_section() {
        let config = read(
            TEXT,
            &[
                "optimizer.lr=1",
                "model.positions=none",
                "stages.2.accuracy=0.3",
                "seed=9",
                "optimizer.decay=all",
            ],
        )
        .unwrap();
        assert_eq!(config.optimizer.lr, 1.0);
        assert_eq!(config.model.positions, crate::model::Positions::None);
        assert_eq!(config.stages[2].accuracy, 0.3);
        assert_eq!((config.seed, config.optimizer.decay), (9, Decay::All));
    }

    #[test]
    fn unknown_keys_and_impossible_values_are_named() {
        let refused = |text: &str, set: &[&str]| read(text, set).unwrap_err().to_string();
        assert!(refused(&format!("{TEXT}\nbatches = 3"), &[]).contains("batches"));
        assert!(refused(TEXT, &["model.head=3"]).contains("head"));
        assert!(refused(TEXT, &["modle.heads=3"]).contains("modle"));
        assert!(refused(TEXT, &["stages.7.hold=3"]).contains("0 to 2"));
        assert!(refused(TEXT, &["model.heads=3"]).contains("allowed: 1, 2, 4"));
        assert!(refused(TEXT, &["optimizer.lr=-1"]).contains("optimizer.lr = -1"));
        assert!(refused(TEXT, &["model.positions=rotary"]).contains("rotary"));
        assert!(refused(TEXT, &["optimizer.lr"]).contains("key=value"));
    }
}
