//! What an instruction set does for int8 GEMM: pack micro-panels, and multiply them block by block.

use std::ops::Range;

use super::super::Matrix;
use super::panels::{MicroPanel, Side, Tile, Units};

/// An implementation of the scheme. All give the same bits, because each scales, rounds and sums in the same order.
pub(super) trait Int8Backend: Copy + Send + Sync {
    /// A product that is being computed.
    type Product<'a>: BlockProduct;

    /// Packs the rows of `matrices`, each `[outer, depth]` and concatenated along the depth, from row `first` on: 16 rows for
    /// each of `units`, which become the units of these rows. `tiles` has at least one tile a micro-panel.
    fn pack(self, tiles: &mut [Tile], units: &mut [Units], matrices: &[Matrix], first: usize, side: Side);

    /// Begins a product of `rows` × `columns` in `out`, which has that length.
    fn begin(self, out: &mut [f32], rows: usize, columns: usize) -> Self::Product<'_>;
}

/// A product that is computed in blocks of 16 × 16. It is complete when this is dropped.
pub(super) trait BlockProduct {
    /// `count` rows of the product from row `first` on, to write the beta term to. No block of them may have been computed.
    fn rows(&mut self, first: usize, count: usize) -> &mut [f32];

    /// Computes the blocks of `rows` and `columns`, which begin at multiples of 16. `a` and `b` give the micro-panel that begins
    /// at a row or column. `add`: whether to add to what the product holds there.
    fn blocks<'l, 'r>(
        &mut self,
        rows: Range<usize>,
        columns: Range<usize>,
        a: impl Fn(usize) -> MicroPanel<'l>,
        b: impl Fn(usize) -> MicroPanel<'r>,
        add: bool,
    );
}
