//! GEMM of f32 matrices by products of 8-bit integers, which AMX multiplies and adds up exactly.
//!
//! Row i of the left operand is scaled so that its largest number becomes M = 8,355,710 and rounded to integers, likewise
//! column j of the right one. Each integer is split into three int8 *slices*, q = 2¹⁶ q₁ + 2⁸ q₂ + q₃. Of the nine products
//! of slices, that of the lowest two is left out; the other eight are added up in int32 without rounding, as four sums of
//! equal weight, which are recombined in f32. This is the scheme of Ozaki, Ogita, Oishi & Rump 2012, *Error-free
//! transformations of matrix multiplication by using fast routines of matrix multiplication and its applications*, with the
//! integers of Ootomo, Ozaki & Yokota 2024, *DGEMM on Integer Matrix Multiplication Unit*, arXiv 2306.11975. The tests of GEMM
//! derive its componentwise error bound.
//!
//! A product runs on one of two engines, AMX or its scalar [`reference`]. They share all that is here: which terms share a
//! scale and an int32 sum, in which order f32 is rounded, and what is packed when. So they give the same bits.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx;
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
#[path = "no_amx.rs"]
mod amx;
mod panels;
mod reference;

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use super::{Base, Matrix};
use panels::{MicroPanel, PACK_WIDTH, Panels, SLICES, Side, TILE_DEPTH, TILE_ROWS, Tile, Units, panel_tiles};

// Steps of TILE_DEPTH terms, at most, that are added up in int32 before the sum is added to the product in f32: with more,
// micro-panels no longer fit the nearest caches, and the largest sums no longer 24 bits.
const MAX_STEPS: usize = 12;

/// What packs micro-panels and multiplies them.
#[derive(Clone, Copy)]
pub(in super::super) enum Engine {
    Amx(amx::Unit),
    /// Plain Rust, for any CPU.
    Reference,
}

impl Engine {
    /// AMX, where the CPU has it and the system lets this process use it.
    pub(in super::super) fn amx() -> Option<Self> {
        amx::Unit::find().map(Self::Amx)
    }

    // Packs matrices `[outer, depth]` side by side, from this row of theirs on, one micro-panel for each of `units`.
    fn pack(self, tiles: &mut [Tile], units: &mut [Units], matrices: &[Matrix], first: usize, side: Side) {
        let size = panel_tiles(matrices);
        assert_eq!(tiles.len(), units.len() * size, "every micro-panel has its tiles");
        if size == 0 {
            return;
        }
        match self {
            Self::Amx(unit) => unit.pack(tiles, units, matrices, first, side),
            Self::Reference => reference::pack(tiles, units, matrices, first, side),
        }
    }

    fn begin(self, out: &mut [f32], rows: usize, columns: usize) -> Product<'_> {
        assert_eq!(out.len(), rows * columns, "the product fills its slice");
        match self {
            Self::Amx(unit) => Product::Amx(amx::Product::new(unit, out, rows, columns)),
            Self::Reference => Product::Reference(reference::Product::new(out, rows, columns)),
        }
    }
}

// A product that is computed block by block. It is complete when this is dropped.
#[allow(
    clippy::large_enum_variant,
    reason = "it lives on the stack of one call, where a box would cost an allocation for each product"
)]
enum Product<'a> {
    Amx(amx::Product<'a>),
    Reference(reference::Product<'a>),
}

impl Product<'_> {
    // Some of its rows, in which no block has been computed yet.
    fn rows(&mut self, first: usize, count: usize) -> &mut [f32] {
        match self {
            Self::Amx(product) => product.rows(first, count),
            Self::Reference(product) => product.rows(first, count),
        }
    }

    // The blocks of these rows and columns, given the micro-panels that begin there; on top of what is there where `add`.
    fn blocks<'l, 'r>(
        &mut self,
        rows: Range<usize>,
        columns: Range<usize>,
        a: impl Fn(usize) -> MicroPanel<'l>,
        b: impl Fn(usize) -> MicroPanel<'r>,
        add: bool,
    ) {
        match self {
            Self::Amx(product) => product.blocks(rows, columns, a, b, add),
            Self::Reference(product) => product.blocks(rows, columns, a, b, add),
        }
    }
}

// Sums of `depth` terms in rounds of as many as are added up in int32: the first term of each and their number, as even as
// may be, so that none is short.
fn rounds(depth: usize) -> impl Iterator<Item = (usize, usize)> {
    let steps = depth.div_ceil(TILE_DEPTH);
    let most = TILE_DEPTH * steps.div_ceil(steps.div_ceil(MAX_STEPS).max(1)).max(1);
    (0..depth)
        .step_by(most)
        .map(move |first| (first, most.min(depth - first)))
}

/// Adds the products to `out`, as many at a time as one round can add up.
pub(super) fn add_products(engine: Engine, out: &mut [f32], products: &[(Matrix, Matrix)]) {
    let Some((a, b)) = products.first() else { return };
    let shape = (a.rows, b.columns);
    let mut product = engine.begin(out, a.rows, b.columns);
    // The smaller operand is packed whole, or as much of it as caches hold; panels of the other pass by it.
    let holds_left = a.rows <= b.columns;
    let (of_held, of_passing) = if holds_left {
        (Side::Left, Side::Right)
    } else {
        (Side::Right, Side::Left)
    };
    let parts = products.iter().flat_map(|(a, b)| {
        assert_eq!(a.columns, b.rows, "the inner dimensions agree");
        assert_eq!((a.rows, b.columns), shape, "the products have one shape");
        rounds(a.columns).map(move |(first, count)| {
            let (a, b) = (a.columns(first, count), b.transposed().columns(first, count));
            if holds_left { (a, b) } else { (b, a) }
        })
    });
    let (small, large): (Vec<_>, Vec<_>) = parts.unzip();
    BUFFERS.with_borrow_mut(|[held, passing]| {
        let mut done = 0;
        while done < small.len() {
            let count =
                (done + 1..=small.len()).take_while(|&end| panel_tiles(&small[done..end]) <= MAX_STEPS * SLICES);
            let end = count.last().unwrap_or(done + 1);
            let (small, large) = (&small[done..end], &large[done..end]);
            done = end;
            for i in (0..small[0].rows).step_by(group(small)) {
                let of_held = i..i + held.pack(engine, small, i, group(small), of_held);
                for j in (0..large[0].rows).step_by(PANEL) {
                    let of_passing = j..j + passing.pack(engine, large, j, PANEL, of_passing);
                    let (held, passing) = (|row| held.panel(row - i), |row| passing.panel(row - j));
                    if holds_left {
                        product.blocks(of_held.clone(), of_passing, held, passing, true);
                    } else {
                        product.blocks(of_passing, of_held.clone(), passing, held, true);
                    }
                }
            }
        }
    });
}

impl Matrix<'_> {
    // Some of its columns, as they are read.
    fn columns(self, from: usize, count: usize) -> Self {
        self.transposed().rows(from, count).transposed()
    }
}

thread_local! {
    // Operands of the product that this thread is making.
    static BUFFERS: RefCell<[Panels; 2]> = RefCell::default();
}

// Numbers of an operand that is sooner packed than another thread awake.
const SMALL: usize = 1 << 16;

// Bytes of an operand that stay in the caches of a core while the other passes by.
const CACHED: usize = 1 << 20;

// Rows or columns of the other that pass by at a time.
const PANEL: usize = 256;

// Rows or columns of an operand that are packed at a time.
fn group(matrices: &[Matrix]) -> usize {
    TILE_ROWS * (CACHED / (panel_tiles(matrices) * size_of::<Tile>()).max(1)).max(1)
}

/// A right operand that is packed once for many products.
#[derive(Default)]
pub(in super::super) struct Packed {
    // What packed it; nothing has where nothing was set.
    engine: Option<Engine>,
    panels: Panels,
    columns: usize,
    depth: usize,
}

impl Packed {
    /// Bytes that so many numbers take.
    pub(super) const fn bytes(numbers: usize) -> usize {
        SLICES * numbers
    }

    /// Packs a right operand for `engine`, on the threads of the current pool.
    pub(super) fn set(&mut self, engine: Engine, matrix: Matrix) {
        self.engine = Some(engine);
        (self.depth, self.columns) = (matrix.rows, matrix.columns);
        let matrix = matrix.transposed();
        if matrix.rows * matrix.columns < SMALL || rayon::current_num_threads() == 1 {
            self.panels.pack(engine, &[matrix], 0, matrix.rows, Side::Right);
            return;
        }
        let size = panel_tiles(&[matrix]);
        let (tiles, units) = self.panels.make_room(matrix.rows, size);
        let tiles = tiles.par_chunks_mut(PACK_WIDTH * size.max(1));
        let groups = tiles.zip(units.par_chunks_mut(PACK_WIDTH)).enumerate();
        groups.for_each(|(group, (tiles, units))| {
            engine.pack(tiles, units, &[matrix], group * PACK_WIDTH * TILE_ROWS, Side::Right);
        });
    }

    /// out = a · this, on top of what `base` puts into rows from the given one on.
    pub(super) fn product(&self, out: &mut [f32], a: Matrix, base: Option<Base>) {
        assert_eq!(a.columns, self.depth, "the inner dimensions agree");
        let engine = self.engine.expect("an operand is set before it is multiplied");
        if self.depth == 0 {
            match base {
                Some(base) => base(0, out),
                None => out.fill(0.0),
            }
            return;
        }
        let mut product = engine.begin(out, a.rows, self.columns);
        // Where caches hold this operand, micro-panels of the other pass by it, and the product is made row by row;
        // otherwise panels of it pass by as much of the other as they hold.
        let is_small = Self::bytes(self.columns * self.depth) <= CACHED;
        BUFFERS.with_borrow_mut(|[left, _]| {
            for (first, count) in rounds(self.depth) {
                let add = base.is_some() || first > 0;
                let a = [a.columns(first, count)];
                let steps = panel_tiles(&a);
                let b = |column: usize| {
                    let MicroPanel { tiles, units } = self.panels.panel(column);
                    let tiles = &tiles[first / TILE_DEPTH * SLICES..][..steps];
                    MicroPanel { tiles, units }
                };
                let (height, width) = if is_small {
                    (2 * TILE_ROWS, self.columns)
                } else {
                    (group(&a), PANEL)
                };
                for row in (0..a[0].rows).step_by(height) {
                    let rows = left.pack(engine, &a, row, height, Side::Left);
                    if let Some(base) = base.filter(|_| first == 0) {
                        base(row, product.rows(row, rows));
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
