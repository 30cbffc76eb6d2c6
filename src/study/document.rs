//! The findings of a study as a file, with what they are findings of.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Finding, MeasuredReplicate, Study, StudyOutcome};
use crate::checkpoint::CheckpointRole;

/// The findings of a study with their conditions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdicts<'a> {
    /// The version of loopscope that found them.
    pub loopscope: &'static str,
    /// The name of the study.
    pub study: &'a str,
    /// The hash of its file, criteria and all.
    pub study_hash: &'a str,
    /// What each seed of each experiment was measured on.
    pub replicates: Vec<Provenance<'a>>,
    /// The findings, in the order of the criteria.
    pub findings: &'a [Finding],
}

/// What one seed of an experiment was measured on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Provenance<'a> {
    /// The experiment.
    pub experiment: &'a str,
    /// The seed.
    pub seed: u64,
    /// The hashes of its data sets.
    pub data: Vec<&'a str>,
    /// The hash of each run's checkpoint at the end of training.
    pub checkpoints: BTreeMap<&'a str, &'a str>,
}

impl StudyOutcome {
    /// The findings with their conditions, of the study that found them.
    pub fn verdicts<'a>(&'a self, study: &'a Study) -> Verdicts<'a> {
        Verdicts {
            loopscope: env!("CARGO_PKG_VERSION"),
            study: &study.name,
            study_hash: &study.hash,
            replicates: self.replicates.iter().map(MeasuredReplicate::provenance).collect(),
            findings: &self.findings,
        }
    }
}

impl MeasuredReplicate {
    /// What it was measured on.
    pub fn provenance(&self) -> Provenance<'_> {
        let ends = self.outcome.evidence.runs().filter_map(|run| {
            let end = run.checkpoint(CheckpointRole::End)?;
            Some((run.name(), end.origin.checkpoint_hash.as_str()))
        });
        Provenance {
            experiment: &self.name,
            seed: self.seed,
            data: self.outcome.data.iter().map(|(_, hash)| hash.as_str()).collect(),
            checkpoints: ends.collect(),
        }
    }
}
