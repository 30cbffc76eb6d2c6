//! CPU kernels in f32: the loop as one differentiable candle op over packed rows, and what stands around it.
//!
//! Beside them stands the composed version in [`super::forward`], which is the readable reference, the path for other
//! devices and precisions, and the oracle of the tests. The loops are plain Rust that the compiler vectorises; [`pulp`]
//! picks the widest instructions of the machine at run time. Only products on a matrix unit need assembly. Work is split
//! over the threads of the current rayon pool in pieces that do not depend on their number, so neither do the results.

pub(crate) mod adamw;
mod attention;
mod backend;
mod buffer;
mod embedding;
mod gelu;
mod gemm;
mod gradients;
mod loss;
mod norm;
mod stack;

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, DType, InplaceOp1, Layout, Result, Storage, Tensor};

#[cfg(test)]
pub(super) use backend::on_every_backend;
pub use backend::{Backend, be_portable, products};
pub(super) use embedding::{Embed, Unembed};
pub use gemm::Products;
pub(crate) use gemm::{rate as gemm_rate, relative_error as gemm_error};
pub(super) use gradients::Gradients;
pub(super) use loss::CrossEntropy;
pub(super) use norm::LayerNorm;
pub(super) use stack::{Plan, Stack, Taps, Workspace};

/// Whether the kernels can take `x`.
pub(crate) fn available(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == DType::F32
}

// The numbers of a contiguous f32 operand.
fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => candle_core::bail!("a kernel needs a contiguous operand"),
    }
}

/// A tensor's numbers, borrowed while `f` runs; several tensors are nested calls.
///
/// # Errors
/// Those of `f`, and where the tensor is not f32 on the CPU.
pub(super) fn with_numbers<T>(x: &Tensor, f: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
    let x = x.contiguous()?;
    let (storage, layout) = x.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => f(slice(storage, layout)?),
        _ => candle_core::bail!("a CPU kernel met a tensor of another device"),
    }
}

// Candle lends a tensor's numbers for writing to an in-place op alone, and calls it once.
struct Lend<F>(Mutex<Option<F>>);

impl<F: FnOnce(&mut [f32]) -> Result<()>> InplaceOp1 for Lend<F> {
    fn name(&self) -> &'static str {
        "lend"
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

// A tensor's numbers, lent for writing while `f` runs.
fn with_numbers_mut(x: &Tensor, f: impl FnOnce(&mut [f32]) -> Result<()>) -> Result<()> {
    x.inplace_op1(&Lend(Mutex::new(Some(f))))
}

fn like(x: &Tensor, numbers: Vec<f32>) -> Result<Option<Tensor>> {
    Ok(Some(Tensor::from_vec(numbers, x.shape(), x.device())?))
}

const LANES: usize = 16;

// The sum of the lanes by halves: added up one after the other, each would wait for the last.
#[inline(always)]
fn total(lanes: [f32; LANES]) -> f32 {
    let eight: [f32; 8] = std::array::from_fn(|i| lanes[i] + lanes[i + 8]);
    let four: [f32; 4] = std::array::from_fn(|i| eight[i] + eight[i + 4]);
    (four[0] + four[2]) + (four[1] + four[3])
}

// Σ f(x), in partial sums that let the loop be vectorised.
#[inline(always)]
fn sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest: f32 = chunks.remainder().iter().map(|&x| f(x)).sum();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane += f(x);
        }
    }
    total(lanes) + rest
}

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a_chunks
        .remainder()
        .iter()
        .zip(b_chunks.remainder())
        .map(|(x, y)| x * y)
        .sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for i in 0..LANES {
            lanes[i] = a[i].mul_add(b[i], lanes[i]);
        }
    }
    total(lanes) + rest
}

fn add(to: &mut [f32], from: &[f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += from;
    }
}

#[inline(always)]
fn add_scaled(to: &mut [f32], scale: f32, from: &[f32]) {
    // By whole arrays, so that short slices are vectorised too.
    let ((to, to_rest), (from, from_rest)) = (to.as_chunks_mut::<LANES>(), from.as_chunks::<LANES>());
    for (to, from) in to.iter_mut().zip(from) {
        *to = std::array::from_fn(|i| scale.mul_add(from[i], to[i]));
    }
    for (to, &from) in to_rest.iter_mut().zip(from_rest) {
        *to = scale.mul_add(from, *to);
    }
}

// e^x for |x| ≤ 87 or so, clamped beyond: 2^n by the exponent bits, the rest by the polynomial of Cephes' `expf`
// (relative error 2e-7). No call and no branch, so that loops over it are vectorised.
#[inline(always)]
#[allow(clippy::excessive_precision)] // ln 2 in two parts, as Cephes has it
fn exp(x: f32) -> f32 {
    // Adding 1.5 × 2^23 rounds to the nearest integer and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 87.0);
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(2.121_944_4e-4, n.mul_add(-0.693_359_375, x));
    let p = 1.987_569_2e-4_f32;
    let p = p.mul_add(r, 1.398_2e-3);
    let p = p.mul_add(r, 8.333_452e-3);
    let p = p.mul_add(r, 4.166_579_6e-2);
    let p = p.mul_add(r, 1.666_666_5e-1);
    let p = p.mul_add(r, 5.000_000_1e-1);
    let p = (p * r).mul_add(r, r) + 1.0;
    p * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use pulp::{Simd, WithSimd};

    use super::*;
    use crate::random::Stream;

    struct Exp<'a>(&'a mut [f32]);

    impl WithSimd for Exp<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) {
            self.0.iter_mut().for_each(|x| *x = exp(*x));
        }
    }

    #[test]
    fn the_fast_exponential_is_the_exponential() {
        on_every_backend(|backend| {
            let numbers: Vec<f32> = (-8700..=8700).map(|i| i as f32 / 100.0).collect();
            let mut got = numbers.clone();
            backend.arch.dispatch(Exp(&mut got));
            for (x, got) in numbers.into_iter().zip(got) {
                let (got, expected) = (f64::from(got), f64::from(x).exp());
                assert!(
                    (got - expected).abs() / expected < 4e-7,
                    "{backend}: exp({x}) = {got}, not {expected}"
                );
            }
        });
    }

    fn random(stream: &mut Stream, count: usize) -> Vec<f32> {
        (0..count).map(|_| stream.normal() as f32).collect()
    }

    // What every element-wise kernel gives on one backend, on rows whose width is no multiple of a register's.
    fn element_wise(backend: Backend) -> Vec<Vec<f32>> {
        const D: usize = 37;
        const ROWS: usize = 5;
        let mut stream = Stream::new(1, "test element-wise kernels", 0);
        let mut numbers = |count| random(&mut stream, count);
        let (x, dy, weight, bias) = (numbers(ROWS * D), numbers(ROWS * D), numbers(D), numbers(D));
        let zeros = || (vec![0.0; ROWS * D], vec![0.0; D], vec![0.0; D]);
        let arch = backend.arch;
        let mut all = Vec::new();

        let (mut y, ..) = zeros();
        arch.dispatch(norm::Forward {
            x: &x,
            weight: &weight,
            bias: &bias,
            y: &mut y,
            epsilon: 1e-5,
        });
        all.push(y);
        let ((mut y, mut dw, mut db), mut dx) = (zeros(), dy.clone());
        arch.dispatch(norm::Backward {
            x: &x,
            weight: &weight,
            bias: &bias,
            y: &mut y,
            dx: &mut dx,
            dw: &mut dw,
            db: &mut db,
            epsilon: 1e-5,
        });
        all.extend([y, dx, dw, db]);

        let (mut y, ..) = zeros();
        arch.dispatch(gelu::Forward {
            x: &x,
            bias: &bias,
            y: &mut y,
        });
        all.push(y);
        let ((mut y, mut db, _), mut dx) = (zeros(), dy.clone());
        arch.dispatch(gelu::Backward {
            x: &x,
            bias: &bias,
            y: &mut y,
            dx: &mut dx,
            db: &mut db,
        });
        all.extend([y, dx, db]);

        let tensor = |numbers: &[f32]| Tensor::from_slice(numbers, (ROWS, D), &Device::Cpu).unwrap();
        let logits = candle_core::Var::from_tensor(&tensor(&x)).unwrap();
        let op = CrossEntropy {
            targets: (0..ROWS as u32).collect(),
            smoothing: 0.1,
            backend,
        };
        let loss = logits.as_tensor().apply_op1(op).unwrap();
        let gradient = loss.backward().unwrap().get(&logits).unwrap().clone();
        all.push(vec![loss.to_scalar().unwrap()]);
        all.push(gradient.flatten_all().unwrap().to_vec1().unwrap());

        let (weights, first, second) = (tensor(&x), tensor(&dy), tensor(&x).sqr().unwrap());
        let step = adamw::Step {
            scale: 0.7,
            betas: [0.9, 0.999],
            rate: 1e-3,
            correction: 1.3,
            epsilon: 1e-8,
        };
        let kept = [(ROWS * D - 7, 0.99), (7, 1.0)];
        adamw::update(backend, step, &kept, &weights, &first, &second, &tensor(&dy)).unwrap();
        all.extend([weights, first, second].map(|x| x.flatten_all().unwrap().to_vec1().unwrap()));
        all.push(vec![adamw::sum_of_squares(backend, &tensor(&x)).unwrap() as f32]);
        all
    }

    #[test]
    fn element_wise_kernels_give_the_same_bits_on_every_backend() {
        let expected = element_wise(Backend::scalar());
        assert!(expected.iter().flatten().all(|x| x.is_finite()));
        on_every_backend(|backend| assert_eq!(element_wise(backend), expected));
    }
}
