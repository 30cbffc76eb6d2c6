//! What was run and how: terms and their values.

use super::{PageRun, PageSettings};
use crate::wording::thousands;

/// Stages at the end that were not reached and are told one by one, at most.
const MAX_NEVER: usize = 3;

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
        let mut steps: Vec<String> = steps.collect();
        // A curriculum may have many that no run reaches.
        let never = steps.iter().rev().take_while(|step| *step == "never").count();
        if never > MAX_NEVER {
            steps.truncate(steps.len() - never);
            steps.push(format!("never: {never} stages"));
        }
        steps.join(" / ")
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
