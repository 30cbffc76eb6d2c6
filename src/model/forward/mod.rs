//! The forward pass, over packed rows. Read beside Kohli et al. 2026, Section 4:
//!
//! ```text
//! x⁰ = embedding + position
//! xⁱ = block(xⁱ⁻¹),  i = 1 … R            one block of L pre-norm GPT-2 layers, the same each time
//!                                         (with input injection: block(xⁱ⁻¹ + x⁰) from i = 2 on)
//! p  = softmax(W_E · ln_f(x^R))           W_E the token embedding (tied)
//! ```

mod ends;

use std::sync::{Arc, Mutex};

use candle_core::backprop::GradStore;
use candle_core::{D, Device, Tensor};

use super::config::{ModelConfig, Positions};
use super::hooks::{Hooks, Point, Site};
use super::rows::{Rows, Sharing, Sources};
use super::taps::HookTaps;
use super::weights::{BLOCK, Weights};
use crate::error::{Error, Result};
use crate::kernels::{self, Backend, Gradients, LayerNorm, Plan, Stack, Workspace};
use crate::random::Stream;

/// GPT-2's ε of layer norm.
pub(crate) const EPSILON: f64 = 1e-5;

/// A looped transformer, ready to run.
pub struct Model {
    config: ModelConfig,
    vocab: usize,
    token_embedding: Tensor,            // [vocab, d_model]
    position_embedding: Option<Tensor>, // [max_positions, d_model]
    block: Tensor,                      // [layers, weights of a layer]
    layers: Vec<Layer>,                 // views of the block
    ln_f: Norm,
    unembedding: Tensor, // [vocab, d_model]
    device: Device,
    composed: bool,
    backend: Backend,
    workspace: Arc<Mutex<Workspace>>,
    gradients: Gradients,
}

struct Norm {
    weight: Tensor, // [d_model]
    bias: Tensor,   // [d_model]
}

struct Linear {
    weight: Tensor, // [in, out]
    bias: Tensor,   // [out]
}

struct Layer {
    ln_1: Norm,
    c_attn: Linear, // [d_model, 3 × d_model]
    attn_proj: Linear,
    ln_2: Norm,
    c_fc: Linear, // [d_model, 4 × d_model]
    mlp_proj: Linear,
}

impl Norm {
    fn compose(&self, x: &Tensor) -> Result<Tensor> {
        let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
        let normal = centred.broadcast_div(&(variance + EPSILON)?.sqrt()?)?;
        Ok(normal.broadcast_mul(&self.weight)?.broadcast_add(&self.bias)?)
    }
}

impl Linear {
    fn compose(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.matmul(&self.weight)?.broadcast_add(&self.bias)?)
    }
}

/// What one pass does beside computing logits.
#[derive(Default)]
pub struct Pass {
    /// What to record and replace.
    pub hooks: Hooks,
    /// The randomness of dropout; without it nothing is dropped.
    pub dropout: Option<Stream>,
    /// Whether the logits are to be differentiated; otherwise they come detached, and nothing is kept for it.
    pub gradients: bool,
}

impl Model {
    /// A model of these weights.
    ///
    /// # Errors
    /// When the config is impossible or a weight is missing.
    pub fn new(config: ModelConfig, vocab: usize, weights: &Weights) -> Result<Self> {
        config.check()?;
        let norm = |name: &str| -> Result<Norm> {
            Ok(Norm {
                weight: weights.get(&format!("{name}.weight"))?,
                bias: weights.get(&format!("{name}.bias"))?,
            })
        };
        let linear = |name: &str| -> Result<Linear> {
            Ok(Linear {
                weight: weights.get(&format!("{name}.weight"))?,
                bias: weights.get(&format!("{name}.bias"))?,
            })
        };
        let layers = (0..config.layers)
            .map(|i| {
                Ok(Layer {
                    ln_1: norm(&format!("blocks.{i}.ln_1"))?,
                    c_attn: linear(&format!("blocks.{i}.attn.c_attn"))?,
                    attn_proj: linear(&format!("blocks.{i}.attn.c_proj"))?,
                    ln_2: norm(&format!("blocks.{i}.ln_2"))?,
                    c_fc: linear(&format!("blocks.{i}.mlp.c_fc"))?,
                    mlp_proj: linear(&format!("blocks.{i}.mlp.c_proj"))?,
                })
            })
            .collect::<Result<_>>()?;
        let token_embedding = weights.get("token_embedding.weight")?;
        Ok(Self {
            vocab,
            position_embedding: match config.positions {
                Positions::Learned => Some(weights.get("position_embedding.weight")?),
                Positions::Sinusoidal | Positions::None => None,
            },
            block: weights.get(BLOCK)?,
            layers,
            ln_f: norm("ln_f")?,
            unembedding: if config.tied {
                token_embedding.clone()
            } else {
                weights.get("lm_head.weight")?
            },
            device: token_embedding.device().clone(),
            token_embedding,
            config,
            composed: false,
            backend: Backend::default(),
            workspace: Arc::default(),
            gradients: Gradients::default(),
        })
    }

    /// The same model computed by candle's own operations alone, without the CPU kernels: the reference.
    #[must_use]
    pub fn composed(mut self) -> Self {
        self.composed = true;
        self
    }

    /// The same model whose CPU kernels run on `backend`, in place of the process's [default](Backend::default).
    #[must_use]
    pub fn on(mut self, backend: Backend) -> Self {
        self.backend = backend;
        self
    }

    /// What the CPU kernels of this model run on.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    // The same model with operands of one layer at a time packed, as those of very large blocks are.
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
    /// When a hook replaces something in a batch whose queries share rows, a replacement does not fit, or the device
    /// fails.
    pub fn forward(&self, rows: &Rows, iterations: usize, pass: &mut Pass) -> Result<Tensor> {
        if pass.hooks.replaces() && rows.sharing() == Sharing::Prefixes {
            return Err(Error::input(
                "a hook replaces a state, but queries share rows in this batch; pack it with Sharing::Nothing",
            ));
        }
        if iterations == 0 {
            return Err(Error::input("iterations = 0; the block must run at least once"));
        }
        // The fused loop knows neither dropout nor gradients through hooks.
        let fused =
            self.kernels(&self.token_embedding) && pass.dropout.is_none() && (!pass.gradients || pass.hooks.is_empty());
        let logits = if fused {
            self.fused(rows, iterations, pass)?
        } else {
            let x = pass.hooks.visit(Site::embed(), self.embed(rows)?)?;
            let x = self.drop(x, pass)?;
            self.unfused(x, rows, iterations, pass)?
        };
        Ok(if pass.gradients { logits } else { logits.detach() })
    }

    /// The gradients of `loss`, which came of this model's forward passes, as [`Tensor::backward`] gives them, but those of
    /// the block and of embeddings lie in buffers that the next call overwrites.
    ///
    /// # Errors
    /// When the device fails.
    pub(crate) fn backward(&self, loss: &Tensor) -> Result<GradStore> {
        Ok(self.gradients.collect(|| loss.backward())?)
    }

    // All iterations by the CPU kernels: what is asked for at the end of earlier ones is tapped on the way.
    fn fused(&self, rows: &Rows, iterations: usize, pass: &mut Pass) -> Result<Tensor> {
        let sources = if pass.hooks.meets_entry() {
            None
        } else {
            self.sources(rows).map(Arc::new)
        };
        let x = match &sources {
            Some(sources) => self.embed_rows(rows, &sources.rows)?,
            None => pass.hooks.visit(Site::embed(), self.embed(rows)?)?,
        };
        let last = iterations - 1;
        let early: Vec<usize> = (0..last).filter(|&i| pass.hooks.wants_readout(i)).collect();
        let plan = Arc::new(Plan::new(rows));
        let readouts_only = !pass.hooks.wants_layer(last, self.config.layers - 1);
        let readout = if readouts_only { &plan.readout } else { &rows.readout };
        let readout = self.indices(readout)?;
        let stack = Stack {
            plan: plan.clone(),
            d: self.config.d_model,
            heads: self.config.heads,
            layers: self.config.layers,
            iterations,
            readouts_only,
            injection: self.config.injection,
            sources,
            backend: self.backend,
            workspace: self.workspace.clone(),
            gradients: self.gradients.clone(),
        };
        let out = if pass.gradients {
            stack.differentiable(&x, &self.block)?
        } else if early.is_empty() && !pass.hooks.wants_block() {
            stack.run(&x, &self.block, None)?
        } else {
            let taps = HookTaps::new(&pass.hooks, &self.config, rows, iterations, &early)?;
            let out = stack.run(&x, &self.block, Some(&taps))?;
            let (recorded, ends) = taps.finish()?;
            pass.hooks.keep(recorded);
            for (iteration, state) in early.into_iter().zip(ends) {
                self.read(&state, iteration, pass)?;
            }
            out
        };
        self.read(&out.index_select(&readout, 0)?, last, pass)
    }

    // All iterations by candle's own operations.
    fn unfused(&self, mut x: Tensor, rows: &Rows, iterations: usize, pass: &mut Pass) -> Result<Tensor> {
        let readout = self.indices(&rows.readout)?;
        let last = iterations - 1;
        let embedded = x.clone();
        for iteration in 0..iterations {
            if iteration > 0 && self.config.injection {
                x = (x + &embedded)?;
            }
            for (index, layer) in self.layers.iter().enumerate() {
                let at = |point| Site::new(point, iteration, index);
                x = self.layer(layer, x, rows, pass, &at)?;
            }
            if iteration < last && pass.hooks.wants_readout(iteration) {
                self.read(&x.index_select(&readout, 0)?, iteration, pass)?;
            }
        }
        self.read(&x.index_select(&readout, 0)?, last, pass)
    }

    // The logits of states at the readout rows after an iteration: [readouts, d_model] → [readouts, vocab].
    fn read(&self, states: &Tensor, iteration: usize, pass: &mut Pass) -> Result<Tensor> {
        let normed = self.norm(&self.ln_f, states)?;
        let normed = pass.hooks.visit(Site::new(Point::Final, iteration, 0), normed)?;
        let logits = self.logits(&normed)?;
        pass.hooks.visit(Site::new(Point::Logits, iteration, 0), logits)
    }

    /// Floating-point operations of the matrix products of a training step over these rows: 2 for each multiply-add,
    /// forward and twice that backward, attention's own left out; after the attention of the last layer, only readout
    /// rows count, and before that of the first, only distinct embeddings.
    pub fn training_flops(&self, rows: &Rows, iterations: usize) -> u64 {
        let plan = Plan::new(rows);
        let (d, n) = (self.config.d_model as u64, rows.len() as u64);
        let saved = self.sources(rows).map_or(0, |sources| n - sources.len() as u64);
        let full = (self.config.layers * iterations) as u64 - 1;
        let multiply_adds = full * 12 * d * d * n + 3 * d * d * n + 9 * d * d * plan.outputs() as u64
            - 3 * d * d * saved
            + d * (self.vocab * rows.queries()) as u64;
        3 * 2 * multiply_adds
    }

    // One iteration, all rows in and out, met by nobody: [rows, d_model] → [rows, d_model].
    pub(super) fn turn(&self, mut x: Tensor, rows: &Rows) -> Result<Tensor> {
        if self.kernels(&x) {
            let stack = Stack {
                plan: Arc::new(Plan::new(rows)),
                d: self.config.d_model,
                heads: self.config.heads,
                layers: self.config.layers,
                iterations: 1,
                readouts_only: false,
                injection: false,
                sources: None,
                backend: self.backend,
                workspace: self.workspace.clone(),
                gradients: self.gradients.clone(),
            };
            return Ok(stack.run(&x.contiguous()?, &self.block, None)?);
        }
        for (index, layer) in self.layers.iter().enumerate() {
            let at = |point| Site::new(point, 0, index);
            x = self.layer(layer, x, rows, &mut Pass::default(), &at)?;
        }
        Ok(x)
    }

    // The distinct embeddings of a batch, where that saves much.
    fn sources(&self, rows: &Rows) -> Option<Sources> {
        rows.sources(self.config.positions != Positions::None)
    }

    // x → resid_mid = x + attn(ln_1(x)) → resid_post = resid_mid + mlp(ln_2(resid_mid))
    fn layer(
        &self,
        layer: &Layer,
        x: Tensor,
        rows: &Rows,
        pass: &mut Pass,
        at: &impl Fn(Point) -> Site,
    ) -> Result<Tensor> {
        let x = pass.hooks.visit(at(Point::ResidPre), x)?;
        let z = self.attention(layer, &layer.ln_1.compose(&x)?, rows, pass, at)?; // [rows, d_model]
        let attn_out = layer.attn_proj.compose(&z)?;
        let attn_out = pass.hooks.visit(at(Point::AttnOut), attn_out)?;
        let mid = (x + self.drop(attn_out, pass)?)?;
        let mid = pass.hooks.visit(at(Point::ResidMid), mid)?;
        let hidden = layer.c_fc.compose(&layer.ln_2.compose(&mid)?)?; // [rows, 4 × d_model]
        let post = pass.hooks.visit(at(Point::MlpPost), hidden.gelu()?)?;
        let mlp_out = layer.mlp_proj.compose(&post)?;
        let mlp_out = pass.hooks.visit(at(Point::MlpOut), mlp_out)?;
        let out = (mid + self.drop(mlp_out, pass)?)?;
        pass.hooks.visit(at(Point::ResidPost), out)
    }

    // What the heads gather, [rows, d_model].
    fn attention(
        &self,
        layer: &Layer,
        normed: &Tensor,
        rows: &Rows,
        pass: &mut Pass,
        at: &impl Fn(Point) -> Site,
    ) -> Result<Tensor> {
        let qkv = layer.c_attn.compose(normed)?; // [rows, 3 × d_model]
        let (count, d) = normed.dims2()?;
        let (heads, width) = (self.config.heads, d / self.config.heads);
        let most = rows.most_ancestors();
        let (index, mask) = rows.ancestor_table();
        let index = self.indices(&index)?;
        let mask = Tensor::from_vec(mask, (count, 1, most), &Device::Cpu)?
            .to_dtype(qkv.dtype())?
            .to_device(&self.device)?;
        let part = |i: usize| qkv.narrow(1, i * d, d)?.contiguous();
        let gathered = |i: usize| -> candle_core::Result<Tensor> {
            part(i)?
                .index_select(&index, 0)?
                .reshape((count, most, heads, width))?
                .transpose(1, 2)?
                .contiguous() // [rows, heads, ancestors, d_head]
        };
        let q = part(0)?.reshape((count, heads, 1, width))?;
        let scores = (q.broadcast_mul(&gathered(1)?)?.sum(D::Minus1)? / (width as f64).sqrt())?; // [rows, heads, ancestors]
        let pattern = candle_nn::ops::softmax(&scores.broadcast_add(&mask)?, D::Minus1)?;
        let pattern = pass.hooks.visit(at(Point::AttnPattern), pattern)?;
        let pattern = self.drop(pattern, pass)?;
        let z = pattern.unsqueeze(D::Minus1)?.broadcast_mul(&gathered(2)?)?.sum(2)?; // [rows, heads, d_head]
        Ok(pass.hooks.visit(at(Point::Z), z)?.reshape((count, d))?)
    }

    fn norm(&self, norm: &Norm, x: &Tensor) -> Result<Tensor> {
        if !self.kernels(x) {
            return norm.compose(x);
        }
        let kernel = LayerNorm {
            epsilon: EPSILON as f32,
            backend: self.backend,
        };
        Ok(x.contiguous()?.apply_op3(&norm.weight, &norm.bias, kernel)?)
    }

    pub(super) fn kernels(&self, x: &Tensor) -> bool {
        !self.composed && kernels::available(x)
    }

    fn drop(&self, x: Tensor, pass: &mut Pass) -> Result<Tensor> {
        let (Some(stream), p) = (&mut pass.dropout, self.config.dropout) else {
            return Ok(x);
        };
        if p == 0.0 {
            return Ok(x);
        }
        let kept = (1.0 / (1.0 - p)) as f32;
        let mask: Vec<f32> = (0..x.elem_count())
            .map(|_| if stream.uniform() < p { 0.0 } else { kept })
            .collect();
        let mask = Tensor::from_vec(mask, x.shape(), &Device::Cpu)?
            .to_dtype(x.dtype())?
            .to_device(&self.device)?;
        Ok((x * mask)?)
    }

    pub(super) fn indices(&self, values: &[u32]) -> Result<Tensor> {
        Ok(Tensor::new(values, &self.device)?)
    }
}
