//! What runs will cost, printed before any is trained.

use bytesize::ByteSize;
use serde::Serialize;

use super::print::print_table;
use crate::error::Result;
use crate::experiment::{Between, Estimate, EstimatedRuns, cores};
use crate::machine::cpu_name;
use crate::measure::Table;
use crate::wording::{counted, duration, three_digits};

#[derive(clap::Args)]
pub(super) struct EstimateArg {
    /// Train nothing and write nothing: time steps here for some seconds, and print hours, disk and memory
    #[arg(long)]
    pub(super) estimate: bool,
}

/// The threads of each of `jobs` jobs.
pub(super) fn threads_of(jobs: usize) -> usize {
    (cores() / jobs.max(1)).max(1)
}

/// Prints a row for runs that cost the same, then the totals with `jobs` runs at once.
pub(super) fn print(estimated: &EstimatedRuns, jobs: usize) -> Result<()> {
    let jobs = jobs.clamp(1, estimated.runs.len().max(1));
    let Some((_, first)) = estimated.runs.first() else {
        out!("nothing is left to train");
        return Ok(());
    };
    let mut groups: Vec<(&str, &Estimate, usize)> = Vec::new();
    for (name, estimate) in &estimated.runs {
        match groups.iter_mut().find(|(_, known, _)| *known == estimate) {
            Some((_, _, count)) => *count += 1,
            None => groups.push((name, estimate, 1)),
        }
    }
    let headings = [
        "run",
        "runs",
        "steps",
        "ms a step",
        "each",
        "checkpoints",
        "disk",
        "memory",
    ];
    print_table(&Table::of_cells(&headings, groups.iter().map(row))?)?;
    let several = groups.iter().any(|(_, _, count)| *count > 1);
    if several {
        out!("runs that cost the same are one row, under the name of the first");
    }
    out!(
        "{} of a core in all, each run on {}",
        hours(estimated.core_seconds()),
        counted(first.threads, "thread")
    );
    out!(
        "{} with {} at once; disk {}, memory {}",
        hours(estimated.seconds(jobs)),
        counted(jobs, "run"),
        bytes(estimated.disk_bytes()),
        bytes(estimated.memory_bytes(jobs)),
    );
    out!(
        "timed on this machine ({}, {}), one run at a time{}: beside others a step may take longer",
        cpu_name(),
        counted(cores(), "core"),
        if first.cpu_time {
            ", by CPU time, as on a core of its own"
        } else {
            ""
        }
    );
    out!(
        "no run takes more steps; one whose curriculum ends early takes fewer. Disk is at most this, memory about this."
    );
    Ok(())
}

// Runs that cost the same.
#[derive(Serialize)]
struct Group<'a> {
    // The first of them.
    run: &'a str,
    runs: usize,
    // Of each.
    #[serde(flatten)]
    estimate: &'a Estimate,
}

fn row<'a>(&(run, estimate, runs): &(&'a str, &'a Estimate, usize)) -> (Group<'a>, Vec<String>) {
    let cells = vec![
        run.to_owned(),
        runs.to_string(),
        estimate.steps.to_string(),
        between(estimate.seconds_a_step.map(|seconds| 1000.0 * seconds), &milliseconds),
        hours(estimate.seconds),
        estimate.checkpoints.to_string(),
        bytes(estimate.disk_bytes),
        bytes(estimate.memory_bytes),
    ];
    (Group { run, runs, estimate }, cells)
}

fn between(bounds: Between, text: &dyn Fn(f64) -> String) -> String {
    let (least, most) = (text(bounds.least), text(bounds.most));
    if least == most {
        least
    } else {
        format!("between {least} and {most}")
    }
}

fn milliseconds(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{:.0}", three_digits(v)),
        v => format!("{v:.1}"),
    }
}

pub(super) fn hours(bounds: Between) -> String {
    between(bounds, &duration)
}

pub(super) fn bytes(count: u64) -> String {
    ByteSize(count).display().iec_short().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_that_read_the_same_are_one_number() {
        assert_eq!(hours(Between::new(3.0, 3.2)), "3 s");
        assert_eq!(hours(Between::new(7200.0, 90.0)), "between 2 min and 2.0 h");
        assert_eq!(hours(Between::new(4.0178e7, 4.0201e7)), "11200 h");
        assert_eq!(between(Between::new(1.0, 250.4), &milliseconds), "between 1.0 and 250");
    }
}
