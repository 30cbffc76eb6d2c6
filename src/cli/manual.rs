//! `loopscope completions` and `loopscope man`: what shells and `man` read, made from the command line itself.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use super::Cli;
use crate::error::{Error, Result};
use crate::files;

#[derive(Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

#[derive(Args)]
pub(super) struct ManArgs {
    /// Write a page for every command to this folder
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

pub(super) fn completions(args: &CompletionsArgs) {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), env!("CARGO_PKG_NAME"), &mut script);
    out!("{}", String::from_utf8_lossy(&script).trim_end());
}

pub(super) fn man(args: &ManArgs) -> Result<()> {
    let mut command = Cli::command().disable_help_subcommand(true);
    // Gives every command the name of its page, as in loopscope-sweep-run.
    command.build();
    let Some(folder) = &args.out else {
        let page = page(&Man::new(command))?;
        out!("{}", String::from_utf8_lossy(&page).trim_end());
        return Ok(());
    };
    for command in with_subcommands(command) {
        let man = Man::new(command);
        files::write(&folder.join(man.get_filename()), &page(&man)?)?;
    }
    out!("{}", folder.display());
    Ok(())
}

fn page(man: &Man) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    man.render(&mut text).map_err(Error::failed)?;
    Ok(text)
}

// A command and all that are below it.
fn with_subcommands(command: clap::Command) -> Vec<clap::Command> {
    let below: Vec<clap::Command> = command.get_subcommands().cloned().flat_map(with_subcommands).collect();
    std::iter::once(command).chain(below).collect()
}
