//! Safetensors files with a digest: the SHA-256 of metadata and tensors, which is checked whenever a file is read.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result, sentence};
use crate::files;

/// The metadata key of the JSON that loopscope writes.
pub(super) const KEY: &str = "loopscope";

/// The version of the file format. Version 2 has a digest; files without a version have none.
const FORMAT: u64 = 2;

/// Takes the place of the digest while the digest is computed.
const NO_DIGEST: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The metadata of a file with its digest. Format and digest are at opposite ends, so that damage at one of them cannot
/// make the file look like one that was written before there were digests.
#[derive(Serialize)]
struct WithDigest<'a, I> {
    format: u64,
    #[serde(flatten)]
    info: &'a I,
    sha256: &'a str,
}

/// Checks that `info` could be read back from a file: JSON has only finite numbers.
///
/// # Errors
/// When it cannot.
pub(super) fn expect_readable<I: Serialize + DeserializeOwned>(path: &Path, info: &I) -> Result<()> {
    serde_json::to_string(info)
        .and_then(|text| serde_json::from_str::<I>(&text))
        .map(|_| ())
        .map_err(|e| Error::write(path, format!("its metadata could not be read back ({e})")))
}

/// Writes named tensors (f32 or i64) and `info`, a struct or map, as a safetensors file with a digest. The file appears
/// whole or not at all. Gives the first 16 hexadecimal digits of the SHA-256 of the file.
///
/// # Errors
/// When a tensor has another type, or the file cannot be written.
pub fn write_tensors<I: Serialize>(
    path: &Path,
    tensors: impl IntoIterator<Item = (String, Tensor)>,
    info: &I,
) -> Result<String> {
    let bytes = tensor_file(path, tensors, info)?;
    files::write(path, &bytes)?;
    Ok(files::short_hash(&bytes))
}

/// The bytes of the file that [`write_tensors`] writes. `path` is for the messages.
///
/// # Errors
/// When a tensor has another type than f32 or i64.
pub(super) fn tensor_file<I: Serialize>(
    path: &Path,
    tensors: impl IntoIterator<Item = (String, Tensor)>,
    info: &I,
) -> Result<Vec<u8>> {
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
    let metadata = |sha256: &str| with_digest(info, sha256).map_err(|e| fail(&e));
    let digest = digest(
        &metadata(NO_DIGEST)?,
        views.iter().map(|(name, view)| (name.as_str(), view)),
    );
    // A second key would be written in an order that changes from run to run.
    let header = HashMap::from([(KEY.to_owned(), metadata(&digest)?)]);
    safetensors::serialize(views, Some(header)).map_err(|e| fail(&e))
}

// The metadata of a file as JSON.
fn with_digest<I: Serialize>(info: &I, sha256: &str) -> serde_json::Result<String> {
    let format = FORMAT;
    serde_json::to_string(&WithDigest { format, info, sha256 })
}

/// The bytes of the metadata of a file: a text of JSON inside JSON.
///
/// # Errors
/// When a number in it is not finite.
pub(super) fn metadata_bytes<I: Serialize>(info: &I) -> Result<usize> {
    let text = with_digest(info, NO_DIGEST).map_err(Error::failed)?;
    let header = HashMap::from([(KEY, text)]);
    Ok(serde_json::to_string(&header).map_err(Error::failed)?.len())
}

/// Reads all tensors of a safetensors file onto the CPU, and the JSON that loopscope wrote beside them, where there is any.
///
/// # Errors
/// When the file is missing, truncated or corrupted, or its content does not have its digest.
pub fn read_tensors(path: &Path) -> Result<(HashMap<String, Tensor>, Option<String>)> {
    let bytes = files::read(path)?;
    let (tensors, info) = open(path, &bytes)?;
    let read = tensors
        .iter()
        .map(|(name, view)| Ok((name.to_owned(), tensor(path, name, &view, &Device::Cpu)?)));
    Ok((read.collect::<Result<_>>()?, info))
}

// Parses a file and checks its digest, where it has one; gives its tensors and the JSON of loopscope.
pub(super) fn open<'a>(path: &Path, bytes: &'a [u8]) -> Result<(SafeTensors<'a>, Option<String>)> {
    let corrupt = |e: safetensors::SafeTensorError| {
        Error::file(
            path,
            format!("is not a whole safetensors file (truncated or corrupted): {e}"),
        )
    };
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(corrupt)?;
    let tensors = SafeTensors::deserialize(bytes).map_err(corrupt)?;
    let mut texts = metadata.metadata().iter().flatten();
    let ours = metadata.metadata().as_ref().and_then(|map| map.get_key_value(KEY));
    let Some((key, info)) = ours.or_else(|| texts.find(|(_, text)| has_digest(text))) else {
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

// The SHA-256 of the metadata and of name, type, shape and bytes of every tensor, in the order of the names. It does not
// depend on how the header of the file is formatted.
fn digest<'a>(metadata: &str, tensors: impl IntoIterator<Item = (&'a str, &'a TensorView<'a>)>) -> String {
    let mut hasher = Sha256::new();
    // The length comes first, so that no two lists of parts have the same bytes.
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

// The message for a damaged file.
fn damaged(what: &str) -> String {
    format!("is damaged: {what}. Restore it from a copy, or make it again")
}

// Whether a text is metadata with a digest. Damage may have changed its key.
fn has_digest(text: &str) -> bool {
    let is_digest = |value: &serde_json::Value| {
        let digits = value.as_str().unwrap_or_default();
        digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    };
    serde_json::from_str::<serde_json::Value>(text).is_ok_and(|fields| {
        fields.get("format").is_some_and(serde_json::Value::is_u64) && fields.get("sha256").is_some_and(is_digest)
    })
}

// Checks the digest in the metadata, where there is one.
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

// One tensor of a file, on `device`.
pub(super) fn tensor(path: &Path, name: &str, view: &TensorView, device: &Device) -> Result<Tensor> {
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

/// The number of elements of a tensor of this shape; `None` where the product of the lengths that are not 0 overflows,
/// because strides are such products too.
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
            "tensors of {other:?} cannot be written; allowed: f32, i64"
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
    use super::super::Checkpoint;
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
        for index in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[index] ^= 1 << bit;
                assert!(open(&path, &bytes).is_err(), "bit {bit} of byte {index}");
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
