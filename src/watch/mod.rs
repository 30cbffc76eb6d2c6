//! What `loopscope watch` shows: runs as their folders tell of them, and the screen that this makes. It only reads.

mod curves;
mod run;
mod screen;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

pub(crate) use run::{WatchedRun, WatchedState};
pub(crate) use screen::draw;
pub(crate) use view::{Pressed, View};

use crate::checkpoint::{HeartbeatWatch, RunFolder};
use crate::error::{Error, Result};
use crate::files;
use crate::next::{FoundRun, find_runs};
use crate::sweep::{Plan, Status};
use crate::wording::duration;

/// What a dashboard shows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dashboard {
    /// A line for each sweep and each folder of runs.
    pub(crate) headlines: Vec<String>,
    /// The runs, those in training first.
    pub(crate) runs: Vec<WatchedRun>,
}

impl Dashboard {
    /// Reads what there is of these run folders, folders of a sweep or study, and folders that runs are in. A process of another
    /// machine is silent by the `heartbeats` that were seen in earlier reads; `now` is the time of this one.
    ///
    /// # Errors
    /// When one is none of these, or the plan of a sweep cannot be read. A damaged file of a run is shown with the run.
    pub(crate) fn read(targets: &[PathBuf], heartbeats: &mut HeartbeatWatch, now: Instant) -> Result<Self> {
        let mut reading = Reading {
            dashboard: Self::default(),
            origins: Vec::new(),
            heartbeats,
            now,
        };
        for target in targets {
            if RunFolder::exists(target) {
                let found = FoundRun::read(target, target, None);
                let run = reading.found(&found, target, target);
                reading.add(vec![run], Path::new(""));
            } else if Plan::is_in(target) {
                reading.add_sweep(target)?;
            } else {
                reading.add_folder(target)?;
            }
        }
        let Reading {
            mut dashboard, origins, ..
        } = reading;
        tell_apart(&mut dashboard.runs, &origins);
        dashboard.runs.sort_by_key(|run| run.state);
        Ok(dashboard)
    }
}

// A dashboard while it is read.
struct Reading<'a> {
    dashboard: Dashboard,
    // For each run, the folder that its name is relative to.
    origins: Vec<PathBuf>,
    heartbeats: &'a mut HeartbeatWatch,
    now: Instant,
}

impl Reading<'_> {
    // A run that two targets lead to is shown once. `origin` is the folder that the names are relative to.
    fn add(&mut self, runs: Vec<WatchedRun>, origin: &Path) {
        for run in runs {
            if !self.dashboard.runs.iter().any(|known| known.folder == run.folder) {
                self.dashboard.runs.push(run);
                self.origins.push(origin.to_owned());
            }
        }
    }

    // A run that is no point of a sweep, in the folder `folder`, under the name `name`.
    fn found(&mut self, found: &FoundRun, folder: &Path, name: &Path) -> WatchedRun {
        WatchedRun::of_found(found, folder, name, |holder| {
            self.heartbeats.look(folder, holder, self.now)
        })
    }

    fn add_sweep(&mut self, folder: &Path) -> Result<()> {
        let plan = Plan::read(folder, None)?;
        let mut status = Status::read(folder, &plan);
        status.compare_heartbeats(folder, self.heartbeats, self.now);
        let left = status.seconds_left().filter(|left| *left > 0.0);
        let left = left.map_or_else(String::new, |seconds| {
            format!("; about {} left on one core", duration(seconds))
        });
        self.dashboard.headlines.push(format!(
            "{}, plan {}: {}{left}",
            folder.display(),
            plan.number,
            status.counts()
        ));
        let points = status.points.iter();
        let runs = points.map(|(point, state)| WatchedRun::of_point(folder, point, state));
        self.add(runs.collect(), folder);
        Ok(())
    }

    fn add_folder(&mut self, folder: &Path) -> Result<()> {
        if !folder.exists() {
            return Err(Error::file(
                folder,
                format!("no such file or folder{}", files::near(folder)),
            ));
        }
        let (found, at_work) = find_runs(folder, Path::new(""));
        if found.is_empty() && at_work.is_empty() {
            return Err(Error::file(
                folder,
                "is not a run folder (it has no config.toml), not a sweep (it has no plan-1.json), and no run is in it",
            ));
        }
        // The headline has the folder.
        let of = |found: &FoundRun| self.found(found, &folder.join(&found.path), &found.path);
        let mut runs: Vec<WatchedRun> = found.iter().map(of).collect();
        runs.sort_by(|a, b| a.folder.cmp(&b.folder));
        let count = |state| runs.iter().filter(|run| run.state == state).count();
        let mut headline = format!("{}: {} training", folder.display(), count(WatchedState::Training));
        for state in [WatchedState::Silent, WatchedState::Failed] {
            if count(state) > 0 {
                headline = format!("{headline}, {} {}", count(state), state.word());
            }
        }
        self.dashboard.headlines.push(format!(
            "{headline}, {} stopped, {} finished",
            count(WatchedState::Stopped),
            count(WatchedState::Finished)
        ));
        for (place, holder) in &at_work {
            // Without the slash at the end that a folder joined with nothing has.
            let place: PathBuf = folder.join(place).components().collect();
            let pulse = self.heartbeats.look(&place, holder, self.now);
            self.dashboard
                .headlines
                .push(format!("at work in {}: {}", place.display(), holder.describe(pulse)));
        }
        self.add(runs, folder);
        Ok(())
    }
}

// Puts in front of names that are there twice as much of the path of their origins as tells them apart.
fn tell_apart(runs: &mut [WatchedRun], origins: &[PathBuf]) {
    let mut by_name: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, run) in runs.iter().enumerate() {
        by_name.entry(run.name.clone()).or_default().push(index);
    }
    for (name, indices) in by_name.into_iter().filter(|(_, indices)| indices.len() > 1) {
        let longest = indices.iter().map(|&index| origins[index].components().count()).max();
        for depth in 1..=longest.unwrap_or(0) {
            for &index in &indices {
                let parts: Vec<_> = origins[index].components().collect();
                let end: PathBuf = parts[parts.len().saturating_sub(depth)..].iter().collect();
                runs[index].name = end.join(&name).display().to_string();
            }
            let names: BTreeSet<&str> = indices.iter().map(|&index| runs[index].name.as_str()).collect();
            if names.len() == indices.len() {
                break;
            }
        }
    }
}
