//! Reading files whole and writing them whole: a reader never sees half a file.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// The bytes of `path`.
///
/// # Errors
/// When the file is missing or cannot be read; the message names it.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::file(path, "no such file"),
        _ => Error::file(path, format!("cannot be read ({e})")),
    })
}

/// The text of `path`.
///
/// # Errors
/// When the file is missing, cannot be read, or is not UTF-8.
pub fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(read(path)?).map_err(|_| Error::file(path, "is not UTF-8 text"))
}

/// The value that the JSON file `path` holds.
///
/// # Errors
/// When the file cannot be read or does not fit the type; the message has line and column.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_slice(&read(path)?).map_err(|e| Error::file(path, format!("bad JSON: {e}")))
}

/// Writes `bytes` to `path` whole or not at all: a temporary file in the same folder, synced, then renamed.
///
/// # Errors
/// When the folder cannot be made or written; whatever stood at `path` is then unharmed.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |file| file.write_all(bytes))
}

/// As [`write()`], of what `f` writes.
///
/// # Errors
/// As [`write()`].
pub fn write_with(path: &Path, f: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    create_folder(folder)?;
    let fail = |e: std::io::Error| Error::write(path, e);
    let file = tempfile::Builder::new()
        .prefix(".writing-")
        .tempfile_in(folder)
        .map_err(fail)?;
    let mut buffered = BufWriter::new(file.as_file());
    f(&mut buffered).map_err(fail)?;
    buffered.flush().map_err(fail)?;
    drop(buffered);
    file.as_file().sync_all().map_err(fail)?;
    make_readable(file.path()).map_err(fail)?;
    file.persist(path).map_err(|e| fail(e.error))?;
    sync_folder(folder);
    Ok(())
}

/// Writes `value` as indented JSON, whole or not at all.
///
/// # Errors
/// As [`write()`].
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value).map_err(|e| Error::write(path, e))?;
    text.push('\n');
    write(path, text.as_bytes())
}

/// Makes `folder` and its parents where they are missing.
///
/// # Errors
/// When that is not possible.
pub fn create_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|e| Error::write(folder, e))
}

/// The first 16 hexadecimal digits of the SHA-256 of `bytes`: how data and checkpoints are named in results.
pub fn short_hash(bytes: &[u8]) -> String {
    hex16(Sha256::new().chain_update(bytes))
}

/// As [`short_hash`], of what the hasher has been fed.
pub fn hex16(hasher: Sha256) -> String {
    let digest = hasher.finalize();
    let first = digest
        .iter()
        .take(8)
        .fold(0_u64, |number, &byte| number << 8 | u64::from(byte));
    format!("{first:016x}")
}

// A temporary file is private by default; a finished one has the permissions of any new file.
#[cfg(unix)]
fn make_readable(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn make_readable(_: &Path) -> std::io::Result<()> {
    Ok(())
}

// The rename itself is durable only once the folder is; where a folder cannot be synced, nothing better exists.
fn sync_folder(folder: &Path) {
    if let Ok(handle) = fs::File::open(folder) {
        let _ = handle.sync_all();
    }
}
