//! GEMM: by AMX on CPUs that have it, by the `gemm` crate elsewhere, or by any kernel that the backend names.

mod f32;
mod int8;

use std::cell::Cell;
use std::fmt;
use std::time::{Duration, Instant};

use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::backend::Backend;
use super::buffer::Buffer;
pub(super) use f32::F32Kernel;
pub(super) use int8::Engine as Int8Engine;

/// What the CPU's products of matrices are made by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Products {
    /// f32 instructions, by the `gemm` crate.
    #[default]
    F32,
    /// Intel's AMX: eight products of 8-bit digits in place of each of f32, and about as near to the true sum.
    Amx,
}

impl fmt::Display for Products {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32 instructions",
            Self::Amx => "AMX",
        })
    }
}

/// What computes a backend's GEMM.
#[derive(Clone, Copy)]
pub(super) enum Gemm {
    F32(F32Kernel),
    /// Int8 slices: by AMX, or by its scalar reference.
    Int8(Int8Engine),
}

/// A matrix that lies in a slice by rows, perhaps read as its transpose.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    numbers: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// The matrix with these columns that fills its slice.
    pub(super) fn new(numbers: &'a [f32], columns: usize) -> Self {
        assert!(numbers.len().is_multiple_of(columns), "a matrix fills its slice");
        Self {
            numbers,
            rows: numbers.len() / columns,
            columns,
            row_stride: columns,
            column_stride: 1,
        }
    }

    pub(super) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// Some of its rows, as they are read.
    pub(super) fn rows(self, from: usize, count: usize) -> Self {
        assert!(from + count <= self.rows, "the rows are the matrix's");
        Self {
            numbers: self.numbers.get(from * self.row_stride..).unwrap_or_default(),
            rows: count,
            ..self
        }
    }
}

/// Adds products of two matrices each, all of one shape, to `out`.
pub(super) fn add_products(gemm: Gemm, out: &mut [f32], products: &[(Matrix, Matrix)]) {
    match gemm {
        Gemm::Int8(engine) => int8::add_products(engine, out, products),
        Gemm::F32(kernel) => products.iter().for_each(|&(a, b)| kernel.product(out, a, b, true)),
    }
}

/// Bytes that an [`Operand`] of so many numbers holds, at most.
pub(super) fn operand_bytes(gemm: Gemm, numbers: usize) -> usize {
    match gemm {
        Gemm::Int8(_) => int8::Packed::bytes(numbers),
        Gemm::F32(_) => size_of::<f32>() * numbers,
    }
}

/// The right operand of many products, packed once.
#[derive(Default)]
pub(super) struct Operand {
    form: Form,
    // The numbers of a matrix that does not lie by rows, by rows: products run fastest when both operands do.
    numbers: Buffer,
    packed: int8::Packed,
}

// How the operand was set last, and what computes its products: the buffers may still hold what another backend packed.
#[derive(Clone, Copy)]
enum Form {
    AsItIs(F32Kernel),
    ByRows(F32Kernel),
    Packed,
}

impl Default for Form {
    fn default() -> Self {
        Self::AsItIs(F32Kernel::Widest)
    }
}

/// Puts something into rows of a product, from the given one on, which it is then added to; it makes no product itself.
pub(super) type Base<'a> = &'a dyn Fn(usize, &mut [f32]);

/// An operand that is packed.
#[derive(Clone, Copy)]
pub(super) enum Right<'a> {
    Plain(F32Kernel, Matrix<'a>),
    Packed(&'a int8::Packed),
}

impl Operand {
    /// Packs `matrix` for `backend`, on the threads of the current pool.
    pub(super) fn set(&mut self, backend: Backend, matrix: Matrix) {
        self.form = match backend.gemm {
            Gemm::Int8(engine) => {
                self.packed.set(engine, matrix);
                Form::Packed
            }
            Gemm::F32(kernel) if matrix.column_stride == 1 => Form::AsItIs(kernel),
            Gemm::F32(kernel) => {
                backend.arch.dispatch(Transpose {
                    from: matrix.numbers,
                    columns: matrix.rows,
                    to: self.numbers.fit(matrix.rows * matrix.columns),
                });
                Form::ByRows(kernel)
            }
        };
    }

    /// What was set, which is `matrix`.
    pub(super) fn of<'a>(&'a self, matrix: Matrix<'a>) -> Right<'a> {
        match self.form {
            Form::AsItIs(kernel) => Right::Plain(kernel, matrix),
            Form::ByRows(kernel) => Right::Plain(kernel, Matrix::new(&self.numbers, matrix.columns)),
            Form::Packed => Right::Packed(&self.packed),
        }
    }
}

impl Right<'_> {
    /// out = a · this.
    pub(super) fn product(self, out: &mut [f32], a: Matrix) {
        self.product_onto(out, a, None);
    }

    /// The same on top of what `base` puts into rows of `out`, from the given row on.
    pub(super) fn product_onto(self, out: &mut [f32], a: Matrix, base: Option<Base>) {
        match self {
            Self::Packed(packed) => packed.product(out, a, base),
            Self::Plain(kernel, matrix) => {
                if let Some(base) = base {
                    base(0, out);
                }
                kernel.product(out, a, matrix, base.is_some());
            }
        }
    }
}

// Rows of a product that a thread makes at a time: fixed, as everything that a result might depend on.
const ROWS: usize = 128;

/// [`add_products`] of one product, on the threads of the current pool.
pub(super) fn spread_product(backend: Backend, out: &mut [f32], a: Matrix, b: Matrix) {
    thread_local! {
        static OPERAND: Cell<Operand> = Cell::default();
    }
    // Taken, not borrowed: while this thread waits for others, it may find another product to make.
    let mut operand = OPERAND.take();
    let right = match backend.gemm {
        Gemm::Int8(_) => {
            operand.set(backend, b);
            operand.of(b)
        }
        Gemm::F32(kernel) => Right::Plain(kernel, b),
    };
    let chunks = out.par_chunks_mut(ROWS * b.columns).enumerate();
    chunks.for_each(|(chunk, out)| {
        let a = a.rows(chunk * ROWS, out.len() / b.columns);
        right.product_onto(out, a, Some(&|_, _| {}));
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
        // Square tiles, so that both sides are read and written by whole cache lines.
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

/// What the `gemm` crate's products of square matrices reach on so many threads of the current pool, in floating-point
/// operations a second: the yardstick for everything that is made of products.
pub(crate) fn rate(threads: usize) -> f64 {
    const SIDE: usize = 768;
    const TIME: Duration = Duration::from_millis(300);
    let of_thread = |_| {
        let (a, b) = (vec![1.0; SIDE * SIDE], vec![1.0; SIDE * SIDE]);
        let mut out = vec![0.0; SIDE * SIDE];
        let mut multiply = || F32Kernel::Widest.product(&mut out, Matrix::new(&a, SIDE), Matrix::new(&b, SIDE), false);
        multiply();
        let (start, mut fastest) = (Instant::now(), Duration::MAX);
        while start.elapsed() < TIME {
            let before = Instant::now();
            multiply();
            fastest = fastest.min(before.elapsed());
        }
        2.0 * (SIDE as f64).powi(3) / fastest.as_secs_f64()
    };
    (0..threads).into_par_iter().map(of_thread).sum()
}

/// The error of a · b on `backend` against f64: root mean square over the entries, in that of the product. a `[rows, depth]`,
/// b `[depth, columns]`.
pub(crate) fn relative_error(backend: Backend, a: &[f32], b: &[f32], depth: usize) -> f64 {
    let columns = b.len() / depth;
    let mut got = vec![0.0; a.len() / depth * columns];
    add_products(
        backend.gemm,
        &mut got,
        &[(Matrix::new(a, depth), Matrix::new(b, columns))],
    );
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
