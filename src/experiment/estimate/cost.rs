//! The time of a step and of an evaluation at one stage, measured.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use candle_core::Device;

use crate::error::Result;
use crate::graph::{Dataset, Graph, Query, Split};
use crate::machine::Stopwatch;
use crate::measure::statistics::median;
use crate::model::{ModelConfig, Rows, Sharing};
use crate::random::Stream;
use crate::train::{
    Dynamic, EVALUATION_BATCH, LoopConfig, OptimizerConfig, RunConfig, Stage, Trainer, accuracy, evaluated_splits,
    sharing,
};

// Seconds that whole steps are timed for, and evaluations.
const STEPS_TIME: Duration = Duration::from_secs(2);
const EVALUATION_SECONDS: f64 = 0.5;
// Whole steps that are done before the clock counts, so that buffers are there and caches warm, and that are timed at least.
const WARM_UP: usize = 2;
const MIN_STEPS: usize = 3;
// A step that is predicted to take more seconds than this is not done as a whole.
const LONG_STEP: f64 = 0.5;
// How long small steps are timed for, and about the rows of the larger of them: enough for GEMM at full speed.
const LINE_TIME: Duration = Duration::from_millis(500);
const LINE_ROWS: usize = 768;
// The batches that whole steps are done on, over and over.
const EPOCH_BATCHES: usize = 64;
// The batches that are drawn to count their rows.
const BATCHES: usize = 8;

/// Seconds at one stage of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct StageCost {
    /// Of a training step.
    pub(super) step: f64,
    /// Of one query of an evaluation.
    pub(super) evaluated_query: f64,
}

/// A run's rows at one stage.
pub(super) struct StageRows<'a> {
    pub(super) config: &'a RunConfig,
    pub(super) data: &'a Dataset,
    training: Vec<&'a Query>,
    evaluated: Vec<&'a [Query]>,
}

impl<'a> StageRows<'a> {
    /// The rows of up to `max_hops` hops.
    pub(super) fn new(config: &'a RunConfig, data: &'a Dataset, stages: &[Stage], max_hops: Option<usize>) -> Self {
        let rows = data.splits[0].1.iter();
        let stages: Vec<&Stage> = stages.iter().collect();
        let splits = evaluated_splits(data, &stages, max_hops);
        Self {
            config,
            data,
            training: rows
                .filter(|row| max_hops.is_none_or(|max| row.hops() <= max))
                .collect(),
            evaluated: splits.map(|(_, rows)| &rows[..]).collect(),
        }
    }

    /// Batches as training draws them.
    pub(super) fn batches(&self) -> Result<Vec<Rows>> {
        let sample = self.sample(self.config.train.batch.saturating_mul(BATCHES));
        self.pack(&sample, self.config.train.batch, sharing(self.config))
    }

    fn pack(&self, rows: &[Query], batch: usize, sharing: Sharing) -> Result<Vec<Rows>> {
        let (model, vocab) = (&self.config.model, self.data.vocab.len());
        let pack = |rows: &[Query]| Rows::pack(rows.iter().map(|row| &*row.tokens), model, vocab, sharing);
        rows.chunks(batch).map(pack).collect()
    }

    // A uniform sample of the training rows, in random order.
    fn sample(&self, count: usize) -> Vec<Query> {
        let mut stream = Stream::new(0, "estimated steps", 0);
        let mut sample = stream.sample(&self.training, count);
        stream.shuffle(&mut sample);
        sample.into_iter().cloned().collect()
    }

    /// What a step and an evaluation take, where the time of a step lies on `line`.
    ///
    /// # Errors
    /// When a step fails.
    pub(super) fn cost(&self, line: Line, device: &Device) -> Result<StageCost> {
        let batches = self.batches()?;
        let flops = |iterations: usize| -> f64 {
            let of = |rows| self.flops(rows, iterations);
            batches.iter().map(of).sum::<f64>() / batches.len() as f64
        };
        let mean = self.mean_iterations();
        // Floating-point operations are linear in the iterations.
        let mean_flops = flops(1) + (mean - 1.0) * (flops(2) - flops(1));
        let predicted = line.seconds(mean_flops);
        if predicted <= LONG_STEP {
            let iterations = mean.round() as usize;
            return self.timed(iterations, mean_flops / flops(iterations), device);
        }
        Ok(StageCost {
            step: predicted,
            evaluated_query: self.forward_flops_of_a_query()? * line.seconds_per_flop,
        })
    }

    fn flops(&self, rows: &Rows, iterations: usize) -> f64 {
        self.config
            .model
            .training_flops(self.data.vocab.len(), rows, iterations) as f64
    }

    fn mean_iterations(&self) -> f64 {
        let dynamic = self.config.train.dynamic.as_ref();
        dynamic.map_or(self.config.model.iterations as f64, Dynamic::mean_iterations)
    }

    /// The first batch of the evaluation of every split.
    pub(super) fn evaluated_batches(&self) -> Result<Vec<Rows>> {
        let mut batches = Vec::new();
        for split in &self.evaluated {
            let first = &split[..split.len().min(EVALUATION_BATCH)];
            batches.extend(self.pack(first, EVALUATION_BATCH, Sharing::Prefixes)?);
        }
        Ok(batches)
    }

    // A forward pass is a third of a training step.
    fn forward_flops_of_a_query(&self) -> Result<f64> {
        let (mut flops, mut queries) = (0.0, 0);
        for rows in self.evaluated_batches()? {
            flops += self.flops(&rows, self.config.model.iterations) / 3.0;
            queries += rows.queries();
        }
        Ok(flops / queries.max(1) as f64)
    }

    // Times whole steps of this many iterations, each `scale` times as much work, and evaluations.
    fn timed(&self, iterations: usize, scale: f64, device: &Device) -> Result<StageCost> {
        let batch = self.config.train.batch;
        let mut trainer = self.trainer(
            self.sample(batch.saturating_mul(EPOCH_BATCHES)),
            batch,
            iterations,
            device,
        )?;
        let mut seconds = Vec::new();
        let mut done = 0;
        let start = Instant::now();
        while done < WARM_UP + MIN_STEPS || start.elapsed() < STEPS_TIME {
            let taken = timed_step(&mut trainer)?;
            if done >= WARM_UP {
                seconds.push(taken);
            }
            done += 1;
        }
        let step = scale * median(&mut seconds);
        Ok(StageCost {
            step,
            evaluated_query: self.timed_evaluation(&trainer, step / (3 * batch) as f64)?,
        })
    }

    // Seconds of an evaluated query, which is expected to take about `expected`.
    fn timed_evaluation(&self, trainer: &Trainer, expected: f64) -> Result<f64> {
        let all: usize = self.evaluated.iter().map(|rows| rows.len()).sum();
        let share = (EVALUATION_SECONDS / (expected * all.max(1) as f64)).min(1.0);
        let (mut queries, stopwatch) = (0, stopwatch(trainer));
        for rows in &self.evaluated {
            let first = &rows[..(share * rows.len() as f64).ceil() as usize];
            accuracy(trainer.model(), first, self.config.model.iterations)?;
            queries += first.len();
        }
        Ok(stopwatch.seconds() / queries.max(1) as f64)
    }

    // Trains on `rows` alone, with as many iterations at every step.
    fn trainer(&self, rows: Vec<Query>, batch: usize, iterations: usize, device: &Device) -> Result<Trainer> {
        let config = RunConfig {
            data: PathBuf::new(),
            // Rates at which a run diverges take as long as others.
            optimizer: OptimizerConfig::default(),
            curriculum: None,
            stages: Vec::new(),
            model: ModelConfig {
                iterations,
                ..self.config.model.clone()
            },
            train: LoopConfig {
                batch,
                dynamic: None,
                ..self.config.train.clone()
            },
            ..self.config.clone()
        };
        let data = Dataset {
            vocab: self.data.vocab.clone(),
            graph: Graph::default(),
            splits: vec![(Split::train(), rows)],
            hash: self.data.hash.clone(),
        };
        Trainer::new(config, Arc::new(data), device)
    }
}

/// The time of a step as a line through its floating-point operations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Line {
    seconds_at_0: f64,
    seconds_per_flop: f64,
}

impl Line {
    fn seconds(self, flops: f64) -> f64 {
        self.seconds_at_0 + flops * self.seconds_per_flop
    }

    /// Measures the line at two small steps of one iteration, of which the larger has twice the queries.
    ///
    /// # Errors
    /// When a step fails.
    pub(super) fn measure(rows: &StageRows, device: &Device) -> Result<Self> {
        let sample = rows.sample(BATCHES);
        let tokens: usize = sample.iter().map(|row| row.tokens.len()).sum();
        let large = (LINE_ROWS * sample.len()).div_ceil(tokens.max(1)).next_multiple_of(2);
        // An epoch is a batch of `large` queries, then one of half as many.
        let mut trainer = rows.trainer(rows.sample(large + large / 2), large, 1, device)?;
        let mut points = [const { (Vec::new(), 0.0) }; 2];
        // The first step fills buffers.
        timed_step(&mut trainer)?;
        let start = Instant::now();
        let mut batch = 1;
        while points[0].0.is_empty() || start.elapsed() < LINE_TIME {
            for _ in 0..2 {
                let (seconds, flops) = &mut points[batch];
                *flops = rows.flops(&trainer.next_batch()?, 1);
                seconds.push(timed_step(&mut trainer)?);
                batch = 1 - batch;
            }
        }
        let [(large_seconds, large_flops), (small_seconds, small_flops)] =
            points.map(|(mut seconds, flops)| (median(&mut seconds), flops));
        let slope = (large_seconds - small_seconds) / (large_flops - small_flops);
        Ok(if slope > 0.0 && slope * large_flops < large_seconds {
            Self {
                seconds_at_0: large_seconds - slope * large_flops,
                seconds_per_flop: slope,
            }
        } else {
            // Two steps that differ by less than the noise of the clock.
            Self {
                seconds_at_0: 0.0,
                seconds_per_flop: large_seconds / large_flops,
            }
        })
    }
}

fn timed_step(trainer: &mut Trainer) -> Result<f64> {
    let stopwatch = stopwatch(trainer);
    trainer.step(|| "none is kept".to_owned())?;
    Ok(stopwatch.seconds())
}

/// Whether a step is timed by CPU time: where one thread does it all.
pub(super) fn by_cpu_time(device: &Device) -> bool {
    device.is_cpu() && rayon::current_num_threads() == 1
}

fn stopwatch(trainer: &Trainer) -> Stopwatch {
    Stopwatch::start(by_cpu_time(trainer.model().device()))
}
