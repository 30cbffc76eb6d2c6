//! `loopscope lens`: the logit lens at every effective layer.

use clap::Args;

use super::analyses::{Inputs, ends, print_table, say_intervals, say_where, write};
use crate::checkpoint::Target;
use crate::error::Result;
use crate::figure;
use crate::measure::{Lens, LensRow, Method, Wants};

#[derive(Args)]
pub(super) struct LensArgs {
    /// Checkpoint files or run folders (all their stages), each perhaps under a name of your own: NAME=PATH
    #[arg(required = true)]
    targets: Vec<Target>,
    /// Splits, separated by commas [default: train_inferred, test_inferred_iid and
    /// test_inferred_ood, or the held-out chains of every depth]
    #[arg(long, value_delimiter = ',')]
    split: Vec<String>,
    /// Inference iterations [default: the model's own]
    #[arg(long, value_parser = super::iterations)]
    iterations: Option<usize>,
    /// Seed of the bootstrap
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    inputs: Inputs,
}

pub(super) fn run(args: &LensArgs) -> Result<()> {
    let loaded = args.inputs.load(&args.targets)?;
    let lens = Lens {
        splits: Wants::Chains.splits(&args.split, &loaded.specimens)?,
        iterations: args.iterations,
        seed: args.seed,
    };
    let report = lens.run(&loaded.specimens)?;
    write(&report, &figure::lens(&report), &loaded.out)?;
    print_table(
        &[
            "run",
            "checkpoint",
            "split",
            "entity",
            "at",
            "n",
            "max top-1",
            "95 % of the max",
            "at layer",
            "mrr",
            "probability",
        ],
        &maxima(&report.rows),
    );
    say_intervals(report.rows.iter().map(|row| (&row.split, row.interval)));
    say_where(&loaded.out, "lens");
    Ok(())
}

// The maximum over effective layers of each line of the figure, the lines in the order in which the rows begin them.
fn maxima(rows: &[LensRow]) -> Vec<Vec<String>> {
    let same_line = |a: &LensRow, b: &LensRow| {
        (&a.origin, &a.split, a.hops, &a.label, a.position) == (&b.origin, &b.split, b.hops, &b.label, b.position)
    };
    let begins = rows.iter().filter(|row| row.effective_layer == 0);
    begins
        .filter_map(|first| rows.iter().find(|row| row.largest.is_max && same_line(row, first)))
        .map(|row| {
            vec![
                row.origin.run.clone(),
                row.origin.checkpoint.clone(),
                row.split.clone(),
                row.label.clone(),
                row.position.to_string(),
                row.n.to_string(),
                format!("{:.3}", row.top1),
                ends(row.largest.max_low, row.largest.max_high),
                row.effective_layer.to_string(),
                format!("{:.3}", row.mrr),
                format!("{:.3}", row.probability),
            ]
        })
        .collect()
}
