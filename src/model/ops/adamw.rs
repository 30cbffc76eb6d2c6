//! AdamW and the gradient norm of tensors.

use candle_core::{Result, Tensor};

use super::{with_numbers, with_numbers_mut};
use crate::kernels::Backend;
use crate::kernels::adamw::{self, Step};

/// Σ x² of a contiguous f32 tensor on the CPU.
///
/// # Errors
/// When the tensor is another.
pub(crate) fn sum_of_squares(backend: Backend, x: &Tensor) -> Result<f64> {
    with_numbers(x, |x| Ok(adamw::sum_of_squares(backend, x)))
}

/// Takes one AdamW step in place. `decays` holds for each part of the flat weights its length and what weight decay
/// multiplies it by.
///
/// # Errors
/// When a tensor is not contiguous f32 on the CPU.
pub(crate) fn adamw(
    backend: Backend,
    step: Step,
    decays: &[(usize, f32)],
    [weights, first, second]: [&Tensor; 3],
    gradient: &Tensor,
) -> Result<()> {
    with_numbers(gradient, |gradient| {
        with_numbers_mut(weights, |weights| {
            with_numbers_mut(first, |first| {
                with_numbers_mut(second, |second| {
                    adamw::update(backend, step, decays, weights, first, second, gradient);
                    Ok(())
                })
            })
        })
    })
}
