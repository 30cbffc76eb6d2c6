//! `loopscope compare`: runs side by side.

use clap::Args;

use super::analyses::{Inputs, print_table, say_notes};
use crate::checkpoint::{Target, subjects};
use crate::error::Result;
use crate::measure::{Comparison, RunSummary, Wants, compare, last_of_each};
use crate::{figure, files};

#[derive(Args)]
pub(super) struct CompareArgs {
    /// Run folders, each perhaps under a name of your own: NAME=PATH
    #[arg(required = true)]
    runs: Vec<Target>,
    /// Splits to look inside on, separated by commas [default: train_inferred, test_inferred_iid and test_inferred_ood, or
    /// the chains of the most hops that every run has learned]
    #[arg(long, value_delimiter = ',')]
    split: Vec<String>,
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
    let loaded = args.inputs.load_subjects(last_of_each(subjects(&args.runs)?)?)?;
    let splits = [Wants::OneDepth, Wants::OneHeldOutDepth];
    let [lens, patch] = splits.map(|wants| wants.splits(&args.split, &loaded.specimens));
    let pairs = args.pairs as usize;
    let comparison = compare(&loaded.subjects, &loaded.specimens, [lens?, patch?], pairs, args.seed)?;
    write(&comparison, &loaded.out)?;
    print(&comparison);
    out!("{}/compare.{{csv,json,svg,png}}", loaded.out.display());
    Ok(())
}

/// Writes a comparison's tables and figure.
pub(super) fn write(comparison: &Comparison, out: &std::path::Path) -> Result<()> {
    let notes = comparison.lens.notes.iter().chain(&comparison.patch.notes);
    say_notes(&comparison.subjects, notes);
    comparison.lens.write(out, "compare-lens")?;
    comparison.patch.write(out, "compare-patch")?;
    comparison.write_csv(out, "compare")?;
    files::write_json(&out.join("compare.json"), comparison)?;
    figure::compare(comparison).write(out, "compare")
}

/// Prints a comparison's table.
pub(super) fn print(comparison: &Comparison) {
    let accuracy = |run: &RunSummary, split: &str| {
        run.accuracy
            .get(split)
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
                accuracy(run, "train"),
                accuracy(run, "test_inferred_iid"),
                accuracy(run, "test_inferred_ood"),
            ]
        })
        .collect();
    print_table(
        &[
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
        ],
        &rows,
    );
}
