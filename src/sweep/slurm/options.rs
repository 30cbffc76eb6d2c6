//! What jobs are submitted with.

use super::script::WARNING_SECONDS;
use crate::error::{Error, Result, allow};

/// Shortest time limit: a task works at least as long as it has left after its warning.
const MIN_SECONDS: u64 = 2 * WARNING_SECONDS;

/// The options that the scripts set, and what to give instead.
const OWN_OPTIONS: [(&str, &str); 12] = [
    ("array", "points are selected by --point and --points"),
    ("dependency", "the job that gathers waits for the arrays"),
    ("no-requeue", "jobs are queued again after a failure of their node"),
    ("open-mode", "output is appended when a job runs again"),
    ("output", "output goes to slurm/ in the sweep's folder"),
    ("parsable", "the ids of jobs are read"),
    ("partition", "--partition sets it"),
    ("requeue", "the scripts have it"),
    ("signal", "the scripts set it"),
    ("test-only", "--dry-run prints the scripts"),
    ("time", "--time sets it"),
    ("wrap", "the scripts are loopscope's"),
];

/// What jobs are submitted with, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlurmOptions {
    /// Options of `sbatch` without their dashes, as in `partition=short`.
    pub(super) sbatch: Vec<String>,
    /// Seconds of the time limit, where there is one.
    limit: Option<u64>,
    /// Threads of each point.
    pub(super) threads: usize,
    /// Flags of `loopscope`.
    pub(super) global_flags: Vec<String>,
    /// Flags of `loopscope sweep run`.
    pub(super) run_flags: Vec<String>,
}

impl SlurmOptions {
    /// Options for one partition and time limit, where they are given, and any other options of `sbatch` as `KEY=VALUE` or
    /// `KEY`.
    ///
    /// # Errors
    /// When a value cannot stand in a script, an option is one that the scripts set, the time limit is not in a form that
    /// Slurm takes or too short to save in.
    pub fn new(partition: Option<&str>, time: Option<&str>, sbatch: &[String]) -> Result<Self> {
        let mut options = Vec::new();
        if let Some(partition) = partition {
            allow(is_value(partition), "--partition", &partition.escape_debug(), "a name")?;
            options.push(format!("partition={partition}"));
        }
        if let Some(time) = time {
            allow(
                seconds(time).is_some_and(|limit| limit >= MIN_SECONDS),
                "--time",
                &time.escape_debug(),
                "minutes, M:S, H:M:S, D-H, D-H:M, D-H:M:S or UNLIMITED, and no less than 4 minutes, because a task stops \
                 2 minutes before its limit",
            )?;
            options.push(format!("time={time}"));
        }
        for option in sbatch {
            check(option)?;
            options.push(option.clone());
        }
        Ok(Self {
            sbatch: options,
            limit: time.and_then(seconds),
            threads: 1,
            global_flags: Vec::new(),
            run_flags: Vec::new(),
        })
    }

    /// Seconds that the short points of one task may take together: long beside the start of a job, and within the time limit.
    pub fn task_seconds(&self) -> f64 {
        const SECONDS: u64 = 600;
        self.limit.map_or(SECONDS, |limit| SECONDS.min(limit - WARNING_SECONDS)) as f64
    }

    /// The same options for scripts that run `loopscope GLOBAL_FLAGS sweep run RUN_FLAGS` with this number of threads for each
    /// point. A task has a CPU for each thread, unless `cpus-per-task` is among the options; it trains as many points at once
    /// as fit on its CPUs.
    #[must_use]
    pub fn with_flags(self, threads: usize, global_flags: Vec<String>, run_flags: Vec<String>) -> Self {
        Self {
            threads,
            global_flags,
            run_flags,
            ..self
        }
    }
}

fn check(option: &str) -> Result<()> {
    let (key, value) = option.split_once('=').map_or((option, None), |(k, v)| (k, Some(v)));
    let is_key = key.starts_with(|c: char| c.is_ascii_lowercase())
        && key
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !is_key || !value.is_none_or(is_value) {
        return Err(Error::input(format!(
            "--sbatch {}; allowed: KEY=VALUE or KEY, a long option of sbatch without its dashes, in one line",
            option.escape_debug()
        )));
    }
    if let Some((_, instead)) = OWN_OPTIONS.iter().find(|(own, _)| *own == key) {
        return Err(Error::input(format!("--sbatch {option}; not allowed: {instead}")));
    }
    Ok(())
}

fn is_value(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_control)
}

// A time limit in the forms that sbatch takes.
fn seconds(text: &str) -> Option<u64> {
    if ["UNLIMITED", "INFINITE"].contains(&text.to_ascii_uppercase().as_str()) {
        return Some(u64::MAX);
    }
    let (days, rest) = match text.split_once('-') {
        Some((days, rest)) => (Some(days.parse::<u64>().ok()?), rest),
        None => (None, text),
    };
    let parts: Vec<u64> = rest.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let (hours, minutes, seconds) = match (days, &parts[..]) {
        (None, &[minutes]) => (0, minutes, 0),
        (None, &[minutes, seconds]) => (0, minutes, seconds),
        (Some(_), &[hours]) => (hours, 0, 0),
        (Some(_), &[hours, minutes]) => (hours, minutes, 0),
        (_, &[hours, minutes, seconds]) => (hours, minutes, seconds),
        _ => return None,
    };
    let hours = days.unwrap_or(0).checked_mul(24)?.checked_add(hours)?;
    let minutes = hours.checked_mul(60)?.checked_add(minutes)?;
    minutes.checked_mul(60)?.checked_add(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_limits_are_read_as_sbatch_reads_them() {
        for (text, expected) in [
            ("90", Some(5400)),
            ("4:30", Some(270)),
            ("1:02:03", Some(3723)),
            ("1-2", Some(93_600)),
            ("1-2:30", Some(95_400)),
            ("1-2:30:05", Some(95_405)),
            ("Unlimited", Some(u64::MAX)),
            ("", None),
            ("1h", None),
            ("1-", None),
            ("1:2:3:4", None),
            ("99999999999999999-0", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }

    #[test]
    fn what_the_scripts_set_and_what_would_be_another_line_is_refused() {
        let with = |option: &str| SlurmOptions::new(None, None, &[option.to_owned()]);
        for allowed in ["account=a b", "exclusive", "gres=gpu:1", "comment=it's #1"] {
            with(allowed).unwrap();
        }
        for (option, reason) in [
            ("array=0-5", "--points"),
            ("time=5", "--time"),
            ("partition=a", "--partition"),
            ("requeue", "the scripts have it"),
            ("account=a\n#SBATCH --uid=0", "in one line"),
            ("--account=a", "without its dashes"),
            ("account=", "KEY=VALUE"),
            ("", "KEY=VALUE"),
        ] {
            let text = with(option).unwrap_err().to_string();
            assert!(text.contains(reason), "{option:?}: {text}");
        }
        let of = |partition, time| SlurmOptions::new(partition, time, &[]);
        assert!(
            of(Some("a\nb"), None)
                .unwrap_err()
                .to_string()
                .contains("--partition = a\\nb")
        );
        assert!(of(None, Some("3")).unwrap_err().to_string().contains("4 minutes"));
        for (time, expected) in [(None, 600.0), (Some("UNLIMITED"), 600.0), (Some("5"), 180.0)] {
            assert_eq!(of(None, time).unwrap().task_seconds(), expected);
        }
    }
}
