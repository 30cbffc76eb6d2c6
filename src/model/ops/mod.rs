//! The CPU kernels as candle ops: they borrow the numbers of tensors and give their gradients to candle's autograd.

mod adamw;
mod cross_entropy;
mod embedding;
mod gradients;
mod layer_norm;
mod recurrence;

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Result, Storage, Tensor};

pub(crate) use adamw::{adamw, sum_of_squares};
pub(super) use cross_entropy::CrossEntropy;
pub(super) use embedding::{Embed, Unembed};
pub(super) use gradients::GradientBuffers;
pub(super) use layer_norm::LayerNorm;
pub(super) use recurrence::Recurrence;

/// Whether the kernels can take tensors of this type on this device.
pub(crate) fn can_take(dtype: DType, device: &Device) -> bool {
    dtype == DType::F32 && device.is_cpu()
}

// The numbers of a contiguous f32 operand.
fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => candle_core::bail!("a kernel needs a contiguous operand"),
    }
}

// Calls `f` with the numbers of a tensor; several tensors are nested calls. Fails where the tensor is not f32 on the CPU.
fn with_numbers<T>(x: &Tensor, f: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
    let x = x.contiguous()?;
    let (storage, layout) = x.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => f(slice(storage, layout)?),
        _ => candle_core::bail!("a CPU kernel got a tensor of another device"),
    }
}

// Candle gives the numbers of a tensor for writing only to an in-place op, which it calls once.
struct Borrow<F>(Mutex<Option<F>>);

impl<F: FnOnce(&mut [f32]) -> Result<()>> InplaceOp1 for Borrow<F> {
    fn name(&self) -> &'static str {
        "borrow"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (CpuStorage::F32(numbers), Some((start, end))) = (storage, layout.contiguous_offsets()) else {
            candle_core::bail!("a kernel needs a contiguous f32 operand");
        };
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(f) => f(&mut numbers[start..end]),
            None => Ok(()),
        }
    }
}

// Calls `f` with the numbers of a tensor, to write.
fn with_numbers_mut(x: &Tensor, f: impl FnOnce(&mut [f32]) -> Result<()>) -> Result<()> {
    x.inplace_op1(&Borrow(Mutex::new(Some(f))))
}

// A gradient of the shape of `x`.
fn gradient_of(x: &Tensor, numbers: Vec<f32>) -> Result<Option<Tensor>> {
    Ok(Some(Tensor::from_vec(numbers, x.shape(), x.device())?))
}
