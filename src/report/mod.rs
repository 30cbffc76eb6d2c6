//! What a reproduction found, in plain language.

mod claims;
mod depth;
mod depth_claims;
#[cfg(test)]
mod tests;

use std::fmt::Write;

pub use depth::{DepthEvidence, DepthExperiment, depth_summary};

use crate::graph::{Split, Systematic};
use crate::measure::{Comparison, Eval, EvalRow, Lens, Patch, Probe, Report, RunSummary};

const END: &str = "end of training";

/// What was measured on one run.
pub struct RunEvidence {
    /// The name of the run.
    pub name: String,
    /// Accuracy by split.
    pub eval: Report<Eval>,
    /// The logit lens.
    pub lens: Report<Lens>,
    /// Linear probes.
    pub probe: Report<Probe>,
    /// Activation patching.
    pub patch: Report<Patch>,
}

/// The summary of an experiment as Markdown; without `claims`, the paper's claims are not held against it.
pub fn summary(
    name: &str,
    claims: bool,
    data: &Systematic,
    comparison: &Comparison,
    evidence: &[RunEvidence],
) -> String {
    let mut text = format!("# What `{name}` found\n\n");
    let runs: Vec<(&RunSummary, &RunEvidence)> = comparison
        .runs
        .iter()
        .filter_map(|run| Some((run, evidence.iter().find(|evidence| evidence.name == run.name)?)))
        .collect();
    // All runs of a preset train on the data that it makes.
    let data_hash = comparison
        .checkpoints
        .first()
        .map_or("–", |checkpoint| &checkpoint.origin.data_hash);
    // Writing into a string cannot fail.
    let _ = writeln!(
        text,
        "One seed ({}), data {} ({} entities, {} relations, out-degree {}, φ {}), loopscope {}. Intervals are 95 %; one \
         run a model, so nothing here says how much seeds differ.\n",
        data.seed, data_hash, data.entities, data.relations, data.out_degree, data.phi, comparison.loopscope
    );
    text.push_str(&table(&runs));
    let checkpoints: Vec<String> = comparison
        .checkpoints
        .iter()
        .map(|checkpoint| format!("{} {}", checkpoint.origin.run, checkpoint.origin.checkpoint_hash))
        .collect();
    let _ = writeln!(text, "\nFinal checkpoints: {}.", checkpoints.join(", "));
    if !claims {
        text.push_str("\nThis preset shows that everything works; it is too short to hold any claim against it.\n");
        return text;
    }
    text.push_str(&claims_text(claims::all(&runs)));
    text.push_str("\nNot tested here: claims 5 to 10 (chains of more than two hops).\n");
    text
}

fn claims_text(claims: Vec<claims::Claim>) -> String {
    let mut text = String::from("\n## Claims\n");
    for claim in claims {
        let _ = write!(
            text,
            "\n**{}**: {}.\n*Criterion:* {}\n",
            claim.says,
            claim.verdict.words(),
            claim.criterion
        );
        for line in claim.numbers {
            let _ = writeln!(text, "- {line}");
        }
    }
    text
}

fn table(runs: &[(&RunSummary, &RunEvidence)]) -> String {
    let mut text = String::from(
        "| model | L × R | weights | MFLOP a query | steps | stage 1 / 2 / 3 at step | train | ID (95 %) | OOD (95 %) |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for (run, evidence) in runs {
        let stages: Vec<String> = run
            .stages
            .iter()
            .map(|outcome| {
                outcome
                    .reached
                    .as_ref()
                    .map_or("never".to_owned(), |reached| reached.step.to_string())
            })
            .collect();
        let _ = writeln!(
            text,
            "| {} | {} × {} | {} | {:.2} | {} | {} | {:.3} | {} | {} |",
            run.name,
            run.model.layers,
            run.model.iterations,
            run.parameters,
            run.forward_flops as f64 / 1e6,
            run.steps,
            stages.join(" / "),
            run.accuracy.get(&Split::train()).copied().unwrap_or(f64::NAN),
            final_accuracy(run, evidence, &Split::in_distribution()).map_or("–".to_owned(), shown),
            final_accuracy(run, evidence, &Split::ood()).map_or("–".to_owned(), shown),
        );
    }
    text
}

fn shown(row: &EvalRow) -> String {
    format!("{:.3} ({:.3}–{:.3}, n = {})", row.accuracy, row.low, row.high, row.n)
}

// The largest accuracy of its line, with the interval of that maximum.
fn max_shown(row: &EvalRow) -> String {
    let interval = row.largest.max_low.zip(row.largest.max_high);
    let interval = interval.map_or(String::new(), |(low, high)| format!("{low:.3}–{high:.3}, "));
    format!("{:.3} ({interval}n = {})", row.accuracy, row.n)
}

fn final_accuracy<'a>(run: &RunSummary, evidence: &'a RunEvidence, split: &Split) -> Option<&'a EvalRow> {
    evidence
        .eval
        .rows
        .iter()
        .find(|row| row.origin.checkpoint == END && row.split == *split && row.iterations == run.model.iterations)
}
