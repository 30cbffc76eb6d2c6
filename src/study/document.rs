//! The findings of a study as a file, with what they are findings of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Finding, MeasuredReplicate, Study, StudyOutcome};
use crate::checkpoint::CheckpointRole;

/// The findings of a study with their conditions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdicts {
    /// The version of loopscope that found them.
    pub loopscope: String,
    /// The name of the study.
    pub study: String,
    /// The hash of its file, criteria and all.
    pub study_hash: String,
    /// What each seed of each experiment was measured on.
    pub replicates: Vec<Provenance>,
    /// The findings, in the order of the criteria.
    pub findings: Vec<Finding>,
}

/// What one seed of an experiment was measured on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// The experiment.
    pub experiment: String,
    /// The seed.
    pub seed: u64,
    /// The hashes of its data sets.
    pub data: Vec<String>,
    /// The hash of each run's checkpoint at the end of training.
    pub checkpoints: BTreeMap<String, String>,
}

impl StudyOutcome {
    /// The findings with their conditions, of the study that found them.
    pub fn verdicts(&self, study: &Study) -> Verdicts {
        Verdicts {
            loopscope: env!("CARGO_PKG_VERSION").to_owned(),
            study: study.name.clone(),
            study_hash: study.hash.clone(),
            replicates: self.replicates.iter().map(MeasuredReplicate::provenance).collect(),
            findings: self.findings.clone(),
        }
    }
}

impl MeasuredReplicate {
    /// What it was measured on.
    pub fn provenance(&self) -> Provenance {
        let ends = self.outcome.evidence.runs().filter_map(|run| {
            let end = run.checkpoint(CheckpointRole::End)?;
            Some((run.name().to_owned(), end.origin.checkpoint_hash.clone()))
        });
        Provenance {
            experiment: self.name.clone(),
            seed: self.seed,
            data: self.outcome.data.iter().map(|(_, hash)| hash.clone()).collect(),
            checkpoints: ends.collect(),
        }
    }
}
