//! The checkpoints that a user names, each run under a name that no other run has.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use candle_core::Device;

use super::file::Checkpoint;
use super::record::{CONFIG, FINAL, STAGES, StagesFile, expect_run, stage_file, step_file};
use super::role::CheckpointRole;
use crate::error::{Error, Result};
use crate::train::{RunConfig, StageOutcome};

#[cfg(test)]
mod tests;

/// A run folder or a checkpoint file as a user names it: `PATH`, or `NAME=PATH` for a name of one's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunPath {
    /// What the run is called in results, where the user says so.
    pub name: Option<String>,
    /// The run folder or checkpoint file.
    pub path: PathBuf,
}

impl FromStr for RunPath {
    type Err = Infallible;

    // A path that is there is a path, whatever it is called.
    fn from_str(text: &str) -> std::result::Result<Self, Infallible> {
        let is_name = |name: &str| {
            let letter = |c: char| c.is_alphanumeric() || "-_.".contains(c);
            !name.is_empty() && name.chars().all(letter)
        };
        let named = text.split_once('=').filter(|(name, _)| is_name(name));
        Ok(match named {
            Some((name, path)) if !Path::new(text).exists() => Self {
                name: Some(name.to_owned()),
                path: path.into(),
            },
            _ => Self {
                name: None,
                path: text.into(),
            },
        })
    }
}

/// The location of a checkpoint, and its names in results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointPath {
    /// The name of the run, unique among the runs named together; that of the file where it belongs to no run.
    pub run: String,
    /// The stage, or the name of the file.
    pub label: String,
    /// The role of the checkpoint in its run.
    pub role: CheckpointRole,
    /// The checkpoint file.
    pub path: PathBuf,
    /// The absolute path of the run folder, or of the file where it belongs to no run.
    pub folder: PathBuf,
    /// Whether the checkpoint was named by itself and not as part of its run.
    pub alone: bool,
    /// The data folder of its run; absent where it belongs to no run.
    pub data: Option<PathBuf>,
}

#[cfg(test)]
impl CheckpointPath {
    /// A location where there is no file.
    pub(crate) fn made_up(file: &str) -> Self {
        Self {
            run: "run".to_owned(),
            label: file.to_owned(),
            role: CheckpointRole::Other,
            path: file.into(),
            folder: file.into(),
            alone: true,
            data: None,
        }
    }
}

impl CheckpointPath {
    /// The data folder to look at it on: `named`, or its run's own.
    ///
    /// # Errors
    /// When neither is known.
    pub fn data_folder<'a>(&'a self, named: Option<&'a Path>) -> Result<&'a Path> {
        named.or(self.data.as_deref()).ok_or_else(|| {
            Error::file(
                &self.path,
                "a checkpoint outside a run folder does not tell its data; name it with --data DIR",
            )
        })
    }

    /// Loads the checkpoint.
    ///
    /// # Errors
    /// As [`Checkpoint::read`].
    pub fn load(&self, device: &Device) -> Result<Checkpoint> {
        Checkpoint::read(&self.path, device)
    }
}

/// The checkpoints that the targets stand for: each file itself, or all stages that the run in a folder reached and its
/// end. Runs whose folders share a name are distinguished by the shortest ends of their paths that
/// differ.
///
/// # Errors
/// When a target is neither a file nor a run folder, a run has no checkpoints yet, a checkpoint is named twice, or two
/// runs are given one name.
pub fn find_checkpoints(targets: &[RunPath]) -> Result<Vec<CheckpointPath>> {
    find(targets, checkpoints_of)
}

/// As [`find_checkpoints`], with the log-spaced checkpoints of every run folder too: all that there are of each run, in the order of
/// training. Where a stage was reached at a log-spaced step, or a run ended there, the stage or the end is given.
///
/// # Errors
/// As [`find_checkpoints`].
pub fn find_checkpoints_over_steps(targets: &[RunPath]) -> Result<Vec<CheckpointPath>> {
    find(targets, all_checkpoints_of)
}

fn find(targets: &[RunPath], of: fn(&Path) -> Result<Vec<CheckpointPath>>) -> Result<Vec<CheckpointPath>> {
    let mut found: Vec<CheckpointPath> = Vec::new();
    let mut runs: Vec<Run> = Vec::new();
    // The run of each checkpoint.
    let mut owners = Vec::new();
    for target in targets {
        let of_target = of(&target.path)?;
        // There is at least one.
        let run = Run {
            name: target.name.clone(),
            folder: of_target[0].folder.clone(),
        };
        let owner = runs.iter().position(|known| *known == run).unwrap_or_else(|| {
            runs.push(run);
            runs.len() - 1
        });
        for checkpoint in of_target {
            let again = found.iter().zip(&owners).any(|(known, &of)| {
                of == owner
                    && known.folder == checkpoint.folder
                    && known.path.file_name() == checkpoint.path.file_name()
            });
            if again {
                return Err(Error::file(&checkpoint.path, "is named twice; once is enough"));
            }
            owners.push(owner);
            found.push(checkpoint);
        }
    }
    let labels = labels(&runs)?;
    for (checkpoint, owner) in found.iter_mut().zip(owners) {
        checkpoint.run.clone_from(&labels[owner]);
    }
    Ok(found)
}

#[derive(Debug, PartialEq, Eq)]
struct Run {
    name: Option<String>,
    folder: PathBuf,
}

// A label for each run: the user's name, or as many of the last components of its path as set it apart.
fn labels(runs: &[Run]) -> Result<Vec<String>> {
    let components = |run: &Run| -> Vec<String> {
        let all = run.folder.components();
        all.filter_map(|part| match part {
            std::path::Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
            _ => None,
        })
        .collect()
    };
    let paths: Vec<Vec<String>> = runs.iter().map(components).collect();
    let mut lengths = vec![1; runs.len()];
    loop {
        let label = |i: usize| match &runs[i].name {
            Some(name) => name.clone(),
            None => paths[i][paths[i].len().saturating_sub(lengths[i])..].join("/"),
        };
        let labels: Vec<String> = (0..runs.len()).map(label).collect();
        let clashes = |i: usize| {
            labels
                .iter()
                .enumerate()
                .any(|(j, other)| j != i && *other == labels[i])
        };
        let longer: Vec<usize> = (0..runs.len())
            .filter(|&i| runs[i].name.is_none() && lengths[i] < paths[i].len() && clashes(i))
            .collect();
        if longer.is_empty() {
            return match (0..runs.len()).find(|&i| clashes(i)) {
                None => Ok(labels),
                Some(i) => Err(Error::input(format!(
                    "two of the runs are called {}; give each a name of its own, as in NAME=PATH",
                    labels[i]
                ))),
            };
        }
        for i in longer {
            lengths[i] += 1;
        }
    }
}

fn checkpoints_of(target: &Path) -> Result<Vec<CheckpointPath>> {
    let absolute = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if target.is_file() {
        let of_run = target
            .parent()
            .map(|folder| {
                if folder.as_os_str().is_empty() {
                    Path::new(".")
                } else {
                    folder
                }
            })
            .filter(|folder| folder.join(CONFIG).is_file());
        let config = of_run
            .map(|folder| RunConfig::read(&folder.join(CONFIG), &[]))
            .transpose()?;
        let whole = absolute(target);
        return Ok(vec![CheckpointPath {
            run: String::new(),
            label: target.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            role: of_run.map_or_else(CheckpointRole::default, |folder| role_of_file(folder, target)),
            path: target.to_owned(),
            folder: of_run.map_or_else(|| whole.with_extension(""), absolute),
            alone: true,
            data: config.map(|config| config.data),
        }]);
    }
    expect_run(target)?;
    let config = RunConfig::read(&target.join(CONFIG), &[])?;
    let outcomes = if target.join(STAGES).exists() {
        StagesFile::read(target)?.stages
    } else {
        Vec::new()
    };
    let stages = outcomes.iter().enumerate().map(|(index, outcome)| {
        let name = &outcome.stage.name;
        let role = CheckpointRole::Stage(index + 1);
        (role, format!("{role}: {name}"), stage_file(index, name))
    });
    let end = CheckpointRole::End;
    let found: Vec<CheckpointPath> = stages
        .chain([(end, end.to_string(), FINAL.to_owned())])
        .map(|(role, label, file)| CheckpointPath {
            run: String::new(),
            label,
            role,
            path: target.join(file),
            folder: absolute(target),
            alone: false,
            data: Some(config.data.clone()),
        })
        .filter(|checkpoint| checkpoint.path.is_file())
        .collect();
    if found.is_empty() {
        return Err(Error::file(
            target,
            "the run has reached no stage and has no final checkpoint; name one of its step-*.safetensors instead",
        ));
    }
    Ok(found)
}

fn all_checkpoints_of(target: &Path) -> Result<Vec<CheckpointPath>> {
    if target.is_file() {
        return checkpoints_of(target);
    }
    expect_run(target)?;
    let mut found: Vec<(u64, CheckpointPath)> = Vec::new();
    // A run that is at its beginning has log-spaced checkpoints alone.
    let named = checkpoints_of(target).unwrap_or_default();
    let config = RunConfig::read(&target.join(CONFIG), &[])?;
    for entry in std::fs::read_dir(target).map_err(|e| Error::file(target, e))? {
        let path = entry.map_err(|e| Error::file(target, e))?.path();
        let digits = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_prefix("step-")?.strip_suffix(".safetensors"));
        let Some(step) = digits.and_then(|digits| digits.parse().ok()) else {
            continue;
        };
        found.push((
            step,
            CheckpointPath {
                run: String::new(),
                label: format!("step {step}"),
                role: role_of_file(target, &path),
                folder: target.canonicalize().unwrap_or_else(|_| target.to_owned()),
                path,
                alone: false,
                data: Some(config.data.clone()),
            },
        ));
    }
    let outcomes = StagesFile::read(target)?;
    for checkpoint in named {
        let step = match checkpoint.role {
            CheckpointRole::Stage(number) => outcomes.stages[number - 1].reached.as_ref().map(|reached| reached.step),
            _ => Some(outcomes.step),
        };
        // It is there, so the stage was reached.
        let Some(step) = step else { continue };
        found.retain(|(known, other)| *known != step || other.role != CheckpointRole::Other);
        found.push((step, checkpoint));
    }
    found.sort_by_key(|(step, checkpoint)| (*step, checkpoint.role == CheckpointRole::End));
    if found.is_empty() {
        return Err(Error::file(target, "the run has no checkpoint yet"));
    }
    Ok(found.into_iter().map(|(_, checkpoint)| checkpoint).collect())
}

// What a checkpoint file of the run in `folder` is. Stages are known where `stages.json` can be read.
fn role_of_file(folder: &Path, file: &Path) -> CheckpointRole {
    let is = |name: &str| file.file_name().is_some_and(|own| own == name);
    if is(FINAL) {
        return CheckpointRole::End;
    }
    if is(&step_file(0)) {
        return CheckpointRole::Initial;
    }
    let outcomes = StagesFile::read(folder).map(|file| file.stages).unwrap_or_default();
    let is_stage = |(index, outcome): (usize, &StageOutcome)| is(&stage_file(index, &outcome.stage.name));
    match outcomes.iter().enumerate().position(is_stage) {
        Some(index) => CheckpointRole::Stage(index + 1),
        None => CheckpointRole::Other,
    }
}
