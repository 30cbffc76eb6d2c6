//! How fast training steps are, how much memory they take, and how accurate GEMM is.

mod accuracy;
mod shapes;
mod sweep;

use std::path::Path;
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};
use serde::Serialize;

pub use accuracy::{DEPTHS, accuracy};
pub use shapes::{Batches, Case, Shape};
pub use sweep::Sweep;

use crate::checkpoint::write_tensors;
use crate::error::Result;
use crate::kernels::gemm::peak_rate;
use crate::measure::statistics::median;
use crate::model::{Backend, Hooks, MatmulBackend, Pass, Point, Site};
use crate::train::{RunConfig, Trainer};

/// Steps before the clock counts, so that buffers are there and caches warm.
const WARM_UP: usize = 3;

/// What one case costs.
#[derive(Debug, Clone, Serialize)]
pub struct Measurement {
    #[serde(flatten)]
    pub case: Case,
    /// loopscope's version.
    pub version: &'static str,
    pub threads: usize,
    /// What computed the matrix products.
    #[serde(rename = "products")]
    pub matmul: MatmulBackend,
    /// Steps timed.
    pub steps: usize,
    /// Milliseconds a step: forward, backward, clipping, AdamW, and packing the batch.
    pub fastest_ms: f64,
    pub median_ms: f64,
    pub slowest_ms: f64,
    /// Queries in a batch.
    pub queries: usize,
    /// Queries a second, at the median.
    pub examples_per_second: f64,
    /// Packed rows in a batch, on average.
    pub rows: f64,
    /// 10⁹ floating-point operations of the matrix products of a step, without those that sharing and the readout save.
    pub gflop: f64,
    /// The same a second, at the median.
    pub gflops: f64,
    /// The rate of the `gemm` crate on 768 × 768 matrices on the same number of threads, in the same run.
    pub peak_gflops: f64,
    /// `gflops` as a share of `peak_gflops`.
    pub share_of_peak: f64,
    /// The peak memory of the process in MiB, where the system reports it (Linux).
    pub peak_memory_mib: Option<f64>,
    /// The cost of forward passes, with `--forward`.
    pub forward: Option<Forward>,
}

/// Medians of the milliseconds of a forward pass over one batch; the three kinds alternate.
#[expect(clippy::struct_field_names, reason = "the names of keys in JSON have their unit")]
#[derive(Debug, Clone, Serialize)]
pub struct Forward {
    /// As training does it, keeping what the backward pass needs.
    pub training_ms: f64,
    /// For the logits alone.
    pub alone_ms: f64,
    /// Recording `resid_pre` of all rows at every effective layer.
    pub recording_ms: f64,
}

/// Times steps of `case` for at least `time`, on the threads of the current rayon pool; and forward passes for as long, if
/// `forward_too`.
///
/// # Errors
/// When the case is impossible or a step fails.
pub fn measure(case: &Case, time: Duration, forward_too: bool) -> Result<Measurement> {
    forget_peak_memory();
    let mut trainer = Trainer::new(case.config(), case.data()?, &Device::Cpu)?;
    let (mut seconds, mut rows, mut flop) = (Vec::new(), 0.0, 0.0);
    let mut done = 0;
    let start = Instant::now();
    while done < WARM_UP + 5 || start.elapsed() < time {
        let batch = trainer.next_batch()?;
        let before = Instant::now();
        trainer.step(String::new)?;
        if done >= WARM_UP {
            seconds.push(before.elapsed().as_secs_f64());
            rows += batch.len() as f64;
            let model = trainer.model();
            flop += model
                .config()
                .training_flops(model.vocab(), &batch, model.config().iterations) as f64;
        }
        done += 1;
    }
    let peak_memory_mib = peak_memory_mib();
    let forward = forward_too.then(|| forward(&mut trainer, time)).transpose()?;
    let steps = seconds.len();
    let median = median(&mut seconds);
    let threads = rayon::current_num_threads();
    let gflop = flop / steps as f64 / 1e9;
    let peak_gflops = peak_rate(threads) / 1e9;
    let queries = case.config().train.batch;
    Ok(Measurement {
        case: case.clone(),
        version: env!("CARGO_PKG_VERSION"),
        threads,
        matmul: Backend::default().matmul(),
        steps,
        fastest_ms: seconds[0] * 1e3,
        median_ms: median * 1e3,
        slowest_ms: seconds[steps - 1] * 1e3,
        queries,
        examples_per_second: queries as f64 / median,
        rows: rows / steps as f64,
        gflop,
        gflops: gflop / median,
        peak_gflops,
        share_of_peak: gflop / median / peak_gflops,
        peak_memory_mib,
        forward,
    })
}

fn forward(trainer: &mut Trainer, time: Duration) -> Result<Forward> {
    let batch = trainer.next_batch()?;
    let (model, config) = (trainer.model(), &trainer.config().model);
    let sites = Site::all(Point::ResidPre, config.iterations, config.layers);
    let recording = || sites.iter().fold(Hooks::none(), |hooks, &site| hooks.record(site));
    let mut seconds = [const { Vec::new() }; 3];
    let start = Instant::now();
    while seconds[0].len() < WARM_UP + 5 || start.elapsed() < time {
        for (kind, seconds) in seconds.iter_mut().enumerate() {
            let mut pass = Pass {
                gradients: kind == 0,
                hooks: if kind == 2 { recording() } else { Hooks::none() },
                ..Pass::default()
            };
            let before = Instant::now();
            model.forward(&batch, config.iterations, &mut pass)?;
            seconds.push(before.elapsed().as_secs_f64());
        }
    }
    let [training, alone, recording] = seconds.map(|mut seconds| 1e3 * median(&mut seconds[WARM_UP..]));
    Ok(Forward {
        training_ms: training,
        alone_ms: alone,
        recording_ms: recording,
    })
}

#[derive(Serialize)]
struct Exported {
    config: RunConfig,
    vocab: usize,
    loss: f64,
    gradient_norm: Option<f64>,
}

/// Writes a case's initial weights and first batch, with the loss and gradient norm found for it, for comparison with
/// other implementations: the weights by name, `tokens` `[queries, columns]` padded with 0 on the right, `lengths`
/// and `targets` `[queries]`.
///
/// # Errors
/// When the step fails or the file cannot be written.
pub fn export(case: &Case, path: &Path) -> Result<()> {
    let mut trainer = Trainer::new(case.config(), case.data()?, &Device::Cpu)?;
    let mut tensors = Vec::new();
    for parameter in trainer.parameters()? {
        tensors.push((parameter.name, parameter.value.copy()?));
    }
    let batch = trainer.next_queries();
    let columns = batch.iter().map(|query| query.tokens.len()).max().unwrap_or(0);
    let (mut tokens, mut lengths, mut targets) = (Vec::new(), Vec::new(), Vec::new());
    for query in &batch {
        let padded = query.tokens.iter().copied().chain(std::iter::repeat(0));
        tokens.extend(padded.take(columns).map(i64::from));
        lengths.push(query.tokens.len() as i64);
        targets.push(i64::from(query.target));
    }
    let count = batch.len();
    tensors.push((
        "tokens".to_owned(),
        Tensor::from_vec(tokens, (count, columns), &Device::Cpu)?,
    ));
    tensors.push(("lengths".to_owned(), Tensor::from_vec(lengths, count, &Device::Cpu)?));
    tensors.push(("targets".to_owned(), Tensor::from_vec(targets, count, &Device::Cpu)?));
    let loss = trainer.step(String::new)?;
    let info = Exported {
        config: case.config(),
        vocab: trainer.model().vocab(),
        loss,
        gradient_norm: trainer.progress().gradient_norm,
    };
    write_tensors(path, tensors, &info)?;
    Ok(())
}

// Linux keeps the largest resident size since the last reset.
fn forget_peak_memory() {
    if std::fs::write("/proc/self/clear_refs", "5").is_err() {
        tracing::debug!("the peak memory counts from the start of the process");
    }
}

fn peak_memory_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}
