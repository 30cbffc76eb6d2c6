//! What this machine is, as far as the system says, and a clock that stands still while other processes have the core.

use std::fs;
use std::time::{Duration, Instant};

/// The name of the CPU, as in `AMD EPYC`; of another system than Linux that of its instruction set.
pub(crate) fn cpu_name() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    field(&info, "model name").unwrap_or(std::env::consts::ARCH).to_owned()
}

/// The memory in bytes that new work may take without swapping; `None` where the system does not say (Linux does).
pub(crate) fn available_memory() -> Option<u64> {
    memory("MemAvailable")
}

/// All memory in bytes that the system has; `None` where it does not say (Linux does).
pub(crate) fn total_memory() -> Option<u64> {
    memory("MemTotal")
}

fn memory(key: &str) -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let kib: u64 = field(&info, key)?.strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// A clock of work that is done on the thread that starts it.
pub(crate) struct Stopwatch {
    began: Instant,
    cpu_time: Option<Duration>,
}

impl Stopwatch {
    /// Starts it. `cpu_time`: whether it stands still while other processes have the core, where the system tells.
    pub(crate) fn start(cpu_time: bool) -> Self {
        Self {
            began: Instant::now(),
            cpu_time: if cpu_time { thread_cpu_time() } else { None },
        }
    }

    /// Seconds since the start.
    pub(crate) fn seconds(&self) -> f64 {
        let of_cpu = self
            .cpu_time
            .and_then(|start| Some(thread_cpu_time()?.saturating_sub(start)));
        of_cpu.unwrap_or_else(|| self.began.elapsed()).as_secs_f64()
    }
}

/// The CPU time of this thread; `None` where the system does not tell (Unix does).
#[cfg(unix)]
fn thread_cpu_time() -> Option<Duration> {
    use nix::time::{ClockId, clock_gettime};
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).ok().map(Duration::from)
}

#[cfg(not(unix))]
fn thread_cpu_time() -> Option<Duration> {
    None
}

// The value of the first line `key : value`.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    fields
        .find(|(name, _)| name.trim() == key)
        .map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_read_from_a_text_of_lines() {
        let text = "processor\t: 0\nmodel name\t: AMD EPYC: 9B45\nMemAvailable:   20050468 kB\n";
        assert_eq!(field(text, "model name"), Some("AMD EPYC: 9B45"));
        assert_eq!(field(text, "MemAvailable"), Some("20050468 kB"));
        assert_eq!(field(text, "MemFree"), None);
        assert!(!cpu_name().is_empty());
        #[cfg(target_os = "linux")]
        assert!((1..=total_memory().unwrap()).contains(&available_memory().unwrap()));
    }

    // Other threads run at the same time in a process of tests, and none of their time counts.
    #[cfg(unix)]
    #[test]
    fn cpu_time_is_that_of_the_thread_alone() {
        let (work, rest) = (Stopwatch::start(true), Stopwatch::start(false));
        std::thread::sleep(Duration::from_millis(50));
        assert!(rest.seconds() >= 0.05, "{}", rest.seconds());
        assert!(work.seconds() < rest.seconds(), "{}", work.seconds());
        let before = work.seconds();
        let mut sum = 0_u64;
        while work.seconds() == before {
            sum = std::hint::black_box(sum + 1);
        }
    }
}
