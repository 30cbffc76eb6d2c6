//! The content of `run.lock`: which process holds the lock, how others know its lock from another, and its heartbeat.

use std::fmt;
use std::fs::File;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::Pulse;

// The characters of the heartbeat's counter, which is padded with spaces on the left: those of the largest `u64`.
const WIDTH: usize = 20;
// What follows the counter.
const END: &str = "}\n";

/// The process that holds the lock of a folder, as far as this process can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its process number on its host.
    pub process: u32,
    /// The name of its host.
    pub host: String,
    /// Since when it has the lock by its own clock: UTC, in the form of RFC 3339.
    pub since: String,
    /// The count of its heartbeats so far. A counter that grows is that of a living process.
    pub heartbeat: u64,
    /// When its file was last written, by the clock of the file system, where that tells it. It is for people: clocks are never
    /// compared.
    pub last_heartbeat: Option<SystemTime>,
    /// Whether it is alive: known of a process of this machine, `None` of one on another machine, which its heartbeat alone
    /// tells.
    pub alive: Option<bool>,
}

impl Holder {
    /// What one look tells of its life.
    pub fn pulse(&self) -> Pulse {
        match self.alive {
            Some(true) => Pulse::Alive,
            Some(false) => Pulse::Dead,
            None => Pulse::Unknown,
        }
    }

    /// The process in words, with what is known of its life.
    pub fn describe(&self, pulse: Pulse) -> String {
        match pulse {
            Pulse::Unknown => format!("{self}, unless it died there"),
            Pulse::Alive => self.to_string(),
            Pulse::Dead => format!("{self}, which has ended"),
            Pulse::Silent { period } => {
                let since = self.last_heartbeat.map_or_else(String::new, |time| {
                    format!(" since {}", humantime::format_rfc3339_seconds(time))
                });
                let period = humantime::format_duration(period);
                format!("{self}; silent{since}: no heartbeat in {period} of watching")
            }
        }
    }

    /// Whether `other` is the same process, and no heartbeat was between the two.
    pub(super) fn is_at_heartbeat_of(&self, other: &Self) -> bool {
        // The time of a file may be another where nothing was written, as when it was moved to another file system.
        let last_heartbeat = self.last_heartbeat;
        *self
            == Self {
                last_heartbeat,
                ..other.clone()
            }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "process {} on {} since {}", self.process, self.host, self.since)
    }
}

/// What a holder writes into `run.lock`. Versions that had no heartbeat wrote the first three fields.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Content {
    pub process: u32,
    pub host: String,
    pub since: String,
    /// The machine whose kernel knows, by an advisory lock, whether the holder lives; absent where the file system has no
    /// such locks.
    #[serde(default)]
    machine: Option<String>,
    /// Distinguishes this lock from every other one.
    #[serde(default)]
    pub token: Option<String>,
    /// Written by `text` alone, with a fixed width.
    #[serde(default, skip_serializing)]
    pub heartbeat: u64,
}

impl Content {
    /// Of a lock that this process is about to take by way of `file`; `advisory`: whether it has the file locked.
    pub fn new(token: &str, file: &File, advisory: bool) -> Self {
        Self {
            process: std::process::id(),
            host: host(),
            since: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            machine: machine(file).filter(|_| advisory),
            token: Some(token.to_owned()),
            heartbeat: 0,
        }
    }

    /// The content of a file; `None` where it is not that of a lock.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// The JSON of the file, with the heartbeat at its end.
    pub fn text(&self) -> serde_json::Result<String> {
        let mut text = serde_json::to_string(self)?;
        text.pop();
        Ok(format!("{text},\"heartbeat\":{}{END}", counter(self.heartbeat)))
    }

    /// Whether an advisory lock on `file`, the file of this content, is known to the kernel that this process runs on.
    pub fn is_of_this_machine(&self, file: &File) -> bool {
        match (&self.token, &self.machine) {
            // A version without heartbeats, which always had its file locked.
            (None, _) => self.host == host(),
            (Some(_), of_holder) => of_holder.is_some() && *of_holder == machine(file),
        }
    }

    /// Who holds the lock, for people.
    pub fn who(&self) -> String {
        let Self {
            process, host, since, ..
        } = self;
        format!("process {process} on {host} works in it since {since}")
    }
}

/// Where in a file of this length the heartbeat's counter is.
pub(super) fn counter_offset(length: usize) -> u64 {
    (length - WIDTH - END.len()) as u64
}

/// The heartbeat's counter as it is written. Digits never move to the left, so a reader that sees a part of the old number
/// and a part of the new one still reads a number, and one that is not the old one.
pub(super) fn counter(heartbeat: u64) -> String {
    format!("{heartbeat:WIDTH$}")
}

fn host() -> String {
    hostname::get().map_or_else(
        |_| "an unknown host".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

// The kernel that keeps the advisory locks of `file`: its boot on Linux, elsewhere the host, and the number that it gives the
// file system. Two mounts of one network file system have two numbers, and need not know of each other's locks.
#[cfg(unix)]
fn machine(file: &File) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let kernel = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_else(|_| host());
    Some(format!("{} device {}", kernel.trim(), file.metadata().ok()?.dev()))
}

// Where the locks of the operating system keep others from reading a file, none is taken.
#[cfg(not(unix))]
fn machine(_: &File) -> Option<String> {
    None
}
