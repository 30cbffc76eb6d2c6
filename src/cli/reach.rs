//! `loopscope reach`: which tokens the answer hangs on, and the shortest suffix that keeps it.

use clap::Args;

use super::analyses::{Inputs, print_table, say_intervals, say_where, write};
use crate::checkpoint::Target;
use crate::error::{Error, Result};
use crate::figure;
use crate::measure::{Exchange, Method, Reach, Wants};

#[derive(Args)]
pub(super) struct ReachArgs {
    /// Checkpoint files or run folders (all their stages), each perhaps under a name of your own: NAME=PATH
    #[arg(required = true)]
    targets: Vec<Target>,
    /// Splits, separated by commas [default: the held-out chains of every depth]
    #[arg(long, value_delimiter = ',')]
    split: Vec<String>,
    /// Queries of each number of hops, at most
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    queries: u32,
    /// Largest share of answers that may change where a suffix is said to keep them
    #[arg(long, default_value_t = 0.1)]
    tolerance: f64,
    /// Inference iterations [default: the model's own]
    #[arg(long, value_parser = super::iterations)]
    iterations: Option<usize>,
    /// Seed of the queries and of what takes the tokens' places
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    inputs: Inputs,
}

pub(super) fn run(args: &ReachArgs) -> Result<()> {
    if !(0.0..=1.0).contains(&args.tolerance) {
        return Err(Error::input(format!("--tolerance {}; allowed: 0 to 1", args.tolerance)));
    }
    let loaded = args.inputs.load(&args.targets)?;
    let reach = Reach {
        splits: Wants::Depths.splits(&args.split, &loaded.specimens)?,
        queries: args.queries as usize,
        iterations: args.iterations,
        tolerance: args.tolerance,
        seed: args.seed,
    };
    let report = reach.run(&loaded.specimens)?;
    write(&report, &figure::reach(&report), &loaded.out)?;
    let head_rows = report
        .rows
        .iter()
        .filter(|row| row.exchange == Exchange::One && row.position == "head");
    let rows: Vec<Vec<String>> = head_rows
        .map(|head| {
            let same = || {
                report
                    .rows
                    .iter()
                    .filter(|row| row.origin == head.origin && row.split == head.split && row.hops == head.hops)
            };
            let suffix = same().find(|row| row.shortest);
            vec![
                head.origin.run.clone(),
                head.origin.checkpoint.clone(),
                head.split.clone(),
                head.hops.to_string(),
                head.n.to_string(),
                format!("{:.3}", head.accuracy),
                format!("{:.3} ({:.3}–{:.3})", head.changed, head.low, head.high),
                format!("{:.3}", head.truth_changed),
                suffix.map_or_else(
                    || "the whole chain".to_owned(),
                    |row| figure::counted(row.from_end, "relation"),
                ),
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
            "accuracy",
            "another head changes (95 %)",
            "the truth",
            "shortest suffix that keeps the answer",
        ],
        &rows,
    );
    say_intervals(report.rows.iter().map(|row| (&row.split, row.interval)));
    say_where(&loaded.out, "reach");
    Ok(())
}
