//! CPU kernels in f32: GEMM, attention over ancestors, layer norm, GELU, cross-entropy, AdamW, and the stack that runs
//! them.
//!
//! They work on slices, shapes and instruction sets, and know nothing of tensors or hooks: `model` wraps them in candle
//! ops. The loops are plain Rust that the compiler vectorises; [`pulp`] picks the widest instructions of the machine at
//! run time. Only AMX needs assembly.
//!
//! # One training step
//!
//! A batch of n rows in chunks c₁ … c_m, a block of L layers, R iterations: D = L × R effective layers. At a line `═══` all
//! threads wait for each other.
//!
//! ```text
//!  thread 1              thread 2             packed                 kept, or recomputed
//!
//!  FORWARD: stack::forward
//!  groups of columns of the weights           int8: W of all layers
//!  ═════════════════════════════════════════
//!  QKV of the distinct embeddings                                    kept: their x and QKV
//!  c₁: layers 1 … D      c₂: layers 1 … D     int8: the left         kept, for each chunk and effective layer:
//!  c₃: layers 1 … D      c₄: layers 1 … D     operand of every GEMM  x, QKV, pattern, z, resid_mid, MLP before GELU
//!  …                     …
//!  ═════════════════════════════════════════
//!  LOSS: matmul::accumulate_in_parallel, cross_entropy
//!  128 rows of logits    128 rows of logits   int8: W_E
//!  ═════════════════════════════════════════
//!  loss and dL/d(logits) of all rows
//!  128 rows of dL/dx, then of dL/dW_E         int8: both operands
//!  ═════════════════════════════════════════
//!
//!  BACKWARD: stack::backward, for each effective layer D … 1
//!  groups of columns of the weights           Wᵀ of the layer, when
//!  ═════════════════════════════════════════  it is used first
//!    for a few chunks at a time:
//!    c₁: dL/dy → dL/dx   c₂: dL/dy → dL/dx    int8: the left         recomputed: ln_1(x), ln_2(resid_mid), GELU
//!  ═════════════════════════════════════════  operand of every GEMM
//!    a panel of dL/dW    a panel of dL/dW     int8: both operands
//!  ═════════════════════════════════════════
//!  sums of the gradients of norms and biases over the chunks
//!
//!  UPDATE: adamw
//!  65,536 weights        65,536 weights
//! ```
//!
//! - *Threads.* Chunks, panels and groups of columns do not depend on the number of threads, and every sum has a fixed
//!   order. So the results do not depend on it either.
//! - *Memory.* A forward pass without gradients keeps the states of only two effective layers, which alternate. Of a block
//!   whose packed weights exceed 128 MiB, one layer is packed at a time, and all chunks run through one effective layer
//!   before the next.
//! - *f32.* With f32 GEMM, weights are not packed in the forward pass, and transposed in the backward pass. The `gemm` crate
//!   packs both operands itself.

pub(crate) mod adamw;
mod attention;
mod backend;
mod batch;
#[allow(unsafe_code, reason = "cache lines as numbers, and large pages")]
mod buffer;
pub(crate) mod cross_entropy;
mod gelu;
pub(crate) mod gemm;
pub(crate) mod matmul;
pub(crate) mod norm;
mod parameters;
mod simd;
pub(crate) mod stack;

#[cfg(test)]
pub(crate) use backend::on_every_backend;
pub use backend::{Backend, MatmulBackend, amx_is_disabled, disable_amx};
pub(crate) use batch::{Ancestry, Branches, DistinctEmbeddings};
pub(crate) use parameters::{Affine, Kind, LAYER, Parameters};
pub(crate) use simd::add;

#[cfg(test)]
mod tests;
