//! One checkpoint: a safetensors file that is enough to load a model.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device};
use serde::{Deserialize, Serialize};

use super::tensors::{KEY, expect_readable, open, tensor, tensor_file};
use crate::error::{Error, Result};
use crate::files;
use crate::graph::{Split, Vocab};
use crate::model::{Model, ModelConfig, Weights};
use crate::train::Seeds;

/// The metadata of a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckpointInfo {
    /// The architecture.
    pub model: ModelConfig,
    /// The number of tokens in the vocabulary, `<pad>` included.
    pub vocab_size: usize,
    /// The tokens by id; absent for weights that were imported without their vocabulary.
    #[serde(default)]
    pub vocab: Option<Vec<String>>,
    /// Training steps done.
    pub step: u64,
    /// Passes over the training rows done.
    #[serde(default)]
    pub epoch: f64,
    /// The seed of the run; absent for imported weights.
    #[serde(default)]
    pub seed: Option<u64>,
    /// The seeds of its initial weights and of training; absent where both are `seed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seeds: Option<Seeds>,
    /// The content hash of the training data; absent for imported weights.
    #[serde(default)]
    pub data_hash: Option<String>,
    /// The learnable recursion depth: the longest chains, in hops, that the curriculum had passed; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learned_hops: Option<usize>,
    /// Accuracy by split at the training iterations, from 0 to 1.
    #[serde(default)]
    pub accuracy: BTreeMap<Split, f64>,
}

impl CheckpointInfo {
    /// Of a model that no run of loopscope trained: at step 0, without a seed, data or accuracies.
    pub fn of_model(model: ModelConfig, vocab_size: usize, vocab: Option<Vec<String>>) -> Self {
        Self {
            model,
            vocab_size,
            vocab,
            step: 0,
            epoch: 0.0,
            seed: None,
            seeds: None,
            data_hash: None,
            learned_hops: None,
            accuracy: BTreeMap::new(),
        }
    }
}

/// A checkpoint: metadata and weights of a model, in one safetensors file.
pub struct Checkpoint {
    /// The metadata.
    pub info: CheckpointInfo,
    /// The weights, in f32.
    pub weights: Weights,
    /// The first 16 hexadecimal digits of the SHA-256 of the file.
    pub hash: String,
}

impl Checkpoint {
    /// Reads a checkpoint onto `device`.
    ///
    /// # Errors
    /// When the file is missing, truncated, damaged or not a loopscope checkpoint, or its tensors do not fit its config.
    pub fn read(path: &Path, device: &Device) -> Result<Self> {
        let bytes = files::read(path)?;
        let (tensors, info) = open(path, &bytes)?;
        let info: CheckpointInfo = match info {
            Some(text) => serde_json::from_str(&text)
                .map_err(|e| Error::file(path, format!("its `{KEY}` metadata does not fit: {e}")))?,
            None => {
                return Err(Error::file(
                    path,
                    format!(
                        "is a safetensors file without `{KEY}` metadata; bring other people's weights in with \
                         `loopscope import`"
                    ),
                ));
            }
        };
        info.model.check().map_err(|e| Error::file(path, e))?;
        if let Some(vocab) = &info.vocab
            && vocab.len() != info.vocab_size
        {
            return Err(Error::file(
                path,
                format!("lists {} tokens but says that it has {}", vocab.len(), info.vocab_size),
            ));
        }
        let weights = Weights::gather(&info.model, info.vocab_size, |name| match tensors.tensor(name) {
            Ok(view) => Ok(Some(tensor(path, name, &view, device)?.to_dtype(DType::F32)?)),
            Err(_) => Ok(None),
        })
        .map_err(|e| Error::file(path, e))?;
        Ok(Self {
            info,
            weights,
            hash: files::short_hash(&bytes),
        })
    }

    /// Writes a checkpoint, whole or not at all; gives its hash, as in [`Checkpoint::hash`].
    ///
    /// # Errors
    /// When the file cannot be written, or a number in `info` is not finite.
    pub fn write(path: &Path, info: &CheckpointInfo, weights: &Weights) -> Result<String> {
        let bytes = Self::to_bytes(path, info, weights)?;
        files::write(path, &bytes)?;
        Ok(files::short_hash(&bytes))
    }

    /// The bytes of the file that [`Checkpoint::write`] writes. `path` is for the messages.
    ///
    /// # Errors
    /// When a number in `info` is not finite.
    pub(super) fn to_bytes(path: &Path, info: &CheckpointInfo, weights: &Weights) -> Result<Vec<u8>> {
        expect_readable(path, info)?;
        let named = weights.iter().map(|(name, tensor)| (name.to_owned(), tensor.clone()));
        tensor_file(path, named, info)
    }

    /// Makes the model, ready to run.
    ///
    /// # Errors
    /// When the weights do not fit the config.
    pub fn model(&self) -> Result<Model> {
        Model::new(self.info.model.clone(), self.info.vocab_size, &self.weights)
    }

    /// Checks that the vocabulary of the model is that of the data. `path` is the checkpoint's, for the message.
    ///
    /// # Errors
    /// When the vocabularies differ; the message says where.
    pub fn check_vocab(&self, path: &Path, vocab: &Vocab) -> Result<()> {
        if self.info.vocab_size != vocab.len() {
            return Err(Error::file(
                path,
                format!(
                    "its vocabulary has {} tokens, the data's has {}; a model can only be measured on data with its \
                     own vocabulary",
                    self.info.vocab_size,
                    vocab.len()
                ),
            ));
        }
        let differs = self
            .info
            .vocab
            .iter()
            .flatten()
            .zip(vocab.tokens())
            .enumerate()
            .find(|(_, (ours, theirs))| ours != theirs);
        match differs {
            None => Ok(()),
            Some((id, (ours, theirs))) => Err(Error::file(
                path,
                format!(
                    "its vocabulary is not the data's: token {id} is {ours} in the checkpoint, {theirs} in the data"
                ),
            )),
        }
    }
}
