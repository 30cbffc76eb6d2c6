//! What a systematic experiment found, in plain language.

use std::fmt::Write;

use crate::checkpoint::CheckpointRole;
use crate::experiment::claims::words::{accuracy, or_dash};
use crate::experiment::{Outcome, RunView, SystematicPreset};
use crate::graph::Split;
use crate::measure::RunSummary;

/// What of the paper a systematic experiment leaves out.
pub(super) const NOT_TESTED: &str = "\nNot tested here: claims 5 to 10 (chains of more than two hops).\n";

/// Conditions and table.
pub(super) fn body(preset: &SystematicPreset, outcome: &Outcome) -> String {
    let (data, evidence) = (&preset.data, &outcome.evidence);
    let hashes: Vec<&str> = outcome.data.iter().map(|(_, hash)| hash.as_str()).collect();
    // Writing into a string cannot fail.
    let mut text = String::new();
    let _ = writeln!(
        text,
        "One seed ({}), data {} ({} entities, {} relations, out-degree {}, φ {}), loopscope {}. Intervals are 95 %; one \
         run a model, so nothing here says how much seeds differ.\n",
        data.seed,
        hashes.join(", "),
        data.entities,
        data.relations,
        data.out_degree,
        data.phi,
        env!("CARGO_PKG_VERSION")
    );
    text.push_str(
        "| model | L × R | weights | MFLOP a query | steps | stage 1 / 2 / 3 at step | train | ID (95 %) | OOD (95 %) |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for run in evidence.runs() {
        if let Some(training) = run.training() {
            text.push_str(&row(run, training));
        }
    }
    let ends = evidence.runs().filter_map(|run| run.checkpoint(CheckpointRole::End));
    let ends = ends.map(|end| format!("{} {}", end.origin.run, end.origin.checkpoint_hash));
    let _ = writeln!(text, "\nFinal checkpoints: {}.", ends.collect::<Vec<_>>().join(", "));
    text
}

fn row(run: RunView, training: &RunSummary) -> String {
    let stages: Vec<String> = training
        .stages
        .iter()
        .map(|outcome| {
            outcome
                .reached
                .as_ref()
                .map_or("never".to_owned(), |reached| reached.step.to_string())
        })
        .collect();
    let at_end = |split: &Split| or_dash(run.final_accuracy(split).map(accuracy));
    format!(
        "| {} | {} × {} | {} | {:.2} | {} | {} | {:.3} | {} | {} |\n",
        training.name,
        training.model.layers,
        training.model.iterations,
        training.parameters,
        training.forward_flops as f64 / 1e6,
        training.steps,
        stages.join(" / "),
        training.accuracy.get(&Split::train()).copied().unwrap_or(f64::NAN),
        at_end(&Split::in_distribution()),
        at_end(&Split::ood()),
    )
}
