//! GEMM of f32 matrices by products of 8-bit integers, which AMX multiplies and sums exactly.
//!
//! Row i of the left operand is scaled so that its largest number becomes M = 8,355,710, and rounded to integers;
//! likewise column j of the right operand. Each integer is split into three int8 *slices*, q = 2¹⁶ q₁ + 2⁸ q₂ + q₃. Of
//! the nine products of slices, that of the lowest two is omitted; the other eight are summed in int32 without
//! rounding, as four sums of equal weight, which are recombined in f32. This is the scheme of Ozaki, Ogita, Oishi &
//! Rump 2012, *Error-free transformations of matrix multiplication by using fast routines of matrix multiplication and
//! its applications*, with the integers of Ootomo, Ozaki & Yokota 2024, *DGEMM on Integer Matrix Multiplication Unit*,
//! arXiv 2306.11975. The tests of GEMM derive its componentwise error bound.
//!
//! The scheme is generic over an [`Int8Backend`]: AMX or the scalar [`Reference`]. What is here decides which terms
//! share a scale and an int32 sum, in which order f32 is rounded, and what is packed when. So both give the same bits.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[allow(unsafe_code, reason = "AMX has no safe interface")]
mod amx;
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
#[path = "no_amx.rs"]
mod amx;
mod backend;
mod panels;
mod reference;
mod tile;

use std::cell::RefCell;

use rayon::prelude::*;

use super::{BetaTerm, Matrix};
use amx::Amx;
use backend::{BlockProduct, Int8Backend, begin, pack};
use panels::Panels;
use reference::Reference;
use tile::{MicroPanel, PACK_WIDTH, SLICES, Side, TILE_DEPTH, TILE_ROWS, Tile, panel_tiles};

// The most steps of TILE_DEPTH terms that are summed in int32 before the sum is added to the product in f32: with more,
// micro-panels would not fit the L1 cache, and the largest sums would need more than the 24 bits of an f32.
const MAX_STEPS: usize = 12;

/// The implementations of [`Int8Backend`], to choose at run time.
#[derive(Clone, Copy)]
pub(crate) enum Int8Engine {
    Amx(Amx),
    /// Plain Rust, for any CPU.
    Reference,
}

impl Int8Engine {
    /// AMX, where the CPU has it and the system lets this process use it.
    pub(crate) fn amx() -> Option<Self> {
        Amx::find().map(Self::Amx)
    }

    /// out += Σ A · B over `products`.
    pub(super) fn accumulate(self, out: &mut [f32], products: &[(Matrix, Matrix)]) {
        match self {
            Self::Amx(amx) => accumulate(amx, out, products),
            Self::Reference => accumulate(Reference, out, products),
        }
    }
}

// The depth is cut into rounds of at most MAX_STEPS steps, as even as possible, so that none is short. Gives the first
// term and the number of terms of each.
fn rounds(depth: usize) -> impl Iterator<Item = (usize, usize)> {
    let steps = depth.div_ceil(TILE_DEPTH);
    let max_terms = TILE_DEPTH * steps.div_ceil(steps.div_ceil(MAX_STEPS).max(1)).max(1);
    (0..depth)
        .step_by(max_terms)
        .map(move |first| (first, max_terms.min(depth - first)))
}

// out += Σ A · B, with as many products at a time as one round can sum.
fn accumulate(backend: impl Int8Backend, out: &mut [f32], products: &[(Matrix, Matrix)]) {
    let Some((a, b)) = products.first() else { return };
    let shape = (a.rows, b.columns);
    let mut product = begin(backend, out, a.rows, b.columns);
    // The smaller operand is packed whole, or as much of it as the L2 cache holds, and stays there, while panels of the
    // larger one stream past it.
    let left_stays = a.rows <= b.columns;
    let (staying_side, streamed_side) = if left_stays {
        (Side::Left, Side::Right)
    } else {
        (Side::Right, Side::Left)
    };
    let parts = products.iter().flat_map(|(a, b)| {
        assert_eq!(a.columns, b.rows, "the inner dimensions agree");
        assert_eq!((a.rows, b.columns), shape, "the products have one shape");
        rounds(a.columns).map(move |(first, count)| {
            let (a, b) = (a.columns(first, count), b.transposed().columns(first, count));
            if left_stays { (a, b) } else { (b, a) }
        })
    });
    let (small, large): (Vec<_>, Vec<_>) = parts.unzip();
    BUFFERS.with_borrow_mut(|[staying, streamed]| {
        let mut done = 0;
        while done < small.len() {
            let ends = done + 1..=small.len();
            let end = ends
                .take_while(|&end| panel_tiles(&small[done..end]) <= MAX_STEPS * SLICES)
                .last();
            let end = end.unwrap_or(done + 1);
            let (small, large) = (&small[done..end], &large[done..end]);
            done = end;
            for i in (0..small[0].rows).step_by(cached_rows(small)) {
                let small_rows = i..i + staying.pack(backend, small, i, cached_rows(small), staying_side);
                for j in (0..large[0].rows).step_by(PANEL) {
                    let large_rows = j..j + streamed.pack(backend, large, j, PANEL, streamed_side);
                    let (staying, streamed) = (|row| staying.panel(row - i), |row| streamed.panel(row - j));
                    if left_stays {
                        product.blocks(small_rows.clone(), large_rows, staying, streamed, true);
                    } else {
                        product.blocks(large_rows, small_rows.clone(), streamed, staying, true);
                    }
                }
            }
        }
    });
}

thread_local! {
    // The packed operands of the product that this thread computes.
    static BUFFERS: RefCell<[Panels; 2]> = RefCell::default();
}

// An operand of fewer numbers is packed on one thread: waking another would take longer.
const MIN_PARALLEL: usize = 1 << 16;

// Bytes of a packed operand that stay in the L2 cache of a core while the other one streams past.
const CACHED: usize = 1 << 20;

// Rows or columns of the streamed operand that are packed at a time.
const PANEL: usize = 256;

// The number of rows or columns whose micro-panels take at most CACHED bytes.
fn cached_rows(matrices: &[Matrix]) -> usize {
    TILE_ROWS * (CACHED / (panel_tiles(matrices) * size_of::<Tile>()).max(1)).max(1)
}

/// A right operand that is packed once for many products.
#[derive(Default)]
pub(crate) struct Packed {
    // What packed it; none before the first time.
    engine: Option<Int8Engine>,
    panels: Panels,
    columns: usize,
    depth: usize,
}

impl Packed {
    /// The bytes of `len` numbers.
    pub(super) const fn bytes(len: usize) -> usize {
        SLICES * len
    }

    /// Packs `matrix` for `engine`, on the threads of the current pool.
    pub(crate) fn pack(&mut self, engine: Int8Engine, matrix: Matrix) {
        self.engine = Some(engine);
        (self.depth, self.columns) = (matrix.rows, matrix.columns);
        match engine {
            Int8Engine::Amx(amx) => self.pack_by(amx, matrix.transposed()),
            Int8Engine::Reference => self.pack_by(Reference, matrix.transposed()),
        }
    }

    fn pack_by(&mut self, backend: impl Int8Backend, matrix: Matrix) {
        if matrix.rows * matrix.columns < MIN_PARALLEL || rayon::current_num_threads() == 1 {
            self.panels.pack(backend, &[matrix], 0, matrix.rows, Side::Right);
            return;
        }
        let size = panel_tiles(&[matrix]);
        let (tiles, units) = self.panels.resize(matrix.rows, size);
        let tiles = tiles.par_chunks_mut(PACK_WIDTH * size.max(1));
        let groups = tiles.zip(units.par_chunks_mut(PACK_WIDTH)).enumerate();
        groups.for_each(|(group, (tiles, units))| {
            let first = group * PACK_WIDTH * TILE_ROWS;
            pack(backend, tiles, units, &[matrix], first, Side::Right);
        });
    }

    /// out = A · this, plus the beta term where there is one.
    pub(crate) fn gemm(&self, out: &mut [f32], a: Matrix, beta: Option<BetaTerm>) {
        assert_eq!(a.columns, self.depth, "the inner dimensions agree");
        match self.engine.expect("an operand is packed before it is multiplied") {
            Int8Engine::Amx(amx) => self.gemm_by(amx, out, a, beta),
            Int8Engine::Reference => self.gemm_by(Reference, out, a, beta),
        }
    }

    fn gemm_by(&self, backend: impl Int8Backend, out: &mut [f32], a: Matrix, beta: Option<BetaTerm>) {
        if self.depth == 0 {
            match beta {
                Some(beta) => beta(0, out),
                None => out.fill(0.0),
            }
            return;
        }
        let mut product = begin(backend, out, a.rows, self.columns);
        // Where the L2 cache holds this operand, micro-panels of A stream past it, and the product is computed row by
        // row; otherwise panels of this operand stream past as many rows of A as it holds.
        let is_cached = Self::bytes(self.columns * self.depth) <= CACHED;
        BUFFERS.with_borrow_mut(|[left, _]| {
            for (first, count) in rounds(self.depth) {
                let add = beta.is_some() || first > 0;
                let a = [a.columns(first, count)];
                let steps = panel_tiles(&a);
                let b = |column: usize| {
                    let MicroPanel { tiles, units } = self.panels.panel(column);
                    let tiles = &tiles[first / TILE_DEPTH * SLICES..][..steps];
                    MicroPanel { tiles, units }
                };
                let (height, width) = if is_cached {
                    (2 * TILE_ROWS, self.columns)
                } else {
                    (cached_rows(&a), PANEL)
                };
                for row in (0..a[0].rows).step_by(height) {
                    let rows = left.pack(backend, &a, row, height, Side::Left);
                    if let Some(beta) = beta.filter(|_| first == 0) {
                        beta(row, product.rows(row, rows));
                    }
                    for column in (0..self.columns).step_by(width) {
                        let columns = column..self.columns.min(column + width);
                        product.blocks(row..row + rows, columns, |i| left.panel(i - row), b, add);
                    }
                }
            }
        });
    }
}

#[cfg(test)]
mod tests;
