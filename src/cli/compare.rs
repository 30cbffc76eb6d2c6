//! `loopscope compare`: runs side by side.

use clap::Args;

use super::analyses::{Inputs, print_table, say_notes};
use crate::checkpoint::{RunPath, find_checkpoints};
use crate::error::Result;
use crate::graph::Split;
use crate::measure::{Comparison, RunSummary, Table, Wants, compare, last_of_each};
use crate::{figure, files};

#[derive(Args)]
pub(super) struct CompareArgs {
    /// Run folders, each perhaps under a name of your own: NAME=PATH
    #[arg(required = true)]
    runs: Vec<RunPath>,
    /// Splits to look inside on, separated by commas [default: train_inferred, test_inferred_iid and test_inferred_ood, or
    /// the chains of the most hops that every run has learned]
    #[arg(long, value_delimiter = ',')]
    split: Vec<Split>,
    /// Patching pairs a split, at most
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// Seed of the patching pairs
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    inputs: Inputs,
}

pub(super) fn run(args: &CompareArgs) -> Result<()> {
    let (loaded, out) = args.inputs.load(&last_of_each(find_checkpoints(&args.runs)?)?)?;
    let splits = [Wants::OneDepth, Wants::OneHeldOutDepth];
    let [lens, patch] = splits.map(|wants| wants.splits(&args.split, &loaded));
    let pairs = args.pairs as usize;
    let comparison = compare(&loaded, [lens?, patch?], pairs, args.seed)?;
    write(&comparison, &out)?;
    print(&comparison);
    out!("{}/compare.{{csv,json,svg,png}}", out.display());
    Ok(())
}

/// Writes a comparison's tables and figure.
pub(super) fn write(comparison: &Comparison, out: &std::path::Path) -> Result<()> {
    let notes = comparison.lens.notes.iter().chain(&comparison.patch.notes);
    say_notes(&comparison.checkpoints, notes);
    comparison.lens.write_as(out, "compare-lens")?;
    comparison.patch.write_as(out, "compare-patch")?;
    comparison.write_csv(out, "compare")?;
    files::write_json(&out.join("compare.json"), comparison)?;
    figure::compare(comparison).write(out, "compare")
}

/// Prints a comparison's table.
pub(super) fn print(comparison: &Comparison) {
    let accuracy = |run: &RunSummary, split: Split| {
        run.accuracy
            .get(&split)
            .map_or_else(|| "–".to_owned(), |accuracy| format!("{accuracy:.3}"))
    };
    let rows: Vec<Vec<String>> = comparison
        .runs
        .iter()
        .map(|run| {
            let stages: Vec<String> = run
                .stages
                .iter()
                .map(|outcome| {
                    outcome.reached.as_ref().map_or_else(
                        || "–".to_owned(),
                        |reached| format!("{} ({:.0} s)", reached.step, reached.seconds),
                    )
                })
                .collect();
            vec![
                run.name.clone(),
                format!("{} × {}", run.model.layers, run.model.iterations),
                run.parameters.to_string(),
                format!("{:.2}", run.forward_flops as f64 / 1e6),
                run.steps.to_string(),
                format!("{:.0}", run.seconds),
                stages.join(" / "),
                accuracy(run, Split::train()),
                accuracy(run, Split::in_distribution()),
                accuracy(run, Split::ood()),
            ]
        })
        .collect();
    print_table(&Table {
        headings: [
            "run",
            "L × R",
            "parameters",
            "MFLOP/query",
            "steps",
            "seconds",
            "stages at step",
            "train",
            "ID",
            "OOD",
        ]
        .map(str::to_owned)
        .into(),
        rows,
    });
}
