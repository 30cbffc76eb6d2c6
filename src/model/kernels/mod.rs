//! CPU kernels of the block in f32, each a differentiable candle op over packed rows.
//!
//! Behind the same interface stands the composed version in [`super::forward`], which is the reference, the path for
//! other devices and precisions, and the oracle of the tests here. The loops are plain Rust that the compiler
//! vectorises; [`pulp`] picks the widest instructions of the machine at run time.

mod attention;
mod gelu;
mod norm;

use candle_core::{CpuStorage, DType, Layout, Result, Tensor};

pub(super) use attention::AncestorAttention;
pub(super) use gelu::BiasGelu;
pub(super) use norm::LayerNorm;

/// Whether the kernels can take `x`.
pub(super) fn available(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == DType::F32
}

// The numbers of a contiguous f32 operand.
fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => candle_core::bail!("a kernel needs a contiguous operand"),
    }
}

// A copy of a tensor's numbers, row by row.
fn values(x: &Tensor) -> Result<Vec<f32>> {
    x.flatten_all()?.to_vec1::<f32>()
}
