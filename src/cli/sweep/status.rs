//! `loopscope sweep status`: which points of a plan are done, running, failed and waiting.

use std::path::Path;

use clap::Args;
use serde::Serialize;

use super::Which;
use crate::checkpoint::HeartbeatWatch;
use crate::cli::print::{printing, record};
use crate::error::Result;
use crate::sweep::{Plan, Point, PointState, Saved, Status};
use crate::wording::{counted, duration};

#[derive(Args)]
pub struct StatusArgs {
    #[command(flatten)]
    which: Which,
}

pub(super) fn run(args: &StatusArgs) -> Result<()> {
    let sweep = &args.which.sweep;
    let plan = Plan::read(sweep, args.which.plan)?;
    let mut status = Status::read(sweep, &plan);
    if status.n_unsure() > 0 {
        let period = HeartbeatWatch::PERIOD;
        err!(
            "watching the heartbeats of {} on other machines for up to {}",
            counted(status.n_unsure(), "process"),
            humantime::format_duration(period)
        );
        status.watch(sweep, period);
    }
    say_status(&plan, &status)
}

fn say_status(plan: &Plan, status: &Status) -> Result<()> {
    for (point, state) in &status.points {
        let (word, text) = (state.word(), describe(point, state));
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
    let left = status.seconds_left().map_or(String::new(), |seconds| {
        format!("; about {} of training left on one core", duration(seconds))
    });
    out!("plan {}: {}{left}", plan.number, status.counts());
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

fn describe(point: &Point, state: &PointState) -> String {
    let at = |saved: &Saved| format!("step {} of {}", saved.step, point.config.train.steps);
    match state {
        PointState::Done { seconds } => duration(*seconds),
        PointState::Running { holder, saved } | PointState::Silent { holder, saved } => {
            format!("{}; {holder}", at(saved))
        }
        PointState::Failed { error, when, log } => {
            let when = when.as_ref().map_or_else(String::new, |when| format!("{when}: "));
            let log: Vec<String> = log.iter().map(|line| format!("\n       {line}")).collect();
            format!("{when}{error}{}", log.concat())
        }
        PointState::Waiting { saved } if saved.step == 0 => String::new(),
        PointState::Waiting { saved } => format!("stopped at {}", at(saved)),
    }
}
