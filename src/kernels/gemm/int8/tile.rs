//! Micro-panels: 16 rows or columns of an operand, split into int8 slices, in the layout of AMX tiles.

use super::super::Matrix;

/// Rows of a tile, and words in each row.
pub(super) const TILE_ROWS: usize = 16;
/// Int8 numbers in a word of a tile.
pub(super) const WORD_BYTES: usize = 4;
/// The K-depth of a tile: terms that one tile instruction multiplies and sums.
pub(super) const TILE_DEPTH: usize = WORD_BYTES * TILE_ROWS;
/// Int8 numbers that one f32 is split into.
pub(super) const SLICES: usize = 3;
/// Micro-panels that are packed together where a matrix is contiguous across the depth, so that whole cache lines are
/// read.
pub(super) const PACK_WIDTH: usize = 4;

/// What the largest number of a row is scaled to. Rounding may add 1; three slices hold at most 0x7f7f7f.
pub(super) const MAX_INTEGER: f32 = (0x7f_7f7f - 1) as f32;
/// The lower bound of a row's largest number for its scale: below it the scale could overflow.
pub(super) const MIN_LARGEST: f32 = f32::from_bits((127 - 100) << 23);
/// The weight of the highest slice relative to the lowest.
pub(super) const HIGHEST_SLICE: f32 = (1 << 16) as f32;

/// The int32 sums of a block, one for each weight of a product of two slices, the highest first: q₁ p₁; q₁ p₂ + q₂ p₁;
/// q₁ p₃ + q₂ p₂ + q₃ p₁; q₂ p₃ + q₃ p₂.
pub(super) const SUMS: usize = 4;
/// The weight of a sum relative to the one before.
pub(super) const SLICE_RATIO: f32 = 1.0 / 256.0;

/// 16 × 16 words of four int8 numbers, or 16 × 16 int32 sums.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, align(64))]
pub(super) struct Tile(pub(super) [[u32; TILE_ROWS]; TILE_ROWS]);

impl Tile {
    pub(super) const ZERO: Self = Self([[0; TILE_ROWS]; TILE_ROWS]);
}

/// The value of 1 in the highest slice, for each row or column of a micro-panel.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Units(pub(super) [f32; TILE_ROWS]);

/// Which operand of the product a matrix is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// 16 rows of the left operand or 16 columns of the right one.
#[derive(Clone, Copy)]
pub(super) struct MicroPanel<'a> {
    pub(super) tiles: &'a [Tile],
    pub(super) units: &'a Units,
}

/// The number of tiles of a micro-panel of `matrices`, each `[outer, depth]` and concatenated along the depth: for each
/// step of `TILE_DEPTH` terms, one tile for every slice.
pub(super) fn panel_tiles(matrices: &[Matrix]) -> usize {
    let steps = |matrix: &Matrix| matrix.columns.div_ceil(TILE_DEPTH);
    matrices.iter().map(steps).sum::<usize>() * SLICES
}
