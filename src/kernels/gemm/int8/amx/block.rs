//! Blocks of a product, on a configured unit.

use std::arch::asm;
use std::arch::x86_64::{
    __m512, _mm512_cvtepi32_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mask_storeu_ps,
    _mm512_maskz_loadu_ps, _mm512_mul_ps, _mm512_set1_ps,
};
use std::ops::Range;

use super::super::panels::{MicroPanel, SLICE_RATIO, SLICES, SUMS, TILE_ROWS, Tile, Units};
use super::Unit;

#[repr(C, align(64))]
struct Config([u8; 64]);

// Eight tiles of sixteen rows of 64 bytes: palette 1, then bytes of a row from byte 16 on, rows from 48 on.
static CONFIG: Config = {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    let mut tile = 0;
    while tile < 8 {
        bytes[16 + 2 * tile] = 64;
        bytes[48 + tile] = TILE_ROWS as u8;
        tile += 1;
    }
    Config(bytes)
};

/// What multiplies micro-panels and keeps a block's sums until the next block: AMX. Tests put something in its place that needs
/// none.
///
/// # Safety
/// A value exists only on CPUs with AVX-512: [`Product`] uses it.
#[allow(unsafe_code)]
pub(in super::super) unsafe trait Multiplier {
    /// Adds up a block from two micro-panels, after the sums of the block before have gone to `to`, and puts those of an
    /// `earlier` block from `from` to `out`.
    ///
    /// # Safety
    /// Both micro-panels have as many steps, not none; `out` holds sixteen rows of the earlier block, `columns` numbers apart.
    #[allow(unsafe_code)]
    #[allow(clippy::too_many_arguments)] // one call of assembly
    unsafe fn block(
        &mut self,
        a: MicroPanel,
        b: MicroPanel,
        to: &mut [Tile; SUMS],
        from: &[Tile; SUMS],
        earlier: &Block,
        out: &mut [f32],
        columns: usize,
    );

    /// Stores the sums of the last block and ends.
    ///
    /// # Safety
    /// Nothing is called after it.
    unsafe fn finish(&mut self, sums: &mut [Tile; SUMS]);
}

/// AMX, configured on this thread.
pub(in super::super) struct Configured(Unit);

impl Configured {
    fn new(unit: Unit) -> Self {
        // SAFETY: the unit is there. The configuration is a valid one, of the size that is read.
        #[allow(unsafe_code)]
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const CONFIG, options(nostack, readonly));
        }
        Self(unit)
    }
}

// SAFETY: a unit exists only where AVX-512 does.
#[allow(unsafe_code)]
unsafe impl Multiplier for Configured {
    #[inline]
    #[allow(unsafe_code)]
    unsafe fn block(
        &mut self,
        a: MicroPanel,
        b: MicroPanel,
        to: &mut [Tile; SUMS],
        from: &[Tile; SUMS],
        earlier: &Block,
        out: &mut [f32],
        columns: usize,
    ) {
        // SAFETY: the unit is configured, and AVX-512 is where it is; the rest is as the function's.
        unsafe {
            add_up(a, b, to, from, earlier, out, columns);
        }
    }

    #[inline]
    #[allow(unsafe_code)]
    unsafe fn finish(&mut self, sums: &mut [Tile; SUMS]) {
        // SAFETY: the unit is configured until here, and each of its registers as long as a tile.
        unsafe {
            asm!(
                "tilestored [{sums} + {row}], tmm0", "tilestored [{sums} + {row} + 1024], tmm1",
                "tilestored [{sums} + {row} + 2048], tmm2", "tilestored [{sums} + {row} + 3072], tmm3",
                "tilerelease",
                sums = in(reg) sums.as_mut_ptr(),
                row = in(reg) 64_usize,
                options(nostack),
            );
        }
    }
}

/// A product that is being made block by block, on a configured unit.
///
/// Three blocks are under way: the unit makes one; the sums of the one before, which are still in its registers, move to
/// memory as it begins; those of the one before that, in memory already, become f32 and get to their place meanwhile.
pub(in super::super) struct Product<'a, M: Multiplier> {
    multiplier: M,
    out: &'a mut [f32],
    rows: usize,
    columns: usize,
    // The last block but one, whose sums are in memory, and the last one, by turns.
    blocks: [Block; 2],
    sums: [[Tile; SUMS]; 2],
    turn: usize,
    // Where what is of no account goes.
    nowhere: [f32; TILE_ROWS * TILE_ROWS],
}

// Where the sums of a block go, and how they become f32.
#[derive(Clone, Copy)]
pub(in super::super) struct Block {
    // Of its first number.
    place: usize,
    height: usize,
    // Columns that are written, and that are read to be added to.
    written: u16,
    read: u16,
    // What a product of two highest slices is worth: one of these times one of those.
    of_rows: Units,
    of_columns: Units,
}

const NONE: Block = Block {
    place: 0,
    height: 0,
    written: 0,
    read: 0,
    of_rows: Units([0.0; TILE_ROWS]),
    of_columns: Units([0.0; TILE_ROWS]),
};

impl<'a> Product<'a, Configured> {
    pub(in super::super) fn new(unit: Unit, out: &'a mut [f32], rows: usize, columns: usize) -> Self {
        Self::by(Configured::new(unit), out, rows, columns)
    }
}

impl<'a, M: Multiplier> Product<'a, M> {
    fn by(multiplier: M, out: &'a mut [f32], rows: usize, columns: usize) -> Self {
        Self {
            multiplier,
            out,
            rows,
            columns,
            blocks: [NONE; 2],
            sums: [[Tile::ZERO; SUMS]; 2],
            turn: 0,
            nowhere: [0.0; TILE_ROWS * TILE_ROWS],
        }
    }

    /// Some of its rows, in which no block has been made yet.
    pub(in super::super) fn rows(&mut self, from: usize, count: usize) -> &mut [f32] {
        &mut self.out[from * self.columns..][..count * self.columns]
    }

    /// The blocks of these rows and columns, given the micro-panels that begin there.
    pub(in super::super) fn blocks<'l, 'r>(
        &mut self,
        rows: Range<usize>,
        columns: Range<usize>,
        a: impl Fn(usize) -> MicroPanel<'l>,
        b: impl Fn(usize) -> MicroPanel<'r>,
        add: bool,
    ) {
        // Row by row, so that what is written lies side by side; two at once where the nearest caches hold both micro-panels.
        let at_once = if a(rows.start).tiles.len() <= 4 * SLICES {
            2 * TILE_ROWS
        } else {
            TILE_ROWS
        };
        for first in rows.clone().step_by(at_once) {
            for column in columns.clone().step_by(TILE_ROWS) {
                for row in (first..rows.end.min(first + at_once)).step_by(TILE_ROWS) {
                    self.block(row, column, a(row), b(column), add);
                }
            }
        }
    }

    // The block from this row and column on, from the micro-panels that give it.
    fn block(&mut self, row: usize, column: usize, a: MicroPanel, b: MicroPanel, add: bool) {
        assert_eq!(a.tiles.len(), b.tiles.len(), "both micro-panels have the same steps");
        assert!(a.tiles.len() >= SLICES, "a block has terms to add");
        let (height, width) = (TILE_ROWS.min(self.rows - row), TILE_ROWS.min(self.columns - column));
        let written = ((1_u32 << width) - 1) as u16;
        let turn = self.turn;
        let earlier = &mut self.blocks[turn];
        let [first, second] = &mut self.sums;
        let (from, to) = if turn == 0 {
            (&*first, second)
        } else {
            (&*second, first)
        };
        // One that has fewer rows is put apart.
        let is_whole = earlier.height == TILE_ROWS;
        let (out, columns) = if is_whole {
            (place(self.out, earlier, self.columns), self.columns)
        } else {
            (&mut self.nowhere[..], TILE_ROWS)
        };
        // SAFETY: the micro-panels have as many steps, not none, and `out` holds sixteen rows.
        #[allow(unsafe_code)]
        unsafe {
            self.multiplier.block(a, b, to, from, earlier, out, columns);
        }
        if !is_whole {
            self.put(turn);
        }
        self.blocks[turn] = Block {
            place: row * self.columns + column,
            height,
            written,
            read: if add { written } else { 0 },
            of_rows: *a.units,
            of_columns: *b.units,
        };
        self.turn = 1 - turn;
    }

    // Brings a block to its place whose sums are in memory.
    fn put(&mut self, turn: usize) {
        let block = &self.blocks[turn];
        if block.height > 0 {
            let out = place(self.out, block, self.columns);
            // SAFETY: where a multiplier is, AVX-512 is; `out` holds the block's rows.
            #[allow(unsafe_code)]
            unsafe {
                put(&self.sums[turn], block, out, self.columns);
            }
        }
    }
}

// From a block's first number to its last one.
fn place<'a>(out: &'a mut [f32], block: &Block, columns: usize) -> &'a mut [f32] {
    let width = TILE_ROWS - block.written.leading_zeros() as usize;
    &mut out[block.place..][..(block.height - 1) * columns + width]
}

impl<M: Multiplier> Drop for Product<'_, M> {
    fn drop(&mut self) {
        self.put(self.turn);
        let last = 1 - self.turn;
        // SAFETY: the product is at its end.
        #[allow(unsafe_code)]
        unsafe {
            self.multiplier.finish(&mut self.sums[last]);
        }
        self.put(last);
    }
}

// One row of sums to its place.
macro_rules! put_row {
    ($row:literal) => {
        concat!(
            "vcvtdq2ps zmm19, [{from} + 3072 + 64 * ",
            $row,
            "]\n",
            "vcvtdq2ps zmm18, [{from} + 2048 + 64 * ",
            $row,
            "]\n",
            "vfmadd231ps zmm18, zmm19, zmm30\n",
            "vcvtdq2ps zmm17, [{from} + 1024 + 64 * ",
            $row,
            "]\n",
            "vfmadd231ps zmm17, zmm18, zmm30\n",
            "vcvtdq2ps zmm16, [{from} + 64 * ",
            $row,
            "]\n",
            "vfmadd231ps zmm16, zmm17, zmm30\n",
            "vmulps zmm16, zmm16, dword ptr [{of_rows} + 4 * ",
            $row,
            "]{{1to16}}\n",
            "vmovups zmm20 {{k2}} {{z}}, [{out}]\n",
            "vfmadd231ps zmm20, zmm16, zmm31\n",
            "vmovups [{out}] {{k1}}, zmm20\n",
            "add {out}, {stride}"
        )
    };
}

// Makes a block from two micro-panels, stores the sums of the one before in `to`, and puts those of an earlier
// one from `from` to `out`.
//
// # Safety
// The unit is there and configured; both micro-panels have as many steps, not none; `out` holds sixteen rows of the earlier block,
// `columns` numbers apart.
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f")]
unsafe fn add_up(
    a: MicroPanel,
    b: MicroPanel,
    to: &mut [Tile; SUMS],
    from: &[Tile; SUMS],
    earlier: &Block,
    out: &mut [f32],
    columns: usize,
) {
    // SAFETY: as the function's; columns that are not there are masked out. Each tile is loaded as seldom as eight registers
    // allow. What stands between products takes its turn while the unit is busy: it would not if it came after them, because
    // the processor looks ahead by few tiles. Registers from 16 on leave no state that slows down other instructions.
    // The unit's registers hold what they did at the end of the last call: nothing else uses them.
    unsafe {
        asm!(
            "tileloadd tmm5, [{a} + {row} + 1024]", "tileloadd tmm7, [{b} + {row} + 1024]",
            "tilestored [{to} + {row} + 2048], tmm2", "tilezero tmm2",
            "tdpbssd tmm2, tmm5, tmm7", put_row!(0), put_row!(1),
            "tileloadd tmm6, [{b} + {row} + 2048]",
            "tilestored [{to} + {row} + 3072], tmm3", "tilezero tmm3",
            "tdpbssd tmm3, tmm5, tmm6", put_row!(2), put_row!(3),
            "tileloadd tmm4, [{a} + {row}]",
            "tilestored [{to} + {row} + 1024], tmm1", "tilezero tmm1",
            "tdpbssd tmm1, tmm4, tmm7", put_row!(4), put_row!(5),
            "tdpbssd tmm2, tmm4, tmm6", put_row!(6), put_row!(7),
            "tileloadd tmm6, [{b} + {row}]",
            "tilestored [{to} + {row}], tmm0", "tilezero tmm0",
            "tdpbssd tmm0, tmm4, tmm6", put_row!(8), put_row!(9),
            "tdpbssd tmm1, tmm5, tmm6", put_row!(10), put_row!(11),
            "tileloadd tmm5, [{a} + {row} + 2048]",
            "tdpbssd tmm3, tmm5, tmm7", put_row!(12), put_row!(13),
            "tdpbssd tmm2, tmm5, tmm6", put_row!(14), put_row!(15),
            "dec {steps}",
            "jz 3f",
            "2:",
            "add {a}, 3072",
            "add {b}, 3072",
            "tileloadd tmm5, [{a} + {row} + 1024]", "tileloadd tmm7, [{b} + {row} + 1024]", "tdpbssd tmm2, tmm5, tmm7",
            "tileloadd tmm6, [{b} + {row} + 2048]", "tdpbssd tmm3, tmm5, tmm6",
            "tileloadd tmm4, [{a} + {row}]", "tdpbssd tmm1, tmm4, tmm7", "tdpbssd tmm2, tmm4, tmm6",
            "tileloadd tmm6, [{b} + {row}]", "tdpbssd tmm0, tmm4, tmm6", "tdpbssd tmm1, tmm5, tmm6",
            "tileloadd tmm5, [{a} + {row} + 2048]", "tdpbssd tmm3, tmm5, tmm7", "tdpbssd tmm2, tmm5, tmm6",
            "dec {steps}",
            "jnz 2b",
            "3:",
            a = inout(reg) a.tiles.as_ptr() => _,
            b = inout(reg) b.tiles.as_ptr() => _,
            steps = inout(reg) a.tiles.len() / SLICES => _,
            row = in(reg) 64_usize,
            to = in(reg) to.as_mut_ptr(),
            from = in(reg) from.as_ptr(),
            out = inout(reg) out.as_mut_ptr() => _,
            stride = in(reg) size_of::<f32>() * columns,
            of_rows = in(reg) earlier.of_rows.0.as_ptr(),
            in("k1") earlier.written,
            in("k2") earlier.read,
            in("zmm30") _mm512_set1_ps(SLICE_RATIO),
            in("zmm31") _mm512_loadu_ps(earlier.of_columns.0.as_ptr()),
            out("zmm16") _, out("zmm17") _, out("zmm18") _, out("zmm19") _, out("zmm20") _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

// Puts sums to their place.
//
// # Safety
// `out` holds the block's rows, `columns` numbers apart.
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f")]
unsafe fn put(sums: &[Tile; SUMS], block: &Block, out: &mut [f32], columns: usize) {
    let finer = _mm512_set1_ps(SLICE_RATIO);
    // SAFETY: as the function's; columns that are not there are masked out, and sixteen numbers are as long as a register.
    unsafe {
        let of_columns = _mm512_loadu_ps(block.of_columns.0.as_ptr());
        for row in 0..block.height {
            let sum = |i: usize| _mm512_cvtepi32_ps(_mm512_loadu_si512(sums[i].0[row].as_ptr().cast()));
            let third = _mm512_fmadd_ps(sum(3), finer, sum(2));
            let second = _mm512_fmadd_ps(third, finer, sum(1));
            let first = _mm512_fmadd_ps(second, finer, sum(0));
            let first: __m512 = _mm512_mul_ps(first, _mm512_set1_ps(block.of_rows.0[row]));
            let out = out.as_mut_ptr().add(row * columns);
            let so_far = _mm512_maskz_loadu_ps(block.read, out);
            _mm512_mask_storeu_ps(out, block.written, _mm512_fmadd_ps(first, of_columns, so_far));
        }
    }
}

#[cfg(test)]
mod tests;
