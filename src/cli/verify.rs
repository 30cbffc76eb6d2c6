//! `loopscope verify`: every method against models whose mechanism is known.

use std::path::PathBuf;

use clap::Args;

use super::Threads;
use super::analyses::print_table;
use crate::error::Result;
use crate::measure::Table;
use crate::verify::{COLUMNS, Verification, suite};

#[derive(Args)]
pub(super) struct VerifyArgs {
    /// One graph, one rotation and one level of noise
    #[arg(long)]
    short: bool,
    /// Folder for the table, and for what every method says of every site
    #[arg(long)]
    out: Option<PathBuf>,
    #[command(flatten)]
    threads: Threads,
}

pub(super) fn run(args: &VerifyArgs) -> Result<()> {
    let found = args.threads.install(|| suite(args.short))?;
    if let Some(folder) = &args.out {
        found.write(folder)?;
    }
    print(&found)?;
    if let Some(folder) = &args.out {
        out!("{}/verify.{{csv,json}}", folder.display());
    }
    found.expect_green()
}

fn print(found: &Verification) -> Result<()> {
    print_table(&Table::new(COLUMNS, &found.cells)?);
    for cell in found.red() {
        let claim = cell.claim.map_or("numbers", |claim| claim.name());
        out!("{}, {claim}, {}: not as it should be", cell.method, cell.model);
        for note in &cell.notes {
            out!("  {note}");
        }
    }
    Ok(())
}
