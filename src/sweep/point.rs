//! A point of a sweep: one run, with what it is known by.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::checkpoint::RunRecord;
use crate::error::{Error, Result};
use crate::files;
use crate::train::RunConfig;

/// A run of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Its number in its plan, from 1.
    pub number: usize,
    /// What it is called: the values by which it differs from the others.
    pub name: String,
    /// Its run folder, relative to the sweep's folder.
    pub folder: PathBuf,
    /// The hash of its settings and data, 16 hexadecimal digits.
    pub hash: String,
    /// The keys that vary in the plan with their values, seeds apart; keys of the data begin with `data.`.
    pub values: BTreeMap<String, toml::Value>,
    /// Its seeds.
    pub seeds: PointSeeds,
    /// What it trains on.
    pub data: PointData,
    /// Its settings; `data` is relative to the sweep's folder.
    pub config: RunConfig,
}

/// The seeds of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointSeeds {
    /// Seed of the data; absent where they are a folder that was there before.
    pub data: Option<u64>,
    /// Seed of the initial weights.
    pub init: u64,
    /// Seed of what is drawn while training.
    pub order: u64,
}

/// The data of a point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointData {
    /// Its folder, relative to the sweep's folder.
    pub folder: PathBuf,
    /// Its content hash.
    pub hash: String,
}

impl Point {
    /// The key among its values that a study names its experiments by. No setting has this name.
    pub const EXPERIMENT: &str = "experiment";

    /// The experiment of a study that it is of; `None` in a sweep.
    pub fn experiment(&self) -> Option<&str> {
        self.values.get(Self::EXPERIMENT)?.as_str()
    }

    /// Point `number` of a plan that a test makes up, `name` in `points/`.
    #[cfg(test)]
    pub(crate) fn made_up(number: usize, name: &str) -> Self {
        use crate::model::ModelConfig;
        use crate::train::LoopConfig;
        Self {
            number,
            name: name.to_owned(),
            folder: Path::new("points").join(name),
            hash: String::new(),
            values: BTreeMap::new(),
            seeds: PointSeeds {
                data: None,
                init: number as u64,
                order: 0,
            },
            data: PointData {
                folder: "data".into(),
                hash: String::new(),
            },
            config: RunConfig::new("data", ModelConfig::new(1, 1, 16, 2), LoopConfig::of_steps(1)),
        }
    }

    /// The hash by which a run is known: of all its settings but the data's path, and of the content of the data. Seeds count as
    /// what they are, however they are written. A version with other settings gives other hashes, so that a hash that is stored is
    /// never computed again: runs are compared by their settings.
    ///
    /// # Errors
    /// When a setting is not finite, which [`RunConfig::check`] refuses.
    pub fn hash_of(config: &RunConfig, data_hash: &str) -> Result<String> {
        let seeds = config.seeds();
        let known_by = RunConfig {
            data: PathBuf::new(),
            seed: 0,
            init_seed: Some(seeds.init),
            order_seed: Some(seeds.order),
            ..config.clone()
        };
        let text = serde_json::to_string(&known_by).map_err(Error::failed)?;
        Ok(files::hex16(
            Sha256::new()
                .chain_update(data_hash)
                .chain_update("\n")
                .chain_update(text),
        ))
    }

    /// Whether `other` is this point, perhaps with the hash that another version gave it.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        let hash = self.hash.clone();
        *self == Self { hash, ..other.clone() }
    }

    /// The last part of its folder: its name and the beginning of its hash, for files about it.
    pub(super) fn folder_name(&self) -> String {
        let mut parts = self.folder.components().map(|part| part.as_os_str().to_string_lossy());
        // A study has folders in folders.
        let first = parts.next().unwrap_or_default();
        let rest: Vec<_> = if first == "points" {
            parts.collect()
        } else {
            std::iter::once(first).chain(parts).collect()
        };
        rest.join("-")
    }

    /// Its settings with the path of the data as seen from here.
    pub fn config_in(&self, sweep: &Path) -> RunConfig {
        RunConfig {
            data: sweep.join(&self.data.folder),
            ..self.config.clone()
        }
    }

    /// Whether its run in the folder of `sweep` has ended, and was of these settings and data.
    ///
    /// # Errors
    /// When there is another run in its folder, or a record of the run is damaged.
    pub fn is_done(&self, sweep: &Path) -> Result<bool> {
        let folder = sweep.join(&self.folder);
        if !RunRecord::is_complete(&folder) {
            return Ok(false);
        }
        let record = RunRecord::read(&folder)?;
        let mut differences = record.config.differences(&self.config);
        differences.retain(|(key, ..)| key != "data");
        let (found, planned) = (record.stages.data_hash, &self.data.hash);
        if found != *planned {
            differences.push(("the hash of the data".to_owned(), found, planned.clone()));
        }
        if differences.is_empty() {
            return Ok(record.stages.finished);
        }
        let differences: Vec<String> = differences
            .iter()
            .map(|(key, run, plan)| format!("{key} is {run} in the run, {plan} in the plan"))
            .collect();
        Err(Error::file(
            &folder,
            format!(
                "holds another run than point {} ({}): {}",
                self.number,
                self.name,
                differences.join("; ")
            ),
        ))
    }
}
