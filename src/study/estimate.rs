//! What the runs of a study will cost before any is trained.

use candle_core::Device;

use super::Study;
use crate::error::Result;
use crate::experiment::{EstimatedRuns, estimate_preset};

impl Study {
    /// Estimates all runs, each on `threads` threads, in the order of the plan. Each is timed with the first seed, for all of
    /// them.
    ///
    /// # Errors
    /// As [`estimate_preset`].
    pub fn estimate(&self, device: &Device, threads: usize) -> Result<EstimatedRuns> {
        let mut all = EstimatedRuns {
            runs: Vec::new(),
            data_bytes: 0,
        };
        for experiment in &self.experiments {
            let preset = experiment.preset.read(experiment.seeds.first().copied())?;
            let of_a_seed = estimate_preset(&preset, device, threads)?;
            for (name, estimate) in &of_a_seed.runs {
                let of_seeds = experiment.seeds.iter();
                let named = of_seeds.map(|seed| format!("{}-{name}-seed-{seed}", experiment.name));
                all.runs.extend(named.map(|name| (name, estimate.clone())));
            }
            all.data_bytes += of_a_seed.data_bytes * experiment.seeds.len() as u64;
        }
        Ok(all)
    }
}
