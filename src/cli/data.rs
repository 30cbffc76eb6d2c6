//! `loopscope data`: make a data set.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::error::Result;
use crate::graph::Systematic;

#[derive(Subcommand)]
pub(super) enum DataCommand {
    /// 2-hop chains over a random graph with ID and OOD facts; the defaults are the paper's scale
    Systematic(SystematicArgs),
}

#[derive(Args)]
pub(super) struct SystematicArgs {
    #[command(flatten)]
    settings: Systematic,
    /// Folder to write; it must be new or empty
    #[arg(long)]
    out: PathBuf,
}

pub(super) fn run(command: &DataCommand) -> Result<()> {
    let DataCommand::Systematic(args) = command;
    let data = args.settings.generate()?;
    data.write(&args.out, &args.settings)?;
    println!(
        "{} (data {}, seed {})",
        args.out.display(),
        data.hash,
        args.settings.seed
    );
    for (split, rows) in &data.splits {
        println!("  {split:<18} {:>8} rows", rows.len());
    }
    Ok(())
}
