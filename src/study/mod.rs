//! Studies: experiments over several seeds each, and claims held against all of them by criteria that a file states.
//!
//! The runs of a study are the points of one plan in its folder, so that a sweep's commands work on it: its points can be
//! trained here or anywhere. Each seed's experiment is then measured as it would be alone.

mod criteria;
mod document;
mod estimate;
mod file;
mod plan;
mod run;
#[cfg(test)]
mod tests;
mod verdict;

use std::path::Path;

pub use criteria::{Criterion, Range, Subject};
pub use document::{Provenance, Verdicts};
pub use file::{StudyExperiment, StudySource};
pub use run::{MeasuredReplicate, StudyOutcome};
pub use verdict::{Finding, Reason, SeedValues, Verdict};

use crate::error::Result;
use crate::experiment::Preset;

/// A study.
#[derive(Debug, Clone, PartialEq)]
pub struct Study {
    /// What it is called.
    pub name: String,
    /// The hash of its file, criteria and all.
    pub hash: String,
    /// Its experiments.
    pub experiments: Vec<StudyExperiment>,
    /// What its claims are held against.
    pub criteria: Vec<Criterion>,
}

/// One seed of one experiment.
#[derive(Debug, Clone, Copy)]
pub struct Replicate<'a> {
    /// The experiment.
    pub experiment: &'a StudyExperiment,
    /// The seed of data, initial weights and order.
    pub seed: u64,
}

impl Study {
    /// Every seed of every experiment, in order.
    pub fn replicates(&self) -> impl Iterator<Item = Replicate<'_>> {
        self.experiments.iter().flat_map(|experiment| {
            let seeds = experiment.seeds.iter();
            seeds.map(move |&seed| Replicate { experiment, seed })
        })
    }
}

impl Replicate<'_> {
    /// Its folder in that of the study.
    pub fn folder(&self) -> std::path::PathBuf {
        Path::new(&self.experiment.name).join(format!("seed-{}", self.seed))
    }

    /// Its preset.
    ///
    /// # Errors
    /// When the file of the preset cannot be read or says something impossible.
    pub fn preset(&self) -> Result<Preset> {
        self.experiment.preset.read(Some(self.seed))
    }
}
