//! A mechanistic-interpretability workbench for recurrent-depth (looped) transformers.
//!
//! A looped transformer applies the same few layers several times. loopscope trains such models and vanilla controls on
//! synthetic knowledge graphs, keeps checkpoints at the stages of training, and measures what happens inside: every hook
//! point is addressed by its iteration and its layer. The task is ⟨h⟩⟨r1⟩⟨r2⟩ → t: a head entity and two relations are
//! answered by the target t = r2(b), by way of the bridge b = r1(h), which the query does not contain. The science is that of
//! *Loop, Think, & Generalize* (Kohli et al. 2026, arXiv 2604.07822).
//!
//! # Quick start
//!
//! Train a tiny model, load its checkpoint, record a state, patch it into another query, and read the answer:
//!
//! ```
//! use std::sync::Arc;
//! use std::sync::atomic::AtomicBool;
//!
//! use loopscope::checkpoint::{Checkpoint, RunFolder};
//! use loopscope::graph::{Position, Systematic};
//! use loopscope::model::{Hooks, ModelConfig, Pass, Point, Sharing, Site};
//! use loopscope::train::{LoopConfig, OptimizerConfig, RunConfig, Trainer, accuracy, top1};
//! use loopscope::{Device, Tensor};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let temporary = tempfile::tempdir()?;
//! # let folder = temporary.path();
//! // A knowledge graph, and 2-hop queries over it.
//! let graph = Systematic {
//!     entities: 12, relations: 5, out_degree: 5, ood_share: 0.1, held_out: 0.1, phi: 6.0, test_rows: 200, seed: 1,
//! };
//! let data = Arc::new(graph.generate()?);
//!
//! // One layer of width 32 with two heads, applied twice; 500 steps take a second.
//! let steps = LoopConfig { batch: 128, ..LoopConfig::of_steps(500) };
//! let config = RunConfig {
//!     optimizer: OptimizerConfig { lr: 5e-3, warmup: 20, weight_decay: 0.1, ..OptimizerConfig::default() },
//!     ..RunConfig::new("data", ModelConfig::new(1, 2, 32, 2), steps)
//! };
//! let mut trainer = Trainer::new(config.clone(), data.clone(), &Device::Cpu)?;
//! let mut run = RunFolder::create(&folder.join("run"), &config)?; // writes the checkpoints
//! trainer.run(&AtomicBool::new(false), &mut run)?;
//!
//! // A checkpoint is one safetensors file.
//! let checkpoint = Checkpoint::read(&folder.join("run/final.safetensors"), &Device::Cpu)?;
//! let model = checkpoint.model()?;
//!
//! let chains: Vec<_> = data.split("train")?.iter().filter(|query| query.hops() == 2).cloned().collect();
//! assert!(accuracy(&model, &chains, 2)? > 0.5); // chance is 1 in 12
//!
//! // Two queries ⟨h⟩⟨r1⟩⟨r2⟩ with different answers, as rows of one batch.
//! let clean = &chains[0];
//! let corrupt = chains.iter().find(|query| query.target != clean.target).ok_or("no other answer")?;
//! let rows = model.pack([&*clean.tokens, &*corrupt.tokens], Sharing::Nothing)?;
//!
//! // Record the residual stream after the last iteration (iterations and layers count from 0 here).
//! let site = Site::new(Point::ResidPost, 1, 0);
//! let mut pass = Pass { hooks: Hooks::none().record(site), ..Pass::default() };
//! let logits = model.forward(&rows, 2, &mut pass)?; // [queries, vocab]
//! let states = pass.hooks.recorded(site)?; // [rows, d_model]
//! let answers = top1(&logits)?;
//!
//! // Patch: the state of the clean query at r2 in place of that of the corrupt query.
//! let [from, to] = [0, 1].map(|query| rows.row_at(query, Position::Relation(2)));
//! let values = states.index_select(&Tensor::new(&[from], &Device::Cpu)?, 0)?; // [1, d_model]
//! let mut pass = Pass { hooks: Hooks::none().replace(site, vec![to], values), ..Pass::default() };
//! let patched = model.forward(&rows, 2, &mut pass)?;
//!
//! // The model now gives the answer of the clean query to both.
//! assert_eq!(top1(&patched)?, [answers[0], answers[0]]);
//! # Ok(())
//! # }
//! ```
//!
//! The folder `examples` has three programs that build on this: a hook of your own, a probe of your own, and a patching
//! sweep. Every analysis of the command line is a [`measure::Method`]: a struct of settings whose
//! [`run`](measure::Method::run) gives rows that know their checkpoint.
//!
//! # Modules
//!
//! Data flows one way, in the order of this table:
//!
//! | module | what it has |
//! |---|---|
//! | [`graph`] | knowledge graphs, chains and their bridges, splits, positions, the JSON layout |
//! | `kernels` (private) | GEMM, attention, layer norm, GELU, loss and AdamW on slices |
//! | [`model`] | config, weights, packed rows, the forward pass, hooks |
//! | [`train`] | the trainer, the optimizer, stages, the curriculum, metrics |
//! | [`checkpoint`] | safetensors files, run folders, import of published weights |
//! | [`measure`] | the analyses |
//! | [`experiment`] | presets, plans of runs, evidence, and the claims that are tested on it |
//! | [`figure`] | a figure for each analysis |
//! | [`sweep`] | plans of many runs, and what trains them and gathers their results |
//! | [`study`] | experiments over several seeds, and verdicts over them |
//! | [`report`] | the summary of an experiment |
//!
//! [`random`] has the portable random streams that every one of them draws from. Errors are one type, [`Error`].
//!
//! # Threads
//!
//! Training and analyses run on the current rayon pool, and results do not depend on the number of threads.
//!
//! Some of candle's element-wise operations would start threads of their own, which spin while they wait and cost more than
//! they save for models of this size. The first [`Model`](model::Model) of a process therefore sets the environment variable
//! `CANDLE_NUM_THREADS` to 1, where you have not set it. That is sound only while the process has no other thread, which Linux
//! tells, or on Windows. In a program that starts threads before it makes a model, or on another system, set the variable before
//! the process starts. Results do not depend on it.
// Only the kernels and one environment variable need unsafe code, each block with its proof.
#![deny(unsafe_code)]
#![warn(missing_docs)]

mod bench;
pub mod checkpoint;
pub mod circuit;
#[doc(hidden)]
pub mod cli;
mod doctor;
mod error;
pub mod experiment;
pub mod figure;
mod files;
pub mod graph;
mod kernels;
mod machine;
pub mod measure;
pub mod model;
mod next;
pub mod random;
mod registry;
pub mod report;
pub mod study;
pub mod sweep;
mod threads;
pub mod train;
pub mod verify;
mod watch;
mod wording;

pub use candle_core::{Device, Tensor};
pub use error::{Error, Result};
#[doc(hidden)]
pub use threads::keep_candle_on_one_thread;
