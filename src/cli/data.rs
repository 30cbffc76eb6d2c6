//! `loopscope data`: make a data set.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::error::Result;
use crate::graph::{Chains, Dataset, Systematic, Tails};

#[derive(Subcommand)]
pub(super) enum DataCommand {
    /// 2-hop chains over a random graph with ID and OOD facts; the defaults are the paper's scale
    Systematic(SystematicArgs),
    /// Chains of 2 to K hops over relations that are permutations; the defaults are the paper's scale
    Depth(ChainsArgs),
    /// The same over many-to-one relations, which leave a shortcut: a chain's end tells little of its beginning
    Shortcut(ChainsArgs),
}

#[derive(Args)]
pub(super) struct SystematicArgs {
    #[command(flatten)]
    settings: Systematic,
    /// Folder to write; it must be new or empty
    #[arg(long)]
    out: PathBuf,
}

#[derive(Args)]
pub(super) struct ChainsArgs {
    #[command(flatten)]
    settings: Chains,
    /// Folder to write; it must be new or empty
    #[arg(long)]
    out: PathBuf,
}

pub(super) fn run(command: &DataCommand) -> Result<()> {
    let chains = |args: &ChainsArgs, tails| {
        let settings = Chains {
            tails,
            ..args.settings.clone()
        };
        write(&settings.generate()?, &settings, settings.seed, &args.out)
    };
    match command {
        DataCommand::Systematic(args) => write(
            &args.settings.generate()?,
            &args.settings,
            args.settings.seed,
            &args.out,
        ),
        DataCommand::Depth(args) => chains(args, Tails::Permutation),
        DataCommand::Shortcut(args) => chains(args, Tails::Random),
    }
}

fn write<S: Serialize>(data: &Dataset, settings: &S, seed: u64, out: &Path) -> Result<()> {
    data.write(out, settings)?;
    out!("{} (data {}, seed {seed})", out.display(), data.hash);
    for (split, rows) in &data.splits {
        out!("  {split:<18} {:>8} rows", rows.len());
    }
    Ok(())
}
