//! Matrix products on a backend: right operands that are packed once, and products that all threads compute together.

use std::cell::Cell;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::backend::Backend;
use super::buffer::Buffer;
use super::gemm::{BetaTerm, F32Kernel, Gemm, Matrix, PackedSlices};

/// The right operand of many products, packed once.
#[derive(Default)]
pub(super) struct PackedOperand {
    form: Form,
    // A matrix whose columns are contiguous, transposed: f32 GEMM is fastest where the rows of both operands are contiguous.
    transposed: Buffer,
    packed: PackedSlices,
}

// How the operand was packed last: the buffers may still hold what another backend packed.
#[derive(Clone, Copy)]
enum Form {
    Unpacked(F32Kernel),
    Transposed(F32Kernel),
    Int8,
}

impl Default for Form {
    fn default() -> Self {
        Self::Unpacked(F32Kernel::Widest)
    }
}

/// A right operand that is ready for GEMM.
#[derive(Clone, Copy)]
pub(super) enum RightOperand<'a> {
    F32(F32Kernel, Matrix<'a>),
    Int8(&'a PackedSlices),
}

impl PackedOperand {
    /// Packs `matrix` for `backend`, on the threads of the current pool.
    pub(super) fn pack(&mut self, backend: Backend, matrix: Matrix) {
        self.form = match backend.gemm {
            Gemm::Int8(engine) => {
                self.packed.pack(engine, matrix);
                Form::Int8
            }
            Gemm::F32(kernel) if matrix.column_stride == 1 => Form::Unpacked(kernel),
            Gemm::F32(kernel) => {
                backend.run(Transpose {
                    from: matrix.numbers,
                    columns: matrix.rows,
                    to: self.transposed.fit(matrix.rows * matrix.columns),
                });
                Form::Transposed(kernel)
            }
        };
    }

    /// The operand that was packed last, which is `matrix`.
    pub(super) fn right<'a>(&'a self, matrix: Matrix<'a>) -> RightOperand<'a> {
        match self.form {
            Form::Unpacked(kernel) => RightOperand::F32(kernel, matrix),
            Form::Transposed(kernel) => RightOperand::F32(kernel, Matrix::new(&self.transposed, matrix.columns)),
            Form::Int8 => RightOperand::Int8(&self.packed),
        }
    }
}

impl RightOperand<'_> {
    /// out = A · this, plus the beta term where there is one.
    pub(super) fn gemm(self, out: &mut [f32], a: Matrix, beta: Option<BetaTerm>) {
        match self {
            Self::Int8(packed) => packed.gemm(out, a, beta),
            Self::F32(kernel, matrix) => {
                if let Some(beta) = beta {
                    beta(0, out);
                }
                kernel.gemm(out, a, matrix, beta.is_some());
            }
        }
    }
}

// Rows of a product that a thread computes at a time: fixed, so that no result depends on the number of threads.
const ROWS: usize = 128;

/// out += A · B, on the threads of the current pool.
pub(crate) fn accumulate_in_parallel(backend: Backend, out: &mut [f32], a: Matrix, b: Matrix) {
    thread_local! {
        static OPERAND: Cell<PackedOperand> = Cell::default();
    }
    // Taken, not borrowed: rayon may run another call of this function on this thread while it waits for other threads.
    let mut operand = OPERAND.take();
    let right = match backend.gemm {
        Gemm::Int8(_) => {
            operand.pack(backend, b);
            operand.right(b)
        }
        Gemm::F32(kernel) => RightOperand::F32(kernel, b),
    };
    let chunks = out.par_chunks_mut(ROWS * b.columns).enumerate();
    chunks.for_each(|(chunk, out)| {
        let a = a.rows(chunk * ROWS, out.len() / b.columns);
        // The beta term is what `out` holds.
        right.gemm(out, a, Some(&|_, _| {}));
    });
    OPERAND.set(operand);
}

struct Transpose<'a> {
    from: &'a [f32],
    columns: usize,
    to: &'a mut [f32],
}

impl WithSimd for Transpose<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        // Square tiles, so that whole cache lines are read and written.
        const TILE: usize = 16;
        let (columns, rows) = (self.columns, self.from.len() / self.columns);
        for row in (0..rows).step_by(TILE) {
            for column in (0..columns).step_by(TILE) {
                for c in column..(column + TILE).min(columns) {
                    for r in row..(row + TILE).min(rows) {
                        self.to[c * rows + r] = self.from[r * columns + c];
                    }
                }
            }
        }
    }
}

/// The root mean square error of A · B on `backend` against f64, relative to the root mean square of the product; a
/// `[rows, depth]`, b `[depth, columns]`.
pub(crate) fn relative_error(backend: Backend, a: &[f32], b: &[f32], depth: usize) -> f64 {
    let columns = b.len() / depth;
    let mut got = vec![0.0; a.len() / depth * columns];
    let product = (Matrix::new(a, depth), Matrix::new(b, columns));
    backend.gemm.accumulate(&mut got, &[product]);
    let (mut size, mut error) = (0.0, 0.0);
    let mut exact = vec![0.0; columns];
    for (got, a) in got.chunks_exact(columns).zip(a.chunks_exact(depth)) {
        exact.fill(0.0);
        for (&a, b) in a.iter().zip(b.chunks_exact(columns)) {
            exact
                .iter_mut()
                .zip(b)
                .for_each(|(sum, &b)| *sum += f64::from(a) * f64::from(b));
        }
        for (&got, exact) in got.iter().zip(&exact) {
            size += exact * exact;
            error += (f64::from(got) - exact).powi(2);
        }
    }
    (error / size).sqrt()
}

#[cfg(test)]
mod tests;
