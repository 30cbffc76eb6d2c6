//! What the heartbeats of holders on other machines tell a process that looks at them several times.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Holder, RunLock};

/// What is known of the life of a holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pulse {
    /// It is on another machine, and was not watched long enough to tell.
    Unknown,
    /// It lives: the operating system says so, or there was a heartbeat.
    Alive,
    /// It has ended: the operating system says so.
    Dead,
    /// It is on another machine, and dead or cut off: there was no heartbeat in a whole period of watching.
    Silent {
        /// The length of that period.
        period: Duration,
    },
}

/// The heartbeats of holders, compared between looks at their folders. One look cannot tell a dead process of another machine
/// from a living one.
#[derive(Debug)]
pub struct HeartbeatWatch {
    period: Duration,
    seen: BTreeMap<PathBuf, Seen>,
}

// A holder since its latest heartbeat that was seen.
#[derive(Debug)]
struct Seen {
    holder: Holder,
    at: Instant,
    has_changed: bool,
}

impl HeartbeatWatch {
    /// Without a heartbeat in this period, in which a living process has two, a holder is shown as silent.
    pub const PERIOD: Duration = RunLock::HEARTBEAT.saturating_mul(2);

    /// Takes holders for silent after `period` without a heartbeat.
    pub fn new(period: Duration) -> Self {
        Self {
            period,
            seen: BTreeMap::new(),
        }
    }

    /// Compares the holder of `folder`, as it was read at the time `now`, with what was seen of that folder before.
    pub fn look(&mut self, folder: &Path, holder: &Holder, now: Instant) -> Pulse {
        if holder.alive.is_some() {
            self.seen.remove(folder);
            return holder.pulse();
        }
        let has_changed = match self.seen.get(folder) {
            Some(seen) if seen.holder.is_at_heartbeat_of(holder) => {
                return if now.duration_since(seen.at) >= self.period {
                    Pulse::Silent { period: self.period }
                } else if seen.has_changed {
                    Pulse::Alive
                } else {
                    Pulse::Unknown
                };
            }
            // The heartbeat of the same holder, or a new holder, which has just taken the lock.
            Some(_) => true,
            None => false,
        };
        let seen = Seen {
            holder: holder.clone(),
            at: now,
            has_changed,
        };
        self.seen.insert(folder.to_owned(), seen);
        if has_changed { Pulse::Alive } else { Pulse::Unknown }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_silent_once_it_had_no_heartbeat_for_a_whole_period_of_watching() {
        let begin = Instant::now();
        let mut watch = HeartbeatWatch::new(Duration::from_secs(20));
        let far = |heartbeat| Holder {
            process: 1,
            host: "far".to_owned(),
            since: "2026-01-01T00:00:00Z".to_owned(),
            heartbeat,
            last_heartbeat: None,
            alive: None,
        };
        let silent = Pulse::Silent {
            period: Duration::from_secs(20),
        };
        let other = Holder { process: 2, ..far(8) };
        for (seconds, holder, expected) in [
            (0, far(7), Pulse::Unknown),
            (19, far(7), Pulse::Unknown),
            (20, far(7), silent),
            (21, far(8), Pulse::Alive),
            (40, far(8), Pulse::Alive),
            (41, far(8), silent),
            // It has just taken the lock.
            (42, other.clone(), Pulse::Alive),
            (62, other, silent),
        ] {
            let now = begin + Duration::from_secs(seconds);
            assert_eq!(watch.look(Path::new("run"), &holder, now), expected, "{seconds} s");
            assert_eq!(
                watch.look(
                    Path::new("here"),
                    &Holder {
                        alive: Some(true),
                        ..far(7)
                    },
                    now
                ),
                Pulse::Alive
            );
        }
    }
}
