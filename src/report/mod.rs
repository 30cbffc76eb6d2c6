//! What an experiment found, in plain language.

mod depth;
mod held;
pub mod page;
mod study;
mod systematic;

use std::fmt::Write;

use crate::experiment::claims::{self, Finding};
use crate::experiment::{Experiment, Outcome, Preset};

pub use held::{HeldClaim, HeldClaims};
pub use study::study_summary;

/// The summary of an experiment as Markdown. Where its preset does not claim to be long enough, the paper's claims are not
/// held against it.
pub fn summary(experiment: &Experiment, outcome: &Outcome) -> String {
    let mut text = format!("# What `{}` found\n\n", experiment.name);
    let (body, claims, not_tested) = match &experiment.preset {
        Preset::Systematic(preset) => (
            systematic::body(preset, outcome),
            claims::SYSTEMATIC,
            systematic::NOT_TESTED,
        ),
        Preset::Depth(preset) => (depth::body(preset, outcome), claims::DEPTH, depth::NOT_TESTED),
    };
    text.push_str(&body);
    if !experiment.preset.claims() {
        text.push_str("\nThis preset shows that everything works; it is too short to hold any claim against it.\n");
        return text;
    }
    text.push_str(&claims_text(&claims::hold(claims, &outcome.evidence)));
    text.push_str(not_tested);
    text
}

fn claims_text(findings: &[Finding]) -> String {
    let mut text = String::from("\n## Claims\n");
    for finding in findings {
        // Writing into a string cannot fail.
        let _ = write!(
            text,
            "\n**{}**: {}.\n*Source:* {}.\n*Criterion:* {}.\n",
            finding.heading(),
            finding.verdict,
            finding.claim.source,
            finding.criterion
        );
        for line in &finding.numbers {
            let _ = writeln!(text, "- {line}");
        }
    }
    text
}
