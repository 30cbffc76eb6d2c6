//! What to do next in a folder, by the runs that are in it: none yet, in progress, stopped or finished.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;

use crate::checkpoint::{Holder, RunFolder, RunLock, RunPath, RunRecord, StagesFile, find_checkpoints};
use crate::experiment::ShippedPreset;
use crate::sweep::Plan;
use crate::train::RunConfig;
use crate::wording::shell_word;

/// Where commands write runs by default.
const CHECKPOINTS: &str = "checkpoints";
/// How deep below that folder runs are looked for: the seeds of a study are in `STUDY/EXPERIMENT/seed-N/RUN`.
const MAX_DEPTH: usize = 4;
/// Runs that one command names side by side, at most.
const MAX_COMPARED: usize = 4;
/// The runs that come with the repository, which were not trained here.
const SHOWCASE: &str = "checkpoints/showcase";

/// What to do next in a folder.
#[derive(Debug)]
pub(crate) struct Next {
    /// The runs, those in progress first, then the stopped ones, then those that finished, each the latest first.
    pub(crate) runs: Vec<FoundRun>,
    /// The folders of experiments that a process works in, and which.
    pub(crate) at_work: Vec<(PathBuf, Holder)>,
    /// The summary of an experiment that has ended.
    pub(crate) summary: Option<PathBuf>,
    /// What to type, the most useful first.
    pub(crate) steps: Vec<Step>,
}

/// A run folder.
#[derive(Debug)]
pub(crate) struct FoundRun {
    /// Its path as a command that is typed in the folder names it.
    pub(crate) path: PathBuf,
    /// How far it is.
    pub(crate) state: RunState,
    /// Training steps done, as last saved.
    pub(crate) step: u64,
    /// Training steps of its config; `None` where that cannot be read.
    pub(crate) steps: Option<u64>,
    /// Seconds of training until then.
    pub(crate) seconds: f64,
    saved: Option<SystemTime>,
    // Whether its block is applied more than once, and whether its data are chains by depth.
    looped: bool,
    curriculum: bool,
    // The folder of the sweep or study that it is a point of.
    sweep: Option<PathBuf>,
}

/// The state of a run.
#[derive(Debug)]
pub(crate) enum RunState {
    /// A process trains it.
    InProgress(Holder),
    /// It is not finished, and no process trains it.
    Stopped,
    /// Trained to its end.
    Finished,
}

/// A command, and what it is for.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Step {
    /// What to type, from `loopscope` on.
    pub(crate) command: String,
    /// What it does.
    pub(crate) about: &'static str,
}

fn step(command: impl Into<String>, about: &'static str) -> Step {
    Step {
        command: command.into(),
        about,
    }
}

impl Next {
    /// Looks at the run in the folder `here`, else at those in `checkpoints/` there. Inside a folder of that name, it looks at
    /// those below `here`.
    pub(crate) fn of(here: &Path) -> Self {
        let mut found = Found::default();
        let inside = here.components().any(|part| part.as_os_str() == CHECKPOINTS);
        let checkpoints = here.join(CHECKPOINTS);
        if RunFolder::exists(here) {
            found.runs.push(FoundRun::read(here, Path::new("."), None));
        } else if checkpoints.is_dir() {
            found.look(&checkpoints, Path::new(CHECKPOINTS), None, MAX_DEPTH);
        } else if inside {
            found.look(here, Path::new(""), None, MAX_DEPTH);
        }
        let Found { mut runs, at_work } = found;
        let rank = |run: &FoundRun| match run.state {
            RunState::InProgress(_) => 0,
            RunState::Stopped => 1,
            RunState::Finished => 2,
        };
        runs.sort_by(|a, b| {
            let latest = b.saved.cmp(&a.saved);
            rank(a).cmp(&rank(b)).then(latest).then_with(|| a.path.cmp(&b.path))
        });
        let summary = latest(&runs, |state| matches!(state, RunState::Finished)).and_then(|run| summary(here, run));
        Self {
            steps: steps(here, &runs),
            summary,
            at_work,
            runs,
        }
    }
}

/// The runs in `folder`, whose path is `shown`, and the folders in it that a process works in.
pub(crate) fn find_runs(folder: &Path, shown: &Path) -> (Vec<FoundRun>, Vec<(PathBuf, Holder)>) {
    let mut found = Found::default();
    found.look(folder, shown, None, MAX_DEPTH);
    (found.runs, found.at_work)
}

#[derive(Default)]
struct Found {
    runs: Vec<FoundRun>,
    at_work: Vec<(PathBuf, Holder)>,
}

impl Found {
    // Adds what is in `folder`, whose path is `shown`; `sweep` is the sweep that it is in.
    fn look(&mut self, folder: &Path, shown: &Path, sweep: Option<&Path>, depth: usize) {
        if RunFolder::exists(folder) {
            self.runs.push(FoundRun::read(folder, shown, sweep));
            return;
        }
        if let Some(holder) = RunLock::living_holder(folder) {
            self.at_work.push((shown.to_owned(), holder));
        }
        let is_sweep = Plan::is_in(folder);
        let sweep = if is_sweep { Some(shown) } else { sweep };
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            // A link may lead anywhere, to the folder itself too.
            if depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.look(&entry.path(), &shown.join(entry.file_name()), sweep, depth - 1);
            }
        }
    }
}

impl FoundRun {
    /// Reads the run folder `folder`, whose path is `shown`; `sweep` is the sweep that it is in.
    pub(crate) fn read(folder: &Path, shown: &Path, sweep: Option<&Path>) -> Self {
        let config = RunConfig::read(&folder.join("config.toml"), &[]).ok();
        let stages = StagesFile::read(folder).ok();
        let state = match RunLock::living_holder(folder) {
            Some(holder) => RunState::InProgress(holder),
            None if stages.as_ref().is_some_and(|stages| stages.finished) && RunRecord::is_complete(folder) => {
                RunState::Finished
            }
            None => RunState::Stopped,
        };
        let changed = |name: &str| fs::metadata(folder.join(name)).and_then(|file| file.modified()).ok();
        Self {
            path: shown.to_owned(),
            state,
            step: stages.as_ref().map_or(0, |stages| stages.step),
            steps: config.as_ref().map(|config| config.train.steps),
            seconds: stages.as_ref().map_or(0.0, |stages| stages.seconds),
            saved: changed("stages.json").or_else(|| changed("config.toml")),
            looped: config
                .as_ref()
                .is_some_and(|config| config.model.iterations > 1 || config.train.dynamic.is_some()),
            curriculum: config.is_some_and(|config| config.curriculum.is_some()),
            sweep: sweep.map(Path::to_owned),
        }
    }

    /// Seconds of training that are left if it takes all of its steps as fast as those before; `None` where that is not known.
    pub(crate) fn seconds_left(&self) -> Option<f64> {
        let left = self.steps?.checked_sub(self.step)?;
        (self.step > 0).then(|| left as f64 * self.seconds / self.step as f64)
    }

    fn word(&self) -> String {
        shell_word(&self.path.display().to_string())
    }
}

// The latest run in such a state, and of those in the same folder a looped one before others, with a vanilla one of the same task
// beside it before all.
fn latest(runs: &[FoundRun], is: impl Fn(&RunState) -> bool) -> Option<&FoundRun> {
    let first = runs.iter().find(|run| is(&run.state))?;
    let beside = || {
        runs.iter()
            .filter(|run| is(&run.state) && run.path.parent() == first.path.parent())
    };
    let has_control = |run: &&FoundRun| beside().any(|other| !other.looped && other.curriculum == run.curriculum);
    let looped = || beside().filter(|run| run.looped);
    looped().find(has_control).or_else(|| looped().next()).or(Some(first))
}

// The summary of the experiment or study of a run, where it is.
fn summary(here: &Path, run: &FoundRun) -> Option<PathBuf> {
    let folder = run.sweep.as_deref().or(run.path.parent())?;
    let experiment = folder.strip_prefix(CHECKPOINTS).ok()?;
    let path = Path::new("figures").join(experiment).join("summary.md");
    here.join(&path).is_file().then_some(path)
}

fn steps(here: &Path, runs: &[FoundRun]) -> Vec<Step> {
    let mut steps = Vec::new();
    if let Some(run) = latest(runs, |state| matches!(state, RunState::InProgress(_))) {
        in_progress(here, run, &mut steps);
    }
    if let Some(run) = latest(runs, |state| matches!(state, RunState::Stopped)) {
        steps.push(continued(run));
    }
    if let Some(run) = latest(runs, |state| matches!(state, RunState::Finished)) {
        finished(runs, run, &mut steps);
    }
    if runs.iter().all(|run| run.path.starts_with(SHOWCASE)) {
        steps.extend([
            step(
                "loopscope reproduce --preset quick",
                "everything at its smallest, in a minute: data, training, analyses, a summary",
            ),
            step(
                "loopscope reproduce",
                "the main experiment: a looped transformer beside vanilla controls",
            ),
            step(
                "loopscope doctor",
                "what this machine has, and what each preset will take on it",
            ),
        ]);
    }
    steps.push(step("loopscope --help", "all commands"));
    steps
}

fn in_progress(here: &Path, run: &FoundRun, steps: &mut Vec<Step>) {
    steps.push(step(
        format!("loopscope watch {}", run.word()),
        "curves, stages, speed and time left while it trains; q ends it",
    ));
    if let Some(sweep) = &run.sweep {
        steps.push(step(
            format!("loopscope sweep status {}", shell_word(&sweep.display().to_string())),
            "which points are done, running, failed and waiting",
        ));
    }
    let target = RunPath {
        name: None,
        path: here.join(&run.path),
    };
    if find_checkpoints(&[target]).is_ok() {
        steps.push(step(
            format!("loopscope lens {}", run.word()),
            "logit lens at the stages that it has reached so far",
        ));
    }
}

// The command that continues a run that stopped.
fn continued(run: &FoundRun) -> Step {
    if let Some(sweep) = &run.sweep {
        return step(
            format!("loopscope sweep run {}", shell_word(&sweep.display().to_string())),
            "go on with the points that are not trained to their end",
        );
    }
    let experiment = run
        .path
        .parent()
        .and_then(|folder| folder.strip_prefix(CHECKPOINTS).ok());
    let preset = ShippedPreset::ALL
        .into_iter()
        .find(|preset| experiment == Some(Path::new(preset.name())));
    match preset {
        Some(preset) => step(
            format!("loopscope reproduce --preset {}", preset.name()),
            "go on with the experiment where it stopped",
        ),
        None => step(
            format!("loopscope train {} --resume", run.word()),
            "go on with the run where it stopped, bit for bit",
        ),
    }
}

fn finished(runs: &[FoundRun], run: &FoundRun, steps: &mut Vec<Step>) {
    let word = run.word();
    if let Some(sweep) = &run.sweep {
        let sweep = shell_word(&sweep.display().to_string());
        steps.extend([
            step(
                format!("loopscope report {sweep}"),
                "one page of all its runs, with intervals over seeds",
            ),
            step(
                format!("loopscope sweep gather {sweep}"),
                "a table of all its runs, curves, and what each setting changes",
            ),
        ]);
    }
    if run.curriculum {
        steps.push(step(
            format!("loopscope extrapolate {word}"),
            "how deep it answers with more iterations than in training",
        ));
    }
    steps.extend([
        step(
            format!("loopscope lens {word}"),
            "logit lens: where bridge and target are visible, stage by stage",
        ),
        step(
            format!("loopscope patch {word}"),
            "activation patching: which states the answer depends on",
        ),
    ]);
    let beside = |other: &&FoundRun| {
        // Those of chains by depth are on other data than those of two hops.
        matches!(other.state, RunState::Finished)
            && other.path != run.path
            && other.path.parent() == run.path.parent()
            && other.curriculum == run.curriculum
    };
    let words: Vec<String> = std::iter::once(word)
        .chain(runs.iter().filter(beside).map(FoundRun::word))
        .take(MAX_COMPARED)
        .collect();
    if words.len() > 1 {
        steps.push(step(
            format!("loopscope compare {}", words.join(" ")),
            "these runs side by side",
        ));
    }
    steps.push(step(
        format!("loopscope report {}", words.join(" ")),
        "one page to look at, with all that was measured",
    ));
}

#[cfg(test)]
mod tests;
