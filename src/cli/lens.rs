//! `loopscope lens`: the logit lens at every effective layer.

use clap::Args;

use super::analyses::{Inputs, best_of, print_table, say_where, write};
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
    #[command(flatten)]
    inputs: Inputs,
}

pub(super) fn run(args: &LensArgs) -> Result<()> {
    let loaded = args.inputs.load(&args.targets)?;
    let lens = Lens {
        splits: Wants::Chains.splits(&args.split, &loaded.specimens)?,
        iterations: args.iterations,
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
            "best top-1",
            "at layer",
            "mrr",
            "probability",
        ],
        &best(&report.rows),
    );
    say_where(&loaded.out, "lens");
    Ok(())
}

// The best effective layer of each line of the figure.
fn best(rows: &[LensRow]) -> Vec<Vec<String>> {
    let line = |row: &LensRow| -> Vec<String> {
        [
            &row.origin.run,
            &row.origin.checkpoint,
            &row.split,
            &row.hops.to_string(),
            &row.label,
            &row.position.to_string(),
        ]
        .map(Clone::clone)
        .into()
    };
    best_of(rows, line, |row| row.top1)
        .iter()
        .map(|row| {
            vec![
                row.origin.run.clone(),
                row.origin.checkpoint.clone(),
                row.split.clone(),
                row.label.clone(),
                row.position.to_string(),
                row.n.to_string(),
                format!("{:.3}", row.top1),
                row.effective_layer.to_string(),
                format!("{:.3}", row.mrr),
                format!("{:.3}", row.probability),
            ]
        })
        .collect()
}
