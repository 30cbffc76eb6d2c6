//! `loopscope sweep run --slurm`: points as jobs of a Slurm cluster.

use std::path::Path;

use clap::Args;

use super::untrained;
use crate::cli::DeviceChoice;
use crate::error::{Error, Result};
use crate::model::amx_is_disabled;
use crate::sweep::slurm::{DEFAULT_MAX_TASKS, Jobs, SlurmOptions, divided, max_tasks, sbatch};
use crate::sweep::{Plan, Point, SweepData, estimate};
use crate::wording::counted;

#[derive(Args)]
pub(super) struct SlurmArgs {
    /// Submit the points that are left to Slurm, as job arrays and a job after them that gathers; train nothing here
    #[arg(long, conflicts_with_all = ["jobs", "task"])]
    pub(super) slurm: bool,
    /// Slurm: points that each task of an array trains [default: ten minutes of points by the time that steps take on this
    /// machine, at least one; with --device cuda one]
    #[arg(long, value_name = "N", requires = "slurm")]
    points_per_task: Option<usize>,
    /// Slurm: partition of the jobs
    #[arg(long, requires = "slurm")]
    partition: Option<String>,
    /// Slurm: time limit of a task; two minutes before it a task saves and queues itself again
    #[arg(long, requires = "slurm")]
    time: Option<String>,
    /// Slurm: any other option of sbatch, as in account=physics or mem=4G
    #[arg(long = "sbatch", value_name = "KEY=VALUE", requires = "slurm")]
    sbatch: Vec<String>,
    /// Slurm: print the scripts and the commands, and submit nothing
    #[arg(long, requires = "slurm")]
    dry_run: bool,
}

impl SlurmArgs {
    // Submits `points` as far as they are not trained yet.
    pub(super) fn submit(
        &self,
        sweep: &Path,
        plan: &Plan,
        points: &[&Point],
        device: DeviceChoice,
        threads: usize,
    ) -> Result<()> {
        let options = self.options(device, threads)?;
        let left = untrained(sweep, points);
        if left.is_empty() {
            out!("all {} are done; nothing was submitted", counted(points.len(), "point"));
            return Ok(());
        }
        let tasks = self.tasks(sweep, &left, &options, device, threads)?;
        let jobs = Jobs::new(sweep, plan, &tasks, &options)?;
        if self.dry_run {
            let max_tasks = max_tasks().unwrap_or_else(|e| {
                tracing::warn!("{e}; the scripts are those for {DEFAULT_MAX_TASKS} tasks an array");
                DEFAULT_MAX_TASKS
            });
            out!("{}", jobs.preview(max_tasks));
            return Ok(());
        }
        let submitted = jobs.submit(max_tasks()?, sbatch)?;
        let mut ids = Vec::new();
        for (id, tasks) in &submitted.arrays {
            out!("job {id}: array of {}", counted(*tasks, "task"));
            ids.push(id.to_string());
        }
        out!("job {}: gathers after them", submitted.gather);
        out!("scancel {} {} cancels all", ids.join(" "), submitted.gather);
        Ok(())
    }

    // The points of each task. A machine from which jobs are submitted has seldom the GPU to time steps on.
    fn tasks<'a>(
        &self,
        sweep: &Path,
        left: &[&'a Point],
        options: &SlurmOptions,
        device: DeviceChoice,
        threads: usize,
    ) -> Result<Vec<Vec<&'a Point>>> {
        let per_task = match (self.points_per_task, device) {
            (None, DeviceChoice::Cpu) => {
                let estimates = estimate(&SweepData::new(sweep), left, &device.open()?, threads)?;
                let seconds: Vec<f64> = estimates.iter().map(|estimate| estimate.seconds.most).collect();
                return Ok(divided(left, &seconds, options.task_seconds()));
            }
            (None, DeviceChoice::Cuda(_)) => 1,
            (Some(0), _) => return Err(Error::input("--points-per-task 0; allowed: 1 or more")),
            (Some(points), _) => points,
        };
        Ok(left.chunks(per_task).map(<[_]>::to_vec).collect())
    }

    fn options(&self, device: DeviceChoice, threads: usize) -> Result<SlurmOptions> {
        let portable = if amx_is_disabled() {
            vec!["--portable".to_owned()]
        } else {
            Vec::new()
        };
        let options = SlurmOptions::new(self.partition.as_deref(), self.time.as_deref(), &self.sbatch)?;
        Ok(options.with_flags(threads, portable, vec!["--device".to_owned(), device.to_string()]))
    }
}
