//! `loopscope extrapolate`: depth beyond the curriculum.

use clap::Args;

use super::analyses::{Inputs, ends, print_table, say_intervals, say_where, write};
use super::eval::MOST;
use crate::checkpoint::Target;
use crate::error::{Error, Result};
use crate::figure;
use crate::measure::{Extrapolate, Method};

#[derive(Args)]
pub(super) struct ExtrapolateArgs {
    /// Run folders (all their stages) or checkpoint files, each perhaps under a name of your own: NAME=PATH
    #[arg(required = true)]
    runs: Vec<Target>,
    /// Inference iterations: 1 to this
    #[arg(long, default_value_t = MOST, value_parser = super::iterations)]
    iterations: usize,
    /// Least accuracy at which a depth counts as answered
    #[arg(long, default_value_t = 0.6)]
    accuracy: f64,
    /// Seed of the bootstrap
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    inputs: Inputs,
}

pub(super) fn run(args: &ExtrapolateArgs) -> Result<()> {
    if !(0.0..=1.0).contains(&args.accuracy) {
        return Err(Error::input(format!("--accuracy {}; allowed: 0 to 1", args.accuracy)));
    }
    let loaded = args.inputs.load(&args.runs)?;
    let extrapolate = Extrapolate {
        most: args.iterations,
        accuracy: args.accuracy,
        seed: args.seed,
    };
    let report = extrapolate.run(&loaded.specimens)?;
    write(&report, &figure::extrapolate(&report), &loaded.out)?;
    let rows: Vec<Vec<String>> = report
        .rows
        .iter()
        .map(|row| {
            vec![
                row.origin.run.clone(),
                row.origin.checkpoint.clone(),
                row.origin.step.to_string(),
                format!("{} × {}", row.layers, row.iterations),
                row.learned.to_string(),
                row.extrapolated.to_string(),
                format!("{:.2}", row.ratio),
                row.max_there().unwrap_or_else(|| "–".to_owned()),
                row.best_iterations.map_or_else(|| "–".to_owned(), |n| n.to_string()),
                row.next.map_or_else(
                    || "no such data".to_owned(),
                    |next| format!("{next:.3} ({})", ends(row.next_low, row.next_high)),
                ),
            ]
        })
        .collect();
    print_table(
        &[
            "run",
            "checkpoint",
            "updates",
            "L × R",
            "learned",
            "answered",
            "ratio",
            "max over R there (95 %)",
            "at R",
            "one hop more, max (95 %)",
        ],
        &rows,
    );
    let found: Vec<_> = report
        .rows
        .iter()
        .filter_map(|row| Some((&row.origin.run, row.interval?)))
        .collect();
    say_intervals(found.into_iter());
    say_where(&loaded.out, "extrapolate");
    Ok(())
}
