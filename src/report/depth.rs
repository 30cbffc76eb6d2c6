//! What a depth experiment found, in plain language.

use std::fmt::Write;

use crate::experiment::claims::words::{max_accuracy, or_dash};
use crate::experiment::{DepthPreset, Evidence, Outcome, Recurrence, RunView, data_title};
use crate::measure::{Extrapolate, Halt};

/// What of the paper a depth experiment leaves out.
pub(super) const NOT_TESTED: &str = "\nNot tested here: claim 9 (the Gaussian initialisation over several seeds, model size, \
                                     the most iterations of a dynamic run), and claims 1 to 4 (the systematic task).\n";

/// Conditions and tables.
pub(super) fn body(preset: &DepthPreset, outcome: &Outcome) -> String {
    let (data, evidence) = (&preset.data, &outcome.evidence);
    // Writing into a string cannot fail.
    let mut text = String::new();
    let hashes: Vec<String> = outcome
        .data
        .iter()
        .map(|(tails, hash)| format!("{}: data {hash}", data_title(*tails)))
        .collect();
    let _ = writeln!(
        text,
        "One seed ({}), {} entities, {} relations, {} training chains a depth, 2 to {} hops; {}; loopscope {}. Intervals are \
         95 %; one run a model, so nothing here says how much seeds differ. *Learned* is the deepest chain that the \
         curriculum passed (held-out accuracy {} at the training iterations); *answered* is the deepest such that every \
         depth up to it reaches {} at some number of iterations. Everything but the table's updates is of the checkpoint \
         at which the last stage was passed.\n",
        data.seed,
        data.entities,
        data.relations,
        data.train_rows,
        data.hops,
        hashes.join(", "),
        env!("CARGO_PKG_VERSION"),
        preset.curriculum.accuracy,
        preset.extrapolate.accuracy
    );
    text.push_str(&table(evidence));
    text.push_str("\n## Halting at the deepest learned chains\n\n");
    text.push_str(&halting(evidence));
    let checkpoints = evidence.runs().filter_map(|run| {
        let hash = &run.last_reached()?.origin.checkpoint_hash;
        Some(format!("{} {hash}", run.name()))
    });
    let _ = writeln!(text, "\nCheckpoints: {}.", checkpoints.collect::<Vec<_>>().join(", "));
    text
}

// `2 × 8`, or `2 × 8, drawn` where every batch draws its iterations.
fn shape(run: RunView) -> String {
    let dynamic = run.role().recurrence == Recurrence::Dynamic;
    let drawn = if dynamic { ", drawn" } else { "" };
    format!("{} × {}{drawn}", run.model().layers, run.model().iterations)
}

// The updates after which it learned 2, 3, … hops.
pub(super) fn updates(run: RunView) -> String {
    let mut updates: Vec<(usize, u64)> = run
        .rows::<Extrapolate>()
        .map(|row| (row.learned, row.origin.step))
        .collect();
    updates.dedup_by_key(|(learned, _)| *learned);
    let updates: Vec<String> = updates
        .iter()
        .filter(|(learned, _)| *learned > 1)
        .map(|(_, step)| step.to_string())
        .collect();
    if updates.is_empty() {
        "never".to_owned()
    } else {
        updates.join(", ")
    }
}

fn table(evidence: &Evidence) -> String {
    let mut text = String::from(
        "| run | data | L × R | updates to learn 2, 3, … hops | learned | answered | ratio | max accuracy over R there | at R | \
         after the most iterations |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for run in evidence.runs() {
        let answered = run.answered_hops();
        let max_and_last = run.max_and_last(answered.max(2));
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {answered} | {:.2} | {} | {} | {} |",
            run.name(),
            data_title(run.role().tails),
            shape(run),
            updates(run),
            run.learned(),
            answered as f64 / run.learned() as f64,
            or_dash(max_and_last.map(|(max, _)| max_accuracy(max))),
            or_dash(max_and_last.map(|(max, _)| max.iterations.to_string())),
            or_dash(max_and_last.map(|(_, last)| format!("{:.3} at R {}", last.accuracy, last.iterations))),
        );
    }
    text
}

fn halting(evidence: &Evidence) -> String {
    let mut text = String::from(
        "| run | hops | rule | accuracy | iterations: mean, median, std | work | decided by |\n|---|---|---|---|---|---|---|\n",
    );
    for run in evidence.runs() {
        let depth = run.depth();
        for row in run.rows::<Halt>().filter(|row| !row.swept && row.hops == depth) {
            let _ = writeln!(
                text,
                "| {} | {depth} | {} | {:.3} ({:.3}–{:.3}, n = {}) | {:.1}, {:.0}, {:.1} | {} | {} |",
                run.name(),
                row.rule,
                row.accuracy,
                row.low,
                row.high,
                row.n,
                row.mean,
                row.median,
                row.std,
                or_dash(row.work.map(|work| format!("{work:.2}"))),
                row.decided
            );
        }
    }
    text
}
