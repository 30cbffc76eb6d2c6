//! The claims of experiments, with their verdicts.

use std::path::PathBuf;

use super::PageRun;
use crate::files;
use crate::report::{HeldClaim, HeldClaims};

/// A claim as the page shows it.
pub(super) struct ClaimText {
    pub(super) name: String,
    pub(super) verdict: String,
    /// The look of the verdict: `yes`, `no` or `open`.
    pub(super) kind: &'static str,
    pub(super) criterion: String,
    pub(super) evidence: Vec<String>,
}

/// The claims of experiments that ended in the last checkpoints of all these runs. A file that cannot be read is a warning.
pub(super) fn held_claims(runs: &[PageRun], results: &[PathBuf], warnings: &mut Vec<String>) -> Vec<HeldClaims> {
    let mut found: Vec<HeldClaims> = Vec::new();
    for path in results {
        if path.file_name().is_none_or(|name| name != "claims.json") {
            continue;
        }
        let held: HeldClaims = match files::read_json(path) {
            Ok(held) => held,
            Err(error) => {
                warnings.push(format!("claims are left out: {error}"));
                continue;
            }
        };
        let is_of = |run: &PageRun| {
            let hash = run.last().map(|checkpoint| &checkpoint.info.origin.checkpoint_hash);
            hash.is_some_and(|hash| held.checkpoints.values().any(|known| known == hash))
        };
        if runs.iter().all(is_of) && !found.contains(&held) {
            found.push(held);
        }
    }
    found
}

/// What the claims were held against.
pub(super) fn note(held: &[HeldClaims]) -> String {
    let of = held.iter().map(|held| {
        let runs: Vec<&str> = held.checkpoints.keys().map(String::as_str).collect();
        format!(
            "{} (loopscope {}; runs {})",
            held.experiment,
            held.loopscope,
            runs.join(", ")
        )
    });
    format!(
        "Held against one seed each, intervals over test rows: {}.",
        of.collect::<Vec<_>>().join("; ")
    )
}

impl ClaimText {
    /// The claims of one experiment.
    pub(super) fn of(held: HeldClaims) -> Vec<Self> {
        let text = |claim: HeldClaim| Self {
            kind: match claim.verdict.as_str() {
                "reproduced" => "yes",
                "not reproduced" => "no",
                _ => "open",
            },
            name: claim.claim,
            verdict: claim.verdict,
            criterion: format!("{} Source: {}.", claim.criterion, claim.source),
            evidence: claim.numbers,
        };
        held.claims.into_iter().map(text).collect()
    }
}
