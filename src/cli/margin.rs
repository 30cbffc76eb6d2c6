//! `loopscope margin`: the logit margin by iteration.

use clap::Args;

use super::analyses::{Inputs, best_of, print_table, say_where, write};
use super::eval::MOST;
use crate::checkpoint::Target;
use crate::error::Result;
use crate::figure;
use crate::measure::{Margin, Method, Origin, Wants};

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
    let line = |row: &crate::measure::MarginRow| (row.origin.clone(), row.split.clone(), row.hops);
    let last = |key: &(Origin, String, usize)| {
        let of_line = report.rows.iter().filter(|row| line(row) == *key);
        of_line.max_by_key(|row| row.iteration)
    };
    let rows: Vec<Vec<String>> = best_of(&report.rows, line, |row| row.margin)
        .into_iter()
        .map(|row| {
            let reached: f64 = report
                .rows
                .iter()
                .filter(|r| line(r) == line(row))
                .map(|r| r.first)
                .sum();
            vec![
                row.origin.run.clone(),
                row.origin.checkpoint.clone(),
                row.split.clone(),
                row.hops.to_string(),
                row.n.to_string(),
                format!("{:.2} ({:.2} to {:.2})", row.margin, row.low, row.high),
                row.iteration.to_string(),
                last(&line(row)).map_or_else(|| "–".to_owned(), |last| format!("{:.2}", last.margin)),
                format!("{reached:.3}"),
            ]
        })
        .collect();
    print_table(
        &[
            "run",
            "checkpoint",
            "split",
            "hops",
            "n",
            "peak margin (95 %)",
            "at iteration",
            "at the end",
            "ever ahead",
        ],
        &rows,
    );
    say_where(&loaded.out, "margin");
    Ok(())
}
