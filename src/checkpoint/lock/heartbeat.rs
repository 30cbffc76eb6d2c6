//! The heartbeat of a lock: a thread that shows the processes of other machines that the holder lives.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use super::content::counter;

/// A thread that advances the counter in the holder's own open file. It ends when this is dropped.
///
/// It never goes by the name of the file, which may be that of a successor's lock.
#[derive(Debug)]
pub(super) struct Heartbeat {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<File>>,
}

impl Heartbeat {
    /// Starts the thread, which writes to `file` at `offset` once every `period`.
    pub fn start(file: File, offset: u64, period: Duration) -> std::io::Result<Self> {
        let (end, ended) = mpsc::channel();
        let beats = move || {
            let mut heartbeat = 1;
            while ended.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
                // The folder may be read-only for a while, or the disk full. Training continues: the next heartbeat may
                // succeed, and before every write the holder checks that the lock is still its own.
                match beat(&file, offset, heartbeat) {
                    Ok(()) => heartbeat += 1,
                    Err(error) => tracing::info!("a heartbeat of the lock could not be written: {error}"),
                }
            }
            file
        };
        let thread = std::thread::Builder::new().name("run lock".to_owned()).spawn(beats)?;
        Ok(Self {
            end: Some(end),
            thread: Some(thread),
        })
    }

    /// Ends the thread; gives the file, with which the advisory lock ends.
    pub fn end(&mut self) -> Option<File> {
        self.end.take();
        self.thread.take()?.join().ok()
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.end();
    }
}

fn beat(mut file: &File, offset: u64, heartbeat: u64) -> std::io::Result<()> {
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(counter(heartbeat).as_bytes())?;
    file.sync_data()
}
