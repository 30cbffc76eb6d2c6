//! The order of blocks: each is multiplied while the one before it is stored and the one before that is recombined.

use super::super::backend::BlockProduct;
use super::super::tile::{MicroPanel, SLICES, SUMS, TILE_ROWS, Tile};
use super::multiply::{Block, Multiplier, Recombination, recombine};

/// A product that is computed block by block.
///
/// Three blocks are in progress: AMX multiplies one; the sums of the one before move from its registers to memory; those of the
/// one before that, in memory already, are recombined.
pub(crate) struct Product<'a, M: Multiplier> {
    multiplier: M,
    out: &'a mut [f32],
    rows: usize,
    columns: usize,
    // The last block but one and its sums are at `oldest`, the last block is at the other index, where its sums go next.
    blocks: [Block; 2],
    sums: [[Tile; SUMS]; 2],
    oldest: usize,
    // The multiplier always writes 16 rows. For an earlier block of fewer rows it writes them here, and they are not used.
    unused: [f32; TILE_ROWS * TILE_ROWS],
}

impl<'a, M: Multiplier> Product<'a, M> {
    pub(super) fn new(multiplier: M, out: &'a mut [f32], rows: usize, columns: usize) -> Self {
        Self {
            multiplier,
            out,
            rows,
            columns,
            blocks: [Block::EMPTY; 2],
            sums: [[Tile::ZERO; SUMS]; 2],
            oldest: 0,
            unused: [0.0; TILE_ROWS * TILE_ROWS],
        }
    }

    // Recombines a block whose sums are in memory.
    fn recombine(&mut self, index: usize) {
        let block = &self.blocks[index];
        if block.height > 0 {
            let what = Recombination {
                block,
                sums: &self.sums[index],
                out: from_block(self.out, block, self.columns),
                columns: self.columns,
            };
            // SAFETY: a multiplier exists only where AVX-512 does, and `out` holds the block's rows.
            unsafe {
                recombine(what);
            }
        }
    }
}

impl<M: Multiplier> BlockProduct for Product<'_, M> {
    fn rows(&mut self, first: usize, count: usize) -> &mut [f32] {
        &mut self.out[first * self.columns..][..count * self.columns]
    }

    fn block(&mut self, row: usize, column: usize, a: MicroPanel, b: MicroPanel, add: bool) {
        assert_eq!(a.tiles.len(), b.tiles.len(), "both micro-panels have the same steps");
        assert!(a.tiles.len() >= SLICES, "a block has terms to sum");
        let (height, width) = (TILE_ROWS.min(self.rows - row), TILE_ROWS.min(self.columns - column));
        let written = ((1_u32 << width) - 1) as u16;
        let oldest = self.oldest;
        let block = &self.blocks[oldest];
        let [first, second] = &mut self.sums;
        let (sums, previous) = if oldest == 0 {
            (&*first, second)
        } else {
            (&*second, first)
        };
        let is_whole = block.height == TILE_ROWS;
        let (out, columns) = if is_whole {
            (from_block(self.out, block, self.columns), self.columns)
        } else {
            (&mut self.unused[..], TILE_ROWS)
        };
        let earlier = Recombination {
            block,
            sums,
            out,
            columns,
        };
        // SAFETY: the micro-panels have the same number of steps, at least one, and `out` holds 16 rows.
        unsafe {
            self.multiplier.multiply(a, b, previous, earlier);
        }
        if !is_whole {
            self.recombine(oldest);
        }
        self.blocks[oldest] = Block {
            start: row * self.columns + column,
            height,
            written,
            read: if add { written } else { 0 },
            row_units: *a.units,
            column_units: *b.units,
        };
        self.oldest = 1 - oldest;
    }
}

// The product from a block's first number to its last one.
fn from_block<'a>(out: &'a mut [f32], block: &Block, columns: usize) -> &'a mut [f32] {
    let width = TILE_ROWS - block.written.leading_zeros() as usize;
    &mut out[block.start..][..(block.height - 1) * columns + width]
}

impl<M: Multiplier> Drop for Product<'_, M> {
    fn drop(&mut self) {
        self.recombine(self.oldest);
        let last = 1 - self.oldest;
        // SAFETY: nothing uses the multiplier afterwards.
        unsafe {
            self.multiplier.finish(&mut self.sums[last]);
        }
        self.recombine(last);
    }
}

#[cfg(test)]
mod tests;
