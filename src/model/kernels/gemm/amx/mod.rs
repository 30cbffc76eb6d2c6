//! Products of f32 matrices on the matrix unit of Intel's server CPUs (AMX), which multiplies numbers of few bits.
//!
//! A row of the left operand, or a column of the right one, becomes whole numbers of 23 bits and a sign, multiples of what
//! its largest number gives, and each of these three digits of 8 bits. Of the nine products of digits, that of the lowest
//! ones is left out; the other eight are added up without rounding. This is the scheme of Ozaki, Ogita, Oishi & Rump 2012,
//! *Error-free transformations of matrix multiplication by using fast routines of matrix multiplication and its
//! applications*, with the whole numbers of Ootomo, Ozaki & Yokota 2024, *DGEMM on Integer Matrix Multiplication Unit*,
//! arXiv 2306.11975. What is off in a product's number is in proportion to the lengths of the row and the column that give
//! it, as for sums in f32, and about as much; the tests beside hold it to that.

mod block;
mod layout;

use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::cell::RefCell;
use std::sync::OnceLock;

use rayon::prelude::*;

use super::{Base, Matrix};
use block::{Product, STEPS, rounds};
use layout::{DEPTH, DIGITS, EMPTY, SIDE, Side, Sixteen, TOGETHER, Tile, lay_out, strip_size};

/// The unit, which this machine has and which the system lets this process use.
#[derive(Clone, Copy)]
pub(super) struct Unit(());

impl Unit {
    pub(super) fn find() -> Option<Self> {
        static UNIT: OnceLock<Option<Unit>> = OnceLock::new();
        *UNIT.get_or_init(|| {
            const INT8: u32 = 1 << 25;
            const TILES: u32 = 1 << 24;
            // Linux wants to be asked once a process, before any thread uses it.
            const REQUEST_PERMISSION: libc::c_long = 0x1023;
            const TILE_DATA: libc::c_long = 18;
            if !is_x86_feature_detected!("avx512f") || __cpuid(0).eax < 7 {
                return None;
            }
            let features = __cpuid_count(7, 0).edx;
            if features & INT8 == 0 || features & TILES == 0 {
                return None;
            }
            // SAFETY: this call reads its numbers and nothing else.
            #[allow(unsafe_code)]
            let refused = unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) };
            (refused == 0).then_some(Self(()))
        })
    }

    /// Adds the products to `out`, as many at a time as one round can add up.
    pub(super) fn add_products(self, out: &mut [f32], products: &[(Matrix, Matrix)]) {
        let Some((a, b)) = products.first() else { return };
        let shape = (a.rows, b.columns);
        let mut product = Product::new(self, out, a.rows, b.columns);
        // The smaller operand is laid out whole, or as much of it as caches hold; panels of the other pass by it.
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
                let count = (done + 1..=small.len()).take_while(|&end| strip_size(&small[done..end]) <= STEPS * DIGITS);
                let end = count.last().unwrap_or(done + 1);
                let (small, large) = (&small[done..end], &large[done..end]);
                done = end;
                for i in (0..small[0].rows).step_by(group(small)) {
                    let of_held = i..i + held.lay_out(self, small, i, group(small), of_held);
                    for j in (0..large[0].rows).step_by(PANEL) {
                        let of_passing = j..j + passing.lay_out(self, large, j, PANEL, of_passing);
                        let (held, passing) = (|row| held.strip(row - i), |row| passing.strip(row - j));
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

/// Strips of an operand in digits: for each its steps, for each step a tile of every digit, the highest first. A tile of a
/// left operand has its rows in rows, one of a right operand its columns in columns. Numbers `k`, `k + 16`, `k + 32` and
/// `k + 48` of each 64 share a word.
#[derive(Default)]
struct Strips {
    tiles: Vec<Tile>,
    // What a one in the highest digit is worth, strip by strip.
    units: Vec<Sixteen>,
    // Tiles of a strip.
    size: usize,
}

/// A row or a column of blocks, as an operand gives it.
#[derive(Clone, Copy)]
struct Strip<'a> {
    tiles: &'a [Tile],
    units: &'a Sixteen,
}

impl Strips {
    /// Takes up so many rows of matrices `[outer, depth]` side by side, or as many as there are, and returns their number.
    fn lay_out(&mut self, unit: Unit, matrices: &[Matrix], from: usize, rows: usize, side: Side) -> usize {
        let rows = rows.min(matrices.first().map_or(0, |matrix| matrix.rows - from));
        let (tiles, units) = self.make_room(rows, strip_size(matrices));
        lay_out(unit, tiles, units, matrices, from, side);
        rows
    }

    // The strips of so many rows, of so many tiles each; what they hold is of no account.
    fn make_room(&mut self, rows: usize, size: usize) -> (&mut [Tile], &mut [Sixteen]) {
        self.size = size;
        let strips = rows.div_ceil(SIDE);
        let needed = strips * self.size;
        if needed > self.tiles.len() {
            self.tiles = vec![EMPTY; needed + needed / 16];
        }
        if strips > self.units.len() {
            self.units.resize(strips, Sixteen([0.0; SIDE]));
        }
        (&mut self.tiles[..needed], &mut self.units[..strips])
    }

    // The strip that holds this row.
    fn strip(&self, row: usize) -> Strip<'_> {
        let strip = row / SIDE;
        Strip {
            tiles: &self.tiles[strip * self.size..][..self.size],
            units: &self.units[strip],
        }
    }
}

// Numbers of an operand that is sooner laid out than another thread awake.
const SMALL: usize = 1 << 16;

// Bytes of an operand that stay in the caches of a core while the other passes by.
const CACHED: usize = 1 << 20;

// Rows or columns of the other that pass by at a time.
const PANEL: usize = 256;

// Rows or columns of an operand that are laid out at a time.
fn group(matrices: &[Matrix]) -> usize {
    SIDE * (CACHED / (strip_size(matrices) * size_of::<Tile>()).max(1)).max(1)
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
        DIGITS * numbers
    }

    /// Takes up a right operand, on the threads of the current pool.
    pub(super) fn set(&mut self, matrix: Matrix) {
        (self.depth, self.columns) = (matrix.rows, matrix.columns);
        let matrix = matrix.transposed();
        if matrix.rows * matrix.columns < SMALL || rayon::current_num_threads() == 1 {
            self.strips.lay_out(self.unit, &[matrix], 0, matrix.rows, Side::Right);
            return;
        }
        let size = strip_size(&[matrix]);
        let (tiles, units) = self.strips.make_room(matrix.rows, size);
        let tiles = tiles.par_chunks_mut(TOGETHER * size.max(1));
        let groups = tiles.zip(units.par_chunks_mut(TOGETHER)).enumerate();
        groups.for_each(|(group, (tiles, units))| {
            lay_out(self.unit, tiles, units, &[matrix], group * TOGETHER * SIDE, Side::Right);
        });
    }

    /// out = a · this, on top of what `base` puts into rows from the given one on.
    pub(super) fn product(&self, out: &mut [f32], a: Matrix, base: Option<Base>) {
        assert_eq!(a.columns, self.depth, "the inner dimensions agree");
        if self.depth == 0 && base.is_none() {
            out.fill(0.0);
        }
        let mut product = Product::new(self.unit, out, a.rows, self.columns);
        // Where caches hold this operand, strips of the other pass by it, and the product is made row by row; otherwise
        // panels of it pass by as much of the other as they hold.
        let is_small = Self::bytes(self.columns * self.depth) <= CACHED;
        BUFFERS.with_borrow_mut(|[left, _]| {
            for (first, count) in rounds(self.depth) {
                let add = base.is_some() || first > 0;
                let a = [a.columns(first, count)];
                let steps = strip_size(&a);
                let b = |column: usize| {
                    let Strip { tiles, units } = self.strips.strip(column);
                    let tiles = &tiles[first / DEPTH * DIGITS..][..steps];
                    Strip { tiles, units }
                };
                let (height, width) = if is_small {
                    (2 * SIDE, self.columns)
                } else {
                    (group(&a), PANEL)
                };
                for row in (0..a[0].rows).step_by(height) {
                    let rows = left.lay_out(self.unit, &a, row, height, Side::Left);
                    if let Some(base) = base.filter(|_| first == 0) {
                        base(row, product.rows(row, rows));
                    }
                    for column in (0..self.columns).step_by(width) {
                        let columns = column..self.columns.min(column + width);
                        product.blocks(row..row + rows, columns, |i| left.strip(i - row), b, add);
                    }
                }
            }
        });
    }
}
