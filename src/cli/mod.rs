//! The command line: one file a subcommand. Flags become checked settings at the door; the library does the work.

#[macro_use]
mod print;

mod activations;
mod analyses;
mod bench;
mod circuit;
mod compare;
mod data;
mod doctor;
mod estimate;
mod import;
mod manual;
mod next;
mod progress;
mod report;
mod reproduce;
mod sweep;
mod train;
mod verify;
mod watch;

use std::fmt;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use candle_core::Device;
use clap::{Parser, Subcommand};
use signal_hook::flag;

use crate::error::{Error, Result, sentence};
use crate::experiment::thread_pool;
use crate::model::{Backend, disable_amx};

/// A mechanistic-interpretability workbench for recurrent-depth (looped) transformers.
///
/// Without a command: what to do next in this folder.
#[derive(Parser)]
#[command(version, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Log more: -v what is done, -vv details
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Print errors alone on standard error: no progress, no warnings
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Print tables as JSON, an object a line for each row, and nothing else on standard output
    #[arg(long, global = true)]
    json: bool,
    /// Compute without AMX, where the CPU has it: slower, with the rounding of CPUs without it
    #[arg(long, global = true)]
    portable: bool,
}

#[derive(Subcommand)]
enum Command {
    /// A whole experiment: data, a looped model and vanilla controls, every analysis at their stages, a summary
    Reproduce(reproduce::ReproduceArgs),
    /// Make a data set
    #[command(subcommand)]
    Data(data::DataCommand),
    /// Train a model from a config file
    Train(train::TrainArgs),
    /// Many runs from one file: over keys and seeds, here or on a cluster
    #[command(subcommand)]
    Sweep(sweep::SweepCommand),
    /// A dashboard of runs while they train: curves, stages, speed, time left
    ///
    /// It only reads their folders: open and close it at any time. Where standard output is not a terminal, and with --json, it
    /// prints the present state once, in which a process of another machine counts as training unless it is known to have ended.
    /// Keys: q quit, arrows or Tab another run, l log or linear steps, ? help.
    Watch(watch::WatchArgs),
    #[command(flatten)]
    Analyses(analyses::Analyses),
    /// Runs side by side: stages, cost, accuracy, lens and patching
    Compare(compare::CompareArgs),
    /// One HTML page of runs, side by side: training, every result with a slider over the stages, single queries
    Report(report::ReportArgs),
    /// Write the activations at any hook points as safetensors
    Activations(activations::ActivationsArgs),
    /// Write a model whose mechanism is known, with the truth about it
    Circuit(circuit::CircuitArgs),
    /// Hold every analysis against models whose mechanism is known
    Verify(verify::VerifyArgs),
    /// Read someone else's weights (the paper's layout, .pt or safetensors) and write a checkpoint
    Import(import::ImportArgs),
    /// Time training steps on this machine
    Bench(bench::BenchArgs),
    /// What this machine has, and what each preset will take on it
    Doctor(doctor::DoctorArgs),
    /// Print the completions of a shell
    Completions(manual::CompletionsArgs),
    /// Print the man page, or write those of all commands
    Man(manual::ManArgs),
}

/// Runs what the command line asks for.
///
/// # Errors
/// Whatever the command meets; [`Error::exit_code`] maps it to the exit code.
pub fn run(cli: Cli) -> Result<()> {
    print::set(print::Printing {
        quiet: cli.quiet,
        json: cli.json,
    });
    start_log(cli.verbose);
    if cli.portable {
        disable_amx();
    }
    tracing::info!("matrix products on the CPU by {}", Backend::default().matmul());
    match cli.command {
        Some(command) => obey(command)?,
        None => next::run()?,
    }
    print::outcome()
}

fn obey(command: Command) -> Result<()> {
    match command {
        Command::Reproduce(args) => reproduce::run(&args),
        Command::Data(command) => data::run(&command),
        Command::Train(args) => train::run(&args),
        Command::Sweep(command) => sweep::run(&command),
        Command::Watch(args) => watch::run(&args),
        Command::Analyses(analysis) => analysis.run(),
        Command::Compare(args) => compare::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Activations(args) => activations::run(&args),
        Command::Circuit(args) => circuit::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Completions(args) => {
            manual::completions(&args);
            Ok(())
        }
        Command::Man(args) => manual::man(&args),
    }
}

fn start_log(verbose: u8) {
    let level = match verbose {
        _ if print::printing().quiet => tracing::Level::ERROR,
        0 => tracing::Level::WARN,
        1 => tracing::Level::INFO,
        _ => tracing::Level::DEBUG,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(print::colors(
            std::io::stderr().is_terminal(),
            std::env::var_os("NO_COLOR").as_deref(),
        ))
        .without_time()
        .with_target(false)
        // It would say on a standard error that is closed that standard error is closed, and panic.
        .log_internal_errors(false)
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

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Cpu => write!(f, "cpu"),
            Self::Cuda(n) => write!(f, "cuda:{n}"),
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
                    "--device cuda:{n} cannot be used: {}; CUDA needs a build with `--features cuda` and an NVIDIA GPU",
                    sentence(&e)
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

#[derive(clap::Args)]
struct Threads {
    /// Threads to compute on; the results do not depend on it [default: all cores]
    #[arg(long)]
    threads: Option<usize>,
}

impl Threads {
    // Runs `f` on a pool of this number of threads.
    fn install<T: Send>(&self, f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread_pool(checked_threads(self.threads)?.unwrap_or(0))?.install(f)
    }
}

// The value of `--threads`.
fn checked_threads(threads: Option<usize>) -> Result<Option<usize>> {
    match threads {
        Some(threads) if !(1..=1024).contains(&threads) => {
            Err(Error::input(format!("--threads {threads}; allowed: 1 to 1024")))
        }
        threads => Ok(threads),
    }
}

/// Set by any of [`stop_signals`]. A second request to end (Ctrl-C, SIGTERM, SIGHUP) ends the process at once; SIGUSR1, by which
/// engines tell that a job's time is nearly over, may come beside one and any number of times.
fn stop_flag() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked_to_end = Arc::new(AtomicBool::new(false));
    for (signal, asks_to_end) in stop_signals() {
        let registered = || {
            if asks_to_end {
                // Before the flag that it looks at is set.
                flag::register_conditional_shutdown(signal, 130, asked_to_end.clone())?;
                flag::register(signal, asked_to_end.clone())?;
            }
            flag::register(signal, stop.clone())
        };
        if let Err(error) = registered() {
            tracing::warn!("signal {signal} will end the run at once, without saving: {error}");
        }
    }
    stop
}

// Signals that ask to save and stop, and whether they ask to end the process, as far as the system has them.
#[cfg(unix)]
fn stop_signals() -> Vec<(i32, bool)> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
    vec![(SIGINT, true), (SIGTERM, true), (SIGHUP, true), (SIGUSR1, false)]
}

#[cfg(not(unix))]
fn stop_signals() -> Vec<(i32, bool)> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    vec![(SIGINT, true), (SIGTERM, true)]
}

// `checkpoints/NAME` for a config file NAME.toml.
fn default_run_folder(config: &std::path::Path) -> PathBuf {
    PathBuf::from("checkpoints").join(config.file_stem().unwrap_or_default())
}
