//! The scheme in plain Rust: the arithmetic of AMX in the same order, so the same bits, on any CPU.

use std::array;

use super::super::Matrix;
use super::backend::{BlockProduct, Int8Backend};
use super::tile::{
    HIGHEST_SLICE, MAX_INTEGER, MIN_LARGEST, MicroPanel, SLICE_RATIO, SLICES, SUMS, Side, TILE_DEPTH, TILE_ROWS, Tile,
    Units, WORD_BYTES, panel_tiles,
};

/// The scalar implementation.
#[derive(Clone, Copy)]
pub(super) struct Reference;

impl Int8Backend for Reference {
    type Product<'a> = Product<'a>;

    fn pack(self, tiles: &mut [Tile], units: &mut [Units], matrices: &[Matrix], first: usize, side: Side) {
        pack(tiles, units, matrices, first, side);
    }

    fn begin(self, out: &mut [f32], rows: usize, columns: usize) -> Product<'_> {
        Product { out, rows, columns }
    }
}

/// The sums of a block, by weight, row and column.
pub(super) type Sums = [[[i32; TILE_ROWS]; TILE_ROWS]; SUMS];

// The pairs of slices, of the left and the right operand, whose products each sum contains.
const PAIRS: [&[(usize, usize)]; SUMS] = [
    &[(0, 0)],
    &[(0, 1), (1, 0)],
    &[(0, 2), (1, 1), (2, 0)],
    &[(1, 2), (2, 1)],
];

fn pack(tiles: &mut [Tile], units: &mut [Units], matrices: &[Matrix], first: usize, side: Side) {
    tiles.fill(Tile::ZERO);
    let panels = tiles.chunks_exact_mut(panel_tiles(matrices)).zip(units);
    for (panel, (tiles, units)) in panels.enumerate() {
        for (line, unit) in units.0.iter_mut().enumerate() {
            let row = first + panel * TILE_ROWS + line;
            // Compared as bits of the absolute values, of which those of infinity and NaN are the largest.
            let all = matrices.iter().flat_map(|matrix| numbers(matrix, row));
            let largest = all.map(|x| x.abs().to_bits()).max().unwrap_or(0);
            let scale;
            (scale, *unit) = scale_and_unit(largest);
            let mut rest = &mut *tiles;
            for matrix in matrices {
                let of_matrix = rest.split_off_mut(..panel_tiles(&[*matrix])).unwrap_or_default();
                for (k, x) in numbers(matrix, row).enumerate() {
                    let step = &mut of_matrix[k / TILE_DEPTH * SLICES..][..SLICES];
                    put(step, side, line, k % TILE_DEPTH, split(to_integer(x * scale)));
                }
            }
        }
    }
}

// The numbers of a row; none where the matrix has no such row.
fn numbers(matrix: &Matrix, row: usize) -> impl Iterator<Item = f32> {
    let count = if row < matrix.rows { matrix.columns } else { 0 };
    let (numbers, start, stride) = (matrix.numbers, row * matrix.row_stride, matrix.column_stride);
    (0..count).map(move |column| numbers[start + column * stride])
}

// The scale of a row and its unit, the value of 1 in its highest slice, from the bits of its largest absolute value. Where a
// number of the row is infinite or NaN, the unit is NaN, and so are all products of the row.
fn scale_and_unit(largest: u32) -> (f32, f32) {
    let is_finite = largest < f32::INFINITY.to_bits();
    // `max` ignores NaN.
    let scale = MAX_INTEGER / f32::from_bits(largest).max(MIN_LARGEST);
    (scale, if is_finite { HIGHEST_SLICE / scale } else { f32::NAN })
}

// The nearest integer, ties to even; the smallest i32 where it does not fit one.
fn to_integer(x: f32) -> i32 {
    let rounded = x.round_ties_even();
    if rounded.abs() < -(i32::MIN as f32) {
        rounded as i32
    } else {
        i32::MIN
    }
}

// The slices of an integer of at most 0x7f7f7f in absolute value, the highest first. Adding 128 to each slice makes
// them the bytes of one sum.
pub(super) fn split(integer: i32) -> [i8; SLICES] {
    let [low, middle, high, _] = integer.wrapping_add(0x80_8080).to_le_bytes();
    [high, middle, low].map(|byte| (byte ^ 0x80).cast_signed())
}

// Writes the slices of term `k` of a step, of a row or column `line` of the micro-panel, into the tiles.
fn put(tiles: &mut [Tile], side: Side, line: usize, k: usize, slices: [i8; SLICES]) {
    let (word, byte) = (k % TILE_ROWS, k / TILE_ROWS);
    for (tile, slice) in tiles.iter_mut().zip(slices) {
        let word = match side {
            Side::Left => &mut tile.0[line][word],
            Side::Right => &mut tile.0[word][line],
        };
        *word |= u32::from(slice.cast_unsigned()) << (8 * byte);
    }
}

// The int8 numbers of each row of a left tile or each column of a right one, in the same order for both.
fn lines(tile: &Tile, side: Side) -> [[i16; TILE_DEPTH]; TILE_ROWS] {
    array::from_fn(|line| {
        array::from_fn(|k| {
            let word = match side {
                Side::Left => tile.0[line][k / WORD_BYTES],
                Side::Right => tile.0[k / WORD_BYTES][line],
            };
            i16::from(word.to_le_bytes()[k % WORD_BYTES].cast_signed())
        })
    })
}

/// The sums of a block: for each weight, that of the products of its pairs of slices.
pub(super) fn block_sums(a: MicroPanel, b: MicroPanel) -> Sums {
    let mut sums = [[[0; TILE_ROWS]; TILE_ROWS]; SUMS];
    for (a, b) in a.tiles.chunks_exact(SLICES).zip(b.tiles.chunks_exact(SLICES)) {
        let a: [_; SLICES] = array::from_fn(|slice| lines(&a[slice], Side::Left));
        let b: [_; SLICES] = array::from_fn(|slice| lines(&b[slice], Side::Right));
        for (sums, pairs) in sums.iter_mut().zip(PAIRS) {
            for &(of_a, of_b) in pairs {
                for (sums, a) in sums.iter_mut().zip(&a[of_a]) {
                    for (sum, b) in sums.iter_mut().zip(&b[of_b]) {
                        *sum += a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum::<i32>();
                    }
                }
            }
        }
    }
    sums
}

/// One number of the product, from its sums, the units of its row and column, and the number that it is added to.
pub(super) fn recombine(sums: [i32; SUMS], of_row: f32, of_column: f32, base: f32) -> f32 {
    let [first, second, third, fourth] = sums.map(|sum| sum as f32);
    let sum = fourth.mul_add(SLICE_RATIO, third);
    let sum = sum.mul_add(SLICE_RATIO, second);
    let sum = sum.mul_add(SLICE_RATIO, first);
    (sum * of_row).mul_add(of_column, base)
}

/// A product that is computed block by block.
pub(crate) struct Product<'a> {
    out: &'a mut [f32],
    rows: usize,
    columns: usize,
}

impl BlockProduct for Product<'_> {
    fn rows(&mut self, first: usize, count: usize) -> &mut [f32] {
        &mut self.out[first * self.columns..][..count * self.columns]
    }

    fn block(&mut self, row: usize, column: usize, a: MicroPanel, b: MicroPanel, add: bool) {
        let sums = block_sums(a, b);
        let (height, width) = (TILE_ROWS.min(self.rows - row), TILE_ROWS.min(self.columns - column));
        for i in 0..height {
            let out = &mut self.out[(row + i) * self.columns + column..][..width];
            for (j, out) in out.iter_mut().enumerate() {
                let base = if add { *out } else { 0.0 };
                *out = recombine(sums.map(|sums| sums[i][j]), a.units.0[i], b.units.0[j], base);
            }
        }
    }
}
