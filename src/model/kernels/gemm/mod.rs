//! Matrix products: on the matrix unit of CPUs that have one, by the `gemm` crate elsewhere.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx;
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
#[path = "no_amx.rs"]
mod amx;

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::buffer::Buffer;

static PORTABLE: AtomicBool = AtomicBool::new(false);

/// From now on, this process leaves a matrix unit alone, so that results round as on a CPU without one. To be called
/// before any model is made.
pub fn be_portable() {
    PORTABLE.store(true, Ordering::Relaxed);
}

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

/// What this process makes them by.
pub fn products() -> Products {
    match unit() {
        Some(_) => Products::Amx,
        None => Products::F32,
    }
}

fn unit() -> Option<amx::Unit> {
    if PORTABLE.load(Ordering::Relaxed) {
        return None;
    }
    amx::Unit::find()
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
pub(super) fn add_products(out: &mut [f32], products: &[(Matrix, Matrix)]) {
    match unit() {
        Some(unit) => unit.add_products(out, products),
        None => products.iter().for_each(|&(a, b)| portable_product(out, a, b, true)),
    }
}

// out = a · b, or out + a · b where `accumulate`, by the `gemm` crate.
fn portable_product(out: &mut [f32], a: Matrix, b: Matrix, accumulate: bool) {
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

/// Bytes that an [`Operand`] of so many numbers holds, at most.
pub(super) fn operand_bytes(numbers: usize) -> usize {
    match unit() {
        Some(_) => amx::Tiles::bytes(numbers),
        None => size_of::<f32>() * numbers,
    }
}

/// The right operand of many products, laid out once.
#[derive(Default)]
pub(super) struct Operand {
    // Those of a matrix that does not lie by rows: products run fastest when both operands do.
    numbers: Buffer,
    tiles: Option<amx::Tiles>,
}

/// Puts something into rows of a product, from the given one on, which it is then added to; it makes no product itself.
pub(super) type Base<'a> = &'a dyn Fn(usize, &mut [f32]);

/// An operand that is laid out.
#[derive(Clone, Copy)]
pub(super) enum Right<'a> {
    Plain(Matrix<'a>),
    Laid(&'a amx::Tiles),
}

impl Operand {
    /// Lays `matrix` out, on the threads of the current pool.
    pub(super) fn set(&mut self, matrix: Matrix) {
        if let Some(unit) = unit() {
            self.tiles.get_or_insert_with(|| amx::Tiles::new(unit)).set(matrix);
        } else if matrix.column_stride != 1 {
            Arch::new().dispatch(Transpose {
                from: matrix.numbers,
                columns: matrix.rows,
                to: self.numbers.fit(matrix.rows * matrix.columns),
            });
        }
    }

    /// What was set, which is `matrix`.
    pub(super) fn of<'a>(&'a self, matrix: Matrix<'a>) -> Right<'a> {
        match &self.tiles {
            Some(tiles) => Right::Laid(tiles),
            None if matrix.column_stride == 1 => Right::Plain(matrix),
            None => Right::Plain(Matrix::new(&self.numbers, matrix.columns)),
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
            Self::Laid(tiles) => tiles.product(out, a, base),
            Self::Plain(matrix) => {
                if let Some(base) = base {
                    base(0, out);
                }
                portable_product(out, a, matrix, base.is_some());
            }
        }
    }
}

// Rows of a product that a thread makes at a time: fixed, as everything that a result might depend on.
const ROWS: usize = 128;

/// [`add_product`] on the threads of the current pool.
pub(super) fn spread_product(out: &mut [f32], a: Matrix, b: Matrix) {
    thread_local! {
        static OPERAND: Cell<Operand> = Cell::default();
    }
    // Taken, not borrowed: while this thread waits for others, it may find another product to make.
    let mut operand = OPERAND.take();
    let right = if unit().is_some() {
        operand.set(b);
        operand.of(b)
    } else {
        Right::Plain(b)
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
        let mut multiply = || portable_product(&mut out, Matrix::new(&a, SIDE), Matrix::new(&b, SIDE), false);
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

#[cfg(test)]
mod tests;
