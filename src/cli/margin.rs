//! `loopscope margin`: the logit margin by iteration.

use clap::Args;

use super::analyses::{Inputs, print_table, say_intervals, say_where, signed_ends, write};
use super::eval::MOST;
use crate::checkpoint::Target;
use crate::error::Result;
use crate::figure;
use crate::measure::{Margin, MarginRow, Method, Wants};

#[derive(Args)]
pub(super) struct MarginArgs {
    /// Checkpoint files or run folders (all their stages), each perhaps under a name of your own: NAME=PATH
    #[arg(required = true)]
    targets: Vec<Target>,
    /// Splits, separated by commas [default: the held-out chains of every depth]
    #[arg(long, value_delimiter = ',')]
    split: Vec<String>,
    /// Inference iterations: 1 to this
    #[arg(long, default_value_t = MOST, value_parser = super::iterations)]
    iterations: usize,
    /// Seed of the bootstrap
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    inputs: Inputs,
}

pub(super) fn run(args: &MarginArgs) -> Result<()> {
    let loaded = args.inputs.load(&args.targets)?;
    let margin = Margin {
        splits: Wants::Depths.splits(&args.split, &loaded.specimens)?,
        most: args.iterations,
        seed: args.seed,
    };
    let report = margin.run(&loaded.specimens)?;
    write(&report, &figure::margin(&report), &loaded.out)?;
    let rows: Vec<Vec<String>> = report
        .rows
        .iter()
        .filter(|row| row.largest.is_max)
        .map(|row| maximum(row, &report.rows))
        .collect();
    print_table(
        &[
            "run",
            "checkpoint",
            "split",
            "hops",
            "n",
            "max margin",
            "95 % of the max",
            "at iteration",
            "at the end",
            "fall (95 %)",
            "ever ahead",
        ],
        &rows,
    );
    say_intervals(report.rows.iter().map(|row| (&row.split, row.interval)));
    say_where(&loaded.out, "margin");
    Ok(())
}

// The maximum over iterations of a line of the figure.
fn maximum(row: &MarginRow, rows: &[MarginRow]) -> Vec<String> {
    let is_of_line =
        |other: &&MarginRow| (&other.origin, &other.split, other.hops) == (&row.origin, &row.split, row.hops);
    let of_line = || rows.iter().filter(is_of_line);
    let last = of_line().max_by_key(|row| row.iteration);
    let reached: f64 = of_line().map(|row| row.first).sum();
    vec![
        row.origin.run.clone(),
        row.origin.checkpoint.clone(),
        row.split.clone(),
        row.hops.to_string(),
        row.n.to_string(),
        format!("{:.2}", row.margin),
        signed_ends(row.largest.max_low, row.largest.max_high),
        row.iteration.to_string(),
        last.map_or_else(|| "–".to_owned(), |last| format!("{:.2}", last.margin)),
        row.fall.fall.map_or_else(
            || "–".to_owned(),
            |fall| format!("{fall:.2} ({})", signed_ends(row.fall.fall_low, row.fall.fall_high)),
        ),
        format!("{reached:.3}"),
    ]
}
