//! PyTorch checkpoints (`.pt`): a zip of a pickle and tensors. Nothing in a pickle is executed.

use std::collections::HashMap;
use std::io::BufReader;
use std::path::Path;

use candle_core::Tensor;
use candle_core::pickle::{self, Object, Stack};

use super::import::list;
use crate::error::{Error, Result, sentence};
use crate::files;

/// The key of the published checkpoints under which their tensors are.
pub(super) const KEY: &str = "model_state_dict";

/// The tensors of a checkpoint: those under [`KEY`], or else those at the top, as in a bare state dictionary.
///
/// # Errors
/// When the file is missing or cannot be read.
pub(super) fn read(path: &Path) -> Result<HashMap<String, Tensor>> {
    // Says that a missing file is missing before the zip reader says something else.
    files::read(path)?;
    let read = |key| pickle::read_all_with_key(path, key);
    let all = match read(Some(KEY)) {
        Ok(all) if !all.is_empty() => all,
        _ => read(None).map_err(|e| unreadable(path, &sentence(&e)))?,
    };
    Ok(all.into_iter().collect())
}

/// The keys of a checkpoint, with the number of keys and a few of them where one is a dictionary.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn outline(path: &Path) -> Result<String> {
    let wrong = |e: &dyn std::fmt::Display| unreadable(path, e);
    let file = std::fs::File::open(path).map_err(|e| wrong(&e))?;
    let mut zip = zip::ZipArchive::new(BufReader::new(file)).map_err(|e| wrong(&e))?;
    let names = zip.file_names().filter_map(std::result::Result::ok);
    let name = names
        .map(std::borrow::Cow::into_owned)
        .find(|name| name.ends_with("data.pkl"))
        .ok_or_else(|| wrong(&"it has no data.pkl"))?;
    let mut reader = BufReader::new(zip.by_name(&name).map_err(|e| wrong(&e))?);
    let mut stack = Stack::empty();
    stack.read_loop(&mut reader).map_err(|e| wrong(&sentence(&e)))?;
    let Object::Dict(items) = stack.finalize().map_err(|e| wrong(&sentence(&e)))? else {
        return Ok("no dictionary".to_owned());
    };
    let told = items.iter().map(|(key, value)| match value {
        Object::Dict(inner) => {
            let keys = sorted(inner.iter().map(|(key, _)| text(key)));
            format!("{} (a dictionary of {}: {})", text(key), keys.len(), list(&keys, 3))
        }
        _ => text(key),
    });
    Ok(list(&sorted(told), 20))
}

// candle does not keep the order of a dictionary.
fn sorted(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names
}

fn text(key: &Object) -> String {
    match key {
        Object::Unicode(text) => text.clone(),
        Object::Int(number) => number.to_string(),
        _ => "a key that is not text".to_owned(),
    }
}

fn unreadable(path: &Path, reason: &dyn std::fmt::Display) -> Error {
    Error::file(
        path,
        format!("is not a PyTorch checkpoint that can be read (a zip of a pickle and tensors): {reason}"),
    )
}
