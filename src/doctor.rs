//! What this machine has for training, how fast it is, and what presets will take on it.

use candle_core::Device;
use serde::Serialize;

use crate::error::{Result, sentence};
use crate::experiment::{Between, Preset, ShippedPreset, cores, estimate_preset, thread_pool};
use crate::kernels::gemm::peak_rate;
use crate::machine::{available_memory, cpu_name, total_memory};
use crate::model::{Backend, MatmulBackend};

/// The presets of which an estimate takes about ten seconds; that of the others takes from half a minute to several.
pub(crate) const SMALL_PRESETS: [ShippedPreset; 3] =
    [ShippedPreset::Quick, ShippedPreset::Laptop, ShippedPreset::DepthQuick];

/// What this machine has.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    /// The version of loopscope.
    pub(crate) loopscope: &'static str,
    /// Operating system and architecture that it was built for.
    pub(crate) build: String,
    /// The name of the CPU.
    pub(crate) cpu: String,
    /// The cores that this process may use.
    pub(crate) cores: usize,
    /// The instruction sets of the CPU that there are kernels for, the least first.
    pub(crate) instruction_sets: Vec<String>,
    /// The one that models run on.
    pub(crate) backend: String,
    /// What computes their matrix products.
    pub(crate) matmul: MatmulBackend,
    /// All memory, where the system says so.
    pub(crate) memory_bytes: Option<u64>,
    /// The memory that new work may take without swapping.
    pub(crate) available_bytes: Option<u64>,
    /// Whether tensors may live on a GPU.
    pub(crate) cuda: Cuda,
}

/// Whether CUDA can be used.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Cuda {
    /// This binary was built without it.
    NotBuilt,
    /// Its first device can be used.
    Works,
    /// It was built with it, and the first device cannot be used, for this reason.
    Fails(String),
}

/// The rate of f32 GEMM by the `gemm` crate on square matrices of 768, in 10⁹ floating-point operations a second.
#[derive(Debug, Serialize)]
pub(crate) struct GemmPeak {
    /// On one thread.
    pub(crate) one_thread_gflops: f64,
    /// On as many threads as there are cores, together.
    pub(crate) all_cores_gflops: f64,
}

impl Machine {
    /// Looks at this machine.
    pub(crate) fn look() -> Self {
        let backends = Backend::available();
        // The scalar reference of AMX is for tests.
        let reference = Backend::int8_reference().to_string();
        let sets = backends.iter().map(ToString::to_string);
        let default = Backend::default();
        Self {
            loopscope: env!("CARGO_PKG_VERSION"),
            build: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            cpu: cpu_name(),
            cores: cores(),
            instruction_sets: sets.filter(|set| *set != reference).collect(),
            backend: default.to_string(),
            matmul: default.matmul(),
            memory_bytes: total_memory(),
            available_bytes: available_memory(),
            cuda: Cuda::look(),
        }
    }
}

impl Cuda {
    fn look() -> Self {
        if !cfg!(feature = "cuda") {
            return Self::NotBuilt;
        }
        match Device::new_cuda(0) {
            Ok(_) => Self::Works,
            Err(error) => Self::Fails(sentence(&error)),
        }
    }
}

impl GemmPeak {
    /// Measures it for about a second.
    ///
    /// # Errors
    /// When threads cannot be started.
    pub(crate) fn measure() -> Result<Self> {
        let gflops = |threads| thread_pool(threads).map(|pool| pool.install(|| peak_rate(threads)) / 1e9);
        Ok(Self {
            one_thread_gflops: gflops(1)?,
            all_cores_gflops: gflops(cores())?,
        })
    }
}

/// What the training of a preset's runs will take here.
#[derive(Debug, Serialize)]
pub(crate) struct PresetCost {
    /// The preset, by name.
    pub(crate) preset: &'static str,
    /// Its runs.
    pub(crate) runs: usize,
    /// Runs that are trained at once.
    pub(crate) jobs: usize,
    /// Seconds until all of them are trained.
    pub(crate) seconds: Between,
    /// Bytes of the run folders and data, at most.
    pub(crate) disk_bytes: u64,
    /// Bytes of memory, about.
    pub(crate) memory_bytes: u64,
    /// Whether there is as much memory available; `None` where the system does not say.
    pub(crate) fits: Option<bool>,
}

impl PresetCost {
    /// Estimates it, on the CPU, with `jobs` runs at once on `threads` threads each.
    ///
    /// # Errors
    /// As [`estimate_preset`].
    pub(crate) fn estimate(name: &'static str, preset: &Preset, jobs: usize, threads: usize) -> Result<Self> {
        let estimated = estimate_preset(preset, &Device::Cpu, threads)?;
        let memory_bytes = estimated.memory_bytes(jobs);
        Ok(Self {
            preset: name,
            runs: estimated.runs.len(),
            jobs,
            seconds: estimated.seconds(jobs),
            disk_bytes: estimated.disk_bytes(),
            memory_bytes,
            fits: available_memory().map(|available| memory_bytes <= available),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_the_instructions_that_models_run_on() {
        let machine = Machine::look();
        assert!(machine.cores >= 1);
        assert!(machine.instruction_sets.contains(&machine.backend), "{machine:?}");
        assert_eq!(matches!(machine.cuda, Cuda::NotBuilt), !cfg!(feature = "cuda"));
    }
}
