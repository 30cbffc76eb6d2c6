//! Micro-panels: sixteen rows or columns of an operand, split into int8 slices, as AMX tiles hold them.

use super::super::Matrix;
use super::Engine;

/// Rows of a tile, and words in each row.
pub(super) const TILE_ROWS: usize = 16;
/// Int8 numbers in a word of a tile.
pub(super) const WORD_BYTES: usize = 4;
/// Terms that one tile instruction multiplies and adds up for each of its sums.
pub(super) const TILE_DEPTH: usize = WORD_BYTES * TILE_ROWS;
/// Int8 numbers that one f32 is split into.
pub(super) const SLICES: usize = 3;
/// Micro-panels that are packed together where numbers lie across the depth: whole cache lines next to each other.
pub(super) const PACK_WIDTH: usize = 4;

/// What the largest number of a row is scaled to, or to one more as it is rounded: three slices hold no more than
/// 127 × 2¹⁶ + 127 × 2⁸ + 127.
pub(super) const MAX_INTEGER: f32 = (0x7f_7f7f - 1) as f32;
/// A row whose largest number is below this is scaled as if this were it: otherwise its scale could overflow.
pub(super) const MIN_LARGEST: f32 = f32::from_bits((127 - 100) << 23);
/// What a one of the highest slice is worth, in ones of the lowest.
pub(super) const HIGHEST_SLICE: f32 = (1 << 16) as f32;

/// Sums in int32, one for each weight that a product of two slices can have, the highest first: q₁ p₁; q₁ p₂ + q₂ p₁;
/// q₁ p₃ + q₂ p₂ + q₃ p₁; q₂ p₃ + q₃ p₂.
pub(super) const SUMS: usize = 4;
/// The weight of a sum, in that of the one before.
pub(super) const SLICE_RATIO: f32 = 1.0 / 256.0;

/// 16 × 16 words of four int8 numbers, or 16 × 16 int32 sums.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, align(64))]
pub(super) struct Tile(pub(super) [[u32; TILE_ROWS]; TILE_ROWS]);

impl Tile {
    pub(super) const ZERO: Self = Self([[0; TILE_ROWS]; TILE_ROWS]);
}

/// What a one in the highest slice is worth, for each row or column of a micro-panel.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Units(pub(super) [f32; TILE_ROWS]);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// A row or a column of blocks, as an operand gives it.
#[derive(Clone, Copy)]
pub(super) struct MicroPanel<'a> {
    pub(super) tiles: &'a [Tile],
    pub(super) units: &'a Units,
}

/// Tiles of a micro-panel of matrices `[outer, depth]` side by side: for each step of `TILE_DEPTH` terms, one of every slice.
pub(super) fn panel_tiles(matrices: &[Matrix]) -> usize {
    let steps = |matrix: &Matrix| matrix.columns.div_ceil(TILE_DEPTH);
    matrices.iter().map(steps).sum::<usize>() * SLICES
}

/// Micro-panels of an operand: for each its steps, for each step a tile of every slice, the highest first. A tile of a left
/// operand has its rows in rows, one of a right operand its columns in columns. Terms `k`, `k + 16`, `k + 32` and `k + 48` of
/// each 64 share a word.
#[derive(Default)]
pub(super) struct Panels {
    tiles: Vec<Tile>,
    units: Vec<Units>,
    // Tiles of a micro-panel.
    size: usize,
}

impl Panels {
    /// Packs up to `rows` rows of matrices `[outer, depth]` side by side from row `first` on, and returns their number.
    pub(super) fn pack(&mut self, engine: Engine, matrices: &[Matrix], first: usize, rows: usize, side: Side) -> usize {
        let rows = rows.min(matrices.first().map_or(0, |matrix| matrix.rows - first));
        let (tiles, units) = self.make_room(rows, panel_tiles(matrices));
        engine.pack(tiles, units, matrices, first, side);
        rows
    }

    /// The micro-panels of `rows` rows, of `size` tiles each, with whatever they held before.
    pub(super) fn make_room(&mut self, rows: usize, size: usize) -> (&mut [Tile], &mut [Units]) {
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

    /// The micro-panel that holds this row.
    pub(super) fn panel(&self, row: usize) -> MicroPanel<'_> {
        let panel = row / TILE_ROWS;
        MicroPanel {
            tiles: &self.tiles[panel * self.size..][..self.size],
            units: &self.units[panel],
        }
    }
}
