//! The lock of a run folder: at most one process trains in it at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

const LOCK: &str = "run.lock";
// An attempt fails only where another process removes the file between opening and locking it.
const MAX_TRIES: usize = 10_000;

/// An exclusive lock on a run folder. It ends when it is dropped, or when the process ends, however it ends.
///
/// It is an advisory lock of the operating system (`flock` on Unix) on the file `run.lock`, which names the process for
/// people to read. A file that a killed process left behind does not lock the folder.
#[derive(Debug)]
pub struct RunLock {
    path: PathBuf,
    // The lock lives as long as this handle.
    file: File,
}

/// The content of `run.lock`: the process that holds the lock.
#[derive(Debug, Serialize, Deserialize)]
struct Holder {
    process: u32,
    host: String,
    /// UTC, in the form of RFC 3339.
    since: String,
}

impl Holder {
    fn this_process() -> Self {
        let host = hostname::get().map_or_else(
            |_| "an unknown host".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        );
        Self {
            process: std::process::id(),
            host,
            since: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        }
    }
}

impl RunLock {
    /// Locks the run folder `folder`, which must exist.
    ///
    /// # Errors
    /// When another process (or this one) trains in the folder, which the message names; when the file of the lock cannot
    /// be written.
    pub fn acquire(folder: &Path) -> Result<Self> {
        let path = folder.join(LOCK);
        let fail = |e: std::io::Error| Error::write(&path, e);
        for _ in 0..MAX_TRIES {
            if path.is_symlink() {
                return Err(Error::file(&path, "is a symbolic link, which is not a lock; remove it"));
            }
            // The content belongs to the holder until this process has the lock.
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .map_err(fail)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(refusal(folder, &mut file)),
                Err(TryLockError::Error(e)) => return Err(fail(e)),
            }
            // The last holder may have removed the file between the opening and the locking.
            if is_at(&file, &path) {
                let text = serde_json::to_string(&Holder::this_process()).map_err(|e| fail(e.into()))?;
                file.set_len(0).map_err(fail)?;
                writeln!(file, "{text}").map_err(fail)?;
                return Ok(Self { path, file });
            }
        }
        Err(Error::write(
            &path,
            "it was replaced or removed whenever it was locked, so the run folder cannot be locked",
        ))
    }
}

impl RunLock {
    /// Checks that this process still has the lock: its file was not removed or replaced.
    ///
    /// # Errors
    /// When it was, so that another process may train in the folder.
    pub fn check(&self) -> Result<()> {
        if is_at(&self.file, &self.path) {
            return Ok(());
        }
        Err(Error::failed(format!(
            "{} was removed or replaced, so another process may train in this folder; this one stops and writes nothing more",
            self.path.display()
        )))
    }
}

impl Drop for RunLock {
    // The file is removed while it is still locked: a process that has opened it meanwhile finds by `is_at` that it is
    // gone. The file of another process is left alone.
    fn drop(&mut self) {
        if cfg!(unix) && is_at(&self.file, &self.path) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn refusal(folder: &Path, file: &mut File) -> Error {
    let mut text = String::new();
    let holder = file
        .read_to_string(&mut text)
        .ok()
        .and_then(|_| serde_json::from_str::<Holder>(&text).ok());
    let who = match holder {
        Some(Holder { process, host, since }) => format!("process {process} on {host} works in it since {since}"),
        // It has locked the file and not yet written its name.
        None => "another process works in it".to_owned(),
    };
    Error::file(
        folder,
        format!("{who}; nothing was changed. Wait for that process or stop it, or choose another --out"),
    )
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), path.metadata()) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

// Where the file is not removed, it is always the one that was opened.
#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_holds_the_lock_and_gets_it_when_that_one_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let lock = RunLock::acquire(folder.path()).unwrap();
        let text = RunLock::acquire(folder.path()).unwrap_err().to_string();
        let process = format!("process {} on ", std::process::id());
        assert!(text.contains(&process) && text.contains(" since 2"), "{text}");
        drop(lock);
        assert!(cfg!(not(unix)) || !folder.path().join(LOCK).exists());
        RunLock::acquire(folder.path()).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_lock_whose_file_was_removed_is_lost_and_leaves_that_of_the_next_holder_alone() {
        let folder = tempfile::tempdir().unwrap();
        let lost = RunLock::acquire(folder.path()).unwrap();
        lost.check().unwrap();
        std::fs::remove_file(folder.path().join(LOCK)).unwrap();
        let next = RunLock::acquire(folder.path()).unwrap();
        assert!(
            lost.check()
                .unwrap_err()
                .to_string()
                .contains("another process may train")
        );
        drop(lost);
        next.check().unwrap();
        RunLock::acquire(folder.path()).unwrap_err();
    }

    #[cfg(unix)]
    #[test]
    fn a_symbolic_link_is_no_lock_and_what_it_leads_to_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join("precious");
        std::fs::write(&other, "mine").unwrap();
        std::os::unix::fs::symlink(&other, folder.path().join(LOCK)).unwrap();
        let text = RunLock::acquire(folder.path()).unwrap_err().to_string();
        assert!(text.contains(LOCK) && text.contains("symbolic link"), "{text}");
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "mine");
    }

    #[test]
    fn a_file_that_a_killed_process_left_behind_locks_nothing() {
        let folder = tempfile::tempdir().unwrap();
        // Longer than what a holder writes of itself.
        std::fs::write(folder.path().join(LOCK), "what was left ".repeat(100)).unwrap();
        let _lock = RunLock::acquire(folder.path()).unwrap();
        let text = std::fs::read_to_string(folder.path().join(LOCK)).unwrap();
        assert!(serde_json::from_str::<Holder>(&text).is_ok(), "{text}");
    }

    #[test]
    fn of_many_threads_that_take_turns_one_holds_the_lock_at_a_time() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let folder = tempfile::tempdir().unwrap();
        let (holders, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while taken.load(Ordering::SeqCst) < 100 {
                        let Ok(lock) = RunLock::acquire(folder.path()) else {
                            continue;
                        };
                        assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                        // Lets the others try while this one holds it.
                        std::thread::yield_now();
                        taken.fetch_add(1, Ordering::SeqCst);
                        holders.fetch_sub(1, Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
    }
}
