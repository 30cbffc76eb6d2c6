//! `loopscope compare`: runs side by side.

use clap::Args;

use super::analyses::{Inputs, say_files, say_notes};
use super::print::print_table;
use super::progress::counted_work;
use crate::checkpoint::{RunPath, find_checkpoints};
use crate::error::Result;
use crate::figure::{self, Look};
use crate::graph::Split;
use crate::measure::{
    Comparison, ComparisonSettings, Corrupt, Direction, Iterations, Lens, Pairing, Patch, RunSummary, Table, compare,
    fields, last_of_each,
};
use crate::model::Point;

/// What a comparison's figure is called.
pub(super) const NAME: &str = "compare";

#[derive(Args)]
pub(super) struct CompareArgs {
    /// Run folders, each perhaps under a name of your own: NAME=PATH
    #[arg(required = true)]
    runs: Vec<RunPath>,
    /// Splits for lens and patching, separated by commas [default: train_inferred, test_inferred_iid and test_inferred_ood, or
    /// the chains of the most hops that every run has learned]
    #[arg(long, value_delimiter = ',')]
    split: Vec<Split>,
    /// Patching pairs a split, at most
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// Seed of the patching pairs and the bootstrap
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    inputs: Inputs,
    #[command(flatten)]
    look: Look,
}

pub(super) fn run(args: &CompareArgs) -> Result<()> {
    let (loaded, out) = args.inputs.load(&last_of_each(find_checkpoints(&args.runs)?)?)?;
    let settings = ComparisonSettings {
        lens: Lens {
            splits: args.split.clone(),
            iterations: Iterations::Trained,
            seed: args.seed,
        },
        patch: Patch::sweep(
            Pairing {
                splits: args.split.clone(),
                corrupt: Corrupt::Prefix,
                direction: Direction::Denoise,
                pairs: args.pairs as usize,
                correct_only: false,
                iterations: Iterations::Trained,
                seed: args.seed,
            },
            Point::ResidPost,
        ),
    };
    let comparison = compare(&loaded, &settings, Some(counted_work))?;
    say(&comparison);
    comparison.write(&out)?;
    let pages = figure::compare(&comparison).write(&out, NAME, &args.look)?;
    print(&comparison)?;
    say_files(&out, NAME, &args.look, pages);
    Ok(())
}

/// Warns of what a comparison notes.
pub(super) fn say(comparison: &Comparison) {
    let notes = comparison.lens.notes.iter().chain(&comparison.patch.notes);
    say_notes(&comparison.checkpoints, notes);
}

/// Prints a comparison's table.
pub(super) fn print(comparison: &Comparison) -> Result<()> {
    let headings = [
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
    ];
    let rows = comparison.runs.iter().map(|run| {
        let mut data = fields(run)?;
        // Every evaluation of the run: a table has its last.
        data.remove("metrics");
        Ok((data, cells(run)))
    });
    print_table(&Table::of_cells(&headings, rows.collect::<Result<Vec<_>>>()?)?)
}

fn cells(run: &RunSummary) -> Vec<String> {
    let accuracy = |split: Split| {
        run.accuracy
            .get(&split)
            .map_or_else(|| "–".to_owned(), |accuracy| format!("{accuracy:.3}"))
    };
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
        accuracy(Split::train()),
        accuracy(Split::in_distribution()),
        accuracy(Split::ood()),
    ]
}
