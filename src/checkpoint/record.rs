//! What a run folder records beside its weights: config, stages and metrics; and the names of its files.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files;
use crate::train::{Evaluation, RunConfig, StageOutcome};
use crate::wording::listed;

pub(super) const CONFIG: &str = "config.toml";
pub(super) const METRICS: &str = "metrics.jsonl";
pub(super) const STAGES: &str = "stages.json";
pub(super) const STATE: &str = "resume.safetensors";
pub(super) const FINAL: &str = "final.safetensors";

// Whether there is a run in `folder`.
pub(super) fn is_run(folder: &Path) -> bool {
    folder.join(CONFIG).exists()
}

/// The content of `stages.json`: the stages of a run, and how far it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StagesFile {
    /// Training steps done when the file was written.
    pub step: u64,
    /// Seconds of training until then.
    pub seconds: f64,
    /// Whether training has ended.
    pub finished: bool,
    /// The content hash of the training data.
    pub data_hash: String,
    /// Each stage with when it was reached, `null` where it was not.
    pub stages: Vec<StageOutcome>,
}

impl StagesFile {
    /// Reads the `stages.json` of the run in `folder`.
    ///
    /// # Errors
    /// When the file is missing or damaged, or a config could not have one of its stages; the message names it.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(STAGES);
        let file: Self = files::read_json(&path)?;
        for (index, outcome) in file.stages.iter().enumerate() {
            outcome.stage.check(index).map_err(|e| Error::file(&path, e))?;
        }
        Ok(file)
    }
}

// The checkpoint of the stage with this index, from 0.
pub(super) fn stage_file(index: usize, name: &str) -> String {
    format!("stage-{}-{name}.safetensors", index + 1)
}

// The checkpoint of a step: initial or log-spaced.
pub(super) fn step_file(step: u64) -> String {
    format!("step-{step:08}.safetensors")
}

/// The checkpoint of step 0 in the folder of the checkpoint file `checkpoint`, where there is one.
pub fn initial_checkpoint(checkpoint: &Path) -> Option<PathBuf> {
    Some(checkpoint.with_file_name(step_file(0))).filter(|path| path.is_file())
}

/// The lines of a run's `metrics.jsonl`.
///
/// # Errors
/// When the file is missing or a line is not an evaluation.
pub(crate) fn read_metrics(folder: &Path) -> Result<Vec<Evaluation>> {
    let path = folder.join(METRICS);
    evaluations(&files::read_text(&path)?, &path)
}

/// As [`read_metrics`] of a run that another process may train: nothing of a last line that is not whole, and nothing where there
/// is no file yet.
///
/// # Errors
/// When the file cannot be read, or another line than the last is not an evaluation.
pub(crate) fn read_metrics_so_far(folder: &Path) -> Result<Vec<Evaluation>> {
    let path = folder.join(METRICS);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let bytes = files::read(&path)?;
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    let text = std::str::from_utf8(&bytes[..whole]).map_err(|_| Error::file(&path, "is not UTF-8 text"))?;
    evaluations(text, &path)
}

fn evaluations(text: &str, path: &Path) -> Result<Vec<Evaluation>> {
    let lines = text.lines().enumerate();
    lines
        .map(|(i, line)| serde_json::from_str(line).map_err(|e| Error::file(path, format!("line {}: {e}", i + 1))))
        .collect()
}

/// What a run folder records beside weights.
pub struct RunRecord {
    /// The settings of the run.
    pub config: RunConfig,
    /// Its stages, and when each was reached.
    pub stages: StagesFile,
    /// Its evaluations so far, in order.
    pub metrics: Vec<Evaluation>,
}

impl RunRecord {
    /// Whether `folder` has all that [`RunRecord::read`] reads, and the checkpoint of the end of training.
    pub fn is_complete(folder: &Path) -> bool {
        [CONFIG, STAGES, METRICS, FINAL]
            .iter()
            .all(|file| folder.join(file).is_file())
    }

    /// Reads config, stages and metrics of the run in `folder`.
    ///
    /// # Errors
    /// When `folder` is not a run folder, or a file in it is missing or damaged.
    pub fn read(folder: &Path) -> Result<Self> {
        Self::read_with(folder, read_metrics)
    }

    /// As [`RunRecord::read`] of a run that another process may train: a last evaluation that is not whole is left out.
    ///
    /// # Errors
    /// As [`RunRecord::read`].
    pub fn read_so_far(folder: &Path) -> Result<Self> {
        Self::read_with(folder, read_metrics_so_far)
    }

    fn read_with(folder: &Path, metrics: fn(&Path) -> Result<Vec<Evaluation>>) -> Result<Self> {
        expect_run(folder)?;
        Ok(Self {
            config: RunConfig::read(&folder.join(CONFIG), &[])?,
            stages: StagesFile::read(folder)?,
            metrics: metrics(folder)?,
        })
    }
}

/// The run folders directly in `folder`, in the order of their names.
pub(crate) fn runs_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut runs: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| is_run(path)).collect();
    runs.sort();
    runs
}

// Checks that `folder` is a run folder.
pub(super) fn expect_run(folder: &Path) -> Result<()> {
    if is_run(folder) {
        return Ok(());
    }
    if !folder.is_dir() {
        return Err(Error::file(
            folder,
            format!("no such file or folder{}", files::near(folder)),
        ));
    }
    let mut runs = runs_in(folder);
    if runs.is_empty() {
        // As the points of a sweep, which are one folder deeper.
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        runs = entries.flat_map(|entry| runs_in(&entry.path())).collect();
        runs.sort();
    }
    let runs: Vec<String> = runs.iter().map(|run| run.display().to_string()).collect();
    let inside = if runs.is_empty() {
        String::new()
    } else {
        format!("; runs in it: {}", listed(&runs, 5))
    };
    Err(Error::file(
        folder,
        format!("is not a run folder (it has no config.toml){inside}"),
    ))
}
