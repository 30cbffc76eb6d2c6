//! Printing, in one way for all commands: a reader that has gone away (`| head -1`) is a success, and stops no work.
//!
//! With `--json` only data are on standard output, a line of JSON a row, and text for people is on standard error; with
//! `--quiet` standard error has errors alone.

use std::ffi::OsStr;
use std::fmt::Arguments;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::Path;
use std::sync::OnceLock;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::measure::Table;

/// Prints a line to standard output.
macro_rules! out {
    ($($text:tt)*) => { $crate::cli::print::out(format_args!($($text)*)) };
}

/// Prints a line to standard error.
macro_rules! err {
    ($($text:tt)*) => { $crate::cli::print::err(format_args!($($text)*)) };
}

/// What the flags of the command line say of printing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Printing {
    /// No progress, and no warnings.
    pub(super) quiet: bool,
    /// Tables as JSON.
    pub(super) json: bool,
}

static PRINTING: OnceLock<Printing> = OnceLock::new();

/// Sets how this process prints, once.
pub(super) fn set(printing: Printing) {
    PRINTING.get_or_init(|| printing);
}

/// How this process prints.
pub(super) fn printing() -> Printing {
    PRINTING.get().copied().unwrap_or_default()
}

/// Whether standard error is a terminal that progress may be drawn on.
pub(super) fn draws_progress() -> bool {
    !printing().quiet && io::stderr().is_terminal()
}

/// Whether text on a stream may be coloured: on a terminal, unless the variable `NO_COLOR` has a value (<https://no-color.org>).
pub(super) fn colors(is_terminal: bool, no_color: Option<&OsStr>) -> bool {
    is_terminal && no_color.is_none_or(OsStr::is_empty)
}

// Why standard output could not be written, the first time that it could not.
static FAILURE: OnceLock<String> = OnceLock::new();

fn keep_failure(written: io::Result<()>) {
    if let Err(e) = written
        && e.kind() != ErrorKind::BrokenPipe
    {
        FAILURE.get_or_init(|| e.to_string());
    }
}

pub(super) fn out(text: Arguments) {
    if printing().json {
        err(text);
    } else {
        keep_failure(writeln!(io::stdout(), "{text}"));
    }
}

// There is nowhere to say that standard error cannot be written.
pub(super) fn err(text: Arguments) {
    if !printing().quiet {
        let _ = writeln!(io::stderr(), "{text}");
    }
}

/// Prints data to standard output, as a line of JSON.
///
/// # Errors
/// When they cannot be JSON.
pub(super) fn record(data: &impl Serialize) -> Result<()> {
    let line = serde_json::to_string(data).map_err(Error::failed)?;
    keep_failure(writeln!(io::stdout(), "{line}"));
    Ok(())
}

/// Prints a table whose columns are as wide as their widest cell, or with `--json` the data of its rows.
pub(super) fn print_table(table: &Table) -> Result<()> {
    if printing().json {
        return table.data.iter().try_for_each(record);
    }
    let lines: Vec<&Vec<String>> = std::iter::once(&table.headings).chain(&table.rows).collect();
    let width = |i: usize| lines.iter().map(|cells| cells[i].chars().count()).max();
    let widths: Vec<usize> = (0..table.headings.len()).filter_map(width).collect();
    for cells in &lines {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:<width$}"))
            .collect();
        out!("{}", padded.join("  ").trim_end());
    }
    Ok(())
}

/// Whether all that was printed has arrived, or the reader had closed the pipe.
///
/// # Errors
/// When standard output could not be written and is not a closed pipe.
pub(super) fn outcome() -> Result<()> {
    keep_failure(io::stdout().flush());
    match FAILURE.get() {
        None => Ok(()),
        Some(reason) => Err(Error::write(Path::new("standard output"), reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn color_is_for_terminals_whose_user_has_not_declined_it() {
        let value = |text| Some(OsStr::new(text));
        assert!(colors(true, None) && colors(true, value("")));
        assert!(!colors(true, value("1")) && !colors(true, value("0")));
        assert!(!colors(false, None));
    }
}
