//! The claims of an experiment as a file, which pages read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::checkpoint::CheckpointRole;
use crate::experiment::claims::{self, Finding};
use crate::experiment::{Experiment, Outcome, Preset};

/// The paper's claims held against an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeldClaims {
    /// The version of loopscope that held them.
    pub loopscope: String,
    /// The name of the experiment.
    pub experiment: String,
    /// The hash of each run's checkpoint at the end of training.
    pub checkpoints: BTreeMap<String, String>,
    /// The claims with their verdicts, in their order.
    pub claims: Vec<HeldClaim>,
}

/// One claim with its verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldClaim {
    /// Its label, what is claimed, and the run that it is of.
    pub claim: String,
    /// The verdict: `reproduced`, `not reproduced` or `not tested`.
    pub verdict: String,
    /// Where it is claimed.
    pub source: String,
    /// The criterion in words.
    pub criterion: String,
    /// The numbers, a line each.
    pub numbers: Vec<String>,
}

impl HeldClaims {
    /// The claims of this experiment; `None` where its preset is too short to hold any against it.
    pub fn of(experiment: &Experiment, outcome: &Outcome) -> Option<Self> {
        let claims = match &experiment.preset {
            Preset::Systematic(_) => claims::SYSTEMATIC,
            Preset::Depth(_) => claims::DEPTH,
        };
        let ends = outcome.evidence.runs().filter_map(|run| {
            let end = run.checkpoint(CheckpointRole::End)?;
            Some((run.name().to_owned(), end.origin.checkpoint_hash.clone()))
        });
        experiment.preset.claims().then(|| Self {
            loopscope: env!("CARGO_PKG_VERSION").to_owned(),
            experiment: experiment.name.clone(),
            checkpoints: ends.collect(),
            claims: claims::hold(claims, &outcome.evidence)
                .iter()
                .map(HeldClaim::of)
                .collect(),
        })
    }
}

impl HeldClaim {
    fn of(finding: &Finding) -> Self {
        Self {
            claim: finding.heading(),
            verdict: finding.verdict.to_string(),
            source: finding.claim.source.to_string(),
            criterion: finding.criterion.clone(),
            numbers: finding.numbers.clone(),
        }
    }
}
