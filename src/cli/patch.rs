//! `loopscope patch`: activation patching on the recurrent block.

use clap::Args;

use super::analyses::{Inputs, fixed, print_table, say_intervals, say_where, signed_ends, write};
use crate::checkpoint::Target;
use crate::error::Result;
use crate::figure;
use crate::measure::{Corrupt, Method, Patch, PatchRow, Wants};
use crate::model::Point;

#[derive(Args)]
pub(super) struct PatchArgs {
    /// Checkpoint files or run folders (all their stages), each perhaps under a name of your own: NAME=PATH
    #[arg(required = true)]
    targets: Vec<Target>,
    /// Splits, separated by commas [default: test_inferred_iid and test_inferred_ood, or the held-out chains
    /// of every depth]
    #[arg(long, value_delimiter = ',')]
    split: Vec<String>,
    /// What the corrupt query has in place of the clean one's
    #[arg(long, value_enum, default_value = "prefix")]
    corrupt: Corrupt,
    /// The hook point whose clean state is restored
    #[arg(long, value_enum, default_value = "resid_post")]
    hook: Point,
    /// Pairs a split, at most
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// Only pairs that the model answers right, clean and corrupt
    #[arg(long)]
    correct_only: bool,
    /// Inference iterations [default: the model's own]
    #[arg(long, value_parser = super::iterations)]
    iterations: Option<usize>,
    /// Seed of the pairs and the bootstrap
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    inputs: Inputs,
}

pub(super) fn run(args: &PatchArgs) -> Result<()> {
    let loaded = args.inputs.load(&args.targets)?;
    let patch = Patch {
        splits: Wants::HeldOutChains.splits(&args.split, &loaded.specimens)?,
        corrupt: args.corrupt,
        hook: args.hook,
        pairs: args.pairs as usize,
        correct_only: args.correct_only,
        iterations: args.iterations,
        seed: args.seed,
    };
    let report = patch.run(&loaded.specimens)?;
    write(&report, &figure::patch(&report), &loaded.out)?;
    let rows: Vec<Vec<String>> = report.rows.iter().map(cells).collect();
    print_table(
        &[
            "run",
            "checkpoint",
            "split",
            "hook",
            "at",
            "layer",
            "n",
            "recovery",
            "95 % interval",
            "flips",
            "gap",
            "clean",
            "corrupt",
        ],
        &rows,
    );
    say_intervals(report.rows.iter().map(|row| (&row.split, row.interval)));
    say_where(&loaded.out, "patch");
    Ok(())
}

fn cells(row: &PatchRow) -> Vec<String> {
    vec![
        row.origin.run.clone(),
        row.origin.checkpoint.clone(),
        row.split.clone(),
        row.hook.clone(),
        row.position.clone(),
        row.effective_layer.to_string(),
        row.n.to_string(),
        row.recovery.map_or_else(|| "–".to_owned(), fixed),
        signed_ends(row.low, row.high),
        format!("{:.3}", row.flips),
        format!("{:.2}", row.gap),
        format!("{:.3}", row.clean_accuracy),
        format!("{:.3}", row.corrupt_accuracy),
    ]
}
