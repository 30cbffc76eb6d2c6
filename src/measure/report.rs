//! A result with everything that made it, as JSON and as a tidy table.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Device;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::checkpoint::Subject;
use crate::error::{Error, Result};
use crate::files;
use crate::graph::Dataset;
use crate::model::Model;

/// Which checkpoint a row is of, and the data that it was measured on. No two checkpoints of a result share it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The run's name, made unlike every other's by as much of its path as it takes; the checkpoint's where it stands
    /// alone.
    pub run: String,
    /// The stage, or the file's name.
    pub checkpoint: String,
    /// Training steps done.
    pub step: u64,
    /// The first 16 digits of the checkpoint file's SHA-256.
    pub checkpoint_hash: String,
    /// Content hash of the data.
    pub data_hash: String,
}

/// A checkpoint that was looked at, as results name it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubjectInfo {
    #[serde(flatten)]
    pub origin: Origin,
    /// The run's seed.
    pub seed: Option<u64>,
    pub layers: usize,
    /// Iterations in training.
    pub iterations: usize,
    /// The most hops that its curriculum had passed, where it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learned_hops: Option<usize>,
    /// Content hash of the data that it was trained on, where its file tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trained_on: Option<String>,
}

impl SubjectInfo {
    /// Whether a row with this origin is of this checkpoint.
    pub fn owns(&self, origin: &Origin) -> bool {
        self.origin == *origin
    }

    /// The data that it was trained on, where that is known and is not the data that it is looked at on.
    pub fn trained_elsewhere(&self) -> Option<&str> {
        self.trained_on.as_deref().filter(|&hash| hash != self.origin.data_hash)
    }

    /// That it is looked at on other data than it was trained on, for notes.
    pub fn other_data(&self) -> Option<String> {
        let trained_on = self.trained_elsewhere()?;
        let (name, looked_at) = (self.name(), &self.origin.data_hash);
        Some(format!(
            "{name} was trained on data {trained_on}; it is looked at on data {looked_at}"
        ))
    }

    /// `RUN CHECKPOINT`, for notes.
    pub fn name(&self) -> String {
        format!("{} {}", self.origin.run, self.origin.checkpoint)
    }
}

/// A checkpoint, loaded, with the data that it is looked at on.
pub struct Specimen {
    pub info: SubjectInfo,
    /// The file that it was read from.
    pub path: PathBuf,
    pub model: Model,
    pub data: Arc<Dataset>,
}

impl Specimen {
    /// Loads a checkpoint and checks it against the data.
    ///
    /// # Errors
    /// When it cannot be read, or its vocabulary is not the data's.
    pub fn load(subject: &Subject, data: &Arc<Dataset>, device: &Device) -> Result<Self> {
        let checkpoint = subject.load(device)?;
        checkpoint.check_vocab(&subject.path, &data.vocab)?;
        let info = SubjectInfo {
            origin: Origin {
                run: subject.run.clone(),
                checkpoint: subject.label.clone(),
                step: checkpoint.info.step,
                checkpoint_hash: checkpoint.hash.clone(),
                data_hash: data.hash.clone(),
            },
            seed: checkpoint.info.seed,
            layers: checkpoint.info.model.layers,
            iterations: checkpoint.info.model.iterations,
            learned_hops: checkpoint.info.learned_hops,
            trained_on: checkpoint.info.data_hash.clone(),
        };
        // Said before the work begins, which may take long or fail for this very reason.
        if let Some(warning) = info.other_data() {
            tracing::warn!("{warning}");
        }
        Ok(Self {
            info,
            path: subject.path.clone(),
            model: checkpoint.model()?,
            data: data.clone(),
        })
    }
}

/// The distinct data sets of the checkpoints, in the order in which they come.
pub fn data_sets(specimens: &[Specimen]) -> Vec<&Dataset> {
    let mut found: Vec<&Dataset> = Vec::new();
    for specimen in specimens {
        if found.iter().all(|data| data.hash != specimen.data.hash) {
            found.push(&specimen.data);
        }
    }
    found
}

/// A way of looking at checkpoints: its settings are the type itself.
pub trait Method: Clone + PartialEq + Serialize + DeserializeOwned {
    /// What results and files are called.
    const NAME: &'static str;
    /// The number of the result's format and meaning: to be raised whenever the same settings on the same checkpoints give
    /// other rows, so that results of before are measured again.
    const FORMAT: u32;
    /// One row of the result.
    type Row: Serialize + DeserializeOwned;

    /// Measures checkpoints of one data set into a report that has been begun.
    ///
    /// # Errors
    /// When a setting does not fit the data or the models, or the device fails.
    fn measure(&self, specimens: &[&Specimen], data: &Dataset, report: &mut Report<Self, Self::Row>) -> Result<()>;

    /// The hashes of the checkpoints that are read beside those that are measured.
    ///
    /// # Errors
    /// When one cannot be read.
    fn baseline_hashes(&self, _specimens: &[Specimen]) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// Measures these checkpoints, each on its own data.
    ///
    /// # Errors
    /// As [`Method::measure`].
    fn run(&self, specimens: &[Specimen]) -> Result<Report<Self, Self::Row>> {
        let mut report = Report::new(self.clone(), specimens)?;
        report.notes = report.subjects.iter().filter_map(SubjectInfo::other_data).collect();
        let sets = data_sets(specimens);
        for data in &sets {
            let of_data: Vec<&Specimen> = specimens.iter().filter(|s| s.data.hash == data.hash).collect();
            let before = report.notes.len();
            self.measure(&of_data, data, &mut report).map_err(|error| match error {
                Error::Failed(reason) => {
                    let names: Vec<String> = of_data.iter().map(|specimen| specimen.info.name()).collect();
                    Error::Failed(format!("{} of {}: {reason}", Self::NAME, names.join(", ")))
                }
                other => other,
            })?;
            if sets.len() > 1 {
                for note in &mut report.notes[before..] {
                    *note = format!("data {}: {note}", data.hash);
                }
            }
        }
        let mut seen = std::collections::HashSet::new();
        report.notes.retain(|note| seen.insert(note.clone()));
        Ok(report)
    }

    /// The report of this very measurement (settings, checkpoints, data, format) in `folder`, if it is there whole. One
    /// that is there and cannot be read is said to be so.
    fn done(&self, folder: &Path, specimens: &[Specimen]) -> Option<Report<Self, Self::Row>> {
        let path = folder.join(format!("{}.json", Self::NAME));
        if !path.exists() {
            return None;
        }
        let found = match Made::read(&path) {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!("an earlier result is measured again: {error}");
                return None;
            }
        };
        // A baseline that cannot be read is an error of the measurement, which tells it.
        let expected: Report<Self, Self::Row> = Report::new(self.clone(), specimens).ok()?;
        if found != expected.made() {
            tracing::info!(
                "{} is of other settings, checkpoints or code; measured again",
                path.display()
            );
            return None;
        }
        let whole = ["csv", "svg", "png"]
            .iter()
            .all(|kind| folder.join(format!("{}.{kind}", Self::NAME)).is_file());
        if !whole {
            return None;
        }
        match Report::read(folder, Self::NAME) {
            Ok(report) => Some(report),
            Err(error) => {
                tracing::warn!("an earlier result is measured again: {error}");
                None
            }
        }
    }
}

/// A finished measurement: rows of type `R` made with settings of type `S`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report<S, R> {
    /// What was measured: `lens`, `probe`, …
    pub method: String,
    /// The version of loopscope that did it.
    pub loopscope: String,
    /// [`Method::FORMAT`] of the code that did it.
    pub format: u32,
    pub settings: S,
    /// The first 16 digits of the SHA-256 of the settings as JSON.
    pub settings_hash: String,
    pub subjects: Vec<SubjectInfo>,
    /// As [`Method::baseline_hashes`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub baseline_hashes: Vec<String>,
    /// What was left out, and other things to know.
    pub notes: Vec<String>,
    pub rows: Vec<R>,
}

#[cfg(test)]
impl<S, R> Report<S, R> {
    /// A result that nothing was measured for.
    pub(crate) fn made_up(settings: S, subjects: Vec<SubjectInfo>, rows: Vec<R>) -> Self {
        Self {
            method: "made up".to_owned(),
            loopscope: String::new(),
            format: 1,
            settings,
            settings_hash: String::new(),
            subjects,
            baseline_hashes: Vec::new(),
            notes: Vec::new(),
            rows,
        }
    }
}

/// What of a report says what it was made of.
#[derive(Debug, PartialEq, Deserialize)]
struct Made {
    method: String,
    loopscope: String,
    format: u32,
    settings_hash: String,
    subjects: Vec<SubjectInfo>,
    #[serde(default)]
    baseline_hashes: Vec<String>,
}

impl Made {
    fn read(path: &Path) -> Result<Self> {
        files::read_json(path)
    }
}

impl<S: Method<Row = R>, R: Serialize + DeserializeOwned> Report<S, R> {
    /// A report without rows.
    fn new(settings: S, specimens: &[Specimen]) -> Result<Self> {
        // Settings are plain data; nothing in them refuses to be JSON.
        let text = serde_json::to_string(&settings).unwrap_or_default();
        Ok(Self {
            method: S::NAME.to_owned(),
            loopscope: env!("CARGO_PKG_VERSION").to_owned(),
            format: S::FORMAT,
            settings_hash: files::short_hash(text.as_bytes()),
            baseline_hashes: settings.baseline_hashes(specimens)?,
            settings,
            subjects: specimens.iter().map(|specimen| specimen.info.clone()).collect(),
            notes: Vec::new(),
            rows: Vec::new(),
        })
    }

    fn made(&self) -> Made {
        Made {
            method: self.method.clone(),
            loopscope: self.loopscope.clone(),
            format: self.format,
            settings_hash: self.settings_hash.clone(),
            subjects: self.subjects.clone(),
            baseline_hashes: self.baseline_hashes.clone(),
        }
    }

    /// Writes `NAME.json` (all) and `NAME.csv` (the rows) into `folder`.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&self, folder: &Path, name: &str) -> Result<()> {
        write_csv(&folder.join(format!("{name}.csv")), &self.rows)?;
        files::write_json(&folder.join(format!("{name}.json")), self)
    }

    /// Reads `NAME.json` from `folder`.
    ///
    /// # Errors
    /// When it is missing or does not fit.
    pub fn read(folder: &Path, name: &str) -> Result<Self> {
        files::read_json(&folder.join(format!("{name}.json")))
    }
}

/// Writes rows as CSV, whole or not at all: a column a field of the row, in its order; what is absent is empty.
pub(super) fn write_csv<R: Serialize>(path: &Path, rows: impl IntoIterator<Item = R>) -> Result<()> {
    let fail = |e: &dyn std::fmt::Display| Error::write(path, e);
    let mut table = csv::Writer::from_writer(Vec::new());
    for (i, row) in rows.into_iter().enumerate() {
        let Value::Object(fields) = serde_json::to_value(row).map_err(|e| fail(&e))? else {
            return Err(fail(&"a row has no named fields"));
        };
        if i == 0 {
            table.write_record(fields.keys()).map_err(|e| fail(&e))?;
        }
        let cell = |value: &Value| match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        table.write_record(fields.values().map(cell)).map_err(|e| fail(&e))?;
    }
    files::write(path, &table.into_inner().map_err(|e| fail(&e.error()))?)
}
