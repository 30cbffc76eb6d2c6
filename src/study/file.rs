//! The file of a study, shipped or one's own.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;

use super::Study;
use super::criteria::{CheckedExperiment, CriterionTable};
use crate::error::{Error, Result};
use crate::experiment::PresetSource;
use crate::files;

/// The text of the study of the paper's claims, which is shipped.
const CLAIMS: &str = include_str!("claims.toml");

/// An experiment of a study.
#[derive(Debug, Clone, PartialEq)]
pub struct StudyExperiment {
    /// Its name, and that of its folder.
    pub name: String,
    /// What it does.
    pub preset: PresetSource,
    /// The seeds that it is done with: each one of data, initial weights and order.
    pub seeds: Vec<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StudyFile {
    #[serde(rename = "kind")]
    _kind: Kind,
    experiments: Vec<ExperimentTable>,
    criteria: Vec<CriterionTable>,
}

#[derive(Deserialize)]
enum Kind {
    #[serde(rename = "claims")]
    Claims,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExperimentTable {
    name: String,
    preset: String,
    seeds: Vec<u64>,
}

/// Where a study is: shipped, or in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StudySource {
    /// The study of the paper's claims.
    Claims,
    /// One in a file.
    File(PathBuf),
}

impl StudySource {
    /// What users call the study of the paper's claims.
    pub const CLAIMS_NAME: &'static str = "claims";

    /// The study that `text`, a name or the path of a file, stands for; `None` where it is not a study.
    pub fn of(text: &str) -> Option<Self> {
        if text == Self::CLAIMS_NAME {
            return Some(Self::Claims);
        }
        let path = Path::new(text);
        let table: toml::Table = toml::from_str(&files::read_text(path).ok()?).ok()?;
        let kind = table.get("kind")?.as_str()?;
        (kind == Self::CLAIMS_NAME).then(|| Self::File(path.to_owned()))
    }

    /// The TOML of the shipped study.
    pub fn shipped_text() -> &'static str {
        CLAIMS
    }

    /// Reads and checks the study.
    ///
    /// # Errors
    /// When the file cannot be read, a key is unknown or a value impossible; the message names file and key.
    pub fn read(&self) -> Result<Study> {
        match self {
            Self::Claims => Study::parse(CLAIMS, Self::CLAIMS_NAME, Path::new(""))
                .map_err(|e| Error::input(format!("preset {}: {e}", Self::CLAIMS_NAME))),
            Self::File(path) => {
                let name = path.file_stem().unwrap_or_default().to_string_lossy();
                let folder = path.parent().unwrap_or(Path::new(""));
                Study::parse(&files::read_text(path)?, &name, folder).map_err(|e| Error::file(path, e))
            }
        }
    }
}

impl Study {
    pub(super) fn parse(text: &str, name: &str, folder: &Path) -> Result<Self> {
        let file: StudyFile = toml::from_str(text).map_err(Error::input)?;
        let experiments = file
            .experiments
            .into_iter()
            .enumerate()
            .map(|(i, table)| {
                table
                    .checked(folder)
                    .map_err(|e| Error::input(format!("experiments.{i}: {e}")))
            })
            .collect::<Result<Vec<_>>>()?;
        for (i, experiment) in experiments.iter().enumerate() {
            let name = &experiment.experiment.name;
            if experiments[..i].iter().any(|other| other.experiment.name == *name) {
                return Err(Error::input(format!(
                    "experiments.{i}.name = {name:?}; allowed: a name that no other has"
                )));
            }
        }
        let criteria = file.criteria.into_iter().enumerate().map(|(i, table)| {
            let checked = table.checked(&experiments);
            checked.map_err(|e| Error::input(format!("criteria.{i}: {e}")))
        });
        Ok(Self {
            name: name.to_owned(),
            hash: files::short_hash(text.as_bytes()),
            criteria: criteria.collect::<Result<_>>()?,
            experiments: experiments.into_iter().map(|checked| checked.experiment).collect(),
        })
    }
}

impl ExperimentTable {
    fn checked(self, folder: &Path) -> Result<CheckedExperiment> {
        let is_name =
            |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        if !is_name(&self.name) {
            return Err(Error::input(format!(
                "name = {:?}; allowed: letters, digits, - and _",
                self.name
            )));
        }
        let preset = match PresetSource::from_str(&self.preset) {
            Ok(PresetSource::File(path)) => PresetSource::File(folder.join(path)),
            Ok(shipped) => shipped,
            Err(allowed) => return Err(Error::input(format!("preset = {:?}; {allowed}", self.preset))),
        };
        let twice = self
            .seeds
            .iter()
            .enumerate()
            .any(|(i, seed)| self.seeds[..i].contains(seed));
        if self.seeds.is_empty() || twice {
            return Err(Error::input("seeds; allowed: one or more numbers, each once"));
        }
        let experiment = StudyExperiment {
            name: self.name,
            preset,
            seeds: self.seeds,
        };
        let preset = experiment.preset.read(None)?;
        Ok(CheckedExperiment {
            made: preset.data_sets()?,
            experiment,
            preset,
        })
    }
}
