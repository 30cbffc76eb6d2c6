//! Several runs together: their time side by side, their disk and memory.

use candle_core::Device;

use super::super::preset::{ALL_TAILS, Preset};
use super::{Between, Estimate, Estimator};
use crate::error::Result;
use crate::graph::Tails;

/// Runs with what each will cost, in the order in which they will be trained.
#[derive(Debug, Clone, PartialEq)]
pub struct EstimatedRuns {
    /// Name and estimate of each run.
    pub runs: Vec<(String, Estimate)>,
    /// Bytes of the data sets that will be written.
    pub data_bytes: u64,
}

impl EstimatedRuns {
    /// Seconds until all runs are trained, `jobs` at once: whenever one ends, the next begins.
    pub fn seconds(&self, jobs: usize) -> Between {
        let all = |pick: fn(&Between) -> f64| {
            let mut free = vec![0.0; jobs.max(1)];
            for (_, estimate) in &self.runs {
                // The job that is free first.
                free.sort_by(f64::total_cmp);
                free[0] += pick(&estimate.seconds);
            }
            free.into_iter().fold(0.0, f64::max)
        };
        Between::new(all(|seconds| seconds.least), all(|seconds| seconds.most))
    }

    /// Seconds of all runs, times the threads of each.
    pub fn core_seconds(&self) -> Between {
        let all = |pick: fn(&Between) -> f64| {
            let of = |(_, estimate): &(String, Estimate)| estimate.threads as f64 * pick(&estimate.seconds);
            self.runs.iter().map(of).sum()
        };
        Between::new(all(|seconds| seconds.least), all(|seconds| seconds.most))
    }

    /// Bytes of all run folders and of the data.
    pub fn disk_bytes(&self) -> u64 {
        let of_runs = self.runs.iter().map(|(_, estimate)| estimate.disk_bytes);
        of_runs.fold(self.data_bytes, u64::saturating_add)
    }

    /// Bytes of memory where the `jobs` largest runs are trained at the same time.
    pub fn memory_bytes(&self, jobs: usize) -> u64 {
        largest(self.runs.iter().map(|(_, estimate)| estimate.memory_bytes), jobs)
    }
}

// The sum of the `count` largest.
fn largest(bytes: impl Iterator<Item = u64>, count: usize) -> u64 {
    let mut bytes: Vec<u64> = bytes.collect();
    bytes.sort_unstable_by(|a, b| b.cmp(a));
    bytes.into_iter().take(count).fold(0, u64::saturating_add)
}

/// The largest number of jobs, up to `max` and at least 1, of which even those of the largest runs fit into `available` bytes.
pub(crate) fn jobs_within(available: u64, runs: &[u64], max: usize) -> usize {
    let fits = |&jobs: &usize| largest(runs.iter().copied(), jobs) <= available;
    (1..=max).rev().find(fits).unwrap_or(1)
}

/// Estimates the runs of a preset, each on `threads` threads. What is measured on them afterwards is not in it.
///
/// # Errors
/// When the data cannot be made as the preset says, a run does not fit them, or a step fails.
pub fn estimate_preset(preset: &Preset, device: &Device, threads: usize) -> Result<EstimatedRuns> {
    let made = preset.data_sets()?;
    preset.check_against(&made)?;
    let tails_of = |name: &str| match preset {
        Preset::Systematic(_) => ALL_TAILS[0],
        Preset::Depth(preset) => preset.data_of(name).tails,
    };
    let mut estimator = Estimator::new(device, threads)?;
    let mut runs = Vec::new();
    for (name, config) in preset.runs() {
        let data = &made[usize::from(tails_of(name) == Tails::Random)];
        runs.push((name.to_owned(), estimator.run(config, data)?));
    }
    Ok(EstimatedRuns {
        runs,
        data_bytes: made.iter().map(crate::graph::Dataset::written_bytes).sum(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(seconds: f64, memory_bytes: u64) -> (String, Estimate) {
        let estimate = Estimate {
            steps: 1,
            threads: 2,
            cpu_time: false,
            seconds_a_step: Between::new(seconds, seconds),
            seconds: Between::new(seconds, 2.0 * seconds),
            checkpoints: 1,
            disk_bytes: 7,
            memory_bytes,
        };
        (String::new(), estimate)
    }

    #[test]
    fn runs_begin_in_their_order_as_jobs_become_free() {
        let estimated = EstimatedRuns {
            runs: vec![run(4.0, 10), run(1.0, 30), run(2.0, 20), run(5.0, 5)],
            data_bytes: 100,
        };
        // One job: all in a row. Two: 4 + 5 beside 1 + 2 if the last began when the first ended, but the second is free earlier.
        assert_eq!(estimated.seconds(1), Between::new(12.0, 24.0));
        assert_eq!(estimated.seconds(2), Between::new(8.0, 16.0));
        assert_eq!(estimated.seconds(9), Between::new(5.0, 10.0));
        assert_eq!(estimated.core_seconds(), Between::new(24.0, 48.0));
        assert_eq!(estimated.disk_bytes(), 128);
        assert_eq!([1, 2, 9].map(|jobs| estimated.memory_bytes(jobs)), [30, 50, 65]);
    }

    #[test]
    fn as_many_jobs_as_memory_has_room_for_but_always_one() {
        let runs = [10, 30, 20];
        let jobs = |available| jobs_within(available, &runs, 8);
        assert_eq!([0, 29, 30, 49, 50, 59, 60].map(jobs), [1, 1, 1, 1, 2, 2, 8]);
        assert_eq!(jobs_within(1000, &runs, 2), 2);
    }
}
