//! The data of a sweep: settings from which data sets are made, or a folder that is there; and the data sets of its points.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::point::Point;
use crate::error::{Error, Result};
use crate::graph::{Chains, Dataset, Systematic};
use crate::train::with_overrides;

/// The settings of a data set of either task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "kebab-case",
    expecting = "a table [data] with kind = \"systematic\" or \"depth\""
)]
pub enum DataSettings {
    /// Chains of two hops.
    Systematic(Systematic),
    /// Chains of many hops.
    Depth(Chains),
}

impl DataSettings {
    /// The settings with `key=value` overrides put over them.
    ///
    /// # Errors
    /// When a key is unknown or a value is of another kind.
    pub fn with(&self, overrides: &[String]) -> Result<Self> {
        with_overrides(self, overrides)
    }

    /// The seed of every random choice.
    pub fn seed(&self) -> u64 {
        match self {
            Self::Systematic(settings) => settings.seed,
            Self::Depth(settings) => settings.seed,
        }
    }

    /// The same settings with another seed.
    #[must_use]
    pub fn seeded(&self, seed: u64) -> Self {
        match self.clone() {
            Self::Systematic(settings) => Self::Systematic(Systematic { seed, ..settings }),
            Self::Depth(settings) => Self::Depth(Chains { seed, ..settings }),
        }
    }

    /// Makes the data set in memory.
    ///
    /// # Errors
    /// When a setting is impossible.
    pub fn generate(&self) -> Result<Dataset> {
        match self {
            Self::Systematic(settings) => settings.generate(),
            Self::Depth(settings) => settings.generate(),
        }
    }

    /// Writes `made`, the data set of these settings, into `folder`; checks that it is the same where the folder is there, because
    /// another process may write it at the same time.
    ///
    /// # Errors
    /// When the folder holds other data or cannot be written.
    pub fn write(&self, made: &Dataset, folder: &Path) -> Result<()> {
        if !folder.exists() {
            let written = match self {
                Self::Systematic(settings) => made.write(folder, settings),
                Self::Depth(settings) => made.write(folder, settings),
            };
            // Whoever came second finds the folder whole.
            if written.is_ok() || !folder.exists() {
                return written;
            }
        }
        let found = Dataset::read(folder)?;
        if found.hash == made.hash {
            return Ok(());
        }
        Err(Error::file(
            folder,
            format!("holds other data ({}) than this plan makes ({})", found.hash, made.hash),
        ))
    }
}

/// The data sets of the points of a sweep, each read once.
#[derive(Debug)]
pub struct SweepData {
    sweep: PathBuf,
    // By their folder.
    known: Mutex<HashMap<PathBuf, Arc<Dataset>>>,
}

impl SweepData {
    /// Those of the points in the folder `sweep`; none is read yet.
    pub fn new(sweep: &Path) -> Self {
        Self {
            sweep: sweep.to_owned(),
            known: Mutex::default(),
        }
    }

    /// The folder of the sweep.
    pub(super) fn sweep(&self) -> &Path {
        &self.sweep
    }

    /// The data of a point.
    ///
    /// # Errors
    /// When they cannot be read, or are others than the plan was made with.
    pub fn of(&self, point: &Point) -> Result<Arc<Dataset>> {
        let folder = self.sweep.join(&point.data.folder);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let data = match known.get(&folder) {
            Some(data) => data.clone(),
            None => Arc::new(Dataset::read(&folder)?),
        };
        if data.hash != point.data.hash {
            return Err(Error::file(
                &folder,
                format!(
                    "holds data {}, the plan was made with data {}",
                    data.hash, point.data.hash
                ),
            ));
        }
        known.insert(folder, data.clone());
        Ok(data)
    }
}
