//! The forward pass over packed rows, in two forms: [`composed`] of candle's operations, and [`fused`] into CPU
//! kernels.
//!
//! Kohli et al. 2026, Section 4:
//!
//! ```text
//! x⁰ = embedding + position
//! xⁱ = block(xⁱ⁻¹),  i = 1 … R            one block of L pre-norm GPT-2 layers, the same each time
//!                                         (with input injection: block(xⁱ⁻¹ + x⁰) from i = 2 on)
//! p  = softmax(W_E · ln_f(x^R))           W_E the token embedding (tied)
//! ```

mod branched;
mod composed;
mod direct;
mod fused;
mod gradients;
mod interchange;
mod intervene;
mod parts;

use std::sync::{Arc, Mutex};

pub use direct::DirectLogits;
pub use interchange::Interchanged;
pub use intervene::Intervened;
pub use parts::{HeadInput, HeadInputs};

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor};

use super::ancestors::AncestorTable;
use super::config::{ModelConfig, Positions};
use super::hooks::Hooks;
use super::ops::GradientBuffers;
use super::rows::{Rows, Sharing};
use super::site::{Point, Site};
use super::weights::{BLOCK, Weights};
use crate::error::{Error, Result};
use crate::kernels::stack::{Plan, Workspace};
use crate::kernels::{Affine, Backend, LAYER, Parameters};
use crate::random::Stream;
use crate::threads;

/// ε of layer norm in GPT-2.
const EPSILON: f64 = 1e-5;

/// A looped transformer, ready to run.
pub struct Model {
    config: ModelConfig,
    vocab: usize,
    token_embedding: Tensor,            // [vocab, d_model]
    position_embedding: Option<Tensor>, // [max_positions, d_model]
    block: Tensor,                      // [layers, weights of a layer]
    layers: Vec<Parameters<Tensor>>,    // views of the block
    ln_f: Affine<Tensor>,               // [d_model]
    unembedding: Tensor,                // [vocab, d_model]
    device: Device,
    is_fused: bool,
    backend: Backend,
    workspace: Arc<Mutex<Workspace>>,
    gradients: GradientBuffers,
}

/// What the loop needs of a batch beside the states of its rows, the same at every iteration.
pub(super) enum LoopPlan {
    /// For the CPU kernels: how the batch is cut into chunks.
    Fused(Arc<Plan>),
    /// For candle's operations.
    Composed(AncestorTable),
}

/// What one pass does beside computing logits.
#[derive(Default)]
pub struct Pass {
    /// What to record and replace.
    pub hooks: Hooks,
    /// The randomness of dropout; without it nothing is dropped.
    pub dropout: Option<Stream>,
    /// Whether the logits are to be differentiated; otherwise they are detached, and nothing is kept for a backward
    /// pass.
    pub gradients: bool,
}

impl Model {
    /// A model of these weights.
    ///
    /// # Errors
    /// When the config is impossible or a weight is missing.
    pub fn new(config: ModelConfig, vocab: usize, weights: &Weights) -> Result<Self> {
        threads::keep_candle_on_one_thread_if_sound();
        config.check()?;
        let affine = |name: &str| -> Result<Affine<Tensor>> {
            Ok(Affine {
                weight: weights.get(&format!("{name}.weight"))?,
                bias: weights.get(&format!("{name}.bias"))?,
            })
        };
        let layers = (0..config.layers)
            .map(|i| LAYER.try_each(|module| affine(&format!("{BLOCK}.{i}.{}", module.name))))
            .collect::<Result<_>>()?;
        let token_embedding = weights.get("token_embedding.weight")?;
        let device = token_embedding.device().clone();
        Ok(Self {
            vocab,
            position_embedding: match config.positions {
                Positions::Learned => Some(weights.get("position_embedding.weight")?),
                Positions::Sinusoidal | Positions::None => None,
            },
            block: weights.get(BLOCK)?,
            layers,
            ln_f: affine("ln_f")?,
            unembedding: if config.tied {
                token_embedding.clone()
            } else {
                weights.get("lm_head.weight")?
            },
            is_fused: fused::supports(&config, token_embedding.dtype(), &device),
            device,
            token_embedding,
            config,
            backend: Backend::default(),
            workspace: Arc::default(),
            gradients: GradientBuffers::default(),
        })
    }

    /// The same model computed by candle's own operations alone, without the CPU kernels: the reference.
    #[must_use]
    pub fn composed(mut self) -> Self {
        self.is_fused = false;
        self
    }

    /// The same model whose CPU kernels run on `backend`, in place of the process's [default](Backend::default).
    #[must_use]
    pub fn on(mut self, backend: Backend) -> Self {
        self.backend = backend;
        self
    }

    /// The instruction set of this model's CPU kernels.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    // The same model, which packs the weights of one layer at a time, as that of a very large block does.
    #[cfg(test)]
    pub(super) fn one_layer_at_a_time(mut self) -> Self {
        self.workspace = Arc::new(Mutex::new(Workspace::one_layer_at_a_time()));
        self
    }

    /// What the model is made of.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The number of tokens in the vocabulary.
    pub fn vocab(&self) -> usize {
        self.vocab
    }

    /// Where the weights live.
    pub fn device(&self) -> &Device {
        &self.device
    }

    // Whether the CPU kernels compute this model.
    pub(super) fn is_fused(&self) -> bool {
        self.is_fused
    }

    /// Packs queries for this model.
    ///
    /// # Errors
    /// As [`Rows::pack`].
    pub fn pack<'a>(&self, queries: impl IntoIterator<Item = &'a [u32]>, sharing: Sharing) -> Result<Rows> {
        Rows::pack(queries, &self.config, self.vocab, sharing)
    }

    /// Runs the block `iterations` times and gives the logits at the readout rows, `[readouts, vocab]`.
    ///
    /// # Errors
    /// When a hook changes something in a batch whose queries share rows, a change does not fit, or the device
    /// fails.
    pub fn forward(&self, rows: &Rows, iterations: usize, pass: &mut Pass) -> Result<Tensor> {
        if pass.hooks.replaces() && rows.sharing() == Sharing::Prefixes {
            return Err(Error::input(
                "a hook changes a state, but queries share rows in this batch; pack it with Sharing::Nothing",
            ));
        }
        if iterations == 0 {
            return Err(Error::input("iterations = 0; the block must run at least once"));
        }
        // The fused loop has neither dropout nor gradients through hooks.
        let is_fused = self.is_fused && pass.dropout.is_none() && (!pass.gradients || pass.hooks.is_empty());
        let logits = if is_fused {
            self.fused_forward(rows, iterations, pass)?
        } else {
            self.composed_forward(rows, iterations, pass)?
        };
        Ok(if pass.gradients { logits } else { logits.detach() })
    }

    /// The gradients of `loss`, which was computed from this model's forward passes, as [`Tensor::backward`] gives
    /// them. Those of the block and of embeddings lie in buffers that the next call overwrites.
    ///
    /// # Errors
    /// When the device fails.
    pub(crate) fn backward(&self, loss: &Tensor) -> Result<GradStore> {
        Ok(self.gradients.collect(|| loss.backward())?)
    }

    // What iterations over these rows need beside their states.
    pub(super) fn loop_plan(&self, rows: &Rows) -> Result<LoopPlan> {
        Ok(if self.is_fused {
            LoopPlan::Fused(Arc::new(Plan::new(rows.ancestry.clone(), &rows.readout)))
        } else {
            LoopPlan::Composed(self.ancestor_table(rows)?)
        })
    }

    // One iteration over all rows, without hooks: [rows, d_model] → [rows, d_model].
    pub(super) fn iterate(&self, x: Tensor, plan: &LoopPlan) -> Result<Tensor> {
        match plan {
            LoopPlan::Fused(plan) => self.fused_iteration(&x, plan),
            LoopPlan::Composed(ancestors) => self.composed_iteration(x, ancestors, 0, &mut Pass::default()),
        }
    }

    // The states before the loop: [rows, d_model].
    pub(super) fn embed(&self, rows: &Rows) -> Result<Tensor> {
        self.embed_tokens(&rows.tokens, &rows.positions)
    }

    // x⁰ = embedding + position: [tokens, d_model]
    fn embed_tokens(&self, tokens: &[u32], positions: &[u32]) -> Result<Tensor> {
        let tokens = self.lookup(&self.token_embedding, tokens)?;
        let positions = match (self.config.positions, &self.position_embedding) {
            (Positions::Learned, Some(table)) => self.lookup(table, positions)?,
            (Positions::Sinusoidal, _) => self.sinusoids(positions)?,
            (Positions::Learned | Positions::None, _) => return Ok(tokens),
        };
        Ok((tokens + positions)?)
    }

    // The logits of states at the readout rows after an iteration: [readouts, d_model] → [readouts, vocab].
    fn read_out(&self, states: &Tensor, iteration: usize, pass: &mut Pass) -> Result<Tensor> {
        let normed = self.final_norm(states)?;
        let normed = pass.hooks.visit(Site::new(Point::Final, iteration, 0), normed)?;
        let logits = self.logits(&normed)?;
        pass.hooks.visit(Site::new(Point::Logits, iteration, 0), logits)
    }

    /// The logit lens: final layer norm, then the output matrix, of any states `[n, d_model]` → `[n, vocab]`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn unembed(&self, states: &Tensor) -> Result<Tensor> {
        self.logits(&self.final_norm(states)?)
    }

    // ln_f(x): [n, d_model] → [n, d_model].
    fn final_norm(&self, x: &Tensor) -> Result<Tensor> {
        if self.is_fused {
            self.fused_norm(&self.ln_f, x)
        } else {
            composed::layer_norm(&self.ln_f, x)
        }
    }

    // W_E · x: [n, d_model] → [n, vocab].
    fn logits(&self, normed: &Tensor) -> Result<Tensor> {
        if self.is_fused {
            self.fused_logits(normed)
        } else {
            Ok(normed.matmul(&self.unembedding.t()?)?)
        }
    }

    // Rows of an embedding table: [indices, d_model].
    fn lookup(&self, table: &Tensor, indices: &[u32]) -> Result<Tensor> {
        if self.is_fused {
            self.fused_lookup(table, indices)
        } else {
            Ok(table.index_select(&self.indices(indices)?, 0)?)
        }
    }

    pub(super) fn indices(&self, values: &[u32]) -> Result<Tensor> {
        Ok(Tensor::new(values, &self.device)?)
    }
}
