//! What an instruction set does for int8 GEMM: pack micro-panels, and multiply them block by block.

use std::ops::Range;

use super::super::Matrix;
use super::tile::{MicroPanel, SLICES, Side, TILE_ROWS, Tile, Units, panel_tiles};

/// An implementation of the scheme. All give the same bits, because each scales, rounds and sums in the same order.
pub(super) trait Int8Backend: Copy + Send + Sync {
    /// A product that is being computed.
    type Product<'a>: BlockProduct;

    /// Packs the rows of `matrices`, each `[outer, depth]` and concatenated along the depth, from row `first` on: 16
    /// rows for each of `units`, which become the units of these rows. `tiles` has at least one tile a micro-panel.
    fn pack(self, tiles: &mut [Tile], units: &mut [Units], matrices: &[Matrix], first: usize, side: Side);

    /// Begins a product of `rows` × `columns` in `out`, which has that length.
    fn begin(self, out: &mut [f32], rows: usize, columns: usize) -> Self::Product<'_>;
}

/// A product that is computed in blocks of 16 × 16. It is complete when this is dropped.
pub(super) trait BlockProduct {
    /// `count` rows of the product from row `first` on, to write the beta term to. No block of them may have been
    /// computed.
    fn rows(&mut self, first: usize, count: usize) -> &mut [f32];

    /// Computes the block that begins at this row and column, multiples of 16, from its micro-panels. `add`: whether to
    /// add to what the product holds there.
    fn block(&mut self, row: usize, column: usize, a: MicroPanel, b: MicroPanel, add: bool);

    /// Computes the blocks of `rows` and `columns`. `a` and `b` give the micro-panel that begins at a row or column.
    #[inline]
    fn blocks<'l, 'r>(
        &mut self,
        rows: Range<usize>,
        columns: Range<usize>,
        a: impl Fn(usize) -> MicroPanel<'l>,
        b: impl Fn(usize) -> MicroPanel<'r>,
        add: bool,
    ) {
        // Row by row, so that writes are contiguous; two rows of blocks at once where the L1 cache holds both
        // micro-panels.
        let height = if a(rows.start).tiles.len() <= 4 * SLICES {
            2 * TILE_ROWS
        } else {
            TILE_ROWS
        };
        for first in rows.clone().step_by(height) {
            for column in columns.clone().step_by(TILE_ROWS) {
                for row in (first..rows.end.min(first + height)).step_by(TILE_ROWS) {
                    self.block(row, column, a(row), b(column), add);
                }
            }
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
