//! Circuits: weights of a looped GPT-2, written by hand, that answer the queries of a graph by a known mechanism, and the truth
//! about them. A method that is run on a circuit can be held against what it should find.
//!
//! A circuit is a [`program`] of attention heads and key-value memories over features of the residual stream. One program
//! gives both sides: [`compile`] turns it into weights, and [`interpret`] runs it without weights, from which [`truth`] follows
//! (after Tracr, Lindner et al. 2023, which compiles programs without loops). The mechanisms are drawn in
//! [`programs`], one file each.
//!
//! ```text
//! data ─→ KnownGraph ─→ programs ─→ Program ─┬─→ compile ─→ perturb ─→ FILE.safetensors
//!                                            └─→ interpret ─→ truth ─→ FILE.truth.json
//! ```
//!
//! All circuits have GPT-2's layers, learned positions, and an output matrix that is the embedding. None needs an output
//! matrix of its own: what must be hidden from the lens stands in features that all embeddings share.

mod compile;
mod derive;
mod features;
mod interpret;
mod known;
mod perturb;
mod program;
mod programs;
mod sought;
#[cfg(test)]
mod tests;
mod truth;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use truth::{Case, CircuitSite, FactLayer, Joint, SiteTruth, Truth, TruthLimit};

use self::known::KnownGraph;
use self::program::Program;
use crate::checkpoint::{Checkpoint, CheckpointInfo};
use crate::error::{Error, Result};
use crate::files;
use crate::graph::Dataset;
use crate::model::{Point, Weights};

/// A known mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Name {
    /// One hop an iteration: a previous-token head and an MLP that holds the facts
    HopPerIteration,
    /// Copies the entity in one iteration and looks the fact up in the next
    TwoIterationsPerHop,
    /// Looks trained queries up as a whole; there is no bridge anywhere
    Memorizer,
    /// The last s relations decide; the head entity is never read
    SuffixReader,
    /// The bridge is used and decodable, but not visible to the output matrix
    HiddenBridge,
    /// The bridge is visible and decodable, but nothing reads it
    DecoyBridge,
    /// Three copies of the bridge, of which any two decide: patching one shows nothing
    Backup,
    /// R = 1: a fact's layer may have run before the bridge is there, and the chain is answered wrong
    LateBridge,
}

impl Name {
    /// Every circuit.
    pub fn all() -> &'static [Self] {
        clap::ValueEnum::value_variants()
    }

    /// What the circuit does, in one sentence.
    pub fn about(self) -> String {
        let value = clap::ValueEnum::to_possible_value(&self);
        value
            .and_then(|value| Some(value.get_help()?.to_string()))
            .unwrap_or_default()
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let value = clap::ValueEnum::to_possible_value(self);
        f.pad(value.as_ref().map_or("", |value| value.get_name()))
    }
}

/// Which circuit to write, and how to disguise it.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Which circuit.
    pub name: Name,
    /// The seed of a random rotation of the residual stream that keeps (1, …, 1), the direction that layer norm removes.
    pub rotate: Option<u64>,
    /// σ: Gaussian noise of this standard deviation, in root mean squares of each tensor, is added to all weights.
    pub noise: f64,
    /// Seed of the noise, and of the layers that `late-bridge` has its facts in.
    pub seed: u64,
    /// Width of the residual stream; the least one that holds the circuit where it is not given.
    pub d_model: Option<usize>,
    /// s of `suffix-reader`.
    pub suffix: usize,
}

impl Settings {
    /// This circuit in the plain basis, without noise.
    pub fn of(name: Name) -> Self {
        Self {
            name,
            rotate: None,
            noise: 0.0,
            seed: 1,
            d_model: None,
            suffix: 2,
        }
    }
}

/// A circuit: an ordinary model, its program, and the truth about it.
pub struct Circuit {
    /// The metadata of its checkpoint.
    pub info: CheckpointInfo,
    /// The weights, in f32.
    pub weights: Weights,
    /// Its `checkpoint_hash` is empty until the circuit is written.
    pub truth: Truth,
    program: Program,
}

impl Circuit {
    /// Builds a circuit that holds the facts of `data`.
    ///
    /// # Errors
    /// When a setting is impossible, the data has no known facts, or no supported width (or not the one that was asked for)
    /// holds the circuit.
    pub fn build(settings: &Settings, data: &Dataset) -> Result<Self> {
        if !(0.0..=1.0).contains(&settings.noise) {
            return Err(Error::input(format!("--noise {}; allowed: 0 to 1", settings.noise)));
        }
        let known = KnownGraph::of(data)?;
        let program = programs::program(settings, &known, data)?;
        let compiled = compile::compile(&program, settings.d_model, settings.rotate)?;
        let weights = perturb::weights(&compiled, data.vocab.len(), settings.noise, settings.seed)?;
        let info = CheckpointInfo {
            data_hash: Some(data.hash.clone()),
            ..CheckpointInfo::of_model(compiled.config, data.vocab.len(), Some(data.vocab.tokens().to_vec()))
        };
        Ok(Self {
            truth: derive::truth(settings, &program, &known, data),
            info,
            weights,
            program,
        })
    }

    /// The vocabulary id that the circuit gives the highest logit after `iterations` iterations, by its program, without
    /// weights; `None` where several have it.
    pub fn answer(&self, tokens: &[u32], iterations: usize) -> Option<u32> {
        self.program.top1(tokens, iterations, &mut |_, _| ())
    }

    /// What each of `iterations` iterations does at the readout, by the program, without weights.
    pub fn trace(&self, tokens: &[u32], iterations: usize) -> Vec<Step> {
        let last = self.program.layers.len() - 1;
        let mut states = Vec::with_capacity(iterations + 1);
        // Every row is at its embedding, then at the end of every iteration, in order: the last one is that of the readout.
        let mut current = None;
        self.program.run(tokens, iterations, &mut |at, state| {
            let ends = at.point == Point::Embed || (at.point == Point::ResidPost && at.layer == last);
            if ends {
                if at.row == 0 {
                    states.extend(current.take());
                }
                current = Some(state.clone());
            }
        });
        states.extend(current);
        let steps = states.windows(2).map(|pair| Step {
            answer: self.program.visible(&pair[1]),
            changes: pair[0] != pair[1],
        });
        steps.collect()
    }

    /// Writes the checkpoint, and the truth at [`truth_path`].
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&mut self, path: &Path) -> Result<()> {
        self.truth.checkpoint_hash = Checkpoint::write(path, &self.info, &self.weights)?;
        files::write_json(&truth_path(path), &self.truth)
    }
}

/// What an iteration does at the readout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The vocabulary id of the most likely token after it; `None` where several are equally likely.
    pub answer: Option<u32>,
    /// Whether the state is another than before.
    pub changes: bool,
}

/// Where the truth about the checkpoint at `path` is: `NAME.truth.json` beside `NAME.safetensors`.
pub fn truth_path(path: &Path) -> PathBuf {
    let mut name = match path.extension() {
        Some(extension) if extension == "safetensors" => path.file_stem(),
        _ => path.file_name(),
    }
    .unwrap_or_default()
    .to_owned();
    name.push(".truth.json");
    path.with_file_name(name)
}
