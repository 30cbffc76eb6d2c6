//! Files that are read whole and written atomically: no reader ever sees a part of a file.

mod near;

use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

pub use near::near;

use crate::error::{Error, Result};

// The beginning of the names of files that are being written.
const PREFIX: &str = ".writing-";
// The same of files that only the holder of a folder's lock writes.
const LOCKED_PREFIX: &str = ".writing-locked-";

/// The bytes of `path`.
///
/// # Errors
/// When the file is missing or cannot be read; the message names it.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::file(path, format!("no such file{}", near(path))),
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

/// Writes `bytes` to `path` atomically: into a temporary file in the same folder, which is synced and then renamed. A
/// symbolic link is followed. A new file has the default permissions (the umask applies), an old one keeps its own.
///
/// # Errors
/// When the folder cannot be made or written, or there is something at `path` that is not a file. What was there is
/// unchanged then.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |file| file.write_all(bytes))
}

/// As [`write()`], of what `f` writes.
///
/// # Errors
/// As [`write()`].
pub fn write_with(path: &Path, f: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<()> {
    let target = target(path)?;
    create_folder(parent(&target))?;
    write_checked(path, &target, PREFIX, f, || Ok(()))
}

/// As [`write()`], for a folder in which one process at a time may write: `check` says whether this one still may. It is
/// called when everything is written and synced, right before the rename. The temporary file has a name that
/// [`remove_unfinished`] knows.
///
/// # Errors
/// As [`write()`], and those of `check`; what was there is unchanged then.
pub fn write_locked(path: &Path, bytes: &[u8], check: impl FnOnce() -> Result<()>) -> Result<()> {
    write_checked(path, &target(path)?, LOCKED_PREFIX, |file| file.write_all(bytes), check)
}

/// Removes the temporary files of [`write_locked`] that other processes have left in `folder`. Only the process that has
/// just locked the folder may do so: the writers of these files are dead, or have lost the lock, and the rename of one that
/// still runs then fails.
///
/// A file that cannot be removed stays: it has no name that anything reads.
pub fn remove_unfinished(folder: &Path) {
    for path in unfinished(folder) {
        let _ = fs::remove_file(path);
    }
}

/// Whether there are temporary files of [`write_locked`] in `folder`.
pub fn has_unfinished(folder: &Path) -> bool {
    unfinished(folder).next().is_some()
}

fn unfinished(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_unfinished = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(LOCKED_PREFIX);
    entries.filter(is_unfinished).map(|entry| entry.path())
}

/// A new temporary file in `folder` with a name that [`remove_unfinished`] knows.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn locked_temporary_file(folder: &Path) -> Result<NamedTempFile> {
    temporary_file(folder, LOCKED_PREFIX, None).map_err(|e| Error::write(folder, plain(e)))
}

// Writes to `target`, in a folder that is there; `path` is what the message names.
fn write_checked(
    path: &Path,
    target: &Path,
    prefix: &str,
    f: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
    check: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let fail = |e: std::io::Error| Error::write(path, e);
    let folder = parent(target);
    let old = fs::metadata(target).ok();
    if old.as_ref().is_some_and(|old| !old.is_file()) {
        return Err(Error::write(path, "what is there is not a regular file"));
    }
    let permissions = old.map(|old| old.permissions());
    let file = temporary_file(folder, prefix, permissions.as_ref()).map_err(|e| fail(plain(e)))?;
    let mut buffered = BufWriter::new(file.as_file());
    f(&mut buffered).map_err(fail)?;
    buffered.flush().map_err(fail)?;
    drop(buffered);
    file.as_file().sync_all().map_err(fail)?;
    if let Some(permissions) = permissions {
        fs::set_permissions(file.path(), permissions).map_err(fail)?;
    }
    check()?;
    file.persist(target).map_err(|e| fail(e.error))?;
    sync_folder(folder);
    Ok(())
}

/// Writes `bytes` to `path` as [`write()`] does, unless there is something already; gives whether it was written. Of several
/// processes that try at once one succeeds, on network file systems too.
///
/// # Errors
/// When the folder cannot be made or written.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<bool> {
    let fail = |e: std::io::Error| Error::write(path, e);
    let folder = parent(path);
    create_folder(folder)?;
    let mut file = temporary_file(folder, PREFIX, None).map_err(|e| fail(plain(e)))?;
    file.write_all(bytes).map_err(fail)?;
    file.as_file().sync_all().map_err(fail)?;
    match file.persist_noclobber(path) {
        Ok(_) => {
            sync_folder(folder);
            Ok(true)
        }
        Err(e) if e.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(fail(e.error)),
    }
}

/// Writes `value` as indented JSON, whole or not at all.
///
/// # Errors
/// As [`write()`].
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    write(path, &json(path, value)?)
}

/// The bytes that [`write_json`] writes. `path` is for the message.
///
/// # Errors
/// When `value` cannot be written as JSON.
pub fn json<T: Serialize>(path: &Path, value: &T) -> Result<Vec<u8>> {
    let mut text = serde_json::to_string_pretty(value).map_err(|e| Error::write(path, e))?;
    text.push('\n');
    Ok(text.into_bytes())
}

/// Makes `folder` and its parents where they are missing.
///
/// # Errors
/// When that is not possible.
pub fn create_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|e| Error::write(folder, e))
}

/// The first 16 hexadecimal digits of the SHA-256 of `bytes`: the name of data and checkpoints in results.
pub fn short_hash(bytes: &[u8]) -> String {
    hex16(Sha256::new().chain_update(bytes))
}

/// As [`short_hash`], of the input of the hasher.
pub fn hex16(hasher: Sha256) -> String {
    let mut digits = hex(hasher);
    digits.truncate(16);
    digits
}

/// The 64 hexadecimal digits of the SHA-256 of the input of the hasher.
pub fn hex(hasher: Sha256) -> String {
    format!("{:x}", hasher.finalize())
}

fn parent(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

// The path at the end of the symbolic links that begin at `path`; nothing need be there.
fn target(path: &Path) -> Result<PathBuf> {
    // The limit of Linux.
    const MAX_LINKS: usize = 40;
    let mut at = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(to) = fs::read_link(&at) else {
            return Ok(at);
        };
        at = at.parent().unwrap_or(Path::new("")).join(to);
    }
    Err(Error::write(path, "too many levels of symbolic links"))
}

// A temporary file is private by default; this one begins with at most these permissions, or those of any new file.
#[cfg(unix)]
fn temporary_file(
    folder: &Path,
    prefix: &str,
    permissions: Option<&fs::Permissions>,
) -> std::io::Result<NamedTempFile> {
    use std::os::unix::fs::PermissionsExt;
    let any_new_file = fs::Permissions::from_mode(0o666);
    tempfile::Builder::new()
        .prefix(prefix)
        .permissions(permissions.cloned().unwrap_or(any_new_file))
        .tempfile_in(folder)
}

#[cfg(not(unix))]
fn temporary_file(folder: &Path, prefix: &str, _: Option<&fs::Permissions>) -> std::io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(prefix).tempfile_in(folder)
}

// An error of `temporary_file` without the random name of the temporary file, which says nothing to a user.
fn plain(error: std::io::Error) -> std::io::Error {
    match error.to_string().split_once(" at path ") {
        Some((reason, _)) => std::io::Error::new(error.kind(), reason.to_owned()),
        None => error,
    }
}

// The rename itself is durable only once the folder is; where a folder cannot be synced, nothing better exists.
fn sync_folder(folder: &Path) {
    if let Ok(handle) = fs::File::open(folder) {
        let _ = handle.sync_all();
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_new_file_has_the_mode_of_any_new_file_and_an_old_one_keeps_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::File::create(path("plain")).unwrap();
        write(&path("written"), b"1").unwrap();
        assert_eq!(mode(&path("written")), mode(&path("plain")));
        for kept in [0o600, 0o640, 0o666, 0o444] {
            fs::set_permissions(path("written"), fs::Permissions::from_mode(kept)).unwrap();
            write(&path("written"), b"2").unwrap();
            assert_eq!(mode(&path("written")), kept, "{kept:o}");
        }
    }

    #[test]
    fn a_link_is_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("elsewhere")).unwrap();
        fs::write(path("elsewhere/target"), "old").unwrap();
        symlink("elsewhere/target", path("link")).unwrap();
        symlink(path("link"), path("link to link")).unwrap();
        symlink("elsewhere/new", path("dangling")).unwrap();
        write(&path("link to link"), b"new").unwrap();
        write(&path("dangling"), b"new").unwrap();
        for link in ["link", "link to link", "dangling"] {
            assert!(path(link).is_symlink(), "{link}");
            assert_eq!(fs::read(path(link)).unwrap(), b"new", "{link}");
        }
        symlink("circle", path("circle")).unwrap();
        let refused = write(&path("circle"), b"new").unwrap_err().to_string();
        assert!(refused.contains("circle: too many levels"), "{refused}");
    }

    #[test]
    fn what_is_not_a_regular_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let refused = write(folder.path(), b"new").unwrap_err().to_string();
        assert!(refused.contains("is not a regular file"), "{refused}");
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(write(&socket, b"new").is_err());
        assert!(!socket.is_file());
    }

    #[test]
    fn what_a_check_refuses_is_not_written_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept");
        fs::write(&path, "old").unwrap();
        let refused = write_locked(&path, b"new", || Err(Error::failed("not yours"))).unwrap_err();
        assert_eq!(refused.to_string(), "not yours");
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        write_locked(&path, b"new", || Ok(())).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    }

    #[test]
    fn the_file_of_a_writer_that_paused_after_its_check_is_removed_and_never_takes_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        // Of a writer that needs no lock, and may still be at it.
        fs::write(at(".writing-abc123"), "a figure").unwrap();
        fs::write(at("kept"), "old").unwrap();
        let paused = write_locked(&at("kept"), b"late", || {
            remove_unfinished(folder.path());
            write_locked(&at("kept"), b"of the next", || Ok(()))
        });
        let text = paused.unwrap_err().to_string();
        assert!(text.contains("cannot write") && text.contains("kept"), "{text}");
        assert_eq!(fs::read_to_string(at("kept")).unwrap(), "of the next");
        assert!(at(".writing-abc123").exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_folder_that_is_gone_is_named_without_the_name_of_a_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gone/kept");
        let text = write_locked(&path, b"new", || Ok(())).unwrap_err().to_string();
        assert!(
            text.starts_with(&format!("cannot write {}: No such file", path.display())),
            "{text}"
        );
        assert!(!text.contains(PREFIX) && !folder.path().join("gone").exists(), "{text}");
    }
}
