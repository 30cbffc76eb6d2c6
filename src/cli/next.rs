//! `loopscope` alone: what to do next in the folder that it is in.

use std::path::Path;

use serde::Serialize;

use super::print::{print_table, printing, record};
use crate::error::{Error, Result};
use crate::measure::Table;
use crate::next::{FoundRun, Next, RunState};
use crate::wording::{counted, duration};

/// Runs that are listed, at most.
const MAX_LISTED: usize = 8;

#[derive(Serialize)]
struct RunRow<'a> {
    run: &'a Path,
    state: &'static str,
    step: u64,
    steps: Option<u64>,
}

pub(super) fn run() -> Result<()> {
    let here = std::env::current_dir().map_err(|e| Error::input(format!("the working folder cannot be read ({e})")))?;
    let next = Next::of(&here);
    if next.runs.is_empty() && next.at_work.is_empty() {
        out!("no run here yet: runs are written to checkpoints/, results to figures/");
    }
    if !next.runs.is_empty() {
        print_table(&Table::of_cells(
            &["run", "state", "at"],
            next.runs.iter().take(MAX_LISTED).map(row),
        )?)?;
        if let Some(more) = next.runs.len().checked_sub(MAX_LISTED).filter(|&more| more > 0) {
            out!("… and {}", counted(more, "more run"));
        }
    }
    for (folder, holder) in &next.at_work {
        out!(
            "an experiment is at work in {}: {}",
            folder.display(),
            holder.describe(holder.pulse())
        );
    }
    if let Some(summary) = &next.summary {
        out!("summary: {}", summary.display());
    }
    out!("\nnext:");
    for step in &next.steps {
        if printing().json {
            record(step)?;
        }
        out!("  {}\n      {}", step.command, step.about);
    }
    Ok(())
}

fn row(run: &FoundRun) -> (RunRow<'_>, Vec<String>) {
    let of = run.steps.map_or_else(String::new, |steps| format!(" of {steps}"));
    let at = format!("step {}{of}", run.step);
    let (state, text) = match &run.state {
        RunState::InProgress(holder) => {
            let left = run
                .seconds_left()
                .map_or_else(String::new, |seconds| format!(", {} left at most", duration(seconds)));
            (
                "in progress",
                format!("{at}{left}; {}", holder.describe(holder.pulse())),
            )
        }
        RunState::Stopped => ("stopped", at),
        RunState::Finished => ("finished", format!("step {}", run.step)),
    };
    let row = RunRow {
        run: &run.path,
        state,
        step: run.step,
        steps: run.steps,
    };
    (row, vec![run.path.display().to_string(), state.to_owned(), text])
}
