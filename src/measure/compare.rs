//! Several runs side by side: what they cost, when they reached their stages, what they hold inside at their end.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::checkpoint::{CheckpointSummary, LoadedCheckpoint};
use super::columns::csv;
use super::lens::Lens;
use super::method::Method;
use super::method::Report;
use super::output::{Extras, Progress};
use super::patch::Patch;
use super::splits::Wants;
use crate::checkpoint::{CheckpointPath, RunRecord};
use crate::error::{Error, Result};
use crate::files;
use crate::graph::{Dataset, Split};
use crate::model::ModelConfig;
use crate::train::{Curriculum, Evaluation, StageOutcome};

/// One run of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// The name of the run.
    pub name: String,
    /// The architecture.
    pub model: ModelConfig,
    /// The number of weights.
    pub parameters: usize,
    /// Matrix-product FLOPs of the forward pass over one query of the longest length, nothing shared.
    pub forward_flops: u64,
    /// The seed of the run.
    pub seed: u64,
    /// Training steps done.
    pub steps: u64,
    /// Seconds of training.
    pub seconds: f64,
    /// Whether training has ended.
    pub finished: bool,
    /// The most hops that its curriculum has passed, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learned_hops: Option<usize>,
    /// The stages, and when each was reached.
    pub stages: Vec<StageOutcome>,
    /// Accuracy by split at the last evaluation.
    pub accuracy: BTreeMap<Split, f64>,
    /// Every evaluation.
    pub metrics: Vec<Evaluation>,
}

impl RunSummary {
    /// What the run folder of one of its checkpoints tells.
    ///
    /// # Errors
    /// When the checkpoint is not in a run folder, or a file of the folder is missing or damaged.
    pub fn of(checkpoint: &LoadedCheckpoint) -> Result<Self> {
        Self::read(&checkpoint.path.run, &checkpoint.path.folder, &checkpoint.data)
    }

    /// Reads what there is of the run in `folder`, trained on `data`, under this name.
    ///
    /// # Errors
    /// When `folder` is not a run folder, or a file in it is missing or damaged.
    pub fn read(name: &str, folder: &Path, data: &Dataset) -> Result<Self> {
        let record = RunRecord::read(folder)?;
        let model = record.config.model;
        let vocab = data.vocab.len();
        let reached = |outcome: &&StageOutcome| outcome.reached.is_some();
        let n_reached = record.stages.stages.iter().filter(reached).count();
        Ok(Self {
            name: name.to_owned(),
            parameters: model.parameters(vocab),
            forward_flops: model.forward_flops(vocab, data.longest_row()),
            model,
            seed: record.config.seed,
            steps: record.stages.step,
            seconds: record.stages.seconds,
            finished: record.stages.finished,
            learned_hops: record.config.curriculum.map(|_| Curriculum::learned_hops(n_reached)),
            stages: record.stages.stages,
            accuracy: record
                .metrics
                .last()
                .map(|line| line.accuracy.clone())
                .unwrap_or_default(),
            metrics: record.metrics,
        })
    }
}

/// Runs side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The version of loopscope that made the comparison.
    pub loopscope: String,
    /// The checkpoint of each run that was looked into: its last.
    pub checkpoints: Vec<CheckpointSummary>,
    /// The runs, in the order in which they were named.
    pub runs: Vec<RunSummary>,
    /// The logit lens at these checkpoints.
    pub lens: Report<Lens>,
    /// Activation patching at these checkpoints.
    pub patch: Report<Patch>,
}

/// One stage of one run, as a row of the comparison's table.
#[derive(Serialize)]
struct StageRow<'a> {
    run: &'a str,
    checkpoint_hash: &'a str,
    data_hash: &'a str,
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
    /// The comparison of these very checkpoints with these settings in `folder`, if it is there whole.
    ///
    /// # Errors
    /// As [`ComparisonSettings::resolved`].
    pub fn found(
        settings: &ComparisonSettings,
        folder: &Path,
        checkpoints: &[LoadedCheckpoint],
    ) -> Result<Option<Self>> {
        let wanted = settings.resolved(checkpoints)?;
        let is_wanted = |found: &Self| {
            found.loopscope == env!("CARGO_PKG_VERSION")
                && found
                    .checkpoints
                    .iter()
                    .eq(checkpoints.iter().map(|checkpoint| &checkpoint.info))
                && (&found.lens.settings, found.lens.format) == (&wanted.lens, Lens::FORMAT)
                && (&found.patch.settings, found.patch.format) == (&wanted.patch, Patch::FORMAT)
        };
        Ok(files::read_json(&folder.join("compare.json")).ok().filter(is_wanted))
    }

    /// Writes `compare.json` (all), `compare.csv` (a row a run and stage), and the tables of lens and patching into `folder`.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        self.lens.write_as(folder, "compare-lens")?;
        self.patch.write_as(folder, "compare-patch")?;
        self.write_csv(folder)?;
        files::write_json(&folder.join("compare.json"), self)
    }

    fn write_csv(&self, folder: &Path) -> Result<()> {
        let rows = self.runs.iter().zip(&self.checkpoints).flat_map(|(run, checkpoint)| {
            run.stages.iter().map(move |outcome| StageRow {
                run: &run.name,
                checkpoint_hash: &checkpoint.origin.checkpoint_hash,
                data_hash: &checkpoint.origin.data_hash,
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
                train: run.accuracy.get(&Split::train()).copied(),
                id: run.accuracy.get(&Split::in_distribution()).copied(),
                ood: run.accuracy.get(&Split::ood()).copied(),
            })
        });
        files::write(&folder.join("compare.csv"), &csv(rows)?)
    }
}

/// The last checkpoint of each run, one a run.
///
/// # Errors
/// When one of the checkpoints was named by itself and not with its run, or a run was named twice.
pub fn last_of_each(found: Vec<CheckpointPath>) -> Result<Vec<CheckpointPath>> {
    let mut last: Vec<CheckpointPath> = Vec::new();
    for checkpoint in found {
        if checkpoint.alone {
            return Err(Error::file(
                &checkpoint.path,
                "is a file; a comparison needs run folders",
            ));
        }
        match last.last_mut() {
            Some(of_run) if of_run.run == checkpoint.run => *of_run = checkpoint,
            _ => last.push(checkpoint),
        }
    }
    Ok(last)
}

/// What a comparison looks at.
#[derive(Debug, Clone, PartialEq)]
pub struct ComparisonSettings {
    /// Settings of `lens`.
    pub lens: Lens,
    /// Settings of `patch`.
    pub patch: Patch,
}

impl ComparisonSettings {
    /// The settings with what was left open filled in. Of chains by depth one depth is looked at, the most hops that each
    /// of the runs learned.
    ///
    /// # Errors
    /// When a split does not exist, or the runs' data have none in common that can be used.
    pub fn resolved(&self, checkpoints: &[LoadedCheckpoint]) -> Result<Self> {
        let Self { lens, patch } = self;
        let lens = Lens {
            splits: Wants::OneDepth.splits(&lens.splits, checkpoints)?,
            ..lens.clone()
        };
        let mut patch = patch.clone();
        patch.pairing.resolve(Wants::OneHeldOutDepth, checkpoints)?;
        Ok(Self {
            lens: lens.resolved(checkpoints)?,
            patch: patch.resolved(checkpoints)?,
        })
    }
}

/// Compares runs by their last checkpoints, each run on its own data. `progress` is called while the lens and patching measure.
///
/// # Errors
/// When a run's files are damaged, a setting does not fit, or the device fails.
pub fn compare(
    checkpoints: &[LoadedCheckpoint],
    settings: &ComparisonSettings,
    progress: Option<fn(&Progress)>,
) -> Result<Comparison> {
    let ComparisonSettings { lens, patch } = settings.resolved(checkpoints)?;
    let extras = Extras {
        progress,
        ..Extras::default()
    };
    Ok(Comparison {
        loopscope: env!("CARGO_PKG_VERSION").to_owned(),
        checkpoints: checkpoints.iter().map(|checkpoint| checkpoint.info.clone()).collect(),
        runs: checkpoints.iter().map(RunSummary::of).collect::<Result<_>>()?,
        lens: lens.run_with(extras, checkpoints)?.report,
        patch: patch.run_with(extras, checkpoints)?.report,
    })
}
