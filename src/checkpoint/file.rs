//! One checkpoint: a safetensors file that is enough to load a model.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files;
use crate::graph::Vocab;
use crate::model::{Model, ModelConfig, Weights};

/// The metadata key under which loopscope keeps its own JSON.
const KEY: &str = "loopscope";

/// What a checkpoint says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckpointInfo {
    pub model: ModelConfig,
    /// The number of tokens, `<pad>` included.
    pub vocab_size: usize,
    /// The tokens by id; absent for imported weights whose vocabulary nobody gave.
    #[serde(default)]
    pub vocab: Option<Vec<String>>,
    /// Training steps done.
    pub step: u64,
    /// Passes over the training rows.
    #[serde(default)]
    pub epoch: f64,
    #[serde(default)]
    pub seed: Option<u64>,
    /// Content hash of the training data.
    #[serde(default)]
    pub data_hash: Option<String>,
    /// The most hops that a curriculum had passed (its learnable recursion depth so far).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learned_hops: Option<usize>,
    /// Accuracy by split, at the training iterations.
    #[serde(default)]
    pub accuracy: BTreeMap<String, f64>,
}

/// A checkpoint read from disk.
pub struct Checkpoint {
    pub info: CheckpointInfo,
    pub weights: Weights,
    /// The first 16 digits of the file's SHA-256.
    pub hash: String,
}

impl Checkpoint {
    /// Reads a checkpoint onto `device`.
    ///
    /// # Errors
    /// When the file is missing, truncated, not a loopscope checkpoint, or its tensors do not fit its config.
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

    /// Writes weights with what is known of them; gives the file's hash.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(path: &Path, info: &CheckpointInfo, weights: &Weights) -> Result<String> {
        let named = weights.iter().map(|(name, tensor)| (name.to_owned(), tensor.clone()));
        write_tensors(path, named, info)
    }

    /// The model, ready to run.
    ///
    /// # Errors
    /// When the weights do not fit the config.
    pub fn model(&self) -> Result<Model> {
        Model::new(self.info.model.clone(), self.info.vocab_size, &self.weights)
    }

    /// Checks that the model speaks the data's tokens.
    ///
    /// # Errors
    /// When the vocabularies differ; the message says where.
    pub fn check_vocab(&self, path: &Path, vocab: &Vocab) -> Result<()> {
        if self.info.vocab_size != vocab.len() {
            return Err(Error::file(
                path,
                format!(
                    "its vocabulary has {} tokens, the data's has {}; a model can only be looked at on data with its \
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

/// Writes named tensors with `info` as metadata, whole or not at all; gives the file's hash.
///
/// # Errors
/// When the file cannot be written.
pub fn write_tensors<I: Serialize>(
    path: &Path,
    tensors: impl IntoIterator<Item = (String, Tensor)>,
    info: &I,
) -> Result<String> {
    let fail = |e: &dyn std::fmt::Display| Error::write(path, e);
    let mut data = Vec::new();
    for (name, tensor) in tensors {
        data.push((name, dtype(&tensor)?, tensor.dims().to_vec(), bytes(&tensor)?));
    }
    let views = data
        .iter()
        .map(|(name, dtype, shape, bytes)| {
            Ok((
                name,
                TensorView::new(*dtype, shape.clone(), bytes).map_err(|e| fail(&e))?,
            ))
        })
        .collect::<Result<Vec<_>>>()?;
    let info = serde_json::to_string(info).map_err(|e| fail(&e))?;
    // One key: a second would be written in an order that changes from run to run.
    let metadata = HashMap::from([(KEY.to_owned(), info)]);
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(|e| fail(&e))?;
    files::write(path, &bytes)?;
    Ok(files::short_hash(&bytes))
}

/// All tensors of a safetensors file, on the CPU, with loopscope's metadata where it has any.
///
/// # Errors
/// When the file is missing, truncated or corrupted.
pub fn read_tensors(path: &Path) -> Result<(HashMap<String, Tensor>, Option<String>)> {
    let bytes = files::read(path)?;
    let (tensors, info) = open(path, &bytes)?;
    let read = tensors
        .iter()
        .map(|(name, view)| Ok((name.to_owned(), tensor(path, name, &view, &Device::Cpu)?)));
    Ok((read.collect::<Result<_>>()?, info))
}

fn open<'a>(path: &Path, bytes: &'a [u8]) -> Result<(SafeTensors<'a>, Option<String>)> {
    let corrupt = |e: safetensors::SafeTensorError| {
        Error::file(
            path,
            format!("is no whole safetensors file (truncated or corrupted): {e}"),
        )
    };
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(corrupt)?;
    let info = metadata.metadata().as_ref().and_then(|map| map.get(KEY)).cloned();
    Ok((SafeTensors::deserialize(bytes).map_err(corrupt)?, info))
}

fn tensor(path: &Path, name: &str, view: &TensorView, device: &Device) -> Result<Tensor> {
    use candle_core::safetensors::Load;
    view.load(device)
        .map_err(|e| Error::file(path, format!("the tensor {name} cannot be read: {e}")))
}

fn dtype(tensor: &Tensor) -> Result<safetensors::Dtype> {
    match tensor.dtype() {
        DType::F32 => Ok(safetensors::Dtype::F32),
        DType::I64 => Ok(safetensors::Dtype::I64),
        other => Err(Error::input(format!(
            "tensors of {other:?} are not written; f32 and i64 are"
        ))),
    }
}

fn bytes(tensor: &Tensor) -> Result<Vec<u8>> {
    let flat = tensor.flatten_all()?;
    Ok(match tensor.dtype() {
        DType::I64 => flat.to_vec1::<i64>()?.into_iter().flat_map(i64::to_le_bytes).collect(),
        _ => flat.to_vec1::<f32>()?.into_iter().flat_map(f32::to_le_bytes).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_truncated_or_foreign_file_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let ones = Tensor::ones(3, DType::F32, &Device::Cpu).unwrap();
        write_tensors(&path, [("a".to_owned(), ones)], &"not a checkpoint").unwrap();
        let refused = || Checkpoint::read(&path, &Device::Cpu).err().unwrap().to_string();
        assert!(refused().contains("metadata does not fit"), "{}", refused());
        let bytes = std::fs::read(&path).unwrap();
        for length in 0..bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            assert!(refused().contains("truncated or corrupted"), "{}", refused());
        }
    }
}
