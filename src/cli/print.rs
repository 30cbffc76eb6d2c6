//! Printing, in one way for all commands: a reader that has gone away (`| head -1`) is a success, and stops no work.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::sync::OnceLock;

use crate::error::{Error, Result};

/// Prints a line to standard output.
macro_rules! out {
    ($($text:tt)*) => { $crate::cli::print::out(format_args!($($text)*)) };
}

/// Prints a line to standard error.
macro_rules! err {
    ($($text:tt)*) => { $crate::cli::print::err(format_args!($($text)*)) };
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
    keep_failure(writeln!(io::stdout(), "{text}"));
}

// There is nowhere to say that standard error cannot be written.
pub(super) fn err(text: Arguments) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Whether all that was printed has arrived, or nobody wanted it.
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
