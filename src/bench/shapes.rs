//! What is measured: models and batches of the sizes that people train.

use std::sync::Arc;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::graph::{Bridges, Dataset, Graph, Query, Split, Systematic, Vocab};
use crate::model::{Init, ModelConfig, Positions};
use crate::random::Stream;
use crate::train::{LoopConfig, OptimizerConfig, RunConfig};

const SEED: u64 = 1;

/// A model and a batch size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// The preset `laptop`: d 64, 2 heads, L 1, R 4, batch 512, 71 tokens.
    Laptop,
    /// d 128, 4 heads, L 2, R 4, batch 512, 400 tokens.
    D128,
    /// d 256, 8 heads, L 4, R 4, batch 512, 400 tokens.
    D256,
    /// d 128, 4 heads, L 2, R 6, no positions, batch 256, 111 tokens, up to 12 hops.
    Depth,
    /// The paper's systematic model: d 768, 12 heads, L 4, R 4, batch 128, 2,201 tokens.
    Paper,
}

/// What the queries of a batch are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Batches {
    /// Training rows of the task: facts and chains mixed, common prefixes shared.
    Real,
    /// Random chains, all of the full length, nothing shared.
    Random,
}

/// A shape with the settings that a benchmark varies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    pub shape: Shape,
    pub batches: Batches,
    /// Iterations R instead of the shape's.
    pub iterations: Option<usize>,
    /// Queries of a batch instead of the shape's.
    pub batch: Option<usize>,
    /// Entities of the graph instead of the shape's.
    pub entities: Option<usize>,
}

impl Case {
    fn entities(&self) -> usize {
        self.entities.unwrap_or(match self.shape {
            Shape::Laptop => 50,
            Shape::D128 | Shape::D256 => 340,
            Shape::Depth => 100,
            Shape::Paper => 2000,
        })
    }

    fn relations(&self) -> usize {
        match self.shape {
            Shape::Laptop => 20,
            Shape::D128 | Shape::D256 => 59,
            Shape::Depth => 10,
            Shape::Paper => 200,
        }
    }

    /// The run that is measured.
    pub fn config(&self) -> RunConfig {
        let (layers, iterations, d_model, heads, batch) = match self.shape {
            Shape::Laptop => (1, 4, 64, 2, 512),
            Shape::D128 => (2, 4, 128, 4, 512),
            Shape::D256 => (4, 4, 256, 8, 512),
            Shape::Depth => (2, 6, 128, 4, 256),
            Shape::Paper => (4, 4, 768, 12, 128),
        };
        RunConfig {
            data: "data".into(),
            seed: SEED,
            init_seed: None,
            order_seed: None,
            model: ModelConfig {
                positions: match self.shape {
                    Shape::Depth => Positions::None,
                    _ => Positions::Learned,
                },
                max_positions: 3,
                // Not zero, so that no gradient is zero.
                init: Init::GAUSSIAN,
                ..ModelConfig::new(layers, self.iterations.unwrap_or(iterations), d_model, heads)
            },
            optimizer: OptimizerConfig {
                lr: 1e-3,
                ..OptimizerConfig::default()
            },
            train: LoopConfig {
                batch: self.batch.unwrap_or(batch),
                label_smoothing: 0.1,
                share_prefixes: self.batches == Batches::Real,
                ..LoopConfig::of_steps(u64::MAX)
            },
            curriculum: None,
            stages: Vec::new(),
        }
    }

    /// The data that it trains on.
    ///
    /// # Errors
    /// When the graph is impossible.
    pub fn data(&self) -> Result<Arc<Dataset>> {
        let data = match (self.shape, self.batches) {
            (Shape::Depth, Batches::Real) => self.chains(1, 12),
            (Shape::Depth, Batches::Random) => self.chains(11, 11),
            (_, Batches::Random) => self.chains(2, 2),
            (shape, Batches::Real) => Systematic {
                entities: self.entities(),
                relations: self.relations(),
                out_degree: 20,
                ood_share: if shape == Shape::Laptop { 0.1 } else { 0.05 },
                held_out: 0.03,
                phi: if shape == Shape::Laptop { 9.0 } else { 7.2 },
                test_rows: 1,
                seed: SEED,
            }
            .generate()?,
        };
        Ok(Arc::new(data))
    }

    // Random chains of `min_hops` to `max_hops` hops, with random targets.
    fn chains(&self, min_hops: usize, max_hops: usize) -> Dataset {
        let (entities, relations) = (self.entities(), self.relations());
        let mut stream = Stream::new(SEED, "bench chains", 0);
        let mut token = |from: usize, count: usize| (from + stream.below(count)) as u32;
        let rows = (0..16_384).map(|_| {
            let hops = min_hops + token(0, max_hops - min_hops + 1) as usize;
            let head = token(1, entities);
            let tail = (0..hops).map(|_| token(1 + entities, relations));
            let tokens = std::iter::once(head).chain(tail.collect::<Vec<_>>()).collect();
            Query {
                tokens,
                target: token(1, entities),
                bridges: Bridges::Unknown,
            }
        });
        Dataset {
            splits: vec![(Split::train(), rows.collect())],
            vocab: Vocab::of_graph(entities, relations),
            graph: Graph::default(),
            hash: format!("random chains, seed {SEED}"),
        }
    }
}
