//! CPU kernels of the block in f32, each a differentiable candle op over packed rows.
//!
//! Behind the same interface stands the composed version in [`super::forward`], which is the reference, the path for
//! other devices and precisions, and the oracle of the tests here. The loops are plain Rust that the compiler
//! vectorises; [`pulp`] picks the widest instructions of the machine at run time.

mod attention;
mod gelu;
mod linear;
mod norm;

use candle_core::{CpuStorage, DType, Layout, Result, Storage, Tensor};

pub(super) use attention::AncestorAttention;
pub(super) use gelu::BiasGelu;
pub(super) use linear::Linear;
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

// A tensor's numbers, borrowed while `f` runs; several tensors are nested calls.
fn with_numbers<T>(x: &Tensor, f: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
    let x = x.contiguous()?;
    let (storage, layout) = x.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => f(slice(storage, layout)?),
        _ => candle_core::bail!("a CPU kernel met a tensor of another device"),
    }
}

fn like(x: &Tensor, numbers: Vec<f32>) -> Result<Option<Tensor>> {
    Ok(Some(Tensor::from_vec(numbers, x.shape(), x.device())?))
}
