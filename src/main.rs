//! The `loopscope` binary: parse, run, map the result to an exit code.
#![deny(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use loopscope::cli::{self, Cli};

fn main() -> ExitCode {
    // SAFETY: this is the first thing that the process does, so there is no other thread.
    #[allow(unsafe_code)]
    unsafe {
        loopscope::keep_candle_on_one_thread();
    }
    match cli::run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing can be done where standard error cannot be written.
            let _ = writeln!(std::io::stderr(), "loopscope: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
