//! Products of f32 matrices on the matrix unit of Intel's server CPUs (AMX), which multiplies bfloat16 alone.
//!
//! An f32 is the sum of three bfloat16, high, middle and low, each the rest rounded to nearest: exactly, but for parts
//! below 2⁻¹²⁶. Of the nine products of parts, those of middle and low, low and low come to less than 2⁻²⁵ of the whole;
//! the other six are added up in f32. The unit adds 32 products before it rounds into the sum, so that the result is as
//! near to the true one as that of f32 instructions, which round at each; the tests beside hold it to that. This is the
//! decomposition of Henry, Tang & Heinecke 2019, *Leveraging the bfloat16 Artificial Intelligence Datatype For
//! Higher-Precision Computations*, arXiv 1904.06376.

mod block;
mod layout;

use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::cell::RefCell;
use std::sync::OnceLock;

use rayon::prelude::*;

use super::{Base, Matrix};
use block::{Product, Round};
use layout::{DEPTH, EMPTY, PARTS, STEP, STRIP, Side, Tile, lay_out};

/// The unit, which this machine has and which the system lets this process use.
#[derive(Clone, Copy)]
pub(super) struct Unit(());

impl Unit {
    pub(super) fn find() -> Option<Self> {
        static UNIT: OnceLock<Option<Unit>> = OnceLock::new();
        *UNIT.get_or_init(|| {
            const BFLOAT16: u32 = 1 << 22;
            const TILES: u32 = 1 << 24;
            // Linux wants to be asked once a process, before any thread uses it.
            const REQUEST_PERMISSION: libc::c_long = 0x1023;
            const TILE_DATA: libc::c_long = 18;
            if !is_x86_feature_detected!("avx512f") || __cpuid(0).eax < 7 {
                return None;
            }
            let features = __cpuid_count(7, 0).edx;
            if features & BFLOAT16 == 0 || features & TILES == 0 {
                return None;
            }
            // SAFETY: this call reads its numbers and nothing else.
            #[allow(unsafe_code)]
            let refused = unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) };
            (refused == 0).then_some(Self(()))
        })
    }

    /// Adds a · b to `out`.
    pub(super) fn add_product(self, out: &mut [f32], a: Matrix, b: Matrix) {
        assert_eq!(a.columns, b.rows, "the inner dimensions agree");
        let mut product = Product::new(self, out, a.rows, b.columns, true);
        BUFFERS.with_borrow_mut(|[held, passing]| {
            for Round { first, count, add } in product.rounds(a.columns) {
                let (a, b) = (a.columns(first, count), b.transposed().columns(first, count));
                if Tiles::bytes((a.rows + b.rows) * count) <= 2 * CACHED {
                    held.lay_out(self, a, 0, a.rows, Side::Left);
                    passing.lay_out(self, b, 0, b.rows, Side::Right);
                    for row in (0..a.rows).step_by(STRIP) {
                        for column in (0..b.rows).step_by(STRIP) {
                            product.block(row, column, held.strip(row), passing.strip(column), add);
                        }
                    }
                    continue;
                }
                // The smaller operand is laid out whole, or as much of it as caches hold; strips of the other pass by it.
                if a.rows <= b.rows {
                    for from in (0..a.rows).step_by(group(count)) {
                        let height = held.lay_out(self, a, from, group(count), Side::Left);
                        for column in (0..b.rows).step_by(STRIP) {
                            passing.lay_out(self, b, column, STRIP, Side::Right);
                            for row in (0..height).step_by(STRIP) {
                                product.block(from + row, column, held.strip(row), passing.strip(0), add);
                            }
                        }
                    }
                } else {
                    for from in (0..b.rows).step_by(group(count)) {
                        let width = held.lay_out(self, b, from, group(count), Side::Right);
                        for row in (0..a.rows).step_by(STRIP) {
                            passing.lay_out(self, a, row, STRIP, Side::Left);
                            for column in (0..width).step_by(STRIP) {
                                product.block(row, from + column, passing.strip(0), held.strip(column), add);
                            }
                        }
                    }
                }
            }
        });
    }
}

impl Matrix<'_> {
    // Some of its columns, as they are read.
    fn columns(self, from: usize, count: usize) -> Self {
        self.transposed().rows(from, count).transposed()
    }
}

thread_local! {
    // Operands of the product that this thread is making.
    static BUFFERS: RefCell<[Strips; 2]> = RefCell::default();
}

/// Strips of an operand in parts: for each its steps, for each step the high, middle and low parts of its two tiles. A
/// tile of a left operand has its rows in rows, one of a right operand its columns in columns. Numbers `k` and `k + 16`
/// of each 32 share a word.
#[derive(Default)]
struct Strips {
    tiles: Vec<Tile>,
    // Tiles of a strip.
    size: usize,
}

impl Strips {
    /// Takes up so many rows of `matrix` `[outer, depth]`, or as many as there are, and returns their number.
    fn lay_out(&mut self, unit: Unit, matrix: Matrix, from: usize, rows: usize, side: Side) -> usize {
        let rows = rows.min(matrix.rows - from);
        let steps = matrix.columns.div_ceil(DEPTH);
        self.make_room(rows, matrix.columns);
        let mut lay_out = |strip: usize, step: usize| {
            let tiles = &mut self.tiles[strip * self.size + step * STEP..][..STEP];
            lay_out(unit, tiles, matrix, from + strip * STRIP, step, side);
        };
        // In the order in which the numbers lie.
        if matrix.column_stride == 1 {
            (0..rows.div_ceil(STRIP)).for_each(|strip| (0..steps).for_each(|step| lay_out(strip, step)));
        } else {
            (0..steps).for_each(|step| (0..rows.div_ceil(STRIP)).for_each(|strip| lay_out(strip, step)));
        }
        rows
    }

    // The strips of so many rows; what they hold is of no account.
    fn make_room(&mut self, rows: usize, depth: usize) -> &mut [Tile] {
        self.size = depth.div_ceil(DEPTH) * STEP;
        let needed = rows.div_ceil(STRIP) * self.size;
        if needed > self.tiles.len() {
            self.tiles = vec![EMPTY; needed + needed / 16];
        }
        &mut self.tiles[..needed]
    }

    // The strip that holds this row.
    fn strip(&self, row: usize) -> &[Tile] {
        &self.tiles[row / STRIP * self.size..][..self.size]
    }
}

// Numbers of an operand that is sooner laid out than another thread awake.
const SMALL: usize = 1 << 16;

// Bytes of an operand that stay in the caches of a core while the other passes by.
const CACHED: usize = 1 << 20;

// Rows or columns of an operand of so many numbers each that are laid out at a time.
const fn group(depth: usize) -> usize {
    let strips = CACHED / (depth.div_ceil(DEPTH) * STEP * size_of::<Tile>());
    STRIP * if strips > 0 { strips } else { 1 }
}

/// A right operand that is laid out once for many products.
pub(in super::super) struct Tiles {
    unit: Unit,
    strips: Strips,
    columns: usize,
    depth: usize,
}

impl Tiles {
    pub(super) fn new(unit: Unit) -> Self {
        Self {
            unit,
            strips: Strips::default(),
            columns: 0,
            depth: 0,
        }
    }

    /// Bytes that so many numbers take.
    pub(super) const fn bytes(numbers: usize) -> usize {
        PARTS * size_of::<u16>() * numbers
    }

    /// Takes up a right operand, on the threads of the current pool.
    pub(super) fn set(&mut self, matrix: Matrix) {
        (self.depth, self.columns) = (matrix.rows, matrix.columns);
        let matrix = matrix.transposed();
        if matrix.rows * matrix.columns < SMALL || rayon::current_num_threads() == 1 {
            self.strips.lay_out(self.unit, matrix, 0, matrix.rows, Side::Right);
            return;
        }
        let size = matrix.columns.div_ceil(DEPTH) * STEP;
        let tiles = self.strips.make_room(matrix.rows, matrix.columns);
        let strips = tiles.par_chunks_mut(size.max(1)).enumerate();
        strips.for_each(|(strip, tiles)| {
            for (step, tiles) in tiles.chunks_exact_mut(STEP).enumerate() {
                lay_out(self.unit, tiles, matrix, strip * STRIP, step, Side::Right);
            }
        });
    }

    /// out = a · this, on top of what `base` puts into rows from the given one on.
    pub(super) fn product(&self, out: &mut [f32], a: Matrix, base: Option<Base>) {
        assert_eq!(a.columns, self.depth, "the inner dimensions agree");
        let mut product = Product::new(self.unit, out, a.rows, self.columns, base.is_some());
        // Where caches hold this operand, strips of the other pass by it, and the product is made row by row; otherwise
        // its strips pass by as much of the other as they hold.
        let is_small = Self::bytes(self.columns * self.depth) <= CACHED;
        BUFFERS.with_borrow_mut(|[left, _]| {
            for Round { first, count, add } in product.rounds(self.depth) {
                let (a, steps) = (a.columns(first, count), count.div_ceil(DEPTH) * STEP);
                let b = |column: usize| &self.strips.strip(column)[first / DEPTH * STEP..][..steps];
                let height = if is_small { STRIP } else { group(count) };
                for from in (0..a.rows).step_by(height) {
                    let height = left.lay_out(self.unit, a, from, height, Side::Left);
                    if let Some(base) = base.filter(|_| first == 0) {
                        base(from, product.rows(from, height));
                    }
                    for column in (0..self.columns).step_by(STRIP) {
                        for row in (0..height).step_by(STRIP) {
                            product.block(from + row, column, left.strip(row), b(column), add);
                        }
                    }
                }
            }
        });
    }
}
