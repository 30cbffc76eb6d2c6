//! What a depth experiment found, in plain language.

use crate::graph::Chains;
use crate::measure::{
    Eval, EvalRow, ExtrapolateRow, Halt, HaltRow, Margin, MarginRow, Patch, PatchRow, Reach, ReachRow, Report, Settle,
    SettleRow, SubjectInfo,
};

/// What was measured on one run, at the last stage that it passed.
pub struct DepthEvidence {
    pub name: String,
    /// Whether it trained on many-to-one relations.
    pub shortcut: bool,
    pub dynamic: bool,
    pub injection: bool,
    pub subject: SubjectInfo,
    /// One row a checkpoint.
    pub extrapolate: Vec<ExtrapolateRow>,
    pub eval: Report<Eval, EvalRow>,
    pub margin: Report<Margin, MarginRow>,
    pub settle: Report<Settle, SettleRow>,
    pub halt: Report<Halt, HaltRow>,
    pub reach: Report<Reach, ReachRow>,
    pub patch: Report<Patch, PatchRow>,
}

/// The summary of a depth experiment as Markdown.
pub fn depth_summary(
    name: &str,
    claims: bool,
    data: &Chains,
    hashes: &[String; 2],
    evidence: &[DepthEvidence],
) -> String {
    let _ = (name, claims, data, hashes, evidence);
    String::new()
}
