//! How fast a sweep of activation patching is: every effective layer × position of one model, for many pairs.

use std::path::Path;
use std::time::Instant;

use candle_core::{Device, Tensor};
use clap::ValueEnum;
use serde::Serialize;

use crate::checkpoint::write_tensors;
use crate::error::Result;
use crate::measure::statistics::median;
use crate::model::{Cut, Init, Interchanged, Model, ModelConfig, Point, Site, Weights};
use crate::random::Stream;

/// A model to patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Sweep {
    /// L 1, R 4, `d_model` 64, 2 hops: 12 sites.
    Laptop,
    /// L 2, R 12, `d_model` 64, 12 hops: 312 sites.
    TwelveHops,
}

/// A model to patch with a number of iterations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SweepCase {
    sweep: Sweep,
    iterations: usize,
}

/// What a sweep costs.
#[derive(Debug, Clone, Serialize)]
pub struct SweepMeasurement {
    pub sweep: Sweep,
    pub threads: usize,
    pub pairs: usize,
    /// Effective layers × positions.
    pub sites: usize,
    pub iterations: usize,
    /// Seconds of each run.
    pub seconds: Vec<f64>,
    pub median_seconds: f64,
    /// Rows × effective layers that are computed, as a share of those that a whole pass for every site takes.
    pub computed: f64,
}

const ENTITIES: usize = 50;
const RELATIONS: usize = 20;

impl Sweep {
    /// This model with `iterations`, or with its own.
    pub fn with(self, iterations: Option<usize>) -> SweepCase {
        let own = match self {
            Self::Laptop => 4,
            Self::TwelveHops => 12,
        };
        SweepCase {
            sweep: self,
            iterations: iterations.unwrap_or(own),
        }
    }
}

impl SweepCase {
    fn config(self) -> ModelConfig {
        let (layers, hops) = match self.sweep {
            Sweep::Laptop => (1, 2),
            Sweep::TwelveHops => (2, 12),
        };
        ModelConfig {
            max_positions: hops + 1,
            init: Init::GAUSSIAN,
            ..ModelConfig::new(layers, self.iterations, 64, 2)
        }
    }

    fn vocab() -> usize {
        1 + ENTITIES + RELATIONS
    }

    fn model(self) -> Result<(Model, Weights)> {
        let weights = Weights::init(&self.config(), Self::vocab(), 1, &Device::Cpu)?;
        Ok((Model::new(self.config(), Self::vocab(), &weights)?, weights))
    }

    // Pairs of random queries that differ in their head.
    fn pairs(self, count: usize) -> Vec<[Vec<u32>; 2]> {
        let mut stream = Stream::new(1, "sweep pairs", 0);
        let hops = self.config().max_positions - 1;
        let pair = |_| {
            let heads = stream.sample(&(1..=ENTITIES as u32).collect::<Vec<_>>(), 2);
            let relations: Vec<u32> = (0..hops)
                .map(|_| (1 + ENTITIES + stream.below(RELATIONS)) as u32)
                .collect();
            [heads[0], heads[1]].map(|head| [&[head][..], &relations].concat())
        };
        (0..count).map(pair).collect()
    }

    fn cuts(self) -> Vec<Cut> {
        let config = self.config();
        let sites = Site::all(Point::ResidPost, config.iterations, config.layers).into_iter();
        let columns = config.max_positions;
        sites
            .flat_map(|site| (0..columns).map(move |column| Cut { site, column }))
            .collect()
    }

    fn run(self, model: &Model, pairs: &[[Vec<u32>; 2]]) -> Result<Interchanged> {
        let pairs: Vec<[&[u32]; 2]> = pairs.iter().map(|[a, b]| [a.as_slice(), b.as_slice()]).collect();
        model.interchange(&pairs, &self.cuts(), self.config().iterations)
    }

    /// Times the sweep over this number of pairs, `runs` times after one that is not counted, on the threads of the current
    /// rayon pool.
    ///
    /// # Errors
    /// When a run fails.
    pub fn measure(self, pairs: usize, runs: usize) -> Result<SweepMeasurement> {
        let (model, _) = self.model()?;
        let (all, cuts, config) = (self.pairs(pairs), self.cuts(), self.config());
        let rows = (config.max_positions * (cuts.len() + 2) * pairs) as u64;
        let whole = rows * (config.iterations * config.layers) as u64;
        let done = self.run(&model, &all)?.row_layers;
        let mut seconds = Vec::new();
        for _ in 0..runs {
            let before = Instant::now();
            self.run(&model, &all)?;
            seconds.push(before.elapsed().as_secs_f64());
        }
        Ok(SweepMeasurement {
            sweep: self.sweep,
            threads: rayon::current_num_threads(),
            pairs,
            sites: cuts.len(),
            iterations: config.iterations,
            median_seconds: median(&mut seconds.clone()),
            seconds,
            computed: done as f64 / whole as f64,
        })
    }

    /// Writes the weights, the pairs (`source`, `base`: `[pairs, position]`) and the logits after every cut (`patched`,
    /// `[sites, pairs, vocab]`, of the first pairs) to a safetensors file, for other implementations.
    ///
    /// # Errors
    /// When a run fails or the file cannot be written.
    pub fn export(self, pairs: usize, path: &Path) -> Result<()> {
        const CHECKED: usize = 4;
        let (model, weights) = self.model()?;
        let all = self.pairs(pairs);
        let mut tensors: Vec<(String, Tensor)> = weights
            .iter()
            .map(|(name, tensor)| (name.to_owned(), tensor.clone()))
            .collect();
        for (side, name) in ["source", "base"].into_iter().enumerate() {
            let tokens: Vec<i64> = all
                .iter()
                .flat_map(|pair| pair[side].iter().map(|&id| i64::from(id)))
                .collect();
            let shape = (pairs, self.config().max_positions);
            tensors.push((name.to_owned(), Tensor::from_vec(tokens, shape, &Device::Cpu)?));
        }
        let found = self.run(&model, &all[..pairs.min(CHECKED)])?;
        tensors.push(("patched".to_owned(), Tensor::stack(&found.patched, 0)?));
        write_tensors(path, tensors, &self.config())?;
        Ok(())
    }
}
