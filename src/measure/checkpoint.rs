//! A loaded checkpoint with the data that it is looked at on, and how results name it.

use std::sync::Arc;

use candle_core::Device;
use serde::{Deserialize, Serialize};

use crate::checkpoint::{CheckpointPath, CheckpointRole};
use crate::error::Result;
use crate::graph::Dataset;
use crate::model::Model;
use crate::train::Seeds;

/// Which checkpoint a row is of, and the data that it was measured on. No two checkpoints of a result share it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The run's name, made unlike every other's by as much of its path as it takes; the checkpoint's where it stands
    /// alone.
    pub run: String,
    /// The stage, or the file's name.
    pub checkpoint: String,
    /// Training steps done.
    pub step: u64,
    /// The first 16 digits of the checkpoint file's SHA-256.
    pub checkpoint_hash: String,
    /// Content hash of the data.
    pub data_hash: String,
}

/// A checkpoint that was looked at, as results name it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckpointSummary {
    /// Run, checkpoint and data.
    #[serde(flatten)]
    pub origin: Origin,
    /// What it is in its run.
    #[serde(default)]
    pub role: CheckpointRole,
    /// The run's seed.
    pub seed: Option<u64>,
    /// The seeds of its initial weights and of training; absent where both are `seed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seeds: Option<Seeds>,
    /// Layers of the recurrent block.
    pub layers: usize,
    /// Iterations in training.
    pub iterations: usize,
    /// The most hops that its curriculum had passed, where it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learned_hops: Option<usize>,
    /// Content hash of the data that it was trained on, where its file tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trained_on: Option<String>,
    /// Of runs that differ in their seeds, put together: their checkpoints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<CheckpointSummary>,
}

impl CheckpointSummary {
    /// Whether a row with this origin is of this checkpoint.
    pub fn owns(&self, origin: &Origin) -> bool {
        self.origin == *origin
    }

    /// The data that it was trained on, where that is known and is not the data that it is looked at on.
    pub fn trained_elsewhere(&self) -> Option<&str> {
        self.trained_on.as_deref().filter(|&hash| hash != self.origin.data_hash)
    }

    /// That it is looked at on other data than it was trained on, for notes.
    pub fn other_data(&self) -> Option<String> {
        let trained_on = self.trained_elsewhere()?;
        let (name, looked_at) = (self.name(), &self.origin.data_hash);
        Some(format!(
            "{name} was trained on data {trained_on}; it is looked at on data {looked_at}"
        ))
    }

    /// `RUN CHECKPOINT`, for notes.
    pub fn name(&self) -> String {
        format!("{} {}", self.origin.run, self.origin.checkpoint)
    }
}

/// A checkpoint, loaded, with the data that it is looked at on.
pub struct LoadedCheckpoint {
    /// How results name it.
    pub info: CheckpointSummary,
    /// Where it was read from.
    pub path: CheckpointPath,
    /// The model.
    pub model: Model,
    /// The data that it is measured on.
    pub data: Arc<Dataset>,
}

impl LoadedCheckpoint {
    /// Loads a checkpoint and checks it against the data.
    ///
    /// # Errors
    /// When it cannot be read, or its vocabulary is not the data's.
    pub fn load(path: &CheckpointPath, data: &Arc<Dataset>, device: &Device) -> Result<Self> {
        let checkpoint = path.load(device)?;
        checkpoint.check_vocab(&path.path, &data.vocab)?;
        let info = CheckpointSummary {
            origin: Origin {
                run: path.run.clone(),
                checkpoint: path.label.clone(),
                step: checkpoint.info.step,
                checkpoint_hash: checkpoint.hash.clone(),
                data_hash: data.hash.clone(),
            },
            role: path.role,
            seed: checkpoint.info.seed,
            seeds: checkpoint.info.seeds,
            layers: checkpoint.info.model.layers,
            iterations: checkpoint.info.model.iterations,
            learned_hops: checkpoint.info.learned_hops,
            trained_on: checkpoint.info.data_hash.clone(),
            members: Vec::new(),
        };
        // Said before the work begins, which may take long or fail for this very reason.
        if let Some(warning) = info.other_data() {
            tracing::warn!("{warning}");
        }
        Ok(Self {
            info,
            path: path.clone(),
            model: checkpoint.model()?,
            data: data.clone(),
        })
    }
}

/// The distinct data sets of the checkpoints, in the order in which they come.
pub fn data_sets(checkpoints: &[LoadedCheckpoint]) -> Vec<&Dataset> {
    let mut found: Vec<&Dataset> = Vec::new();
    for checkpoint in checkpoints {
        if found.iter().all(|data| data.hash != checkpoint.data.hash) {
            found.push(&checkpoint.data);
        }
    }
    found
}
