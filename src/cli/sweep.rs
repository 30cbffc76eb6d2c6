//! `loopscope sweep`: many runs from one file.

mod gather;
mod slurm;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use candle_core::Device;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::estimate::{self, EstimateArg};
use super::print::{printing, record};
use super::progress::Terminal;
use crate::error::{Error, Result};
use crate::experiment::{EstimatedRuns, cores};
use crate::sweep::{Plan, Point, PointOutcome, PointState, Runner, Status, default_jobs, estimate_file};
use crate::wording::counted;

#[derive(Subcommand)]
pub(super) enum SweepCommand {
    /// Write the plan of a sweep file: its points, numbered and hashed, and their data
    Plan(PlanArgs),
    /// Say which points are done, running, failed and waiting
    Status(StatusArgs),
    /// Train points, as far as they are not trained yet
    Run(RunArgs),
    /// Put the results of all points into one table, with figures and statistics over seeds
    Gather(gather::GatherArgs),
}

#[derive(Args)]
pub(super) struct PlanArgs {
    /// Sweep file
    file: PathBuf,
    /// Folder of the sweep [default: checkpoints/ and the file's name]
    #[arg(long)]
    out: Option<PathBuf>,
    #[command(flatten)]
    estimate: EstimateArg,
}

#[derive(Args)]
struct Which {
    /// Folder of the sweep
    sweep: PathBuf,
    /// Number of the plan [default: the newest]
    #[arg(long)]
    plan: Option<usize>,
}

#[derive(Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    which: Which,
}

#[derive(Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    selection: Selection,
    /// Points trained at once, on one thread each where there are as many cores [default: as many as cores, within memory]
    #[arg(long)]
    jobs: Option<usize>,
    /// Threads of each point; the results do not depend on it [default: the cores divided among the points]
    #[arg(long)]
    threads: Option<usize>,
    #[command(flatten)]
    device: super::DeviceArg,
    #[command(flatten)]
    estimate: EstimateArg,
    #[command(flatten)]
    slurm: slurm::SlurmArgs,
}

/// The points to train; all where none is named.
#[derive(Args)]
struct Selection {
    /// This point
    #[arg(long, value_name = "N", conflicts_with_all = ["points", "task"])]
    point: Option<usize>,
    /// These points
    #[arg(long, value_name = "A-B,C", value_delimiter = ',', conflicts_with = "task")]
    points: Vec<Span>,
    /// The point of this task: SLURM_ARRAY_TASK_ID or HQ_TASK_ID, plus --offset
    #[arg(long)]
    task: bool,
    /// Added to the number of the task
    #[arg(long, default_value_t = 0, requires = "task", value_name = "K")]
    offset: usize,
}

/// A first and a last point, or one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span(usize, usize);

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match first.parse().ok().zip(last.parse().ok()) {
            Some((first, last)) if 1 <= first && first <= last => Ok(Self(first, last)),
            _ => Err("allowed: numbers of points and ranges of them, as in 3-7,9".to_owned()),
        }
    }
}

/// The environment variables in which engines tell the number of a task. HyperQueue's workers may be jobs of Slurm.
const TASK_VARIABLES: [&str; 2] = ["HQ_TASK_ID", "SLURM_ARRAY_TASK_ID"];

impl Selection {
    fn numbers(&self, plan: &Plan) -> Result<Vec<usize>> {
        if let Some(number) = self.point {
            return Ok(vec![number]);
        }
        if !self.points.is_empty() {
            for Span(_, last) in &self.points {
                plan.point(*last)?;
            }
            return Ok(self
                .points
                .iter()
                .flat_map(|Span(first, last)| *first..=*last)
                .collect());
        }
        if self.task {
            let number = task_number(|name| std::env::var(name).ok())?;
            // No plan has so many points.
            return Ok(vec![number.saturating_add(self.offset)]);
        }
        Ok((1..=plan.points.len()).collect())
    }
}

fn task_number(variable: impl Fn(&str) -> Option<String>) -> Result<usize> {
    let mut found = TASK_VARIABLES
        .iter()
        .filter_map(|name| variable(name).map(|value| (name, value)));
    let Some((name, value)) = found.next() else {
        return Err(Error::input(format!(
            "--task; allowed inside a task of an engine that sets {}",
            TASK_VARIABLES.join(" or ")
        )));
    };
    value
        .trim()
        .parse()
        .map_err(|_| Error::input(format!("{name} = {value:?}; allowed: the number of a task")))
}

pub(super) fn run(command: &SweepCommand) -> Result<()> {
    match command {
        SweepCommand::Plan(args) => plan(args),
        SweepCommand::Status(args) => status(args),
        SweepCommand::Run(args) => train(args),
        SweepCommand::Gather(args) => gather::run(args),
    }
}

fn plan(args: &PlanArgs) -> Result<()> {
    if args.estimate.estimate {
        return estimate::print(&estimate_file(&args.file, &Device::Cpu, 1)?, cores());
    }
    let folder = args
        .out
        .clone()
        .unwrap_or_else(|| super::default_run_folder(&args.file));
    let (plan, fresh) = Plan::make(&args.file, &folder)?;
    let count = counted(plan.points.len(), "point");
    if fresh {
        out!("plan {} ({}): {count}", plan.number, plan.hash);
    } else {
        out!("plan {} ({}) is this plan already: {count}", plan.number, plan.hash);
    }
    for point in &plan.points {
        out!("{:>5}  {}", point.number, point.name);
    }
    out!("{}\nloopscope sweep run {}", folder.display(), folder.display());
    Ok(())
}

fn status(args: &StatusArgs) -> Result<()> {
    let plan = Plan::read(&args.which.sweep, args.which.plan)?;
    say_status(&args.which.sweep, &plan)
}

fn say_status(sweep: &Path, plan: &Plan) -> Result<()> {
    let status = Status::read(sweep, plan)?;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (point, state) in &status.points {
        let (word, text) = describe(point, state);
        *counts.entry(word).or_default() += 1;
        if printing().json {
            record(&StatusRow {
                point: point.number,
                name: &point.name,
                folder: &point.folder,
                state: word,
                detail: &text,
            })?;
        }
        out!("{:>5}  {:<8} {:<40} {text}", point.number, word, point.name);
    }
    let count = |word: &str| counts.get(word).copied().unwrap_or(0);
    let left = status.seconds_left().map_or(String::new(), |seconds| {
        format!("; about {} of training left on one core", duration(seconds))
    });
    out!(
        "plan {}: {} done, {} running, {} failed, {} waiting{left}",
        plan.number,
        count("done"),
        count("running"),
        count("failed"),
        count("waiting")
    );
    Ok(())
}

// A point with its state, as data.
#[derive(Serialize)]
struct StatusRow<'a> {
    point: usize,
    name: &'a str,
    folder: &'a Path,
    state: &'a str,
    detail: &'a str,
}

fn describe(point: &Point, state: &PointState) -> (&'static str, String) {
    let steps = point.config.train.steps;
    match state {
        PointState::Done { seconds } => ("done", duration(*seconds)),
        PointState::Running { holder, step } => ("running", format!("step {step} of {steps}; {holder}")),
        PointState::Failed { error, when, log } => {
            let log: Vec<String> = log.iter().map(|line| format!("\n       {line}")).collect();
            ("failed", format!("{when}: {error}{}", log.concat()))
        }
        PointState::Waiting { step: 0 } => ("waiting", String::new()),
        PointState::Waiting { step } => ("waiting", format!("stopped at step {step} of {steps}")),
    }
}

// `3h 2m 5s`.
fn duration(seconds: f64) -> String {
    humantime::format_duration(Duration::from_secs(seconds.round() as u64)).to_string()
}

fn train(args: &RunArgs) -> Result<()> {
    let sweep = &args.which.sweep;
    let plan = Plan::read(sweep, args.which.plan)?;
    let numbers = args.selection.numbers(&plan)?;
    let points = numbers
        .iter()
        .map(|&number| plan.point(number))
        .collect::<Result<Vec<_>>>()?;
    let threads = super::checked_threads(args.threads)?;
    if args.slurm.slurm {
        return args
            .slurm
            .submit(sweep, &plan, &points, args.device.device, threads.unwrap_or(1));
    }
    // From here on files are read, which may take long.
    let stop = super::stop_flag();
    let jobs = match args.jobs {
        // A point whose data cannot be read fails by itself, with its own message.
        None => default_jobs(sweep, &points).unwrap_or_else(|_| cores()),
        Some(jobs) if (1..=1024).contains(&jobs) => jobs,
        Some(jobs) => return Err(Error::input(format!("--jobs {jobs}; allowed: 1 to 1024"))),
    };
    let device = args.device.device.open()?;
    if args.estimate.estimate {
        return print_estimate(sweep, &points, &device, jobs, threads);
    }
    let terminal = Terminal::new();
    let outcomes = Runner::new(sweep, &device, &stop, &terminal)
        .with_threads(threads)
        .all(&points, jobs)?;
    let mut failed = Vec::new();
    let mut interrupted = false;
    for (point, outcome) in points.iter().zip(&outcomes) {
        interrupted |= matches!(outcome, PointOutcome::Interrupted);
        if let PointOutcome::Failed(error) = outcome {
            failed.push(format!("{} ({}): {error}", point.number, point.name));
        }
        out!("{:>5}  {:<40} {outcome}", point.number, point.name);
    }
    if !failed.is_empty() {
        return Err(Error::failed(format!(
            "{} failed: {}",
            counted(failed.len(), "point"),
            failed.join("; ")
        )));
    }
    if interrupted {
        return Err(Error::Interrupted);
    }
    Ok(())
}

// Those of `points` that are not trained to their end.
fn untrained<'a>(sweep: &Path, points: &[&'a Point]) -> Result<Vec<&'a Point>> {
    let mut left = Vec::new();
    for &point in points {
        if !point.is_done(sweep)? {
            left.push(point);
        }
    }
    Ok(left)
}

// Of the points that are not trained yet; those that were begun count whole.
fn print_estimate(sweep: &Path, points: &[&Point], device: &Device, jobs: usize, threads: Option<usize>) -> Result<()> {
    let left = untrained(sweep, points)?;
    let threads = threads.unwrap_or(estimate::threads_of(jobs.min(left.len())));
    let estimates = crate::sweep::estimate(sweep, &left, device, threads)?;
    let names = left.iter().map(|point| point.name.clone());
    let runs = names.zip(estimates).collect();
    estimate::print(&EstimatedRuns { runs, data_bytes: 0 }, jobs)?;
    if left.len() < points.len() {
        out!(
            "not in it, because trained already: {}",
            counted(points.len() - left.len(), "point")
        );
    }
    Ok(())
}
