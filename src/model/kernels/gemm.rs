//! Matrix products, by the `gemm` crate on the calling thread.

use std::time::{Duration, Instant};

use rayon::prelude::*;

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

/// out = a · b, or out + a · b where `accumulate`.
pub(super) fn product(out: &mut [f32], a: Matrix, b: Matrix, accumulate: bool) {
    assert_eq!(a.columns, b.rows, "the inner dimensions agree");
    assert_eq!(out.len(), a.rows * b.columns, "the product fills its slice");
    // SAFETY: `Matrix::new` has checked that each operand's strides stay inside its slice and `rows` keeps that so, the
    // assertions above check that the shapes fit and that `out` holds the product by rows; `out` is borrowed mutably,
    // so it overlaps neither.
    #[allow(unsafe_code)]
    unsafe {
        gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            out.as_mut_ptr(),
            1,
            b.columns as isize,
            accumulate,
            a.numbers.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.numbers.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// What products of square matrices reach on so many threads of the current pool, in floating-point operations a
/// second: the yardstick for everything that is made of products.
pub(crate) fn rate(threads: usize) -> f64 {
    const SIDE: usize = 768;
    const TIME: Duration = Duration::from_millis(300);
    let of_thread = |_| {
        let (a, b) = (vec![1.0; SIDE * SIDE], vec![1.0; SIDE * SIDE]);
        let mut out = vec![0.0; SIDE * SIDE];
        let mut multiply = || product(&mut out, Matrix::new(&a, SIDE), Matrix::new(&b, SIDE), false);
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
