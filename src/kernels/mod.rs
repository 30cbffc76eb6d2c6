//! CPU kernels in f32: GEMM, attention over ancestors, layer norm, GELU, cross-entropy, AdamW, and the stack that runs them.
//!
//! They work on slices, shapes and instruction sets, and know nothing of tensors or hooks: `model` wraps them in candle ops. The
//! loops are plain Rust that the compiler vectorises; [`pulp`] picks the widest instructions of the machine at run time. Only AMX
//! needs assembly.
//!
//! # One training step
//!
//! n rows in chunks c₁ … c_m, L layers, R iterations, D = L × R effective layers. `║` marks where all threads wait for each other.
//!
//! ```text
//!  thread 1               thread 2            packed               kept for the backward pass       recomputed
//!  ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
//!  FORWARD (stack::forward)
//!  pack weights of the layers ‖ by columns    W of L layers, once  –                                –
//!  ══════════════════════════════════════════
//!  QKV of distinct embeddings, one thread     normed embeddings    x and QKV of the embeddings      –
//!  ══════════════════════════════════════════
//!  c₁: layers 1 … D       c₂: layers 1 … D    left operands,       for each chunk and layer: x,     –
//!  c₃: layers 1 … D       c₄: layers 1 … D    16 or more rows at   QKV, pattern, z, resid_mid,
//!  …                      …                   a time, per thread   MLP before GELU (stack::saved)
//!  ══════════════════════════════════════════
//!  LOSS: unembedding (accumulate_in_parallel) Wᵀ_E, once           –                                –
//!        cross-entropy and its gradient, one thread                logits                           –
//!  BACKWARD (stack::backward), for each effective layer D … 1
//!  pack weights of the layer ‖ by columns     Wᵀ of a layer, the   –                                –
//!  ══════════════════════════════════════════ first time
//!  c₁: dL/dy → dL/dx      c₂: dL/dy → dL/dx   left operands        operands of weight gradients     ln_1(x), ln_2(resid_mid),
//!  c₃: dL/dy → dL/dx      c₄: dL/dy → dL/dx                        (Scratch, a few chunks)          GELU
//!  ══════════════════════════════════════════
//!  panel of dL/dW         panel of dL/dW      both operands        –                                –
//!  ══════════════════════════════════════════ (then the next chunks, then the next layer)
//!  sums of norms and biases, in chunk order, one thread
//!  UPDATE (adamw): the gradient norm, then one pass over weights and moments in chunks of 65,536 numbers
//! ```
//!
//! - *Threads*: chunks, panels and groups of columns do not depend on the number of threads, and every sum has a fixed order. So the
//!   results do not depend on it either.
//! - *Memory*: a forward pass without gradients keeps the states of two effective layers, which alternate. A block whose packed
//!   weights exceed 128 MiB packs one layer at a time; then all chunks run through one effective layer before the next.
//! - *f32*: with f32 GEMM, weights are used as they lie in the forward pass, and transposed once a layer in the backward pass; the
//!   `gemm` crate packs operands itself.

pub(crate) mod adamw;
mod attention;
mod backend;
mod batch;
#[allow(unsafe_code, reason = "cache lines as numbers, and large pages")]
mod buffer;
pub(crate) mod cross_entropy;
mod gelu;
pub(crate) mod gemm;
pub(crate) mod norm;
mod parameters;
mod simd;
pub(crate) mod stack;

#[cfg(test)]
pub(crate) use backend::on_every_backend;
pub use backend::{Backend, MatmulBackend, disable_amx};
pub(crate) use batch::{Ancestry, DistinctEmbeddings};
pub(crate) use parameters::{Affine, Kind, LAYER, Parameters};
pub(crate) use simd::add;

#[cfg(test)]
mod tests;
