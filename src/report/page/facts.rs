//! What was run, how, and how it ended, in words and numbers.

use super::{PageRun, PageSettings};
use crate::graph::Split;
use crate::wording::{counted, thousands};

/// In plain words with numbers: when the run reached its stages, and how it ended.
pub(super) fn sentence_of(run: &PageRun) -> String {
    let summary = &run.summary;
    let reached: Vec<String> = summary
        .stages
        .iter()
        .filter_map(|outcome| {
            let reached = outcome.reached.as_ref()?;
            Some(format!("{} at step {}", outcome.stage.name, thousands(reached.step)))
        })
        .collect();
    let stages = match (reached.is_empty(), summary.stages.len()) {
        (_, 0) => "has no stages".to_owned(),
        (true, _) => "reached none of its stages".to_owned(),
        (false, count) => format!(
            "reached {} of {} ({})",
            reached.len(),
            counted(count, "stage"),
            reached.join(", ")
        ),
    };
    let named = [Split::in_distribution(), Split::ood()];
    let ends: Vec<String> = named
        .iter()
        .filter_map(|split| Some(format!("{} {:.3}", split.title(), summary.accuracy.get(split)?)))
        .collect();
    let mut parts = vec![stages];
    parts.extend(
        summary
            .learned_hops
            .map(|hops| format!("learned chains of up to {hops} hops")),
    );
    if !ends.is_empty() {
        let step = thousands(summary.steps);
        parts.push(format!(
            "ended with an accuracy (of evaluated rows, at step {step}) of {}",
            ends.join(", ")
        ));
    }
    format!("{} ({}) {}.", run.name, run.kind(), parts.join("; "))
}

/// Terms, each with its value for every run.
pub(super) fn facts(runs: &[PageRun], settings: &PageSettings) -> Vec<(&'static str, Vec<String>)> {
    let each = |of: &dyn Fn(&PageRun) -> String| -> Vec<String> { runs.iter().map(of).collect() };
    let model = |run: &PageRun| {
        let model = &run.summary.model;
        format!("{} × {}", model.layers, model.iterations)
    };
    let splits = |run: &PageRun| {
        let rows = run
            .data()
            .splits
            .iter()
            .map(|(split, rows)| format!("{split} {}", thousands(rows.len() as u64)));
        rows.collect::<Vec<_>>().join(", ")
    };
    let stages = |run: &PageRun| {
        let steps = run.summary.stages.iter().map(|outcome| match &outcome.reached {
            Some(reached) => thousands(reached.step),
            None => "never".to_owned(),
        });
        steps.collect::<Vec<_>>().join(" / ")
    };
    let checkpoints = |run: &PageRun| {
        let hashes = run.checkpoints.iter().map(|it| it.info.origin.checkpoint_hash.clone());
        hashes.collect::<Vec<_>>().join(", ")
    };
    vec![
        ("Layers × iterations", each(&model)),
        (
            "Width, heads",
            each(&|run| format!("{}, {}", run.summary.model.d_model, run.summary.model.heads)),
        ),
        ("Weights", each(&|run| thousands(run.summary.parameters as u64))),
        (
            "MFLOP a query",
            each(&|run| format!("{:.2}", run.summary.forward_flops as f64 / 1e6)),
        ),
        (
            "Steps, batch",
            each(&|run| format!("{}, {}", thousands(run.summary.steps), run.config.train.batch)),
        ),
        ("Stages at step", each(&stages)),
        (
            "Seeds: weights, order",
            each(&|run| format!("{}, {}", run.config.seeds().init, run.config.seeds().order)),
        ),
        ("Data", each(&|run| run.data().hash.clone())),
        ("Rows of splits", each(&splits)),
        ("Checkpoints", each(&checkpoints)),
        (
            "Seconds of training",
            each(&|run| format!("{:.0}", run.summary.seconds)),
        ),
        ("loopscope", each(&|_| env!("CARGO_PKG_VERSION").to_owned())),
        ("Command", each(&|_| settings.command.clone())),
    ]
}
