//! A packed operand of int8 GEMM: the memory of its micro-panels.

use super::super::Matrix;
use super::backend::{Int8Backend, pack};
use super::tile::{MicroPanel, Side, TILE_ROWS, Tile, Units, panel_tiles};

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
