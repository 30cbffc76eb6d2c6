//! One checkpoint: a safetensors file that is enough to load a model. Every safetensors file of ours holds a SHA-256 of its
//! content, which is checked whenever the file is read.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result, sentence};
use crate::files;
use crate::graph::{Split, Vocab};
use crate::model::{Model, ModelConfig, Weights};

/// The metadata key under which loopscope keeps its own JSON.
const KEY: &str = "loopscope";

/// The format of the files that are written here: 2 has a digest. Files without a format were written before and have none.
const FORMAT: u64 = 2;

/// Stands in the place of the digest while the digest is computed.
const NO_DIGEST: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The metadata of a file of ours. Format and digest stand at opposite ends, so that damage in one place cannot make the
/// file look like one that was written before there were digests.
#[derive(Serialize)]
struct Sealed<'a, I> {
    format: u64,
    #[serde(flatten)]
    info: &'a I,
    sha256: &'a str,
}

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
    pub accuracy: BTreeMap<Split, f64>,
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
    /// When the file cannot be written, or a number in `info` is not finite.
    pub fn write(path: &Path, info: &CheckpointInfo, weights: &Weights) -> Result<String> {
        expect_readable(path, info)?;
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

/// Checks that `info` can be read back once it is written: JSON has no numbers that are not finite.
///
/// # Errors
/// When it cannot.
pub(super) fn expect_readable<I: Serialize + DeserializeOwned>(path: &Path, info: &I) -> Result<()> {
    serde_json::to_string(info)
        .and_then(|text| serde_json::from_str::<I>(&text))
        .map(|_| ())
        .map_err(|e| Error::write(path, format!("its metadata could not be read back ({e})")))
}

/// Writes named tensors with `info`, a struct or map, as metadata, whole or not at all; gives the file's hash.
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
    let sealed = |sha256: &str| {
        let format = FORMAT;
        serde_json::to_string(&Sealed { format, info, sha256 }).map_err(|e| fail(&e))
    };
    let digest = digest(
        &sealed(NO_DIGEST)?,
        views.iter().map(|(name, view)| (name.as_str(), view)),
    );
    // One key: a second would be written in an order that changes from run to run.
    let metadata = HashMap::from([(KEY.to_owned(), sealed(&digest)?)]);
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(|e| fail(&e))?;
    files::write(path, &bytes)?;
    Ok(files::short_hash(&bytes))
}

/// All tensors of a safetensors file, on the CPU, with loopscope's metadata where it has any.
///
/// # Errors
/// When the file is missing, truncated or corrupted, or is one of ours and not what was written.
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
    let tensors = SafeTensors::deserialize(bytes).map_err(corrupt)?;
    let mut texts = metadata.metadata().iter().flatten();
    let ours = metadata.metadata().as_ref().and_then(|map| map.get_key_value(KEY));
    let Some((key, info)) = ours.or_else(|| texts.find(|(_, text)| is_sealed(text))) else {
        return Ok((tensors, None));
    };
    check_digest(info, &tensors).map_err(|reason| Error::file(path, reason))?;
    if key != KEY {
        return Err(Error::file(
            path,
            damaged(&format!("the key `{KEY}` of its metadata has become `{key}`")),
        ));
    }
    Ok((tensors, Some(info.clone())))
}

// The SHA-256 of the metadata and of every tensor's name, type, shape and bytes, in the order of the names: all that a file
// means, however its header is spelled.
fn digest<'a>(metadata: &str, tensors: impl IntoIterator<Item = (&'a str, &'a TensorView<'a>)>) -> String {
    let mut hasher = Sha256::new();
    // Lengths keep apart what would run together.
    let mut feed = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    feed(metadata.as_bytes());
    for (name, view) in tensors.into_iter().collect::<BTreeMap<_, _>>() {
        feed(name.as_bytes());
        feed(view.dtype().to_string().as_bytes());
        let shape: Vec<u8> = view
            .shape()
            .iter()
            .flat_map(|&length| (length as u64).to_le_bytes())
            .collect();
        feed(&shape);
        feed(view.data());
    }
    files::hex(hasher)
}

fn damaged(what: &str) -> String {
    format!("is damaged: {what}. Restore it from a copy, or make it again")
}

// Whether a text is metadata that was written here, whatever its key has become.
fn is_sealed(text: &str) -> bool {
    let is_digest = |value: &serde_json::Value| {
        let digits = value.as_str().unwrap_or_default();
        digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    };
    serde_json::from_str::<serde_json::Value>(text).is_ok_and(|fields| {
        fields.get("format").is_some_and(serde_json::Value::is_u64) && fields.get("sha256").is_some_and(is_digest)
    })
}

// Checks the digest in our metadata, where there is one.
fn check_digest(info: &str, tensors: &SafeTensors) -> std::result::Result<(), String> {
    let fields: serde_json::Value =
        serde_json::from_str(info).map_err(|e| damaged(&format!("its `{KEY}` metadata is not JSON ({e})")))?;
    let (format, sha256) = (fields.get("format"), fields.get("sha256"));
    if format.is_none() && sha256.is_none() {
        return Ok(());
    }
    let (Some(format), Some(sha256)) = (
        format.and_then(serde_json::Value::as_u64),
        sha256.and_then(serde_json::Value::as_str),
    ) else {
        return Err(damaged("its metadata has no format or no SHA-256"));
    };
    let views = tensors.tensors();
    let content = info.replacen(sha256, NO_DIGEST, 1);
    if digest(&content, views.iter().map(|(name, view)| (name.as_str(), view))) != sha256 {
        return Err(damaged("its content does not have the SHA-256 that its metadata says"));
    }
    if format > FORMAT {
        return Err(format!(
            "has format {format}, of a later version of loopscope; this one reads up to {FORMAT}"
        ));
    }
    Ok(())
}

fn tensor(path: &Path, name: &str, view: &TensorView, device: &Device) -> Result<Tensor> {
    use candle_core::safetensors::Load;
    if elements(view.shape()).is_none() {
        return Err(Error::file(
            path,
            format!("the tensor {name} has the absurd shape {:?}", view.shape()),
        ));
    }
    view.load(device)
        .map_err(|e| Error::file(path, format!("the tensor {name} cannot be read: {}", sentence(&e))))
}

/// The number of elements of a tensor of this shape; `None` where it overflows, or where the other lengths do beside one
/// of 0: strides are products of them all the same.
pub(super) fn elements(shape: &[usize]) -> Option<usize> {
    let largest = shape
        .iter()
        .try_fold(1_usize, |n, &length| n.checked_mul(length.max(1)))?;
    Some(if shape.contains(&0) { 0 } else { largest })
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
        write_tensors(
            &path,
            [("a".to_owned(), ones)],
            &HashMap::from([("not", "a checkpoint")]),
        )
        .unwrap();
        let refused = || Checkpoint::read(&path, &Device::Cpu).err().unwrap().to_string();
        assert!(refused().contains("metadata does not fit"), "{}", refused());
        let bytes = std::fs::read(&path).unwrap();
        for length in 0..bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            assert!(refused().contains("truncated or corrupted"), "{}", refused());
        }
    }

    #[test]
    fn any_flipped_bit_of_a_file_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let numbers = Tensor::arange(0_f32, 6.0, &Device::Cpu)
            .unwrap()
            .reshape((2, 3))
            .unwrap();
        let tensors = [("a".to_owned(), numbers.clone()), ("b".to_owned(), numbers)];
        write_tensors(&path, tensors, &HashMap::from([("step", 7)])).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for place in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[place] ^= 1 << bit;
                assert!(open(&path, &bytes).is_err(), "bit {bit} of byte {place}");
            }
        }
    }

    #[test]
    fn what_could_not_be_read_back_is_not_written() {
        let path = Path::new("never.safetensors");
        let text = expect_readable(path, &f64::NAN).unwrap_err().to_string();
        assert!(
            text.contains("never.safetensors") && text.contains("read back"),
            "{text}"
        );
        expect_readable(path, &1.5).unwrap();
    }
}
