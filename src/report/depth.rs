//! What a depth experiment found, in plain language.

use std::fmt::Write;

use super::depth_claims;
use super::{claims_text, max_shown};
use crate::graph::Chains;
use crate::measure::{
    CheckpointSummary, Eval, EvalRow, ExtrapolateRow, Halt, HaltRow, Margin, Patch, Reach, Report, Rule, SettleRow,
};

/// What was measured on one run, at the last stage that it passed.
pub struct DepthEvidence {
    pub name: String,
    /// Whether it trained on many-to-one relations.
    pub shortcut: bool,
    pub dynamic: bool,
    pub injection: bool,
    pub checkpoint: CheckpointSummary,
    /// One row a checkpoint.
    pub extrapolate: Vec<ExtrapolateRow>,
    pub eval: Report<Eval>,
    pub margin: Report<Margin>,
    pub settle: Vec<SettleRow>,
    pub halt: Report<Halt>,
    pub reach: Report<Reach>,
    pub patch: Report<Patch>,
}

impl DepthEvidence {
    /// The learnable recursion depth: the most hops that the curriculum has passed.
    pub(super) fn learned(&self) -> usize {
        self.checkpoint.learned_hops.unwrap_or(1)
    }

    /// The depth that the analyses look at: the learned one, or 2 hops where none was.
    pub(super) fn depth(&self) -> usize {
        self.learned().max(2)
    }

    /// How far it answers at that checkpoint.
    pub(super) fn answered(&self) -> Option<&ExtrapolateRow> {
        self.extrapolate
            .iter()
            .find(|row| row.origin.step == self.checkpoint.origin.step)
    }

    /// The largest accuracy at so many hops over all iterations, the fewest iterations of equals, and that after the most.
    pub(super) fn max_and_last(&self, hops: usize) -> Option<(&EvalRow, &EvalRow)> {
        let of_depth = || self.eval.rows.iter().filter(|row| row.split.depth() == Some(hops));
        let max = of_depth().find(|row| row.largest.is_max)?;
        Some((max, of_depth().max_by_key(|row| row.iterations)?))
    }

    /// A halting rule at so many hops.
    pub(super) fn halted(&self, rule: &Rule, hops: usize) -> Option<&HaltRow> {
        self.halt
            .rows
            .iter()
            .find(|row| !row.swept && row.rule == *rule && row.hops == hops)
    }

    /// `2 × 8`, or `2 × 8, drawn` where every batch draws its iterations.
    fn shape(&self) -> String {
        let drawn = if self.dynamic { ", drawn" } else { "" };
        format!("{} × {}{drawn}", self.checkpoint.layers, self.checkpoint.iterations)
    }
}

/// What a depth experiment was made of.
pub struct DepthExperiment<'a> {
    pub name: &'a str,
    /// Whether the paper's claims are held against it.
    pub claims: bool,
    pub data: &'a Chains,
    /// Content hashes of the data with permutations, and of the many-to-one data.
    pub hashes: [&'a str; 2],
    /// The curriculum's least accuracy.
    pub accuracy: f64,
}

/// The summary of a depth experiment as Markdown.
pub fn depth_summary(experiment: &DepthExperiment, evidence: &[DepthEvidence]) -> String {
    let &DepthExperiment {
        name,
        claims,
        data,
        hashes: [depth, shortcut],
        accuracy,
    } = experiment;
    let mut text = format!("# What `{name}` found\n\n");
    // Writing into a string cannot fail.
    let _ = writeln!(
        text,
        "One seed ({}), {} entities, {} relations, {} training chains a depth, 2 to {} hops; permutations: data {depth}, \
         many-to-one: data {shortcut}; loopscope {}. Intervals are 95 %; one run a model, so nothing here says how much \
         seeds differ. *Learned* is the deepest chain that the curriculum passed (held-out accuracy {accuracy} at the training \
         iterations); *answered* is the deepest such that every depth up to it reaches 0.6 at some number of iterations. \
         Everything but the table's updates is of the checkpoint at which the last stage was passed.\n",
        data.seed,
        data.entities,
        data.relations,
        data.train_rows,
        data.hops,
        env!("CARGO_PKG_VERSION")
    );
    text.push_str(&table(evidence));
    text.push_str("\n## Halting at the deepest learned chains\n\n");
    text.push_str(&halting(evidence));
    let checkpoints = evidence
        .iter()
        .map(|run| format!("{} {}", run.name, run.checkpoint.origin.checkpoint_hash));
    let _ = writeln!(text, "\nCheckpoints: {}.", checkpoints.collect::<Vec<_>>().join(", "));
    if !claims {
        text.push_str("\nThis preset shows that everything works; it is too short to hold any claim against it.\n");
        return text;
    }
    text.push_str(&claims_text(depth_claims::all(evidence)));
    text.push_str(
        "\nNot tested here: claim 9 (the Gaussian initialisation over several seeds, model size, the most iterations of a \
         dynamic run), and claims 1 to 4 (the systematic task).\n",
    );
    text
}

fn table(evidence: &[DepthEvidence]) -> String {
    let mut text = String::from(
        "| run | data | L × R | updates to learn 2, 3, … hops | learned | answered | ratio | max accuracy over R there | at R | \
         after the most iterations |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for run in evidence {
        let mut updates: Vec<(usize, u64)> = run
            .extrapolate
            .iter()
            .map(|row| (row.learned, row.origin.step))
            .collect();
        updates.dedup_by_key(|(learned, _)| *learned);
        let updates: Vec<String> = updates
            .iter()
            .filter(|(learned, _)| *learned > 1)
            .map(|(_, step)| step.to_string())
            .collect();
        let answered = run.answered().map_or(1, |row| row.extrapolated);
        let last = run.max_and_last(answered.max(2));
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {answered} | {:.2} | {} | {} | {} |",
            run.name,
            if run.shortcut { "many-to-one" } else { "permutations" },
            run.shape(),
            if updates.is_empty() {
                "never".to_owned()
            } else {
                updates.join(", ")
            },
            run.learned(),
            answered as f64 / run.learned() as f64,
            last.map_or("–".to_owned(), |(max, _)| max_shown(max)),
            last.map_or("–".to_owned(), |(max, _)| max.iterations.to_string()),
            last.map_or("–".to_owned(), |(_, last)| format!(
                "{:.3} at R {}",
                last.accuracy, last.iterations
            )),
        );
    }
    text
}

fn halting(evidence: &[DepthEvidence]) -> String {
    let mut text = String::from(
        "| run | hops | rule | accuracy | iterations: mean, median, std | work | decided by |\n|---|---|---|---|---|---|---|\n",
    );
    for run in evidence {
        let depth = run.depth();
        for row in run.halt.rows.iter().filter(|row| !row.swept && row.hops == depth) {
            let _ = writeln!(
                text,
                "| {} | {depth} | {} | {:.3} ({:.3}–{:.3}, n = {}) | {:.1}, {:.0}, {:.1} | {} | {} |",
                run.name,
                row.rule,
                row.accuracy,
                row.low,
                row.high,
                row.n,
                row.mean,
                row.median,
                row.std,
                row.work.map_or("–".to_owned(), |work| format!("{work:.2}")),
                row.decided
            );
        }
    }
    text
}
