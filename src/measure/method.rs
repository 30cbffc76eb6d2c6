//! The shape of every method: settings that measure checkpoints into rows. Its report holds the rows with everything that
//! made them, as JSON and as a tidy table.

use std::fmt::Debug;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::checkpoint::{CheckpointSummary, LoadedCheckpoint, data_sets};
use super::columns::{Column, Matrix, Table, csv};
use super::fitted::Fitted;
use super::judged::{Check, Design, Setting, SiteScore};
use super::output::{Extras, Output};
use super::population::Group;
use super::query_rows::QueryRows;
use super::row::Row;
use super::statistics::intervals_in_words;
use crate::checkpoint::RunPath;
use crate::error::{Error, Result};
use crate::files;

/// A way of looking at checkpoints. The settings are the type itself: they are the flags of its subcommand, a part of its
/// result, and what a preset holds.
pub trait Method: Debug + Clone + PartialEq + Serialize + DeserializeOwned + clap::Args {
    /// What the subcommand, results and files are called.
    const NAME: &'static str;
    /// What it does, in one sentence, for the command line.
    const ABOUT: &'static str;
    /// How its result can mislead, in one or two sentences.
    const MISLEADS: &'static str;
    /// The number of the result's format and meaning: to be raised whenever the same settings on the same checkpoints give
    /// other rows, so that results of before are measured again.
    const FORMAT: u32;
    /// One row of the result.
    type Row: Row;

    /// Seed of what it draws, the bootstrap before all.
    fn seed(&self) -> u64;

    /// Takes the files among the arguments that are settings of this method; gives the others, which are checkpoints.
    ///
    /// # Errors
    /// When such a file cannot be read, or one that is needed is missing.
    fn take_files(&mut self, arguments: Vec<RunPath>) -> Result<Vec<RunPath>> {
        Ok(arguments)
    }

    /// Fills in what the user left open: the splits that the method can use, the iterations of training.
    ///
    /// # Errors
    /// When a setting does not fit the checkpoints or their data.
    fn resolve(&mut self, checkpoints: &[LoadedCheckpoint]) -> Result<()>;

    /// The hashes of the checkpoints that are read beside those that are measured.
    ///
    /// # Errors
    /// When one cannot be read.
    fn baseline_hashes(&self, _checkpoints: &[LoadedCheckpoint]) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// Measures checkpoints that share a data set.
    ///
    /// # Errors
    /// When a setting does not fit the data or the models, or the device fails.
    fn measure(&self, group: &Group, out: &mut Output<Self::Row>) -> Result<()>;

    /// The rows that the printed table has.
    fn shown(report: &Report<Self>) -> Vec<&Self::Row> {
        report.rows.iter().collect()
    }

    /// What is printed for people instead of that table, where its rows are places in two directions.
    fn matrices(_report: &Report<Self>) -> Vec<Matrix> {
        Vec::new()
    }

    /// The settings that the command line has without any flag.
    ///
    /// # Errors
    /// When a flag is required.
    fn defaults() -> Result<Self> {
        let command = Self::augment_args(clap::Command::new(Self::NAME).no_binary_name(true));
        command
            .try_get_matches_from(Vec::<String>::new())
            .and_then(|matches| Self::from_arg_matches(&matches))
            .map_err(|e| Error::input(format!("{} has no default settings: {e}", Self::NAME)))
    }

    /// The settings with which the method is held against models whose mechanism is known.
    ///
    /// # Errors
    /// As [`Method::defaults`].
    fn to_verify(_setting: &Setting) -> Result<Vec<Self>> {
        Ok(vec![Self::defaults()?])
    }

    /// The settings with which the method edits states of queries that it fits nothing to: of these reports the scores with
    /// [`Claim::Counterfactual`](super::Claim::Counterfactual) count. None where it edits nothing.
    ///
    /// # Errors
    /// As [`Method::defaults`].
    fn to_edit(_setting: &Setting) -> Result<Vec<Self>> {
        Ok(Vec::new())
    }

    /// What a report says of sites; nothing where the method speaks of none.
    fn site_scores(_report: &Report<Self>) -> Vec<SiteScore> {
        Vec::new()
    }

    /// The numbers of a report that the design of a model foretells.
    fn checks(_report: &Report<Self>, _design: &dyn Design) -> Vec<Check> {
        Vec::new()
    }

    /// Resolves the settings and measures these checkpoints, each on its own data.
    ///
    /// # Errors
    /// As [`Method::resolve`] and [`Method::measure`].
    fn run(&self, checkpoints: &[LoadedCheckpoint]) -> Result<Report<Self>> {
        Ok(self.run_with(Extras::default(), checkpoints)?.report)
    }

    /// As [`Method::run`], with what `extras` asks for.
    ///
    /// # Errors
    /// As [`Method::run`].
    fn run_with(&self, extras: Extras, checkpoints: &[LoadedCheckpoint]) -> Result<Measured<Self>> {
        let mut out = Output::new(Self::NAME, extras, checkpoints);
        let report = measured(self.resolved(checkpoints)?, checkpoints, &mut out)?;
        Ok(Measured {
            report,
            queries: out.queries.map(QueryRows::into_csv).transpose()?,
            fitted: out.fitted.unwrap_or_default(),
        })
    }

    /// The settings with what was left open filled in.
    ///
    /// # Errors
    /// As [`Method::resolve`].
    fn resolved(&self, checkpoints: &[LoadedCheckpoint]) -> Result<Self> {
        let mut settings = self.clone();
        settings.resolve(checkpoints)?;
        Ok(settings)
    }
}

/// A finished measurement with what was asked for beside it.
pub struct Measured<M: Method> {
    /// The result.
    pub report: Report<M>,
    /// The per-query rows as CSV, where they were asked for.
    pub queries: Option<Vec<u8>>,
    /// What was fitted, where that was asked for; most methods fit nothing.
    pub fitted: Vec<Fitted>,
}

// Measures each data set's checkpoints with resolved settings.
fn measured<M: Method>(settings: M, checkpoints: &[LoadedCheckpoint], out: &mut Output<M::Row>) -> Result<Report<M>> {
    let mut report = Report::new(settings, checkpoints)?;
    out.notes
        .extend(report.checkpoints.iter().filter_map(CheckpointSummary::other_data));
    let sets = data_sets(checkpoints);
    for data in &sets {
        let group = Group {
            data,
            checkpoints: checkpoints.iter().filter(|c| c.data.hash == data.hash).collect(),
            seed: report.settings.seed(),
        };
        let before = out.notes.len();
        report.settings.measure(&group, out).map_err(|error| match error {
            Error::Failed(reason) => {
                let names: Vec<String> = group.checkpoints.iter().map(|c| c.info.name()).collect();
                Error::Failed(format!("{} of {}: {reason}", M::NAME, names.join(", ")))
            }
            other => other,
        })?;
        if sets.len() > 1 {
            for note in &mut out.notes[before..] {
                *note = format!("data {}: {note}", data.hash);
            }
        }
    }
    let mut seen = std::collections::HashSet::new();
    out.notes.retain(|note| seen.insert(note.clone()));
    report.rows = std::mem::take(&mut out.rows);
    report.notes = std::mem::take(&mut out.notes);
    Ok(report)
}

/// A finished measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Report<M: Method> {
    /// What was measured: `lens`, `probe`, …
    pub method: String,
    /// The version of loopscope that did it.
    pub loopscope: String,
    /// The system that it was built for, and how it multiplies matrices there.
    pub build: String,
    /// The command line that did it.
    pub command: Vec<String>,
    /// [`Method::FORMAT`] of the code that did it.
    pub format: u32,
    /// With everything filled in that was left open.
    pub settings: M,
    /// The first 16 digits of the SHA-256 of the settings as JSON.
    pub settings_hash: String,
    /// The checkpoints that were measured.
    pub checkpoints: Vec<CheckpointSummary>,
    /// As [`Method::baseline_hashes`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub baseline_hashes: Vec<String>,
    /// What was left out, and other things to know.
    pub notes: Vec<String>,
    /// The rows of the result.
    pub rows: Vec<M::Row>,
}

/// What of a report says what it was made of.
#[derive(Debug, PartialEq, Deserialize)]
pub struct ReportHeader {
    /// As [`Report::method`].
    pub method: String,
    /// As [`Report::loopscope`].
    pub loopscope: String,
    /// As [`Report::format`].
    pub format: u32,
    settings_hash: String,
    /// As [`Report::checkpoints`].
    pub checkpoints: Vec<CheckpointSummary>,
    #[serde(default)]
    baseline_hashes: Vec<String>,
}

impl<M: Method> Report<M> {
    // A report without rows.
    pub(super) fn new(settings: M, checkpoints: &[LoadedCheckpoint]) -> Result<Self> {
        // Settings are plain data; nothing in them refuses to be JSON.
        let text = serde_json::to_string(&settings).unwrap_or_default();
        Ok(Self {
            method: M::NAME.to_owned(),
            loopscope: env!("CARGO_PKG_VERSION").to_owned(),
            build: format!(
                "{} {}, matrix products by {}",
                std::env::consts::OS,
                std::env::consts::ARCH,
                crate::model::Backend::default().matmul()
            ),
            command: std::env::args_os()
                .map(|argument| argument.to_string_lossy().into_owned())
                .collect(),
            format: M::FORMAT,
            settings_hash: files::short_hash(text.as_bytes()),
            baseline_hashes: settings.baseline_hashes(checkpoints)?,
            settings,
            checkpoints: checkpoints.iter().map(|checkpoint| checkpoint.info.clone()).collect(),
            notes: Vec::new(),
            rows: Vec::new(),
        })
    }

    fn header(&self) -> ReportHeader {
        ReportHeader {
            method: self.method.clone(),
            loopscope: self.loopscope.clone(),
            format: self.format,
            settings_hash: self.settings_hash.clone(),
            checkpoints: self.checkpoints.clone(),
            baseline_hashes: self.baseline_hashes.clone(),
        }
    }

    /// The report of this very measurement (resolved settings, checkpoints, data, format) in `folder`, if it is there whole.
    /// One that is there and cannot be read is said to be so.
    pub fn found(settings: &M, folder: &Path, checkpoints: &[LoadedCheckpoint]) -> Option<Self> {
        let path = folder.join(format!("{}.json", M::NAME));
        if !path.exists() {
            return None;
        }
        let again = |error: &Error| tracing::warn!("an earlier result is measured again: {error}");
        let of_file: ReportHeader = files::read_json(&path).inspect_err(again).ok()?;
        // A baseline that cannot be read is an error of the measurement, which tells it.
        let expected = Self::new(settings.clone(), checkpoints).ok()?;
        if of_file != expected.header() {
            tracing::info!(
                "{} is of other settings, checkpoints or code; measured again",
                path.display()
            );
            return None;
        }
        if !path.with_extension("csv").is_file() {
            return None;
        }
        Self::read(folder).inspect_err(again).ok()
    }

    /// Writes `NAME.json` (all) and `NAME.csv` (the rows) into `folder`.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        self.write_as(folder, M::NAME)
    }

    /// As [`Report::write`], under another name.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write_as(&self, folder: &Path, name: &str) -> Result<()> {
        files::write(&folder.join(format!("{name}.csv")), &csv(&self.rows)?)?;
        files::write_json(&folder.join(format!("{name}.json")), self)
    }

    /// Reads `NAME.json` from `folder`.
    ///
    /// # Errors
    /// When it is missing or does not fit.
    pub fn read(folder: &Path) -> Result<Self> {
        files::read_json(&folder.join(format!("{}.json", M::NAME)))
    }

    /// The printed table: the run and checkpoint of each row that it shows, and the columns of its type.
    ///
    /// # Errors
    /// When a row has no named fields.
    pub fn table(&self) -> Result<Table> {
        let columns: Vec<Column> = [Column::of("run"), Column::of("checkpoint")]
            .into_iter()
            .chain(M::Row::COLUMNS.iter().copied())
            .collect();
        Table::new(&columns, M::shown(self))
    }

    /// What its intervals count for, in words.
    pub fn intervals(&self) -> String {
        let found = self.rows.iter().filter_map(Row::clustering);
        intervals_in_words(found.map(|(split, clustering)| (split.to_string(), clustering)))
    }

    /// What it says of the checkpoints with these indices.
    #[must_use]
    pub fn only(&self, checkpoints: &[usize]) -> Self {
        let checkpoints: Vec<CheckpointSummary> = checkpoints.iter().map(|&i| self.checkpoints[i].clone()).collect();
        let is_of = |row: &&M::Row| checkpoints.iter().any(|checkpoint| checkpoint.owns(row.origin()));
        Self {
            method: self.method.clone(),
            loopscope: self.loopscope.clone(),
            build: self.build.clone(),
            command: self.command.clone(),
            format: self.format,
            settings: self.settings.clone(),
            settings_hash: self.settings_hash.clone(),
            baseline_hashes: self.baseline_hashes.clone(),
            notes: self.notes.clone(),
            rows: self.rows.iter().filter(is_of).cloned().collect(),
            checkpoints,
        }
    }

    /// The checkpoint that a row is of.
    pub fn checkpoint_of(&self, row: &M::Row) -> Option<&CheckpointSummary> {
        self.checkpoints.iter().find(|checkpoint| checkpoint.owns(row.origin()))
    }
}

#[cfg(test)]
impl<M: Method> Report<M> {
    /// A result that nothing was measured for.
    pub(crate) fn made_up(settings: M, checkpoints: Vec<CheckpointSummary>, rows: Vec<M::Row>) -> Self {
        Self {
            checkpoints,
            rows,
            ..Self::new(settings, &[]).unwrap()
        }
    }
}
