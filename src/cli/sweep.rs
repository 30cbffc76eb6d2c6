//! `loopscope sweep`: many runs from one file.

mod gather;
mod slurm;
mod status;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Device;
use clap::{Args, Subcommand};

use super::estimate::{self, EstimateArg};
use super::progress::Terminal;
use crate::error::{Error, Result};
use crate::experiment::{EstimatedRuns, cores};
use crate::figure::Look;
use crate::sweep::{Plan, Point, PointOutcome, Runner, SweepData, default_jobs, estimate_file};
use crate::wording::counted;

#[derive(Subcommand)]
pub(super) enum SweepCommand {
    /// Write the plan of a sweep file: its points, numbered and hashed, and their data
    Plan(PlanArgs),
    /// Say which points are done, running, failed and waiting
    Status(status::StatusArgs),
    /// Train points, as far as they are not trained yet
    Run(RunArgs),
    /// Put the results of all points into one table, with figures and statistics over seeds
    Gather(gather::GatherArgs),
}

#[derive(Args)]
pub(super) struct PlanArgs {
    /// Sweep file (TOML): a base config or preset, the keys that vary, and seeds
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
pub(super) struct RunArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    selection: Selection,
    /// Points trained at once, on one thread each where there are enough cores [default: one a core, within memory]
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
            // A number that overflows is greater than that of every point, and is refused as such.
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
        SweepCommand::Status(args) => status::run(args),
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
    // What is queued with the number of the plan does what it was queued for, whatever is planned later.
    out!(
        "{}\nloopscope sweep run {} --plan {}",
        folder.display(),
        folder.display(),
        plan.number
    );
    Ok(())
}

fn train(args: &RunArgs) -> Result<()> {
    let sweep = &args.which.sweep;
    let plan = Plan::read(sweep, args.which.plan)?;
    if args.selection.task && args.which.plan.is_none() {
        say_newest(sweep, &plan);
    }
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
    let data = Arc::new(SweepData::new(sweep));
    let jobs = match args.jobs {
        // A point whose data cannot be read fails by itself, with its own message.
        None => default_jobs(&data, &points).unwrap_or_else(|_| cores()),
        Some(jobs) if (1..=1024).contains(&jobs) => jobs,
        Some(jobs) => return Err(Error::input(format!("--jobs {jobs}; allowed: 1 to 1024"))),
    };
    let device = args.device.device.open()?;
    if args.estimate.estimate {
        return print_estimate(sweep, &data, &points, &device, jobs, threads);
    }
    let terminal = Terminal::new(&Look::default());
    let outcomes = Runner::new(sweep, &device, &stop, &terminal)
        .with_threads(threads)
        .with_data(data)
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
    failed_points(failed)?;
    if interrupted {
        return Err(Error::Interrupted);
    }
    Ok(())
}

// A task that was queued for an earlier plan trains the points of the newest one.
fn say_newest(sweep: &Path, plan: &Plan) {
    let count = Plan::numbers(sweep).len();
    if count > 1 {
        tracing::warn!(
            "--task without --plan: the points are those of plan {}, the newest of {count} in {}; --plan K names another one",
            plan.number,
            sweep.display()
        );
    }
}

// The failure of a command some of whose points failed, each with its number; equal failures are printed once.
fn failed_points(mut failed: Vec<String>) -> Result<()> {
    failed.sort();
    failed.dedup();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Error::failed(format!(
        "{} failed: {}",
        counted(failed.len(), "point"),
        failed.join("; ")
    )))
}

// Those of `points` that are not trained to their end. A damaged one is among them: its training fails and says why.
fn untrained<'a>(sweep: &Path, points: &[&'a Point]) -> Vec<&'a Point> {
    let is_left = |point: &&Point| {
        point.is_done(sweep).map_or_else(
            |error| {
                tracing::warn!("{} ({}): {error}", point.number, point.name);
                true
            },
            |is_done| !is_done,
        )
    };
    points.iter().copied().filter(is_left).collect()
}

// Of the points that are not trained yet; those that were begun count whole.
fn print_estimate(
    sweep: &Path,
    data: &SweepData,
    points: &[&Point],
    device: &Device,
    jobs: usize,
    threads: Option<usize>,
) -> Result<()> {
    let left = untrained(sweep, points);
    let threads = threads.unwrap_or(estimate::threads_of(jobs.min(left.len())));
    let estimates = crate::sweep::estimate(data, &left, device, threads)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_of_hyperqueue_inside_a_job_array_is_known_by_the_number_that_hyperqueue_gives() {
        let number = |variables: &[(&str, &str)]| {
            let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
            task_number(|name| find(name).map(|(_, value)| (*value).to_owned()))
        };
        assert_eq!(number(&[("SLURM_ARRAY_TASK_ID", "7")]).unwrap(), 7);
        assert_eq!(number(&[("HQ_TASK_ID", "3")]).unwrap(), 3);
        assert_eq!(number(&[("SLURM_ARRAY_TASK_ID", "7"), ("HQ_TASK_ID", "3")]).unwrap(), 3);
        assert!(number(&[]).unwrap_err().to_string().contains("SLURM_ARRAY_TASK_ID"));
        assert!(
            number(&[("HQ_TASK_ID", "x")])
                .unwrap_err()
                .to_string()
                .contains("\"x\"")
        );
    }

    #[test]
    fn a_span_is_a_range_or_one_number() {
        assert_eq!("3-7".parse(), Ok(Span(3, 7)));
        assert_eq!("9".parse(), Ok(Span(9, 9)));
        for wrong in ["", "-", "0", "7-3", "1-2-3", "a"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong:?}");
        }
    }
}
