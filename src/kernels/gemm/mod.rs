//! GEMM on one thread: by int8 slices or by the `gemm` crate, whichever a backend names.

#[allow(unsafe_code, reason = "the `gemm` crate takes pointers")]
mod f32;
mod int8;

use std::time::{Duration, Instant};

use rayon::prelude::*;

pub(super) use f32::F32Kernel;
pub(super) use int8::{Int8Engine, Packed as PackedSlices};

/// What computes a backend's GEMM.
#[derive(Clone, Copy)]
pub(super) enum Gemm {
    F32(F32Kernel),
    /// Int8 slices: by AMX, or by its scalar reference.
    Int8(Int8Engine),
}

impl Gemm {
    /// out += Σ A · B over `products`, which all have the shape of `out`.
    pub(super) fn accumulate(self, out: &mut [f32], products: &[(Matrix, Matrix)]) {
        match self {
            Self::Int8(engine) => engine.accumulate(out, products),
            Self::F32(kernel) => products.iter().for_each(|&(a, b)| kernel.gemm(out, a, b, true)),
        }
    }

    /// The most bytes that a [`PackedOperand`](super::matmul::PackedOperand) of `len` numbers takes.
    pub(super) fn max_packed_bytes(self, len: usize) -> usize {
        match self {
            Self::Int8(_) => int8::Packed::bytes(len),
            Self::F32(_) => size_of::<f32>() * len,
        }
    }
}

/// A view of a slice as a matrix, row by row or column by column.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    pub(super) numbers: &'a [f32],
    pub(super) rows: usize,
    pub(super) columns: usize,
    row_stride: usize,
    pub(super) column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A matrix of `columns` columns that lies in `numbers` row by row and fills it.
    pub(crate) fn new(numbers: &'a [f32], columns: usize) -> Self {
        assert!(numbers.len().is_multiple_of(columns), "a matrix fills its slice");
        Self {
            numbers,
            rows: numbers.len() / columns,
            columns,
            row_stride: columns,
            column_stride: 1,
        }
    }

    /// The transpose, of the same numbers.
    pub(crate) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// `count` of its rows, from row `first` on.
    pub(super) fn rows(self, first: usize, count: usize) -> Self {
        assert!(first + count <= self.rows, "the rows are the matrix's");
        Self {
            numbers: self.numbers.get(first * self.row_stride..).unwrap_or_default(),
            rows: count,
            ..self
        }
    }

    /// `count` of its columns, from column `first` on.
    fn columns(self, first: usize, count: usize) -> Self {
        self.transposed().rows(first, count).transposed()
    }
}

/// The beta term C of `out = A · B + C`: writes C into the given rows of `out`, whose first row it gets too. It calls no GEMM.
pub(super) type BetaTerm<'a> = &'a dyn Fn(usize, &mut [f32]);

/// The rate of the `gemm` crate on square matrices on `threads` threads of the current pool, in floating-point operations a
/// second: the peak that training steps are compared with.
pub(crate) fn peak_rate(threads: usize) -> f64 {
    const SIZE: usize = 768;
    const TIME: Duration = Duration::from_millis(300);
    let of_thread = |_| {
        let (a, b) = (vec![1.0; SIZE * SIZE], vec![1.0; SIZE * SIZE]);
        let mut out = vec![0.0; SIZE * SIZE];
        let mut multiply = || F32Kernel::Widest.gemm(&mut out, Matrix::new(&a, SIZE), Matrix::new(&b, SIZE), false);
        multiply();
        let (start, mut fastest) = (Instant::now(), Duration::MAX);
        while start.elapsed() < TIME {
            let before = Instant::now();
            multiply();
            fastest = fastest.min(before.elapsed());
        }
        2.0 * (SIZE as f64).powi(3) / fastest.as_secs_f64()
    };
    (0..threads).into_par_iter().map(of_thread).sum()
}
