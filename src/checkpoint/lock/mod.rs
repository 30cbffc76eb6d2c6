//! The lock of a run folder: at most one process trains in it at a time, on one machine or on several that share the folder.

mod content;
mod found;
mod heartbeat;
mod pulse;
#[cfg(test)]
mod tests;

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

pub use content::Holder;
pub use pulse::{HeartbeatWatch, Pulse};

use content::{Content, counter_offset};
use found::{Found, Life};
use heartbeat::Heartbeat;

use crate::error::{Error, Result};
use crate::files;

const LOCK: &str = "run.lock";
// An attempt fails only where another process makes or removes the file at the same moment.
const MAX_TRIES: usize = 10_000;

/// An exclusive lock on a run folder. It ends when it is dropped, or when the process ends, however it ends.
///
/// It is the file `run.lock`, which is created exclusively and names its holder. Two things say whether the holder lives: an
/// advisory lock of the operating system (`flock` on Unix), which ends with the process and is known to the processes of the
/// same machine; and a heartbeat, a counter in the file that a thread of the holder advances every 10 seconds. Another
/// process takes the folder over at once where the advisory lock is free and the holder was on the same machine; otherwise
/// when it has seen no heartbeat for 60 seconds of its own monotonic clock. Wall clocks are never compared.
///
/// # What a holder that lost the lock can still do
/// A process that was silent but alive (stopped by a signal, cut off from the network) has lost the lock without knowing.
/// [`RunLock::check`] says so, and every file of a run folder is checked right before its rename
/// ([`files::write_locked`](crate::files::write_locked)). A process that pauses between that check and the rename fails as
/// well, because the successor removes its temporary file. What remains is a network file system that shows the successor
/// an old list of the folder's files. Then one file of the lost holder may replace the successor's: a checkpoint with the same
/// bits; an older state, from which a resume trains to the same bits again; or older metrics, which a resume that would
/// miss lines refuses.
#[derive(Debug)]
pub struct RunLock {
    path: PathBuf,
    token: String,
    heartbeat: Heartbeat,
}

// How often the holder shows that it lives, and after which silence it is taken for dead.
struct Timing {
    heartbeat: Duration,
    silence: Duration,
}

// Six heartbeats in a row are missed before a holder is taken for dead: one that is late, because a network file system is
// busy, is not.
const TIMING: Timing = Timing {
    heartbeat: Duration::from_secs(10),
    silence: Duration::from_mins(1),
};

impl RunLock {
    /// Locks the run folder `folder`, which must exist. Where the holder was on another machine, it waits up to a minute to
    /// see whether that is alive.
    ///
    /// # Errors
    /// When another process (or this one) has the lock: [`Error::Locked`], which names it; when the file of the lock cannot be
    /// written.
    pub fn acquire(folder: &Path) -> Result<Self> {
        Self::acquire_unless(folder, &AtomicBool::new(false))
    }

    /// As [`RunLock::acquire`], but the wait ends once `stop` is set.
    ///
    /// # Errors
    /// Those of [`RunLock::acquire`], and [`Error::Interrupted`].
    pub fn acquire_unless(folder: &Path, stop: &AtomicBool) -> Result<Self> {
        Self::acquire_with(folder, &TIMING, stop)
    }

    fn acquire_with(folder: &Path, timing: &Timing, stop: &AtomicBool) -> Result<Self> {
        let path = folder.join(LOCK);
        for _ in 0..MAX_TRIES {
            if path.is_symlink() {
                return Err(Error::file(&path, "is a symbolic link, which is not a lock; remove it"));
            }
            let Some(found) = Found::open(&path)? else {
                if let Some(lock) = Self::publish(folder, timing)? {
                    files::remove_unfinished(folder);
                    return Ok(lock);
                }
                continue;
            };
            let dead = match found.life() {
                Life::Alive => return Err(found.refusal(folder)),
                Life::Dead => true,
                Life::Unknown => found.is_silent(folder, timing, stop)?,
                Life::Busy => {
                    std::thread::yield_now();
                    false
                }
            };
            if dead {
                remove(&path, |bytes| bytes == found.bytes)?;
            }
        }
        Err(Error::write(
            &path,
            "it was replaced or removed whenever it was locked, so the run folder cannot be locked",
        ))
    }

    // Creates the file of the lock with all of its content at once; `None` where there is one already.
    fn publish(folder: &Path, timing: &Timing) -> Result<Option<Self>> {
        let path = folder.join(LOCK);
        let fail = |e: std::io::Error| Error::write(&path, e);
        // An identity, no part of an experiment: no seed decides it.
        let token = format!("{:032x}", rand::random::<u128>());
        let file = files::locked_temporary_file(folder)?;
        // No other process sees the file without the advisory lock. There are file systems without such locks.
        let advisory = cfg!(unix) && file.as_file().try_lock().is_ok();
        let content = Content::new(&token, file.as_file(), advisory);
        let text = content.text().map_err(|e| fail(e.into()))?;
        file.as_file().write_all(text.as_bytes()).map_err(fail)?;
        file.as_file().sync_all().map_err(fail)?;
        // A clone has the same advisory lock.
        let handle = file.as_file().try_clone().map_err(fail)?;
        let heartbeat = Heartbeat::start(handle, counter_offset(text.len()), timing.heartbeat).map_err(fail)?;
        let lock = Self { path, token, heartbeat };
        match file.persist_noclobber(&lock.path) {
            Ok(_) => Ok(Some(lock)),
            // A network file system may have carried out a request whose answer was lost.
            Err(_) if lock.is_in_place().is_ok_and(|ours| ours) => Ok(Some(lock)),
            // The temporary file is missing where another process has just locked the folder.
            Err(e) if matches!(e.error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) => Ok(None),
            Err(e) => Err(Error::write(&lock.path, e.error)),
        }
    }

    /// How often a holder advances its heartbeat.
    pub const HEARTBEAT: Duration = TIMING.heartbeat;

    /// Removes what a dead process has left in `folder`, whose run has ended: its lock and its temporary files. They
    /// stay where it is not known at once that the holder is dead.
    pub fn remove_left(folder: &Path) {
        if Self::living_holder(folder).is_none() && (folder.join(LOCK).is_file() || files::has_unfinished(folder)) {
            // The next holder removes it, this process or another one.
            let _ = Self::acquire_unless(folder, &AtomicBool::new(true));
        }
    }

    /// Who holds the lock of `folder`, without taking it or waiting; `None` where there is none, or its file cannot be read.
    pub fn holder(folder: &Path) -> Option<Holder> {
        Found::look_at(&folder.join(LOCK))
    }

    /// As [`RunLock::holder`]; `None` also where that process is known to be dead.
    pub fn living_holder(folder: &Path) -> Option<Holder> {
        Self::holder(folder).filter(|holder| holder.pulse() != Pulse::Dead)
    }

    /// Checks that this process still has the lock: its file was not removed or replaced.
    ///
    /// # Errors
    /// When it was, so that another process may train in the folder: [`Error::LockLost`]; when the file cannot be read.
    pub fn check(&self) -> Result<()> {
        match self.is_in_place() {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::LockLost(format!(
                "{} was removed or replaced, so another process may train in this folder; this one stops and writes nothing \
                 more",
                self.path.display()
            ))),
            Err(e) => Err(Error::failed(format!(
                "{} cannot be read ({e}), so another process may train in this folder; this one stops and writes nothing more",
                self.path.display()
            ))),
        }
    }

    // Whether the file at the path of the lock is that of this lock.
    fn is_in_place(&self) -> std::io::Result<bool> {
        match fs::read(&self.path) {
            Ok(bytes) => Ok(self.wrote(&bytes)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    // Whether this is the content of this lock's file.
    fn wrote(&self, bytes: &[u8]) -> bool {
        Content::parse(bytes).is_some_and(|content| content.token.as_ref() == Some(&self.token))
    }
}

impl Drop for RunLock {
    // The advisory lock ends after the file is removed: until then no other process takes it for that of a dead one.
    fn drop(&mut self) {
        let _file = self.heartbeat.end();
        let _ = remove(&self.path, |bytes| self.wrote(bytes));
    }
}

// Removes the file of a lock, where its content is the one that is meant.
fn remove(path: &Path, is_meant: impl Fn(&[u8]) -> bool) -> Result<()> {
    // Makes it rare that the lock of another process, which has just appeared, is moved away.
    match fs::read(path) {
        Ok(bytes) if is_meant(&bytes) => move_away(path, is_meant),
        Ok(_) => Ok(()),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::write(path, e)),
    }
}

// Moves the file of a lock to a name of its own, which one process alone can do, and deletes it there. A lock that was not
// meant is put back. Where another process has locked the folder in that moment, it is not put back: its holder has then
// lost it.
fn move_away(path: &Path, is_meant: impl Fn(&[u8]) -> bool) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let aside = files::locked_temporary_file(folder)?.into_temp_path();
    match fs::rename(path, &aside) {
        Ok(()) => {}
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::write(path, e)),
    }
    if !fs::read(&aside).is_ok_and(|bytes| is_meant(&bytes)) {
        let _ = aside.persist_noclobber(path);
    }
    Ok(())
}
