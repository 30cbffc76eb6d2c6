//! The shape of every method: settings that measure checkpoints into rows, and the report that holds them.

use std::cell::OnceCell;
use std::fmt::Debug;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::checkpoint::{CheckpointSummary, LoadedCheckpoint, Origin, data_sets};
use super::columns::{Column, Table, csv};
use super::query_rows::{Asked, QueryRows};
use super::statistics::{Clustering, Clusters, Resamples, intervals_in_words};
use crate::checkpoint::RunPath;
use crate::error::{Error, Result};
use crate::files;
use crate::graph::{Dataset, Query, Split};
use crate::random::Stream;
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
        let settings = self.resolved(checkpoints)?;
        Ok(measured(settings, checkpoints, None)?.0)
    }

    /// As [`Method::run`], with the per-query rows as CSV.
    ///
    /// # Errors
    /// As [`Method::run`].
    fn run_with_queries(&self, checkpoints: &[LoadedCheckpoint]) -> Result<(Report<Self>, Vec<u8>)> {
        let settings = self.resolved(checkpoints)?;
        let (report, queries) = measured(settings, checkpoints, Some(QueryRows::new(checkpoints)))?;
        let csv = queries.map(QueryRows::into_csv).transpose()?;
        Ok((report, csv.unwrap_or_default()))
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

/// Checkpoints that are looked at on one data set.
pub struct Group<'a> {
    pub data: &'a Dataset,
    pub checkpoints: Vec<&'a LoadedCheckpoint>,
    // Seed of the bootstrap.
    seed: u64,
}

/// Which queries of a split are one population.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Per {
    /// All of the split.
    Split,
    /// Those of one number of hops, each number by itself.
    Hops,
}

/// Queries that numbers are taken over together: a split, or its queries of one number of hops.
pub struct Population<'a> {
    pub split: &'a Split,
    /// The hops that all its queries have; `None` where they differ.
    pub hops: Option<usize>,
    pub queries: Vec<&'a Query>,
    // The place of each query in its split.
    pub(super) rows: Vec<usize>,
    seed: u64,
    resamples: OnceCell<Resamples>,
}

impl<'a> Population<'a> {
    fn new(split: &'a Split, members: Vec<(usize, &'a Query)>, seed: u64) -> Self {
        let (rows, queries): (Vec<usize>, Vec<&Query>) = members.into_iter().unzip();
        let hops = queries.first().map(|query| query.hops());
        let same = queries.iter().all(|query| Some(query.hops()) == hops);
        Self {
            split,
            hops: hops.filter(|_| same),
            queries,
            rows,
            seed,
            resamples: OnceCell::new(),
        }
    }

    /// Those of its queries that `keep` keeps.
    #[must_use]
    pub fn only(&self, keep: impl Fn(&Query) -> bool) -> Self {
        let all = self.rows.iter().copied().zip(self.queries.iter().copied());
        Self::new(self.split, all.filter(|(_, query)| keep(query)).collect(), self.seed)
    }

    /// At most `n` of its queries, drawn without replacement.
    #[must_use]
    pub fn sample(&self, stream: &mut Stream, n: usize) -> Self {
        let all: Vec<(usize, &Query)> = self.rows.iter().copied().zip(self.queries.iter().copied()).collect();
        Self::new(self.split, stream.sample(&all, n), self.seed)
    }

    /// Its queries at these places.
    #[must_use]
    pub fn at(&self, places: impl Iterator<Item = usize>) -> Self {
        let members = places.map(|place| (self.rows[place], self.queries[place]));
        Self::new(self.split, members.collect(), self.seed)
    }

    /// Which facts its queries share.
    pub fn clusters(&self) -> Clusters {
        Clusters::of_queries(self.queries.iter().copied())
    }

    /// Its resamples, drawn once.
    pub fn resamples(&self) -> &Resamples {
        self.resamples
            .get_or_init(|| Resamples::new(self.clusters(), self.seed))
    }
}

impl<'a> Group<'a> {
    /// Looks at each population of these splits with each checkpoint. Splits without rows are noted.
    ///
    /// # Errors
    /// When a split does not exist, and those of `look`.
    pub fn each<M: Method>(
        &self,
        splits: &'a [Split],
        per: Per,
        out: &mut Output<M>,
        mut look: impl FnMut(&Population<'a>, &'a LoadedCheckpoint, &mut Output<M>) -> Result<()>,
    ) -> Result<()> {
        for split in splits {
            for population in self.populations(split, per, &mut out.notes)? {
                for checkpoint in &self.checkpoints {
                    look(&population, checkpoint, out)?;
                }
            }
        }
        Ok(())
    }

    /// The populations of a split, fewest hops first; that it has no rows is noted.
    ///
    /// # Errors
    /// When there is no such split.
    pub fn populations(&self, split: &'a Split, per: Per, notes: &mut Vec<String>) -> Result<Vec<Population<'a>>> {
        let queries = self.data.split(split)?;
        if queries.is_empty() {
            notes.push(format!("split {split} has no rows; it is left out"));
            return Ok(Vec::new());
        }
        let all = queries.iter().enumerate();
        if per == Per::Split {
            return Ok(vec![Population::new(split, all.collect(), self.seed)]);
        }
        let mut hops: Vec<usize> = queries.iter().map(Query::hops).collect();
        hops.sort_unstable();
        hops.dedup();
        let of_length = |hops| all.clone().filter(|(_, query)| query.hops() == hops).collect();
        Ok(hops
            .into_iter()
            .map(|hops| Population::new(split, of_length(hops), self.seed))
            .collect())
    }
}

/// What a method writes into while it measures.
pub struct Output<M: Method> {
    pub rows: Vec<M::Row>,
    /// What was left out, and other things to know.
    pub notes: Vec<String>,
    queries: Option<QueryRows>,
}

impl<M: Method> Output<M> {
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
fn measured<M: Method>(
    settings: M,
    checkpoints: &[LoadedCheckpoint],
    queries: Option<QueryRows>,
) -> Result<(Report<M>, Option<QueryRows>)> {
    let mut report = Report::new(settings, checkpoints);
    let mut out = Output {
        rows: Vec::new(),
        notes: report
            .checkpoints
            .iter()
            .filter_map(CheckpointSummary::other_data)
            .collect(),
        queries,
    };
    let sets = data_sets(checkpoints);
    for data in &sets {
        let group = Group {
            data,
            checkpoints: checkpoints.iter().filter(|c| c.data.hash == data.hash).collect(),
            seed: report.settings.seed(),
        };
        let before = out.notes.len();
        report.settings.measure(&group, &mut out).map_err(|error| match error {
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
    (report.rows, report.notes) = (out.rows, out.notes);
    Ok((report, out.queries))
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
    pub checkpoints: Vec<CheckpointSummary>,
    /// What was left out, and other things to know.
    pub notes: Vec<String>,
    pub rows: Vec<M::Row>,
}

/// What of a report says what it was made of.
#[derive(Debug, PartialEq, Deserialize)]
struct Provenance {
    method: String,
    loopscope: String,
    format: u32,
    settings_hash: String,
    checkpoints: Vec<CheckpointSummary>,
}

impl<M: Method> Report<M> {
    // A report without rows.
    fn new(settings: M, checkpoints: &[LoadedCheckpoint]) -> Self {
        // Settings are plain data; nothing in them refuses to be JSON.
        let text = serde_json::to_string(&settings).unwrap_or_default();
        Self {
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
            settings,
            checkpoints: checkpoints.iter().map(|checkpoint| checkpoint.info.clone()).collect(),
            notes: Vec::new(),
            rows: Vec::new(),
        }
    }

    fn provenance(&self) -> Provenance {
        Provenance {
            method: self.method.clone(),
            loopscope: self.loopscope.clone(),
            format: self.format,
            settings_hash: self.settings_hash.clone(),
            checkpoints: self.checkpoints.clone(),
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
        let of_file: Provenance = files::read_json(&path).inspect_err(again).ok()?;
        if of_file != Self::new(settings.clone(), checkpoints).provenance() {
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
            ..Self::new(settings, &[])
        }
    }
}
