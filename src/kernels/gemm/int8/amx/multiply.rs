//! The instructions of a block: AMX multiplies micro-panels, AVX-512 recombines the sums of an earlier block meanwhile.

use std::arch::asm;
use std::arch::x86_64::{
    __m512, _mm512_cvtepi32_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mask_storeu_ps,
    _mm512_maskz_loadu_ps, _mm512_mul_ps, _mm512_set1_ps,
};

use super::super::tile::{MicroPanel, SLICE_RATIO, SLICES, SUMS, TILE_ROWS, Tile, Units};
use super::Amx;

/// Where a block lies in the product, and how its sums become f32.
#[derive(Clone, Copy)]
pub(crate) struct Block {
    /// The index of its first number in the product.
    pub(super) start: usize,
    /// Its rows; none before the first block.
    pub(super) height: usize,
    /// Masks of the columns that are written, and of those that are read to be added to.
    pub(super) written: u16,
    pub(super) read: u16,
    pub(super) row_units: Units,
    pub(super) column_units: Units,
}

impl Block {
    /// A block without rows and columns.
    pub(super) const EMPTY: Self = Self {
        start: 0,
        height: 0,
        written: 0,
        read: 0,
        row_units: Units([0.0; TILE_ROWS]),
        column_units: Units([0.0; TILE_ROWS]),
    };
}

/// A block whose int32 sums are in memory, and the f32 numbers that they become.
pub(crate) struct Recombination<'a> {
    pub(super) block: &'a Block,
    pub(super) sums: &'a [Tile; SUMS],
    /// From the block's first number on; its rows are `columns` numbers apart.
    pub(super) out: &'a mut [f32],
    pub(super) columns: usize,
}

/// What multiplies micro-panels and keeps the sums of a block until the next one: AMX, or its emulation in tests.
///
/// # Safety
/// A value must exist only on CPUs with AVX-512, because [`Product`](super::pipeline::Product) uses it.
pub(crate) unsafe trait Multiplier {
    /// Stores the sums of the block before in `previous`, recombines those of an `earlier` block, and sums a block from
    /// two micro-panels.
    ///
    /// # Safety
    /// Both micro-panels must have the same number of steps, at least one, and `earlier.out` must hold 16 rows.
    unsafe fn multiply(&mut self, a: MicroPanel, b: MicroPanel, previous: &mut [Tile; SUMS], earlier: Recombination);

    /// Stores the sums of the last block and ends.
    ///
    /// # Safety
    /// No method may be called afterwards.
    unsafe fn finish(&mut self, sums: &mut [Tile; SUMS]);
}

#[repr(C, align(64))]
struct TileConfig([u8; 64]);

// Eight tiles of 16 rows of 64 bytes: palette 1, then the bytes of a row from byte 16 on, the rows from byte 48 on.
static CONFIG: TileConfig = {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    let mut tile = 0;
    while tile < 8 {
        bytes[16 + 2 * tile] = 64;
        bytes[48 + tile] = TILE_ROWS as u8;
        tile += 1;
    }
    TileConfig(bytes)
};

/// AMX, whose tiles are configured on this thread.
pub(crate) struct TileUnit(Amx);

impl TileUnit {
    pub(super) fn new(amx: Amx) -> Self {
        // SAFETY: the CPU has AMX, and the configuration is a valid one of the 64 bytes that are read.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const CONFIG, options(nostack, readonly));
        }
        Self(amx)
    }
}

// SAFETY: `Amx` exists only where the CPU has AVX-512.
unsafe impl Multiplier for TileUnit {
    #[inline]
    unsafe fn multiply(&mut self, a: MicroPanel, b: MicroPanel, previous: &mut [Tile; SUMS], earlier: Recombination) {
        // SAFETY: the tiles are configured, and the CPU has AVX-512; the caller guarantees the rest.
        unsafe {
            multiply(a, b, previous, earlier);
        }
    }

    #[inline]
    unsafe fn finish(&mut self, sums: &mut [Tile; SUMS]) {
        // SAFETY: the tiles are configured, each of the size of a `Tile`; the caller uses them no more.
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

// Recombines one row of sums.
macro_rules! recombine_row {
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

// `asm!` of instructions that recombine all 16 rows, with the operands of `recombine_row` and others.
macro_rules! recombining_asm {
    ($what:expr, [$($instruction:expr),* $(,)?], [$($operand:tt)*]) => {{
        let Recombination { block, sums, out, columns } = $what;
        asm!(
            $($instruction,)*
            $($operand)*
            from = in(reg) sums.as_ptr(),
            out = inout(reg) out.as_mut_ptr() => _,
            stride = in(reg) size_of::<f32>() * columns,
            of_rows = in(reg) block.row_units.0.as_ptr(),
            in("k1") block.written,
            in("k2") block.read,
            in("zmm30") _mm512_set1_ps(SLICE_RATIO),
            in("zmm31") _mm512_loadu_ps(block.column_units.0.as_ptr()),
            out("zmm16") _, out("zmm17") _, out("zmm18") _, out("zmm19") _, out("zmm20") _,
            options(nostack),
        )
    }};
}
#[cfg(test)]
pub(super) use {recombine_row, recombining_asm};

// Sums a block from two micro-panels, stores the sums of the block before in `previous`, and recombines those of an
// earlier block.
//
// # Safety
// The CPU has AMX, and its tiles are configured; both micro-panels have the same number of steps, at least one;
// `earlier.out` holds 16 rows.
#[target_feature(enable = "avx512f")]
unsafe fn multiply(a: MicroPanel, b: MicroPanel, previous: &mut [Tile; SUMS], earlier: Recombination) {
    // SAFETY: the caller guarantees it; columns outside the product are masked out. Tiles 0 to 3 hold the sums at the
    // end of the last call, because nothing else uses AMX meanwhile. Each tile is loaded as seldom as eight tile
    // registers allow. Recombination stands between the tile instructions, not after them, because the CPU looks ahead
    // by few of them. Registers from zmm16 on leave no state that slows down other instructions.
    unsafe {
        recombining_asm!(earlier, [
            "tileloadd tmm5, [{a} + {row} + 1024]", "tileloadd tmm7, [{b} + {row} + 1024]",
            "tilestored [{to} + {row} + 2048], tmm2", "tilezero tmm2",
            "tdpbssd tmm2, tmm5, tmm7", recombine_row!(0), recombine_row!(1),
            "tileloadd tmm6, [{b} + {row} + 2048]",
            "tilestored [{to} + {row} + 3072], tmm3", "tilezero tmm3",
            "tdpbssd tmm3, tmm5, tmm6", recombine_row!(2), recombine_row!(3),
            "tileloadd tmm4, [{a} + {row}]",
            "tilestored [{to} + {row} + 1024], tmm1", "tilezero tmm1",
            "tdpbssd tmm1, tmm4, tmm7", recombine_row!(4), recombine_row!(5),
            "tdpbssd tmm2, tmm4, tmm6", recombine_row!(6), recombine_row!(7),
            "tileloadd tmm6, [{b} + {row}]",
            "tilestored [{to} + {row}], tmm0", "tilezero tmm0",
            "tdpbssd tmm0, tmm4, tmm6", recombine_row!(8), recombine_row!(9),
            "tdpbssd tmm1, tmm5, tmm6", recombine_row!(10), recombine_row!(11),
            "tileloadd tmm5, [{a} + {row} + 2048]",
            "tdpbssd tmm3, tmm5, tmm7", recombine_row!(12), recombine_row!(13),
            "tdpbssd tmm2, tmm5, tmm6", recombine_row!(14), recombine_row!(15),
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
        ], [
            a = inout(reg) a.tiles.as_ptr() => _,
            b = inout(reg) b.tiles.as_ptr() => _,
            steps = inout(reg) a.tiles.len() / SLICES => _,
            row = in(reg) 64_usize,
            to = in(reg) previous.as_mut_ptr(),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
        ]);
    }
}

/// Recombines the sums of a block in f32.
///
/// # Safety
/// `out` must hold the block's rows.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn recombine(what: Recombination) {
    let Recombination {
        block,
        sums,
        out,
        columns,
    } = what;
    let ratio = _mm512_set1_ps(SLICE_RATIO);
    // SAFETY: the caller guarantees that `out` holds the rows; columns outside the product are masked out. A row of a
    // tile or of units is as long as a register.
    unsafe {
        let column_units = _mm512_loadu_ps(block.column_units.0.as_ptr());
        for row in 0..block.height {
            let sum = |i: usize| _mm512_cvtepi32_ps(_mm512_loadu_si512(sums[i].0[row].as_ptr().cast()));
            let third = _mm512_fmadd_ps(sum(3), ratio, sum(2));
            let second = _mm512_fmadd_ps(third, ratio, sum(1));
            let first = _mm512_fmadd_ps(second, ratio, sum(0));
            let first: __m512 = _mm512_mul_ps(first, _mm512_set1_ps(block.row_units.0[row]));
            let out = out.as_mut_ptr().add(row * columns);
            let so_far = _mm512_maskz_loadu_ps(block.read, out);
            _mm512_mask_storeu_ps(out, block.written, _mm512_fmadd_ps(first, column_units, so_far));
        }
    }
}
