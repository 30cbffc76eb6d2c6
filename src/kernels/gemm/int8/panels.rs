//! Micro-panels: 16 rows or columns of an operand, split into int8 slices, in the layout of AMX tiles.

use super::super::Matrix;
use super::backend::Int8Backend;

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

/// Micro-panels of an operand: for each its steps, for each step a tile of every slice, the highest first. A tile of
/// the left operand holds its rows as rows, one of the right operand its columns as columns. Of each 64 terms, `k`,
/// `k + 16`, `k + 32` and `k + 48` share a word.
#[derive(Default)]
pub(super) struct Panels {
    tiles: Vec<Tile>,
    units: Vec<Units>,
    // The number of tiles of a micro-panel.
    size: usize,
}

impl Panels {
    /// Packs up to `rows` rows of `matrices`, each `[outer, depth]` and concatenated along the depth, from row `first`
    /// on, and returns their number.
    pub(super) fn pack(
        &mut self,
        backend: impl Int8Backend,
        matrices: &[Matrix],
        first: usize,
        rows: usize,
        side: Side,
    ) -> usize {
        let rows = rows.min(matrices.first().map_or(0, |matrix| matrix.rows - first));
        let (tiles, units) = self.resize(rows, panel_tiles(matrices));
        pack(backend, tiles, units, matrices, first, side);
        rows
    }

    /// Memory for the micro-panels of `rows` rows, of `size` tiles each; its values are unspecified.
    pub(super) fn resize(&mut self, rows: usize, size: usize) -> (&mut [Tile], &mut [Units]) {
        self.size = size;
        let panels = rows.div_ceil(TILE_ROWS);
        let needed = panels * self.size;
        if needed > self.tiles.len() {
            self.tiles = vec![Tile::ZERO; needed + needed / 16];
        }
        if panels > self.units.len() {
            self.units.resize(panels, Units([0.0; TILE_ROWS]));
        }
        (&mut self.tiles[..needed], &mut self.units[..panels])
    }

    /// The micro-panel that holds `row`.
    pub(super) fn panel(&self, row: usize) -> MicroPanel<'_> {
        let panel = row / TILE_ROWS;
        MicroPanel {
            tiles: &self.tiles[panel * self.size..][..self.size],
            units: &self.units[panel],
        }
    }
}

/// [`Int8Backend::pack`] after a check of the lengths.
pub(super) fn pack(
    backend: impl Int8Backend,
    tiles: &mut [Tile],
    units: &mut [Units],
    matrices: &[Matrix],
    first: usize,
    side: Side,
) {
    let size = panel_tiles(matrices);
    assert_eq!(tiles.len(), units.len() * size, "every micro-panel has its tiles");
    if size > 0 {
        backend.pack(tiles, units, matrices, first, side);
    }
}

/// [`Int8Backend::begin`] after a check of the length.
pub(super) fn begin<B: Int8Backend>(backend: B, out: &mut [f32], rows: usize, columns: usize) -> B::Product<'_> {
    assert_eq!(out.len(), rows * columns, "the product has the shape of its slice");
    backend.begin(out, rows, columns)
}
