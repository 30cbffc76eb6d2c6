//! The data of a sweep: settings from which data sets are made, or a folder that is there.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::graph::{Chains, Dataset, Systematic};
use crate::train::with_overrides;

/// The settings of a data set of either task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
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

    /// Writes `made`, the data set of these settings, into `folder`; checks that it is the same where the folder is there.
    ///
    /// # Errors
    /// When the folder holds other data or cannot be written.
    pub fn write(&self, made: &Dataset, folder: &Path) -> Result<()> {
        if folder.exists() {
            let found = Dataset::read(folder)?;
            if found.hash == made.hash {
                return Ok(());
            }
            return Err(Error::file(
                folder,
                format!("holds other data ({}) than this plan makes ({})", found.hash, made.hash),
            ));
        }
        match self {
            Self::Systematic(settings) => made.write(folder, settings),
            Self::Depth(settings) => made.write(folder, settings),
        }
    }
}
