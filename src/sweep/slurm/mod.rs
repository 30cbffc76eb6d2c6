//! Sweeps on a Slurm cluster: job arrays of points, and a job after them that gathers.
//!
//! A task of an array trains a few points by the command that trains points anywhere. The script has the points of all tasks;
//! an array is a range of it, given by an offset, because a site bounds the indices of an array (`MaxArraySize`).

mod command;
mod options;
mod script;

use std::path::{Path, PathBuf};

pub use command::{max_tasks, sbatch};
pub use options::SlurmOptions;

use super::{Plan, Point};
use crate::error::{Error, Result};
use crate::files;
use crate::wording::shell_word;

/// The tasks of a job array per site where `scontrol` cannot be asked: Slurm's default.
pub const DEFAULT_MAX_TASKS: usize = 1001;

/// The jobs that train points of a plan and gather them.
#[derive(Debug)]
pub struct Jobs<'a> {
    plan: &'a Plan,
    options: &'a SlurmOptions,
    /// The sweep's folder, absolute: jobs start in another folder.
    sweep: String,
    /// The binary, absolute.
    program: String,
    /// The points of each task, as `--points` takes them.
    tasks: Vec<String>,
}

/// A job array: the tasks `offset..offset + tasks` of the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobArray {
    offset: usize,
    tasks: usize,
}

/// What was submitted.
#[derive(Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The ids of the arrays with their numbers of tasks.
    pub arrays: Vec<(u64, usize)>,
    /// The id of the job that gathers.
    pub gather: u64,
}

/// The files of one submission, in `slurm/plan-N/` of the sweep's folder.
struct Scripts {
    run: PathBuf,
    gather: PathBuf,
}

impl<'a> Jobs<'a> {
    /// The jobs that train points of a plan in the folder `sweep`, by the points of each task.
    ///
    /// # Errors
    /// When a path cannot stand in a job script.
    pub fn new(sweep: &Path, plan: &'a Plan, tasks: &[Vec<&Point>], options: &'a SlurmOptions) -> Result<Self> {
        let absolute = sweep.canonicalize().map_err(|e| Error::file(sweep, e))?;
        let program = std::env::current_exe().map_err(|e| Error::failed(format!("where this binary is: {e}")))?;
        Ok(Self {
            plan,
            options,
            sweep: script::plain_path(&absolute)?,
            program: script::plain_path(&program)?,
            tasks: tasks.iter().map(|points| ranges(points)).collect(),
        })
    }

    /// The arrays of at most `max_tasks` tasks.
    pub fn arrays(&self, max_tasks: usize) -> Vec<JobArray> {
        let array = |offset| JobArray {
            offset,
            tasks: max_tasks.min(self.tasks.len() - offset),
        };
        (0..self.tasks.len()).step_by(max_tasks).map(array).collect()
    }

    /// The scripts and the commands that would submit them, for a person to read.
    pub fn preview(&self, max_tasks: usize) -> String {
        let scripts = self.scripts(self.first_free());
        let command = |arguments: &[String]| {
            let words: Vec<String> = arguments.iter().map(|word| shell_word(word)).collect();
            format!("sbatch {}", words.join(" "))
        };
        let arrays = self.arrays(max_tasks);
        let mut lines = vec![
            format!("# {}\n{}", scripts.run.display(), self.run_script()),
            format!("# {}\n{}", scripts.gather.display(), self.gather_script()),
        ];
        lines.extend(arrays.iter().map(|array| command(&array.arguments(&scripts.run))));
        let ids: Vec<String> = (1..=arrays.len()).map(|n| format!("ID{n}")).collect();
        lines.push(command(&gather_arguments(&scripts.gather, &ids)));
        lines.join("\n")
    }

    /// Writes the scripts, and submits the arrays of at most `max_tasks` tasks and the job that gathers after them, by
    /// `sbatch`, which gives the id of a job.
    ///
    /// # Errors
    /// When the scripts cannot be written, or `sbatch` fails; the message names the jobs that were submitted before.
    pub fn submit(&self, max_tasks: usize, mut sbatch: impl FnMut(&[String]) -> Result<u64>) -> Result<Submitted> {
        let scripts = self.write()?;
        let mut arrays = Vec::new();
        for array in self.arrays(max_tasks) {
            let id = sbatch(&array.arguments(&scripts.run)).map_err(|e| refused(&arrays, &e))?;
            arrays.push((id, array.tasks));
        }
        let ids: Vec<String> = arrays.iter().map(|(id, _)| id.to_string()).collect();
        let gather = sbatch(&gather_arguments(&scripts.gather, &ids)).map_err(|e| refused(&arrays, &e))?;
        Ok(Submitted { arrays, gather })
    }

    // The scripts of an earlier submission are never changed.
    fn write(&self) -> Result<Scripts> {
        loop {
            // Another process may submit at the same time.
            let scripts = self.scripts(self.first_free());
            if files::write_new(&scripts.run, self.run_script().as_bytes())? {
                files::write(&scripts.gather, self.gather_script().as_bytes())?;
                return Ok(scripts);
            }
        }
    }

    fn first_free(&self) -> usize {
        let mut submission = 1;
        while self.scripts(submission).run.exists() {
            submission += 1;
        }
        submission
    }

    fn scripts(&self, submission: usize) -> Scripts {
        let folder = self.folder();
        Scripts {
            run: folder.join(format!("run-{submission}.sh")),
            gather: folder.join(format!("gather-{submission}.sh")),
        }
    }

    fn folder(&self) -> PathBuf {
        Path::new(&self.sweep)
            .join("slurm")
            .join(format!("plan-{}", self.plan.number))
    }
}

impl JobArray {
    fn arguments(self, script: &Path) -> Vec<String> {
        vec![
            "--parsable".to_owned(),
            format!("--array=0-{}", self.tasks - 1),
            script.display().to_string(),
            self.offset.to_string(),
        ]
    }
}

// The arrays may end in any way: what was trained is gathered.
fn gather_arguments(script: &Path, ids: &[String]) -> Vec<String> {
    vec![
        "--parsable".to_owned(),
        format!("--dependency=afterany:{}", ids.join(":")),
        script.display().to_string(),
    ]
}

fn refused(submitted: &[(u64, usize)], error: &Error) -> Error {
    if submitted.is_empty() {
        return Error::failed(format!("{error}; nothing was submitted"));
    }
    let ids: Vec<String> = submitted.iter().map(|(id, _)| id.to_string()).collect();
    Error::failed(format!(
        "{error}; submitted before that, and still there: {} (scancel {} cancels them); no job gathers after them",
        ids.join(", "),
        ids.join(" ")
    ))
}

/// Divides points among tasks, in their order: a task gets points until their `seconds` would pass `max_seconds`, and one at
/// least.
pub fn divided<'a>(points: &[&'a Point], seconds: &[f64], max_seconds: f64) -> Vec<Vec<&'a Point>> {
    let mut tasks: Vec<Vec<&Point>> = Vec::new();
    let mut filled = f64::INFINITY;
    for (&point, seconds) in points.iter().zip(seconds) {
        filled += seconds;
        match tasks.last_mut() {
            Some(task) if filled <= max_seconds => task.push(point),
            _ => {
                tasks.push(vec![point]);
                filled = *seconds;
            }
        }
    }
    tasks
}

// The points 1, 2, 3 and 7 as `1-3,7`.
fn ranges(points: &[&Point]) -> String {
    let runs = points.chunk_by(|a, b| a.number + 1 == b.number);
    let text = runs.map(|run| match run {
        [only] => only.number.to_string(),
        _ => format!("{}-{}", run[0].number, run[run.len() - 1].number),
    });
    text.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
