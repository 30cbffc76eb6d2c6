//! Slurm's commands.

use std::process::{Command, Stdio};

use crate::error::{Error, Result};

/// The largest number of tasks that a job array of this site may have, from `scontrol show config`.
///
/// # Errors
/// When `scontrol` cannot be run or fails, or the site has no job arrays.
pub fn max_tasks() -> Result<usize> {
    read_max_tasks(&output("scontrol", &["show", "config"])?)
}

/// Submits a job by `sbatch --parsable` and these arguments; gives its id.
///
/// # Errors
/// When `sbatch` cannot be run or fails, with its own words, or does not tell an id.
pub fn sbatch(arguments: &[String]) -> Result<u64> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    job_id(&output("sbatch", &arguments)?)
}

// What a command prints.
fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let ran = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let ran = ran.map_err(|e| {
        Error::failed(format!(
            "{program} cannot be run ({e}); --slurm submits from a machine that has Slurm's commands, and --dry-run prints \
             the scripts anywhere"
        ))
    })?;
    if ran.status.success() {
        return Ok(String::from_utf8_lossy(&ran.stdout).into_owned());
    }
    Err(Error::failed(format!(
        "{program} {} failed ({}): {}",
        arguments.join(" "),
        ran.status,
        one_line(&String::from_utf8_lossy(&ran.stderr))
    )))
}

fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        return "it printed no reason".to_owned();
    }
    lines.join("; ")
}

// `MaxArraySize` bounds the index, which begins at 0: the largest is one less, so that an array has that many tasks at most.
// `max_array_tasks` among the scheduler's parameters bounds the number of tasks below that.
fn read_max_tasks(config: &str) -> Result<usize> {
    let value = |key: &str| {
        let lines = config.lines().filter_map(|line| line.split_once('='));
        lines
            .filter(|(name, _)| name.trim() == key)
            .map(|(_, value)| value.trim())
            .next()
    };
    let size: Option<usize> = value("MaxArraySize").and_then(|text| text.parse().ok());
    let Some(size) = size else {
        return Err(Error::failed("scontrol show config does not tell MaxArraySize"));
    };
    let parameters = value("SchedulerParameters").unwrap_or_default().split(',');
    let tasks = parameters
        .filter_map(|parameter| parameter.trim().strip_prefix("max_array_tasks=")?.parse().ok())
        .fold(size, usize::min);
    if tasks == 0 {
        return Err(Error::failed(
            "this site has no job arrays (MaxArraySize or max_array_tasks is 0); submit `loopscope sweep run DIR --plan K \
             --point N` as jobs of their own",
        ));
    }
    Ok(tasks)
}

// `--parsable` prints the id, and where there are several clusters a semicolon and the name of one. A site may print lines of
// its own before.
fn job_id(printed: &str) -> Result<u64> {
    let last = printed
        .lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty())
        .unwrap_or_default();
    let id = last.split(';').next().unwrap_or_default();
    id.parse()
        .map_err(|_| Error::failed(format!("sbatch told no job id: {}", one_line(printed))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_tasks_is_bounded_by_the_largest_index_and_by_the_scheduler() {
        let config = |size: &str, scheduler: &str| {
            format!(
                "Configuration data as of 2024-05-01T12:00:00\nMaxArraySize            = {size}\nMaxJobCount = 10000\n\
                 SchedulerParameters     = {scheduler}\n"
            )
        };
        let read = |size, scheduler| read_max_tasks(&config(size, scheduler));
        assert_eq!(read("1001", "(null)").unwrap(), 1001);
        assert_eq!(read("11", "defer,max_array_tasks=5,bf_interval=1").unwrap(), 5);
        assert_eq!(read("11", "max_array_tasks=500").unwrap(), 11);
        assert!(read("0", "(null)").unwrap_err().to_string().contains("no job arrays"));
        assert!(
            read_max_tasks("nothing")
                .unwrap_err()
                .to_string()
                .contains("MaxArraySize")
        );
    }

    #[test]
    fn an_id_is_read_with_and_without_a_cluster_and_nothing_else_is_one() {
        assert_eq!(job_id("17\n").unwrap(), 17);
        assert_eq!(job_id("welcome\n17;east\n\n").unwrap(), 17);
        for printed in ["", "\n", "Submitted batch job 17", "17 18"] {
            assert!(
                job_id(printed).unwrap_err().to_string().contains("no job id"),
                "{printed:?}"
            );
        }
    }
}
