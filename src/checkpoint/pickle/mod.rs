//! PyTorch checkpoints (`.pt`): a zip of a pickle and of storages, the numbers that tensors are views of. Nothing in a
//! pickle is executed, and no size in it is trusted: a tensor is made only of bytes that are in the file.

mod machine;

use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::path::Path;

use candle_core::{DType, Device, Layout, Shape, Tensor};
use zip::ZipArchive;

use self::machine::{Id, Parsed, Pickle, Value};
use super::tensors::elements;
use crate::error::{Error, Result, sentence};
use crate::files;
use crate::wording::listed;

/// The key of the published checkpoints under which their tensors are.
pub(super) const KEY: &str = "model_state_dict";

/// The tensors of a checkpoint: those under [`KEY`], or else those at the top, as in a bare state dictionary.
///
/// # Errors
/// When the file is missing or cannot be read.
pub(super) fn read(path: &Path) -> Result<HashMap<String, Tensor>> {
    let bytes = files::read(path)?;
    let unreadable = |reason: String| unreadable(path, &reason);
    let mut archive = Archive::open(&bytes).map_err(unreadable)?;
    let code = archive.code().map_err(unreadable)?;
    let pickle = Pickle::load(&code).map_err(unreadable)?;
    let nested = pickle
        .items(pickle.top())
        .find(|&(key, _)| pickle.text(key) == Some(KEY));
    if let Some((_, nested)) = nested {
        let tensors = archive.tensors(&pickle, nested).map_err(unreadable)?;
        if !tensors.is_empty() {
            return Ok(tensors);
        }
    }
    archive.tensors(&pickle, pickle.top()).map_err(unreadable)
}

/// The keys of a checkpoint, with the number of keys and a few of them where one is a dictionary.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn outline(path: &Path) -> Result<String> {
    let bytes = files::read(path)?;
    let unreadable = |reason: String| unreadable(path, &reason);
    let code = Archive::open(&bytes)
        .and_then(|mut archive| archive.code())
        .map_err(unreadable)?;
    let pickle = Pickle::load(&code).map_err(unreadable)?;
    if !matches!(pickle.get(pickle.top()), Value::Dict(_)) {
        return Ok("no dictionary".to_owned());
    }
    let name = |key: Id| match pickle.get(key) {
        Value::Text(text) => (*text).to_owned(),
        Value::Int(number) => number.to_string(),
        _ => "a key that is not text".to_owned(),
    };
    let keys = pickle.items(pickle.top()).map(|(key, value)| match pickle.get(value) {
        Value::Dict(inner) => {
            let keys = sorted(inner.iter().map(|&(key, _)| name(key)));
            format!("{} (a dictionary of {}: {})", name(key), keys.len(), listed(&keys, 3))
        }
        _ => name(key),
    });
    Ok(listed(&sorted(keys), 20))
}

fn sorted(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names
}

fn unreadable(path: &Path, reason: &dyn std::fmt::Display) -> Error {
    Error::file(
        path,
        format!("is not a PyTorch checkpoint that can be read (a zip of a pickle and tensors): {reason}"),
    )
}

// The zip file, with the storages that were read so far.
struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    // Where the pickle is; the storages are in a folder `data` beside it.
    pickle: String,
    // Flat, by name and type. Tensors share them, as in PyTorch, so that many views of one take no more memory.
    storages: HashMap<(String, DType), Tensor>,
}

impl<'a> Archive<'a> {
    fn open(bytes: &'a [u8]) -> Parsed<Self> {
        let zip = ZipArchive::new(Cursor::new(bytes)).map_err(|e| e.to_string())?;
        let names = zip.file_names().filter_map(std::result::Result::ok);
        let pickle = names
            .map(std::borrow::Cow::into_owned)
            .find(|name| name.ends_with("data.pkl"))
            .ok_or("it has no data.pkl")?;
        Ok(Self {
            zip,
            pickle,
            storages: HashMap::new(),
        })
    }

    fn code(&mut self) -> Parsed<Vec<u8>> {
        let name = self.pickle.clone();
        self.entry(&name)
    }

    fn entry(&mut self, name: &str) -> Parsed<Vec<u8>> {
        let mut bytes = Vec::new();
        let wrong = |e: &dyn std::fmt::Display| format!("{name}: {e}");
        let mut entry = self.zip.by_name(name).map_err(|e| wrong(&e))?;
        entry.read_to_end(&mut bytes).map_err(|e| wrong(&e))?;
        Ok(bytes)
    }

    // The tensors among the values of a dictionary.
    fn tensors(&mut self, pickle: &Pickle, dictionary: Id) -> Parsed<HashMap<String, Tensor>> {
        let mut tensors = HashMap::new();
        for (key, value) in pickle.items(dictionary) {
            let Some(name) = pickle.text(key) else {
                continue;
            };
            let wrong = |reason: String| format!("the tensor {name}: {reason}");
            if let Some(view) = View::of(pickle, value).map_err(wrong)? {
                if let Some(dtype) = dtype_of(view.kind) {
                    let tensor = self.tensor(&view, dtype).map_err(wrong)?;
                    tensors.insert(name.to_owned(), tensor);
                } else {
                    // Masks that older code registered as buffers are of bytes that mean nothing here.
                    tracing::warn!("the tensor {name} is left out: a {} is not read", view.kind);
                }
            }
        }
        Ok(tensors)
    }

    fn tensor(&mut self, view: &View, dtype: DType) -> Parsed<Tensor> {
        let wrong = |e: candle_core::Error| sentence(&e);
        let elements = elements(&view.shape).ok_or_else(|| format!("has the absurd shape {:?}", view.shape))?;
        let storage = self.storage(view.storage, dtype)?;
        let count = storage.elem_count();
        if view.offset.checked_add(elements).is_none_or(|end| end > count) {
            return Err(format!(
                "has shape {:?} from index {} on, but its storage {} has {count} numbers",
                view.shape, view.offset, view.storage
            ));
        }
        let flat = storage.narrow(0, view.offset, elements).map_err(wrong)?;
        let layout = Layout::new(Shape::from(view.shape.clone()), view.strides.clone(), 0);
        if elements == 0 || layout.is_contiguous() {
            return flat.reshape(view.shape.as_slice()).map_err(wrong);
        }
        if !layout.is_fortran_contiguous() {
            return Err(format!(
                "has shape {:?} in strides {:?}; only contiguous tensors, or transposed ones, are read",
                view.shape, view.strides
            ));
        }
        let reversed: Vec<usize> = view.shape.iter().rev().copied().collect();
        let axes: Vec<usize> = (0..reversed.len()).rev().collect();
        flat.reshape(reversed).and_then(|t| t.permute(axes)).map_err(wrong)
    }

    fn storage(&mut self, name: &str, dtype: DType) -> Parsed<Tensor> {
        let key = (name.to_owned(), dtype);
        if let Some(known) = self.storages.get(&key) {
            return Ok(known.clone());
        }
        let folder = self.pickle.strip_suffix(".pkl").unwrap_or_default();
        let bytes = self.entry(&format!("{folder}/{name}"))?;
        let count = bytes.len() / dtype.size_in_bytes();
        let whole = &bytes[..count * dtype.size_in_bytes()];
        let storage = Tensor::from_raw_buffer(whole, dtype, &[count], &Device::Cpu).map_err(|e| sentence(&e))?;
        self.storages.insert(key, storage.clone());
        Ok(storage)
    }
}

// The type of the numbers in a storage, by the name of its class in PyTorch.
fn dtype_of(kind: &str) -> Option<DType> {
    Some(match kind {
        "FloatStorage" => DType::F32,
        "DoubleStorage" => DType::F64,
        "HalfStorage" => DType::F16,
        "BFloat16Storage" => DType::BF16,
        "ByteStorage" => DType::U8,
        "LongStorage" => DType::I64,
        _ => return None,
    })
}

// What a pickle says of a tensor: a view of a storage.
struct View<'a> {
    storage: &'a str,
    // The storage's class.
    kind: &'a str,
    // In elements, as are the strides.
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl<'a> View<'a> {
    // The tensor that `value` rebuilds; `None` where it rebuilds something else.
    fn of(pickle: &Pickle<'a>, value: Id) -> Parsed<Option<Self>> {
        let mut call = pickle.get(value);
        // A parameter holds a tensor, which holds no parameter.
        for _ in 0..2 {
            let Value::Call { callable, arguments } = call else {
                return Ok(None);
            };
            let arguments = pickle.sequence(*arguments).unwrap_or_default();
            let argument = |i: usize| arguments.get(i).copied().ok_or("it lacks arguments");
            match pickle.get(*callable) {
                Value::Global("torch._utils", "_rebuild_tensor_v2") => {
                    return Self::of_arguments(pickle, arguments).map(Some);
                }
                Value::Global("torch._utils", "_rebuild_parameter") => call = pickle.get(argument(0)?),
                // Arguments: function, type, arguments of the function, state.
                Value::Global("torch._tensor", "_rebuild_from_type_v2") => {
                    let is_tensor = matches!(
                        pickle.get(argument(0)?),
                        Value::Global("torch._utils", "_rebuild_tensor_v2")
                    );
                    let inner = pickle.sequence(argument(2)?).unwrap_or_default();
                    return if is_tensor {
                        Self::of_arguments(pickle, inner).map(Some)
                    } else {
                        Ok(None)
                    };
                }
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    // Arguments: storage, offset, shape, strides; what follows is not about its numbers.
    fn of_arguments(pickle: &Pickle<'a>, arguments: &[Id]) -> Parsed<Self> {
        let [storage, offset, shape, strides, ..] = *arguments else {
            return Err("it lacks arguments".to_owned());
        };
        let number = |id: Id| match pickle.get(id) {
            Value::Int(n) => usize::try_from(*n).map_err(|_| format!("{n} is not a size")),
            _ => Err("a size is not a number".to_owned()),
        };
        let numbers = |id: Id| -> Parsed<Vec<usize>> {
            let ids = pickle.sequence(id).ok_or("its shape is not a tuple")?;
            ids.iter().map(|&id| number(id)).collect()
        };
        // Its identity: "storage", class, key, device, number of elements.
        let identity = match pickle.get(storage) {
            Value::Persistent(id) => pickle.sequence(*id),
            _ => None,
        };
        let Some([_, class, key, ..]) = identity else {
            return Err("it has no storage".to_owned());
        };
        let (Value::Global(_, kind), Some(storage)) = (pickle.get(*class), pickle.text(*key)) else {
            return Err("its storage has no class or no key".to_owned());
        };
        let (shape, strides) = (numbers(shape)?, numbers(strides)?);
        if shape.len() != strides.len() {
            return Err(format!("has {} lengths but {} strides", shape.len(), strides.len()));
        }
        Ok(Self {
            storage,
            kind: *kind,
            offset: number(offset)?,
            shape,
            strides,
        })
    }
}
