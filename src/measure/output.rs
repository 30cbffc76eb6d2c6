//! What a method writes into while it measures: rows, notes, and what is asked for beside them.

use candle_core::Tensor;
use serde::Serialize;

use super::checkpoint::LoadedCheckpoint;
use super::fitted::Fitted;
use super::population::{Group, Per, Population};
use super::query_rows::{Asked, QueryRows};
use crate::error::Result;
use crate::graph::Split;
use crate::model::Budget;
use crate::train::answers;

/// What is asked for beside the rows of the result.
#[derive(Debug, Clone, Copy)]
pub struct Extras {
    /// A row for every query.
    pub queries: bool,
    /// What was fitted.
    pub fitted: bool,
    /// Bytes that a sweep of interventions may take; results do not depend on it.
    pub max_bytes: usize,
    /// Called when the measurement begins, and whenever a population is measured with a checkpoint.
    pub progress: Option<fn(&Progress)>,
}

/// How far a measurement is, in populations that are measured with a checkpoint each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The method, by name.
    pub method: &'static str,
    /// Those that are measured.
    pub done: usize,
    /// All of them, as far as is known: of several data sets those of the ones begun.
    pub total: usize,
}

impl Default for Extras {
    fn default() -> Self {
        Self {
            queries: false,
            fitted: false,
            max_bytes: Budget::DEFAULT_MAX_BYTES,
            progress: None,
        }
    }
}

/// What a method with rows of type `R` writes into while it measures.
pub struct Output<R> {
    // The method that writes, by name.
    method: &'static str,
    /// The rows of the result so far.
    pub rows: Vec<R>,
    /// What was left out, and other things to know.
    pub notes: Vec<String>,
    pub(super) queries: Option<QueryRows>,
    pub(super) fitted: Option<Vec<Fitted>>,
    max_bytes: usize,
    progress: Progress,
    watcher: Option<fn(&Progress)>,
}

impl<R> Output<R> {
    // Of checkpoints that a method measures, empty.
    pub(super) fn new(method: &'static str, extras: Extras, checkpoints: &[LoadedCheckpoint]) -> Self {
        Self {
            method,
            rows: Vec::new(),
            notes: Vec::new(),
            queries: extras.queries.then(|| QueryRows::new(checkpoints)),
            fitted: extras.fitted.then(Vec::new),
            max_bytes: extras.max_bytes,
            progress: Progress {
                method,
                done: 0,
                total: 0,
            },
            watcher: extras.progress,
        }
    }

    /// Says that this number of parts of about the same work is going to be measured.
    pub(super) fn expect(&mut self, parts: usize) {
        self.progress.total += parts;
        self.tell();
    }

    /// Says that this number of them is measured, or left out.
    pub(super) fn parts_done(&mut self, parts: usize) {
        self.progress.done += parts;
        self.tell();
    }

    fn tell(&self) {
        if let Some(watcher) = self.watcher {
            watcher(&self.progress);
        }
    }

    /// What a sweep of interventions with this number of iterations may take.
    pub fn budget(&self, iterations: usize) -> Budget {
        Budget {
            iterations,
            max_bytes: self.max_bytes,
        }
    }

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
            fitted.push(Fitted::new(self.method, name, checkpoint, tensors, info)?);
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

impl<'a> Group<'a> {
    /// Looks at each population of these splits with each checkpoint. Splits without rows are noted.
    ///
    /// # Errors
    /// When a split does not exist, and those of `look`.
    pub fn each<R>(
        &self,
        splits: &'a [Split],
        per: Per,
        out: &mut Output<R>,
        mut look: impl FnMut(&Population<'a>, &'a LoadedCheckpoint, &mut Output<R>) -> Result<()>,
    ) -> Result<()> {
        let mut populations = Vec::new();
        for split in splits {
            let before = out.notes.len();
            let of_split = self.populations(split, per, &mut out.notes)?;
            populations.push((of_split, out.notes.split_off(before)));
        }
        let count: usize = populations.iter().map(|(of_split, _)| of_split.len()).sum();
        out.expect(count * self.checkpoints.len());
        for (of_split, notes) in populations {
            // In the order in which splits are looked at.
            out.notes.extend(notes);
            for population in of_split {
                for checkpoint in &self.checkpoints {
                    look(&population, checkpoint, out)?;
                    out.parts_done(1);
                }
            }
        }
        Ok(())
    }
}
