//! `loopscope verify`: every method against models whose mechanism is known.

use std::path::PathBuf;

use clap::Args;

use super::Threads;
use super::print::print_table;
use super::progress::counted_work;
use crate::error::Result;
use crate::measure::Table;
use crate::verify::{COLUMNS, Verification, checkpoint, suite};

#[derive(Args)]
pub(super) struct VerifyArgs {
    /// One graph, one rotation and one level of noise
    #[arg(long, conflicts_with = "checkpoint")]
    short: bool,
    /// A checkpoint whose mechanism is known, in place of the circuits
    #[arg(long, requires_all = ["data", "truth"])]
    checkpoint: Option<PathBuf>,
    /// The data set that the truth is about
    #[arg(long, requires = "checkpoint")]
    data: Option<PathBuf>,
    /// The truth about the checkpoint, a file as `circuit` writes it
    #[arg(long, requires = "checkpoint")]
    truth: Option<PathBuf>,
    /// Print the matrix of methods and models, in Markdown
    #[arg(long)]
    markdown: bool,
    /// Folder for the table, and for what every method says of every site
    #[arg(long)]
    out: Option<PathBuf>,
    #[command(flatten)]
    threads: Threads,
}

pub(super) fn run(args: &VerifyArgs) -> Result<()> {
    let found = args
        .threads
        .install(|| match (&args.checkpoint, &args.data, &args.truth) {
            (Some(path), Some(data), Some(truth)) => checkpoint(path, data, truth),
            _ => suite(args.short, Some(counted_work)),
        })?;
    if let Some(folder) = &args.out {
        found.write(folder)?;
    }
    if args.markdown {
        out!("{}", found.markdown().trim_end());
    } else {
        print_table(&Table::new(COLUMNS, &found.cells)?)?;
    }
    print_red(&found);
    if let Some(folder) = &args.out {
        out!("{}/verify.{{csv,json}}", folder.display());
    }
    found.expect_green()
}

fn print_red(found: &Verification) {
    for cell in found.red() {
        let claim = cell.claim.map_or("numbers", |claim| claim.name());
        out!("{}, {claim}, {}: not as it should be", cell.method, cell.model);
        for note in cell.limit.iter().chain(&cell.notes) {
            out!("  {note}");
        }
    }
}
