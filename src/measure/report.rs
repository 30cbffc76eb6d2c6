//! A result with everything that made it, as JSON and as a tidy table.

use std::path::Path;

use candle_core::Device;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::checkpoint::Subject;
use crate::error::{Error, Result};
use crate::files;
use crate::graph::Dataset;
use crate::model::Model;

/// A checkpoint that was looked at, as results name it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubjectInfo {
    /// The run's name, or the checkpoint's where it stands alone.
    pub run: String,
    /// The stage, or the file's name.
    pub checkpoint: String,
    /// Training steps done.
    pub step: u64,
    /// The first 16 digits of the file's SHA-256.
    pub hash: String,
    /// The run's seed.
    pub seed: Option<u64>,
    pub layers: usize,
    /// Iterations in training.
    pub iterations: usize,
    /// The most hops that its curriculum had passed, where it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learned_hops: Option<usize>,
}

impl SubjectInfo {
    /// Whether `row` is of this checkpoint.
    pub fn owns(&self, row: &impl Origin) -> bool {
        row.origin() == (self.run.as_str(), self.checkpoint.as_str(), self.step)
    }
}

/// A row that says which checkpoint it is of.
pub trait Origin {
    /// Run, checkpoint and step, as [`SubjectInfo`] has them.
    fn origin(&self) -> (&str, &str, u64);
}

impl<T: Origin> Origin for &T {
    fn origin(&self) -> (&str, &str, u64) {
        (*self).origin()
    }
}

macro_rules! origins {
    ($($row:ty),*) => {$(
        impl Origin for $row {
            fn origin(&self) -> (&str, &str, u64) {
                (&self.run, &self.checkpoint, self.step)
            }
        }
    )*};
}

origins!(
    super::EvalRow,
    super::HaltRow,
    super::LensRow,
    super::MarginRow,
    super::PatchRow,
    super::ProbeRow,
    super::ReachRow,
    super::SettleRow
);

/// A checkpoint, loaded.
pub struct Specimen {
    pub info: SubjectInfo,
    pub model: Model,
}

impl Specimen {
    /// Loads a checkpoint and checks it against the data.
    ///
    /// # Errors
    /// When it cannot be read, or its vocabulary is not the data's.
    pub fn load(subject: &Subject, data: &Dataset, device: &Device) -> Result<Self> {
        let checkpoint = subject.load(device)?;
        checkpoint.check_vocab(&subject.path, &data.vocab)?;
        if let Some(trained_on) = &checkpoint.info.data_hash
            && *trained_on != data.hash
        {
            tracing::warn!(
                "{} was trained on data {trained_on}; it is looked at on data {}",
                subject.path.display(),
                data.hash
            );
        }
        Ok(Self {
            info: SubjectInfo {
                run: subject.run.clone(),
                checkpoint: subject.label.clone(),
                step: checkpoint.info.step,
                hash: checkpoint.hash.clone(),
                seed: checkpoint.info.seed,
                layers: checkpoint.info.model.layers,
                iterations: checkpoint.info.model.iterations,
                learned_hops: checkpoint.info.learned_hops,
            },
            model: checkpoint.model()?,
        })
    }
}

/// A way of looking at checkpoints: its settings are the type itself.
pub trait Method: Clone + PartialEq + Serialize + DeserializeOwned {
    /// What results and files are called.
    const NAME: &'static str;
    /// One row of the result.
    type Row: Serialize + DeserializeOwned;

    /// Measures into a report that `Report::new` has begun.
    ///
    /// # Errors
    /// When a setting does not fit the data or the models, or the device fails.
    fn measure(&self, specimens: &[Specimen], data: &Dataset, report: &mut Report<Self, Self::Row>) -> Result<()>;

    /// Measures these checkpoints on the data.
    ///
    /// # Errors
    /// As [`Method::measure`].
    fn run(&self, specimens: &[Specimen], data: &Dataset) -> Result<Report<Self, Self::Row>> {
        let mut report = Report::new(self.clone(), data, specimens);
        self.measure(specimens, data, &mut report)?;
        Ok(report)
    }

    /// The report of this very measurement (settings, checkpoints, data, version) in `folder`, if it is there whole.
    fn done(&self, folder: &Path, specimens: &[Specimen], data: &Dataset) -> Option<Report<Self, Self::Row>> {
        let found = Report::<Self, Self::Row>::read(folder, Self::NAME).ok()?;
        let expected: Report<Self, Self::Row> = Report::new(self.clone(), data, specimens);
        let whole = ["csv", "svg", "png"]
            .iter()
            .all(|kind| folder.join(format!("{}.{kind}", Self::NAME)).is_file());
        let same = found.loopscope == expected.loopscope
            && found.settings == expected.settings
            && found.data_hash == expected.data_hash
            && found.subjects == expected.subjects;
        (whole && same).then_some(found)
    }
}

/// A finished measurement: rows of type `R` made with settings of type `S`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report<S, R> {
    /// What was measured: `lens`, `probe`, …
    pub method: String,
    /// The version of loopscope that did it.
    pub loopscope: String,
    pub settings: S,
    /// Content hash of the data that was looked at.
    pub data_hash: String,
    pub subjects: Vec<SubjectInfo>,
    /// What was left out, and other things to know.
    pub notes: Vec<String>,
    pub rows: Vec<R>,
}

impl<S: Method<Row = R>, R: Serialize + DeserializeOwned> Report<S, R> {
    /// A report without rows.
    fn new(settings: S, data: &Dataset, specimens: &[Specimen]) -> Self {
        Self {
            method: S::NAME.to_owned(),
            loopscope: env!("CARGO_PKG_VERSION").to_owned(),
            settings,
            data_hash: data.hash.clone(),
            subjects: specimens.iter().map(|specimen| specimen.info.clone()).collect(),
            notes: Vec::new(),
            rows: Vec::new(),
        }
    }
}

impl<S: Serialize, R: Serialize> Report<S, R> {
    /// Writes `NAME.json` (all) and `NAME.csv` (the rows) into `folder`.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&self, folder: &Path, name: &str) -> Result<()> {
        write_csv(&folder.join(format!("{name}.csv")), &self.rows)?;
        files::write_json(&folder.join(format!("{name}.json")), self)
    }
}

impl<S: DeserializeOwned, R: DeserializeOwned> Report<S, R> {
    /// Reads `NAME.json` from `folder`.
    ///
    /// # Errors
    /// When it is missing or does not fit.
    pub fn read(folder: &Path, name: &str) -> Result<Self> {
        files::read_json(&folder.join(format!("{name}.json")))
    }
}

/// Writes rows as CSV with a header, whole or not at all.
pub(super) fn write_csv<R: Serialize>(path: &Path, rows: impl IntoIterator<Item = R>) -> Result<()> {
    let mut table = csv::Writer::from_writer(Vec::new());
    for row in rows {
        table.serialize(row).map_err(|e| Error::write(path, e))?;
    }
    files::write(path, &table.into_inner().map_err(|e| Error::write(path, e.error()))?)
}
