//! The command line: one file a subcommand. Flags become checked settings at the door; the library does the work.

mod data;
mod progress;
mod train;

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Device;
use clap::{Parser, Subcommand};

use crate::error::{Error, Result};

/// A mechanistic-interpretability workbench for recurrent-depth (looped) transformers.
#[derive(Parser)]
#[command(version, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Log more: -v what is done, -vv details
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Subcommand)]
enum Command {
    /// Make a data set
    #[command(subcommand)]
    Data(data::DataCommand),
    /// Train a model from a config file
    Train(train::TrainArgs),
}

/// Runs what the command line asks for.
///
/// # Errors
/// Whatever the command meets; [`Error::exit_code`] maps it to the exit code.
pub fn run(cli: Cli) -> Result<()> {
    start_log(cli.verbose);
    match cli.command {
        Command::Data(command) => data::run(&command),
        Command::Train(args) => train::run(&args),
    }
}

fn start_log(verbose: u8) {
    let level = match verbose {
        0 => tracing::Level::WARN,
        1 => tracing::Level::INFO,
        _ => tracing::Level::DEBUG,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .without_time()
        .with_target(false)
        .init();
}

/// `cpu`, `cuda` or `cuda:N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceChoice {
    Cpu,
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|n| n.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| "allowed: cpu, cuda, cuda:N".to_owned()),
        }
    }
}

impl DeviceChoice {
    /// The device itself.
    ///
    /// # Errors
    /// When it is not there, or this binary was built without the `cuda` feature.
    pub fn open(self) -> Result<Device> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(n) => Device::new_cuda(n).map_err(|e| {
                Error::input(format!(
                    "--device cuda:{n} cannot be used: {e}; CUDA needs a build with `--features cuda` and an NVIDIA GPU"
                ))
            }),
        }
    }
}

#[derive(clap::Args)]
struct DeviceArg {
    /// Where tensors live: cpu, cuda, cuda:N
    #[arg(long, default_value = "cpu")]
    device: DeviceChoice,
}

/// Set by Ctrl-C; a second Ctrl-C ends the process at once.
fn stop_flag() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    let handler = move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        tracing::warn!("Ctrl-C will end the run at once, without saving: {error}");
    }
    stop
}

// `checkpoints/NAME` for a config file NAME.toml.
fn default_run_folder(config: &std::path::Path) -> PathBuf {
    PathBuf::from("checkpoints").join(config.file_stem().unwrap_or_default())
}
