//! The texts of job scripts.

use std::fmt::Write;
use std::path::Path;

use super::Jobs;
use crate::error::{Error, Result};
use crate::wording::shell_word;

/// Seconds before its time limit at which a task is told to save and to queue itself again.
pub(super) const WARNING_SECONDS: u64 = 120;

// Slurm sends the SIGTERM of a cancelled job to every process of it. It is passed on as SIGUSR1, of which a second one does no
// harm, because a second SIGTERM ends loopscope before it has saved. A signal that has a trap ends `wait` early.
const RUN: &str = r#"
near_limit=false asked=false child=
ask() {
    asked=true
    [ -z "$child" ] || kill -USR1 "$child" 2>/dev/null
}
trap 'near_limit=true; ask' USR1
trap ask TERM
LOOPSCOPE &
child=$!
if $asked; then ask; fi
while asked=false; wait "$child"; status=$?; $asked; do :; done
if $near_limit && [ "$status" -gt 128 ]; then
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID" ||
        echo "this task stopped before its time limit and cannot queue itself again; submit what is left" >&2
fi
exit "$status"
"#;

impl Jobs<'_> {
    /// The script of the arrays. Its argument is the offset of the array.
    pub(super) fn run_script(&self) -> String {
        let signal = format!("signal=B:USR1@{WARNING_SECONDS}");
        let mut text = self.header("run", "%A_%a.out", &[signal]);
        let _ = write!(
            text,
            "\n# The points of each task; an array begins at the task that the argument names.\nset -u\ntasks=(\n    {}\n)\n\
             points=${{tasks[SLURM_ARRAY_TASK_ID + $1]}}\n",
            self.tasks.join("\n    ")
        );
        let threads = self.options.threads;
        let command = format!(
            "{} --points \"$points\" --threads {threads} --jobs $((SLURM_CPUS_ON_NODE > {threads} ? SLURM_CPUS_ON_NODE / \
             {threads} : 1))",
            self.loopscope("run").join(" ")
        );
        text + &RUN.replace("LOOPSCOPE", &command)
    }

    /// The script of the job that gathers.
    pub(super) fn gather_script(&self) -> String {
        let mut text = self.header("gather", "gather-%j.out", &[]);
        let _ = writeln!(text, "\nexec {}", self.loopscope("gather").join(" "));
        text
    }

    // The words of a command, quoted.
    fn loopscope(&self, command: &str) -> Vec<String> {
        let mut words = vec![shell_word(&self.program)];
        words.extend(self.options.global_flags.iter().map(|flag| shell_word(flag)));
        words.extend(["sweep", command].map(str::to_owned));
        words.push(shell_word(&self.sweep));
        words.extend(["--plan".to_owned(), self.plan.number.to_string()]);
        if command == "run" {
            words.extend(self.options.run_flags.iter().map(|flag| shell_word(flag)));
        }
        words
    }

    // What the user asks for comes last, because the last of two alike holds.
    fn header(&self, what: &str, output: &str, more: &[String]) -> String {
        let name = Path::new(&self.sweep)
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let folder = self.folder().display().to_string().replace('%', "%%");
        let mut options = vec![
            format!("job-name=loopscope-{what}-{name}"),
            format!("output={folder}/{output}"),
            "open-mode=append".to_owned(),
            "requeue".to_owned(),
            format!("cpus-per-task={}", self.options.threads),
        ];
        options.extend(more.iter().cloned());
        options.extend(self.options.sbatch.iter().cloned());
        let lines: Vec<String> = options
            .iter()
            .map(|option| format!("#SBATCH {}\n", escaped(&format!("--{option}"))))
            .collect();
        format!(
            "#!/bin/bash\n# Plan {} ({}) of a sweep, by loopscope {}.\n{}",
            self.plan.number,
            self.plan.hash,
            env!("CARGO_PKG_VERSION"),
            lines.concat()
        )
    }
}

/// The text of a path that can stand in a job script and in the patterns of Slurm's file names.
///
/// # Errors
/// When the path is not UTF-8, or has a line break or a backslash, which Slurm gives a meaning.
pub(super) fn plain_path(path: &Path) -> Result<String> {
    match path.to_str() {
        Some(text) if !text.contains(['\n', '\r', '\\']) => Ok(text.to_owned()),
        _ => Err(Error::file(
            path,
            "cannot stand in a job script; allowed: paths in UTF-8 without line breaks and backslashes",
        )),
    }
}

// An option as one word of a line `#SBATCH`. Double quotes keep all but backslashes and themselves; outside of them a backslash
// does not keep a space.
fn escaped(option: &str) -> String {
    format!("\"{}\"", option.replace('\\', r"\\").replace('"', "\\\""))
}
