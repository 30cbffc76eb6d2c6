//! `loopscope settle`: whether the loop comes to rest.

use clap::Args;

use super::analyses::{Inputs, ends, fixed, print_table, say_intervals, say_where, write};
use super::eval::MOST;
use crate::checkpoint::Target;
use crate::error::Result;
use crate::figure;
use crate::measure::{Method, Settle, SettleRow, Wants};

#[derive(Args)]
pub(super) struct SettleArgs {
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

pub(super) fn run(args: &SettleArgs) -> Result<()> {
    let loaded = args.inputs.load(&args.targets)?;
    let settle = Settle {
        splits: Wants::Depths.splits(&args.split, &loaded.specimens)?,
        most: args.iterations,
        seed: args.seed,
    };
    let report = settle.run(&loaded.specimens)?;
    write(&report, &figure::settle(&report), &loaded.out)?;
    let shown = |iteration: usize, trained: usize| iteration == trained || iteration == args.iterations;
    let trained = |row: &SettleRow| {
        let subject = report.subjects.iter().find(|subject| subject.owns(&row.origin));
        subject.map_or(0, |subject| subject.iterations)
    };
    let optional = |x: Option<f64>| x.map_or_else(|| "–".to_owned(), fixed);
    let rows: Vec<Vec<String>> = report
        .rows
        .iter()
        .filter(|row| shown(row.iteration, trained(row)))
        .map(|row| {
            vec![
                row.origin.run.clone(),
                row.origin.checkpoint.clone(),
                row.split.clone(),
                row.hops.to_string(),
                row.iteration.to_string(),
                row.n.to_string(),
                format!("{:.1}", row.state),
                fixed(row.moved),
                optional(row.cosine),
                optional(row.apart),
                format!("{:.3}", row.accuracy),
                ends(Some(row.accuracy_low), Some(row.accuracy_high)),
            ]
        })
        .collect();
    print_table(
        &[
            "run",
            "checkpoint",
            "split",
            "hops",
            "iteration",
            "n",
            "state norm",
            "step / state",
            "cosine of steps",
            "layers apart",
            "accuracy",
            "95 % interval",
        ],
        &rows,
    );
    say_intervals(report.rows.iter().map(|row| (&row.split, row.interval)));
    say_where(&loaded.out, "settle");
    Ok(())
}
