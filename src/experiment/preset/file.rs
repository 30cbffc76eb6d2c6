//! The TOML of presets, and how it becomes a checked preset.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::super::settings::{MethodTables, Seed};
use super::{DepthPreset, Inside, Preset, SystematicPreset};
use crate::error::{Error, Result};
use crate::graph::{Chains, Systematic, Tails};
use crate::model::ModelConfig;
use crate::train::{Curriculum, Dynamic, LoopConfig, OptimizerConfig, RunConfig, Stage};

// What every file says first.
#[derive(Deserialize)]
struct KindOfFile {
    // Absent where the file is of something else.
    kind: Option<Kind>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Systematic,
    Depth,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SystematicFile {
    #[serde(rename = "kind")]
    _kind: Kind,
    claims: bool,
    seed: u64,
    data: Systematic,
    optimizer: OptimizerConfig,
    train: LoopConfig,
    stages: Vec<Stage>,
    runs: Vec<SystematicRun>,
    #[serde(default)]
    measure: Measure,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SystematicRun {
    name: String,
    model: ModelConfig,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DepthFile {
    #[serde(rename = "kind")]
    _kind: Kind,
    claims: bool,
    seed: u64,
    data: Chains,
    optimizer: OptimizerConfig,
    train: LoopConfig,
    curriculum: Curriculum,
    runs: Vec<DepthRun>,
    inside: Inside,
    #[serde(default)]
    measure: Measure,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DepthRun {
    name: String,
    #[serde(default)]
    tails: Tails,
    #[serde(default)]
    dynamic: Option<Dynamic>,
    model: ModelConfig,
}

#[derive(Default, Deserialize)]
struct Measure {
    #[serde(default)]
    seed: Option<u64>,
    #[serde(flatten)]
    methods: BTreeMap<String, toml::Value>,
}

impl Preset {
    /// Parses and checks the text of a preset. `seed` takes the place of every seed in it.
    ///
    /// # Errors
    /// When a key is unknown or missing, or a value is impossible; the message names it and what is allowed.
    pub fn parse(text: &str, seed: Option<u64>) -> Result<Self> {
        let KindOfFile { kind } = toml::from_str(text).map_err(Error::input)?;
        let kind = kind.ok_or_else(|| {
            Error::input("missing field `kind`, which every preset has; allowed: \"systematic\", \"depth\", and \"claims\" for a study")
        })?;
        let preset = match kind {
            Kind::Systematic => Self::Systematic(Box::new(SystematicPreset::parse(text, seed)?)),
            Kind::Depth => Self::Depth(Box::new(DepthPreset::parse(text, seed)?)),
        };
        preset.check_runs()?;
        Ok(preset)
    }
}

impl SystematicPreset {
    fn parse(text: &str, seed: Option<u64>) -> Result<Self> {
        let file: SystematicFile = toml::from_str(text).map_err(Error::input)?;
        let config = |model: ModelConfig| RunConfig {
            data: PathBuf::new(),
            seed: seed.unwrap_or(file.seed),
            init_seed: None,
            order_seed: None,
            model,
            optimizer: file.optimizer.clone(),
            train: file.train.clone(),
            curriculum: None,
            stages: file.stages.clone(),
        };
        let mut methods = file.measure.tables(seed);
        let preset = Self {
            claims: file.claims,
            data: Systematic {
                seed: seed.unwrap_or(file.data.seed),
                ..file.data
            },
            runs: file.runs.into_iter().map(|run| (run.name, config(run.model))).collect(),
            eval: methods.take()?,
            lens: methods.take()?,
            patch: methods.take()?,
            probe: methods.take_probe()?,
        };
        methods.expect_empty()?;
        Ok(preset)
    }
}

impl DepthPreset {
    fn parse(text: &str, seed: Option<u64>) -> Result<Self> {
        let file: DepthFile = toml::from_str(text).map_err(Error::input)?;
        let config = |dynamic, model| RunConfig {
            data: PathBuf::new(),
            seed: seed.unwrap_or(file.seed),
            init_seed: None,
            order_seed: None,
            model,
            optimizer: file.optimizer.clone(),
            train: LoopConfig {
                dynamic,
                ..file.train.clone()
            },
            curriculum: Some(file.curriculum),
            stages: Vec::new(),
        };
        file.inside.check()?;
        if file.data.tails != Tails::default() {
            return Err(Error::input(
                "data.tails is not that of all runs; allowed: tails in each of [[runs]]",
            ));
        }
        let mut methods = file.measure.tables(seed);
        let preset = Self {
            claims: file.claims,
            data: Chains {
                seed: seed.unwrap_or(file.data.seed),
                ..file.data.clone()
            },
            curriculum: file.curriculum,
            runs: file
                .runs
                .into_iter()
                .map(|run| (run.name, run.tails, config(run.dynamic, run.model)))
                .collect(),
            inside: file.inside,
            extrapolate: methods.take()?,
            settle: methods.take()?,
            eval: methods.take()?,
            margin: methods.take()?,
            halt: methods.take()?,
            lens: methods.take()?,
            reach: methods.take()?,
            patch: methods.take()?,
            probe: methods.take_probe()?,
        };
        methods.expect_empty()?;
        Ok(preset)
    }
}

impl Measure {
    fn tables(self, seed: Option<u64>) -> MethodTables {
        MethodTables::new(self.methods, seed.map_or(Seed::Usual(self.seed), Seed::Of))
    }
}
