//! Several runs side by side: what they cost, when they reached their stages, what they hold inside at their end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Device;
use serde::{Deserialize, Serialize};

use super::lens::{Lens, LensRow};
use super::patch::{Corrupt, Patch, PatchRow};
use super::report::{Method, Report, Specimen, SubjectInfo, write_csv};
use crate::checkpoint::{RunRecord, Subject, subjects};
use crate::error::{Error, Result};
use crate::graph::{Dataset, TRAIN};
use crate::model::{ModelConfig, Point};
use crate::train::{Evaluation, StageOutcome};

/// One run of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    pub name: String,
    pub model: ModelConfig,
    pub parameters: usize,
    /// Matrix-product FLOPs of the forward pass over one query of the longest length, nothing shared.
    pub forward_flops: u64,
    pub seed: u64,
    pub steps: u64,
    /// Seconds of training.
    pub seconds: f64,
    pub finished: bool,
    pub stages: Vec<StageOutcome>,
    /// Accuracy by split at the last evaluation.
    pub accuracy: BTreeMap<String, f64>,
    /// Every evaluation.
    pub metrics: Vec<Evaluation>,
}

/// Runs side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    pub loopscope: String,
    pub data_hash: String,
    /// The checkpoint of each run that was looked into: its last.
    pub subjects: Vec<SubjectInfo>,
    pub runs: Vec<RunSummary>,
    pub lens: Report<Lens, LensRow>,
    pub patch: Report<Patch, PatchRow>,
}

/// One stage of one run, as a row of the comparison's table.
#[derive(Serialize)]
struct StageRow<'a> {
    run: &'a str,
    layers: usize,
    iterations: usize,
    parameters: usize,
    forward_flops: u64,
    seed: u64,
    steps: u64,
    seconds: f64,
    stage: &'a str,
    /// Absent where the run never reached it.
    reached_step: Option<u64>,
    reached_epoch: Option<f64>,
    reached_seconds: Option<f64>,
    /// At the end of the run.
    train: Option<f64>,
    id: Option<f64>,
    ood: Option<f64>,
}

impl Comparison {
    /// Writes `NAME.csv` into `folder`: a row a run and stage.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_csv(&self, folder: &Path, name: &str) -> Result<()> {
        let path = folder.join(format!("{name}.csv"));
        let rows = self.runs.iter().flat_map(|run| {
            run.stages.iter().map(move |outcome| StageRow {
                run: &run.name,
                layers: run.model.layers,
                iterations: run.model.iterations,
                parameters: run.parameters,
                forward_flops: run.forward_flops,
                seed: run.seed,
                steps: run.steps,
                seconds: run.seconds,
                stage: &outcome.stage.name,
                reached_step: outcome.reached.as_ref().map(|reached| reached.step),
                reached_epoch: outcome.reached.as_ref().map(|reached| reached.epoch),
                reached_seconds: outcome.reached.as_ref().map(|reached| reached.seconds),
                train: run.accuracy.get("train").copied(),
                id: run.accuracy.get("test_inferred_iid").copied(),
                ood: run.accuracy.get("test_inferred_ood").copied(),
            })
        });
        write_csv(&path, rows)
    }
}

/// Compares the runs in `folders` on `data`.
///
/// # Errors
/// When a folder holds no run with a checkpoint, a split does not exist, or the device fails.
pub fn compare(
    folders: &[PathBuf],
    data: &Dataset,
    splits: &[String],
    pairs: usize,
    seed: u64,
    device: &Device,
) -> Result<Comparison> {
    let mut runs: Vec<RunSummary> = Vec::new();
    let mut specimens = Vec::new();
    for folder in folders {
        let last = last_subject(folder)?;
        let summary = summarize(folder, &last, data)?;
        if runs.iter().any(|run| run.name == summary.name) {
            return Err(Error::file(
                folder,
                format!("two of the runs are called {}; rename a folder", summary.name),
            ));
        }
        runs.push(summary);
        specimens.push(Specimen::load(&last, data, device)?);
    }
    let lens = Lens {
        splits: splits.to_vec(),
        iterations: None,
    };
    // What the model was trained on says least about how it generalizes.
    let mut tests: Vec<String> = splits
        .iter()
        .filter(|split| !split.starts_with(TRAIN))
        .cloned()
        .collect();
    if tests.is_empty() {
        tests = splits.to_vec();
    }
    let patch = Patch {
        splits: tests,
        corrupt: Corrupt::Prefix,
        hook: Point::ResidPost,
        pairs,
        correct_only: false,
        iterations: None,
        seed,
    };
    Ok(Comparison {
        loopscope: env!("CARGO_PKG_VERSION").to_owned(),
        data_hash: data.hash.clone(),
        subjects: specimens.iter().map(|specimen| specimen.info.clone()).collect(),
        runs,
        lens: lens.run(&specimens, data)?,
        patch: patch.run(&specimens, data)?,
    })
}

fn last_subject(folder: &Path) -> Result<Subject> {
    if folder.is_file() {
        return Err(Error::file(folder, "is a file; a comparison needs run folders"));
    }
    // `subjects` never gives an empty list.
    subjects(folder)?
        .pop()
        .ok_or_else(|| Error::file(folder, "the run has no checkpoint yet"))
}

fn summarize(folder: &Path, last: &Subject, data: &Dataset) -> Result<RunSummary> {
    let record = RunRecord::read(folder)?;
    let model = record.config.model;
    let vocab = data.vocab.len();
    Ok(RunSummary {
        name: last.run.clone(),
        parameters: model.parameters(vocab),
        forward_flops: model.forward_flops(vocab, data.longest_row()),
        model,
        seed: record.config.seed,
        steps: record.stages.step,
        seconds: record.stages.seconds,
        finished: record.stages.finished,
        stages: record.stages.stages,
        accuracy: record
            .metrics
            .last()
            .map(|line| line.accuracy.clone())
            .unwrap_or_default(),
        metrics: record.metrics,
    })
}
