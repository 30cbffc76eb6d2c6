//! The `loopscope` binary: parse, run, map the result to an exit code.
#![deny(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use loopscope::cli::{self, Cli};

fn main() -> ExitCode {
    keep_candle_on_one_thread();
    match cli::run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // There is nowhere to say that standard error cannot be written.
            let _ = writeln!(std::io::stderr(), "loopscope: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

// candle splits long element-wise operations over threads that spin while they wait. For models of this size they cost
// more than they save, and they take the cores of models that train side by side. It reads this variable once, and no
// call of it can say the same.
fn keep_candle_on_one_thread() {
    const KEY: &str = "CANDLE_NUM_THREADS";
    if std::env::var_os(KEY).is_none() {
        // SAFETY: this is the first thing that the process does; there is no other thread that could read the variables.
        #[allow(unsafe_code)]
        unsafe {
            std::env::set_var(KEY, "1");
        }
    }
}
