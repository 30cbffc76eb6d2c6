//! A lock that another process has left or holds, and how to tell the one from the other.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::Timing;
use super::content::{Content, Holder};
use crate::error::{Error, Result};

/// The file of a lock. While it is open, so may be an advisory lock on it that this process took: of the processes of one
/// machine, one at a time removes the lock of a dead holder.
pub(super) struct Found {
    path: PathBuf,
    file: File,
    pub bytes: Vec<u8>,
    content: Option<Content>,
}

/// What can be said at once about the holder of a lock.
pub(super) enum Life {
    /// A process of this machine has the file locked: the holder, or one that takes its place just now.
    Alive,
    /// It was a process of this machine, which has ended.
    Dead,
    /// Only its heartbeat can tell.
    Unknown,
    /// Another process looks at the file just now.
    Busy,
}

impl Found {
    /// Opens the file; `None` where there is none.
    pub fn open(path: &Path) -> Result<Option<Self>> {
        // Exclusive locks of a network file system need a file that is open for writing.
        match Self::open_with(path, OpenOptions::new().read(true).write(true)) {
            Ok(found) => Ok(Some(found)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::write(path, e)),
        }
    }

    fn open_with(path: &Path, options: &OpenOptions) -> std::io::Result<Self> {
        let mut file = options.open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            content: Content::parse(&bytes),
            bytes,
        })
    }

    /// What can be said at once about the holder of the lock in this file, which is not changed.
    pub fn look_at(path: &Path) -> Option<Holder> {
        let found = Self::open_with(path, OpenOptions::new().read(true)).ok()?;
        // A shared lock: it is in the way of no other process that looks.
        let alive = match found.life_by(&advisory(&found.file, File::try_lock_shared)) {
            Life::Alive => Some(true),
            Life::Dead => Some(false),
            Life::Unknown | Life::Busy => None,
        };
        let content = found.content?;
        Some(Holder {
            process: content.process,
            host: content.host,
            since: content.since,
            heartbeat: content.heartbeat,
            last_heartbeat: found.file.metadata().and_then(|file| file.modified()).ok(),
            alive,
        })
    }

    /// What can be said at once about the holder. Unless it is alive, this process then has the file locked, where that is
    /// possible.
    pub fn life(&self) -> Life {
        let life = self.life_by(&advisory(&self.file, File::try_lock));
        // A holder's lock is exclusive, that of a process that only looks is not.
        if matches!(life, Life::Alive) && advisory(&self.file, File::try_lock_shared).is_ok() {
            return Life::Busy;
        }
        life
    }

    fn life_by(&self, locked: &std::result::Result<(), TryLockError>) -> Life {
        let of_this_machine = || {
            self.content
                .as_ref()
                .is_some_and(|content| content.is_of_this_machine(&self.file))
        };
        match locked {
            Err(TryLockError::WouldBlock) => Life::Alive,
            Ok(()) if of_this_machine() => Life::Dead,
            _ => Life::Unknown,
        }
    }

    /// Watches the file until its heartbeat was silent for as long as only that of a dead holder is; `false` where the file
    /// has become that of another lock, or is gone.
    ///
    /// # Errors
    /// The refusal where there was a heartbeat; [`Error::Interrupted`] when `stop` is set.
    pub fn is_silent(&self, folder: &Path, timing: &Timing, stop: &AtomicBool) -> Result<bool> {
        // Ten looks a heartbeat: a process that waits for the lock finds out soon that its holder lives.
        const LOOKS: u32 = 10;
        tracing::warn!(
            "{}: {}; up to {} of waiting for its heartbeat will show whether it still does",
            folder.display(),
            self.who(),
            humantime::format_duration(timing.silence)
        );
        let began = Instant::now();
        loop {
            // Taken before the look: a process that was itself stopped in between looks once more.
            let elapsed = began.elapsed();
            // Opened anew each time, because a network file system shows what others wrote when a file is opened.
            match fs::read(&self.path) {
                Ok(bytes) if bytes == self.bytes => {}
                Ok(bytes) if token(Content::parse(&bytes).as_ref()) == token(self.content.as_ref()) => {
                    return Err(self.refusal(folder));
                }
                Ok(_) => return Ok(false),
                Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
                Err(e) => return Err(Error::write(&self.path, e)),
            }
            if elapsed >= timing.silence {
                return Ok(true);
            }
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            std::thread::sleep(timing.heartbeat / LOOKS);
        }
    }

    /// The error that names the holder.
    pub fn refusal(&self, folder: &Path) -> Error {
        Error::Locked {
            folder: folder.to_owned(),
            holder: self.who(),
        }
    }

    fn who(&self) -> String {
        self.content
            .as_ref()
            .map_or_else(|| "another process works in it".to_owned(), Content::who)
    }
}

fn token(content: Option<&Content>) -> Option<&String> {
    content?.token.as_ref()
}

// Locks of Windows would keep the holder itself from reading its file.
fn advisory(
    file: &File,
    lock: impl Fn(&File) -> std::result::Result<(), TryLockError>,
) -> std::result::Result<(), TryLockError> {
    if cfg!(unix) {
        lock(file)
    } else {
        Err(TryLockError::Error(ErrorKind::Unsupported.into()))
    }
}
