//! Blocks of a product, on a configured unit.

use std::arch::asm;

use super::Unit;
use super::layout::{DEPTH, SIDE, STEP, STRIP, Tile};

// Steps, at most, between reading and writing a sum: more, and strips no longer lie in the nearest caches.
const STEPS: usize = 16;

#[repr(C, align(64))]
struct Config([u8; 64]);

// Eight tiles of sixteen rows of 64 bytes: palette 1, then bytes of a row from byte 16 on, rows from 48 on.
static CONFIG: Config = {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    let mut tile = 0;
    while tile < 8 {
        bytes[16 + 2 * tile] = 64;
        bytes[48 + tile] = SIDE as u8;
        tile += 1;
    }
    Config(bytes)
};

/// A product that is being made block by block, on a configured unit.
pub(super) struct Product<'a> {
    out: &'a mut [f32],
    rows: usize,
    columns: usize,
    accumulate: bool,
    // A block that is not full, amid what is of no account.
    edge: [f32; STRIP * STRIP],
}

/// The part of the sums that are added up without being written meanwhile.
pub(super) struct Round {
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) add: bool,
}

impl<'a> Product<'a> {
    pub(super) fn new(_: Unit, out: &'a mut [f32], rows: usize, columns: usize, accumulate: bool) -> Self {
        assert_eq!(out.len(), rows * columns, "the product fills its slice");
        // SAFETY: the unit is there. The configuration is a valid one, of the size that is read.
        #[allow(unsafe_code)]
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const CONFIG, options(nostack, readonly));
        }
        Self {
            out,
            rows,
            columns,
            accumulate,
            edge: [0.0; STRIP * STRIP],
        }
    }

    /// Some of its rows.
    pub(super) fn rows(&mut self, from: usize, count: usize) -> &mut [f32] {
        &mut self.out[from * self.columns..][..count * self.columns]
    }

    /// Rounds for sums of so many terms, as even as may be, so that none is short.
    pub(super) fn rounds(&mut self, depth: usize) -> impl Iterator<Item = Round> + use<> {
        if depth == 0 && !self.accumulate {
            self.out.fill(0.0);
        }
        let (steps, accumulate) = (depth.div_ceil(DEPTH), self.accumulate);
        let most = DEPTH * steps.div_ceil(steps.div_ceil(STEPS).max(1)).max(1);
        (0..depth).step_by(most).map(move |first| Round {
            first,
            count: most.min(depth - first),
            add: accumulate || first > 0,
        })
    }

    /// The block from this row and column on, from the strips that give it.
    pub(super) fn block(&mut self, row: usize, column: usize, a: &[Tile], b: &[Tile], add: bool) {
        assert_eq!(a.len(), b.len(), "both strips have the same steps");
        let steps = a.len() / STEP;
        assert!(steps > 0, "a block has terms to add");
        let (height, width) = (STRIP.min(self.rows - row), STRIP.min(self.columns - column));
        let out = &mut self.out[row * self.columns + column..];
        if (height, width) == (STRIP, STRIP) {
            let out = &mut out[..(STRIP - 1) * self.columns + STRIP];
            // SAFETY: the strips hold `steps` steps, not none; `out` holds 32 rows of 32 numbers so far apart.
            #[allow(unsafe_code)]
            unsafe {
                add_block(out.as_mut_ptr(), self.columns, a.as_ptr(), b.as_ptr(), steps, add);
            }
            return;
        }
        let edge = &mut self.edge;
        let lines = edge
            .chunks_exact_mut(STRIP)
            .zip(out.chunks_mut(self.columns))
            .take(height);
        if add {
            lines.for_each(|(edge, out)| edge[..width].copy_from_slice(&out[..width]));
        }
        let add_some = match (height <= SIDE, width <= SIDE) {
            (true, true) => add_tile,
            (true, false) => add_row,
            (false, true) => add_column,
            (false, false) => add_block,
        };
        // SAFETY: as above, the block being `edge`.
        #[allow(unsafe_code)]
        unsafe {
            add_some(edge.as_mut_ptr(), STRIP, a.as_ptr(), b.as_ptr(), steps, add);
        }
        let lines = edge.chunks_exact(STRIP).zip(out.chunks_mut(self.columns)).take(height);
        lines.for_each(|(edge, out)| out[..width].copy_from_slice(&edge[..width]));
    }
}

impl Drop for Product<'_> {
    fn drop(&mut self) {
        // SAFETY: it leaves the tiles as they were before, without configuration.
        #[allow(unsafe_code)]
        unsafe {
            asm!("tilerelease", options(nostack, nomem));
        }
    }
}

// A function that adds the products of `steps` steps of two strips to two by two tiles of sums, or to some of them: high
// parts lie at 0 and 1024 bytes from the start of a step, middle ones at 2048 and 3072, low ones at 4096 and 5120. Small
// products come first. Each tile is loaded as seldom as eight registers allow.
macro_rules! block {
    ($name:ident, clear: [$($clear:literal),*], load: [$($load:literal),*], store: [$($store:literal),*], multiply: [$($multiply:literal),* $(,)?]) => {
        // # Safety
        // The unit is there and configured; `a` and `b` are `steps` ≥ 1 steps of strips; `out` has as many rows and
        // columns as the tiles that are named, its rows `columns` numbers apart.
        #[allow(unsafe_code)]
        unsafe fn $name(out: *mut f32, columns: usize, a: *const Tile, b: *const Tile, steps: usize, add: bool) {
            let lower = out.wrapping_add(SIDE * columns);
            // SAFETY: as the function's.
            unsafe {
                asm!(
                    "test {add:l}, {add:l}",
                    "jnz 2f",
                    $($clear,)*
                    "jmp 3f",
                    "2:",
                    $($load,)*
                    "3:",
                    $($multiply,)*
                    "add {a}, 6144",
                    "add {b}, 6144",
                    "dec {steps}",
                    "jnz 3b",
                    $($store,)*
                    out = in(reg) out,
                    lower = in(reg) lower,
                    stride = in(reg) size_of::<f32>() * columns,
                    a = inout(reg) a => _,
                    b = inout(reg) b => _,
                    steps = inout(reg) steps => _,
                    tile = in(reg) 64_usize,
                    add = in(reg) u64::from(add),
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    };
}

block!(
    add_block,
    clear: ["tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3"],
    load: [
        "tileloadd tmm0, [{out} + {stride}]", "tileloadd tmm1, [{out} + {stride} + 64]",
        "tileloadd tmm2, [{lower} + {stride}]", "tileloadd tmm3, [{lower} + {stride} + 64]"
    ],
    store: [
        "tilestored [{out} + {stride}], tmm0", "tilestored [{out} + {stride} + 64], tmm1",
        "tilestored [{lower} + {stride}], tmm2", "tilestored [{lower} + {stride} + 64], tmm3"
    ],
    multiply: [
        // Low and high.
        "tileloadd tmm6, [{b} + {tile}]", "tileloadd tmm4, [{a} + {tile} + 4096]", "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloadd tmm7, [{b} + {tile} + 1024]", "tdpbf16ps tmm1, tmm4, tmm7",
        "tileloadd tmm5, [{a} + {tile} + 5120]", "tdpbf16ps tmm2, tmm5, tmm6", "tdpbf16ps tmm3, tmm5, tmm7",
        // Middle and high.
        "tileloadd tmm4, [{a} + {tile} + 2048]", "tdpbf16ps tmm0, tmm4, tmm6", "tdpbf16ps tmm1, tmm4, tmm7",
        "tileloadd tmm5, [{a} + {tile} + 3072]", "tdpbf16ps tmm2, tmm5, tmm6", "tdpbf16ps tmm3, tmm5, tmm7",
        // Middle and middle.
        "tileloadd tmm6, [{b} + {tile} + 2048]", "tdpbf16ps tmm0, tmm4, tmm6", "tdpbf16ps tmm2, tmm5, tmm6",
        "tileloadd tmm7, [{b} + {tile} + 3072]", "tdpbf16ps tmm1, tmm4, tmm7", "tdpbf16ps tmm3, tmm5, tmm7",
        // High and middle.
        "tileloadd tmm4, [{a} + {tile}]", "tdpbf16ps tmm0, tmm4, tmm6", "tdpbf16ps tmm1, tmm4, tmm7",
        "tileloadd tmm5, [{a} + {tile} + 1024]", "tdpbf16ps tmm2, tmm5, tmm6", "tdpbf16ps tmm3, tmm5, tmm7",
        // High and low.
        "tileloadd tmm6, [{b} + {tile} + 4096]", "tdpbf16ps tmm0, tmm4, tmm6", "tdpbf16ps tmm2, tmm5, tmm6",
        "tileloadd tmm7, [{b} + {tile} + 5120]", "tdpbf16ps tmm1, tmm4, tmm7", "tdpbf16ps tmm3, tmm5, tmm7",
        // High and high.
        "tileloadd tmm6, [{b} + {tile}]", "tdpbf16ps tmm0, tmm4, tmm6", "tdpbf16ps tmm2, tmm5, tmm6",
        "tileloadd tmm7, [{b} + {tile} + 1024]", "tdpbf16ps tmm1, tmm4, tmm7", "tdpbf16ps tmm3, tmm5, tmm7",
    ]
);

block!(
    add_row,
    clear: ["tilezero tmm0", "tilezero tmm1"],
    load: ["tileloadd tmm0, [{out} + {stride}]", "tileloadd tmm1, [{out} + {stride} + 64]"],
    store: ["tilestored [{out} + {stride}], tmm0", "tilestored [{out} + {stride} + 64], tmm1 # {lower}"],
    multiply: [
        "tileloadd tmm4, [{a} + {tile} + 4096]",
        "tileloadd tmm6, [{b} + {tile}]", "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloadd tmm7, [{b} + {tile} + 1024]", "tdpbf16ps tmm1, tmm4, tmm7",
        "tileloadd tmm4, [{a} + {tile} + 2048]", "tdpbf16ps tmm0, tmm4, tmm6", "tdpbf16ps tmm1, tmm4, tmm7",
        "tileloadd tmm6, [{b} + {tile} + 2048]", "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloadd tmm7, [{b} + {tile} + 3072]", "tdpbf16ps tmm1, tmm4, tmm7",
        "tileloadd tmm4, [{a} + {tile}]", "tdpbf16ps tmm0, tmm4, tmm6", "tdpbf16ps tmm1, tmm4, tmm7",
        "tileloadd tmm6, [{b} + {tile} + 4096]", "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloadd tmm7, [{b} + {tile} + 5120]", "tdpbf16ps tmm1, tmm4, tmm7",
        "tileloadd tmm6, [{b} + {tile}]", "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloadd tmm7, [{b} + {tile} + 1024]", "tdpbf16ps tmm1, tmm4, tmm7",
    ]
);

block!(
    add_column,
    clear: ["tilezero tmm0", "tilezero tmm2"],
    load: ["tileloadd tmm0, [{out} + {stride}]", "tileloadd tmm2, [{lower} + {stride}]"],
    store: ["tilestored [{out} + {stride}], tmm0", "tilestored [{lower} + {stride}], tmm2"],
    multiply: [
        "tileloadd tmm6, [{b} + {tile}]",
        "tileloadd tmm4, [{a} + {tile} + 4096]", "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloadd tmm5, [{a} + {tile} + 5120]", "tdpbf16ps tmm2, tmm5, tmm6",
        "tileloadd tmm4, [{a} + {tile} + 2048]", "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloadd tmm5, [{a} + {tile} + 3072]", "tdpbf16ps tmm2, tmm5, tmm6",
        "tileloadd tmm6, [{b} + {tile} + 2048]", "tdpbf16ps tmm0, tmm4, tmm6", "tdpbf16ps tmm2, tmm5, tmm6",
        "tileloadd tmm4, [{a} + {tile}]", "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloadd tmm5, [{a} + {tile} + 1024]", "tdpbf16ps tmm2, tmm5, tmm6",
        "tileloadd tmm6, [{b} + {tile} + 4096]", "tdpbf16ps tmm0, tmm4, tmm6", "tdpbf16ps tmm2, tmm5, tmm6",
        "tileloadd tmm6, [{b} + {tile}]", "tdpbf16ps tmm0, tmm4, tmm6", "tdpbf16ps tmm2, tmm5, tmm6",
    ]
);

block!(
    add_tile,
    clear: ["tilezero tmm0"],
    load: ["tileloadd tmm0, [{out} + {stride}]"],
    store: ["tilestored [{out} + {stride}], tmm0 # {lower}"],
    multiply: [
        "tileloadd tmm6, [{b} + {tile}]",
        "tileloadd tmm4, [{a} + {tile} + 4096]", "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloadd tmm4, [{a} + {tile} + 2048]", "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloadd tmm6, [{b} + {tile} + 2048]", "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloadd tmm4, [{a} + {tile}]", "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloadd tmm6, [{b} + {tile} + 4096]", "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloadd tmm6, [{b} + {tile}]", "tdpbf16ps tmm0, tmm4, tmm6",
    ]
);
