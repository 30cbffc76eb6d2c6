//! `loopscope watch`: runs in progress on a terminal.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use serde::Serialize;
use signal_hook::flag;

use super::print::{colors, print_table, printing};
use crate::checkpoint::HeartbeatWatch;
use crate::error::{Error, Result};
use crate::measure::Table;
use crate::watch::{Dashboard, Pressed, View, WatchedRun, draw};
use crate::wording::duration;

/// The runs to watch.
#[derive(Args)]
pub(super) struct WatchArgs {
    /// Run folders, folders of a sweep or study, or folders with runs in them
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
}

/// How long a signal, or the time to read again, may go unnoticed.
const LOOK: Duration = Duration::from_millis(200);
/// The shortest time between two reads of the folders.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// Reading takes at most a twentieth of the time: training has the rest.
const READING: u32 = 20;

pub(super) fn run(args: &WatchArgs) -> Result<()> {
    let began = Instant::now();
    let mut heartbeats = HeartbeatWatch::new(HeartbeatWatch::PERIOD);
    let dashboard = Dashboard::read(&args.runs, &mut heartbeats, began)?;
    if printing().json || !io::stdout().is_terminal() {
        return print_once(&dashboard);
    }
    let interval = (READING * began.elapsed()).max(MIN_INTERVAL);
    let watched = follow(&args.runs, dashboard, &mut heartbeats, interval);
    watched.map_err(|e| Error::failed(format!("the terminal cannot be used ({e})")))
}

/// The terminal while the dashboard has it. It is given back however this ends; ratatui does so before the message of a panic.
struct Screen(DefaultTerminal);

impl Screen {
    fn open() -> io::Result<Self> {
        ratatui::try_init().map(Self).inspect_err(|_| {
            // What was changed before it failed.
            let _ = ratatui::try_restore();
        })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that has gone away needs nothing.
        let _ = ratatui::try_restore();
    }
}

// The events of the terminal, read in a thread of their own: reading from a terminal that was closed never returns, and must not
// keep the process.
fn events() -> Receiver<io::Result<Event>> {
    let (sender, events) = mpsc::channel();
    std::thread::spawn(move || while sender.send(event::read()).is_ok() {});
    events
}

fn follow(
    targets: &[PathBuf],
    mut dashboard: Dashboard,
    heartbeats: &mut HeartbeatWatch,
    mut interval: Duration,
) -> io::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    for (signal, _) in super::stop_signals() {
        // A second one must not end the process before the terminal is given back.
        flag::register(signal, stop.clone())?;
    }
    let mut view = View::new(colors(true, std::env::var_os("NO_COLOR").as_deref()));
    let mut screen = Screen::open()?;
    let events = events();
    let mut read = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        screen.0.draw(|frame| draw(frame, &dashboard, &view))?;
        let event = match events.recv_timeout(LOOK) {
            Ok(event) => Some(event?),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        if let Some(Event::Key(key)) = event
            && view.press(key, &dashboard) == Pressed::Quit
        {
            break;
        }
        if read.elapsed() >= interval {
            let began = Instant::now();
            view.problem = match Dashboard::read(targets, heartbeats, began) {
                Ok(now) => {
                    dashboard = now;
                    None
                }
                Err(error) => Some(error.to_string()),
            };
            interval = (READING * began.elapsed()).max(MIN_INTERVAL);
            read = Instant::now();
        }
    }
    Ok(())
}

// A run as data.
#[derive(Serialize)]
struct RunRow<'a> {
    run: &'a str,
    folder: &'a std::path::Path,
    state: &'static str,
    step: u64,
    steps: Option<u64>,
    steps_per_second: Option<f64>,
    seconds_left: Option<f64>,
    loss: Option<f64>,
    stages_reached: usize,
    stages: usize,
    accuracy: BTreeMap<&'a str, f64>,
    detail: &'a str,
}

fn print_once(dashboard: &Dashboard) -> Result<()> {
    for line in &dashboard.headlines {
        out!("{line}");
    }
    if dashboard.runs.is_empty() {
        return Ok(());
    }
    let headings = [
        "run",
        "state",
        "step",
        "stages",
        "steps/s",
        "left at most",
        "loss",
        "accuracy",
    ];
    print_table(&Table::of_cells(&headings, dashboard.runs.iter().map(row))?)
}

fn row(run: &WatchedRun) -> (RunRow<'_>, Vec<String>) {
    let splits = run.splits();
    let latest = splits.iter().filter_map(|split| Some((*split, run.accuracy(split)?)));
    let row = RunRow {
        run: &run.name,
        folder: &run.folder,
        state: run.state.word(),
        step: run.step,
        steps: run.steps,
        steps_per_second: run.steps_per_second(),
        seconds_left: run.seconds_left(),
        loss: run.loss(),
        stages_reached: run.stages_reached(),
        stages: run.stages.len(),
        accuracy: latest.clone().map(|(split, value)| (split.name(), value)).collect(),
        detail: &run.detail,
    };
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
    let accuracies: Vec<String> = latest
        .map(|(split, value)| format!("{} {value:.3}", split.title()))
        .collect();
    let cells = vec![
        run.name.clone(),
        row.state.to_owned(),
        row.steps
            .map_or_else(|| row.step.to_string(), |steps| format!("{} of {steps}", row.step)),
        format!("{} of {}", row.stages_reached, row.stages),
        or_dash(row.steps_per_second.map(|speed| format!("{speed:.1}"))),
        or_dash(row.seconds_left.map(duration)),
        or_dash(row.loss.map(|loss| format!("{loss:.3}"))),
        accuracies.join(", "),
    ];
    (row, cells)
}

#[cfg(test)]
mod tests;
