//! The verdicts of a study over its seeds.

use std::path::PathBuf;

use super::super::claims::ClaimText;
use super::PageSweep;
use crate::files;
use crate::report::study::{each_seed, mean, reason_text, votes};
use crate::study::{Finding, Verdict, Verdicts};

/// The verdicts of studies of which every checkpoint is the end of a point of this sweep. A file that cannot be read is a warning.
pub(super) fn held_verdicts(sweep: &PageSweep, results: &[PathBuf], warnings: &mut Vec<String>) -> Vec<Verdicts> {
    let ends = sweep.ends();
    let mut found: Vec<Verdicts> = Vec::new();
    for path in results {
        if path.file_name().is_none_or(|name| name != "verdicts.json") {
            continue;
        }
        let held: Verdicts = match files::read_json(path) {
            Ok(held) => held,
            Err(error) => {
                warnings.push(format!("verdicts are left out: {error}"));
                continue;
            }
        };
        let mut measured_on = held
            .replicates
            .iter()
            .flat_map(|replicate| replicate.checkpoints.values());
        if measured_on.all(|hash| ends.contains(hash.as_str())) && !held.replicates.is_empty() && !found.contains(&held)
        {
            found.push(held);
        }
    }
    found
}

/// What the verdicts are over.
pub(super) fn note(held: &[Verdicts]) -> String {
    let of = held.iter().map(|held| {
        format!(
            "{} (criteria {}, loopscope {}, {} seeds of experiments)",
            held.study,
            held.study_hash,
            held.loopscope,
            held.replicates.len()
        )
    });
    format!(
        "Held over seeds, not over test rows: intervals are 95 % of the mean over seeds (Student's t). Confirmed or refuted: every seed says \
         so, or the interval of the mean lies in the range; otherwise undecided. {}.",
        of.collect::<Vec<_>>().join("; ")
    )
}

/// A verdict as the page shows it.
pub(super) fn claim_text(finding: &Finding) -> ClaimText {
    ClaimText {
        name: format!("{}: {}", finding.claim, finding.statement),
        verdict: format!("{}{}", finding.verdict, reason_text(finding.reason)),
        kind: match finding.verdict {
            Verdict::Confirmed => "yes",
            Verdict::Refuted => "no",
            Verdict::Undecided => "open",
        },
        criterion: format!(
            "Confirms: {}. Refutes: {}. Source: {}.",
            finding.confirms, finding.refutes, finding.source
        ),
        evidence: vec![
            votes(finding),
            format!("Mean over seeds (95 % over seeds): {}", mean(finding)),
            format!("Each seed: {}", each_seed(finding)),
        ],
    }
}
