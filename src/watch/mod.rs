//! What `loopscope watch` shows: runs as their folders tell of them, and the screen that this makes. It only reads.

mod curves;
mod run;
mod screen;
#[cfg(test)]
mod tests;
mod view;

use std::path::{Path, PathBuf};

pub(crate) use run::{WatchedRun, WatchedState};
pub(crate) use screen::draw;
pub(crate) use view::{Pressed, View};

use crate::checkpoint::RunFolder;
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
    /// Reads what there is of these run folders, folders of a sweep or study, and folders that runs are in.
    ///
    /// # Errors
    /// When one is none of these, or the plan of a sweep cannot be read. A damaged file of a run is told with the run.
    pub(crate) fn read(targets: &[PathBuf]) -> Result<Self> {
        let mut dashboard = Self::default();
        for target in targets {
            if RunFolder::exists(target) {
                let found = FoundRun::read(target, target, None);
                dashboard.add(vec![WatchedRun::of_found(&found, target, target)]);
            } else if Plan::is_in(target) {
                dashboard.add_sweep(target)?;
            } else {
                dashboard.add_folder(target)?;
            }
        }
        dashboard.runs.sort_by_key(|run| run.state);
        Ok(dashboard)
    }

    // A run that two targets lead to is shown once.
    fn add(&mut self, runs: Vec<WatchedRun>) {
        for run in runs {
            if !self.runs.iter().any(|known| known.folder == run.folder) {
                self.runs.push(run);
            }
        }
    }

    fn add_sweep(&mut self, folder: &Path) -> Result<()> {
        let plan = Plan::read(folder, None)?;
        let status = Status::read(folder, &plan);
        let left = status.seconds_left().filter(|left| *left > 0.0);
        let left = left.map_or_else(String::new, |seconds| {
            format!("; about {} left on one core", duration(seconds))
        });
        self.headlines.push(format!(
            "{}, plan {}: {}{left}",
            folder.display(),
            plan.number,
            status.counts()
        ));
        let points = status.points.iter();
        self.add(
            points
                .map(|(point, state)| WatchedRun::of_point(folder, point, state))
                .collect(),
        );
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
        // The headline has the whole path.
        let last = Path::new(folder.file_name().unwrap_or_default());
        let of = |found: &FoundRun| WatchedRun::of_found(found, &folder.join(&found.path), &last.join(&found.path));
        let mut runs: Vec<WatchedRun> = found.iter().map(of).collect();
        runs.sort_by(|a, b| a.folder.cmp(&b.folder));
        let count = |state| runs.iter().filter(|run| run.state == state).count();
        let mut headline = format!(
            "{}: {} training, {} stopped, {} finished",
            folder.display(),
            count(WatchedState::Training),
            count(WatchedState::Stopped),
            count(WatchedState::Finished)
        );
        for (place, holder) in &at_work {
            // Without the slash at the end that a folder joined with nothing has.
            let place: PathBuf = folder.join(place).components().collect();
            headline = format!("{headline}; process {} works in {}", holder.process, place.display());
        }
        self.headlines.push(headline);
        self.add(runs);
        Ok(())
    }
}
