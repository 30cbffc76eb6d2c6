//! The shape of every method: settings that measure checkpoints into rows.

use std::fmt::Debug;

use candle_core::Tensor;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::checkpoint::{CheckpointSummary, LoadedCheckpoint, Origin, data_sets};
use super::columns::Column;
use super::fitted::Fitted;
use super::population::{Group, Population};
use super::query_rows::{Asked, QueryRows};
use super::report::Report;
use super::statistics::Clustering;
use crate::checkpoint::RunPath;
use crate::error::{Error, Result};
use crate::graph::Split;
use crate::train::answers;

/// A way of looking at checkpoints. The settings are the type itself: they are the flags of its subcommand, a part of its
/// result, and what a preset holds.
pub trait Method: Debug + Clone + PartialEq + Serialize + DeserializeOwned + clap::Args {
    /// What the subcommand, results and files are called.
    const NAME: &'static str;
    /// What it does, in one sentence, for the command line.
    const ABOUT: &'static str;
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
    fn measure(&self, group: &Group, out: &mut Output<Self>) -> Result<()>;

    /// The rows that the printed table has.
    fn shown(report: &Report<Self>) -> Vec<&Self::Row> {
        report.rows.iter().collect()
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
        let mut out = Output {
            rows: Vec::new(),
            notes: Vec::new(),
            queries: extras.queries.then(|| QueryRows::new(checkpoints)),
            fitted: extras.fitted.then(Vec::new),
        };
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

/// A row of a result; its fields name the columns of CSV, JSON and the printed table.
pub trait Row: Debug + Clone + PartialEq + Serialize + DeserializeOwned {
    /// What the printed table shows of it, after the run and the checkpoint.
    const COLUMNS: &'static [Column];

    /// The checkpoint that it is of.
    fn origin(&self) -> &Origin;

    /// What its interval counts for, and the split that it is over; `None` where it has no interval.
    fn clustering(&self) -> Option<(&Split, Clustering)>;
}

/// Implements [`Row`] for a type that has `origin`, `split` and `interval`, with these columns.
macro_rules! columns {
    ($Row:ty: $($column:expr),+ $(,)?) => {
        impl $crate::measure::Row for $Row {
            const COLUMNS: &'static [$crate::measure::Column] = &[$($column),+];

            fn origin(&self) -> &$crate::measure::Origin {
                &self.origin
            }

            fn clustering(&self) -> Option<(&$crate::graph::Split, $crate::measure::statistics::Clustering)> {
                Some((&self.split, self.interval))
            }
        }
    };
}

pub(super) use columns;

/// What is asked for beside the rows of the result.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extras {
    /// A row for every query.
    pub queries: bool,
    /// What was fitted.
    pub fitted: bool,
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

/// What a method writes into while it measures.
pub struct Output<M: Method> {
    /// The rows of the result so far.
    pub rows: Vec<M::Row>,
    /// What was left out, and other things to know.
    pub notes: Vec<String>,
    queries: Option<QueryRows>,
    fitted: Option<Vec<Fitted>>,
}

impl<M: Method> Output<M> {
    /// Whether what is fitted is asked for.
    pub fn wants_fitted(&self) -> bool {
        self.fitted.is_some()
    }

    /// Adds what was fitted to a checkpoint under a name where that is asked for; `info` says what the tensors are.
    ///
    /// # Errors
    /// When `info` has no named fields.
    pub fn fit(
        &mut self,
        checkpoint: &LoadedCheckpoint,
        name: &str,
        tensors: Vec<(String, Tensor)>,
        info: &impl Serialize,
    ) -> Result<()> {
        if let Some(fitted) = &mut self.fitted {
            fitted.push(Fitted::new(M::NAME, name, checkpoint, tensors, info)?);
        }
        Ok(())
    }

    /// Whether per-query rows are asked for.
    pub fn wants_queries(&self) -> bool {
        self.queries.is_some()
    }

    /// Adds a per-query row where these are asked for: the query with its answer, and the fields of `values`.
    ///
    /// # Errors
    /// When `values` has no named fields.
    pub fn query_row(&mut self, checkpoint: &LoadedCheckpoint, asked: &Asked, values: &impl Serialize) -> Result<()> {
        match &mut self.queries {
            Some(queries) => queries.push(checkpoint, asked, values),
            None => Ok(()),
        }
    }

    /// The checkpoint's answers to a population where per-query rows are asked for, for methods that do not compute them
    /// themselves; nothing otherwise.
    ///
    /// # Errors
    /// When the device fails.
    pub fn answers(
        &self,
        checkpoint: &LoadedCheckpoint,
        population: &Population,
        iterations: usize,
    ) -> Result<Vec<u32>> {
        if !self.wants_queries() {
            return Ok(Vec::new());
        }
        let tokens = population.queries.iter().map(|query| &*query.tokens);
        answers(&checkpoint.model, tokens, iterations)
    }
}

// Measures each data set's checkpoints with resolved settings.
fn measured<M: Method>(settings: M, checkpoints: &[LoadedCheckpoint], out: &mut Output<M>) -> Result<Report<M>> {
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
