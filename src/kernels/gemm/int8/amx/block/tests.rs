//! Recombination, and the order of blocks, against the scalar reference: all but the tile instructions themselves.

use pulp::x86::V4;

use super::super::super::panels::{Side, panel_tiles};
use super::super::super::reference::{self, recombine};
use super::*;
use crate::kernels::gemm::Matrix;
use crate::random::Stream;

const COLUMNS: usize = 21;

// All rows of a block by the instructions that stand between those of AMX.
//
// # Safety
// As that of `add_up`, of which it leaves out AMX.
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f")]
unsafe fn put_rows(from: &[Tile; SUMS], block: &Block, out: &mut [f32], columns: usize) {
    // SAFETY: as the function's.
    unsafe {
        asm!(
            put_row!(0), put_row!(1), put_row!(2), put_row!(3), put_row!(4), put_row!(5), put_row!(6), put_row!(7),
            put_row!(8), put_row!(9), put_row!(10), put_row!(11), put_row!(12), put_row!(13), put_row!(14),
            put_row!(15),
            from = in(reg) from.as_ptr(),
            out = inout(reg) out.as_mut_ptr() => _,
            stride = in(reg) size_of::<f32>() * columns,
            of_rows = in(reg) block.of_rows.0.as_ptr(),
            in("k1") block.written,
            in("k2") block.read,
            in("zmm30") _mm512_set1_ps(SLICE_RATIO),
            in("zmm31") _mm512_loadu_ps(block.of_columns.0.as_ptr()),
            out("zmm16") _, out("zmm17") _, out("zmm18") _, out("zmm19") _, out("zmm20") _,
            options(nostack),
        );
    }
}

// Recombination needs AVX-512 alone, so it is tested on machines without AMX too: both ways in which it is written.
#[test]
fn avx_512_recombines_sums_as_the_reference_does() {
    if V4::try_new().is_none() {
        return;
    }
    let mut stream = Stream::new(1, "test recombination", 0);
    for width in [1, 7, 15, 16] {
        for add in [false, true] {
            // Of all sizes, up to those of 768 terms: beside a large one, those of less weight are rounded away.
            let mut sum = || {
                let limit = 1 << (1 + stream.below(25));
                (stream.below(2 * limit) as i32 - limit as i32).cast_unsigned()
            };
            let sums = [(); SUMS].map(|()| Tile(std::array::from_fn(|_| std::array::from_fn(|_| sum()))));
            let mut unit = |i: usize| match i {
                3 => f32::NAN,
                5 => 1e-36,
                _ => 10.0_f32.powi(stream.below(12) as i32 - 8) * (1.0 + stream.uniform() as f32),
            };
            let written = ((1_u32 << width) - 1) as u16;
            let block = Block {
                place: 0,
                height: TILE_ROWS,
                written,
                read: if add { written } else { 0 },
                of_rows: Units(std::array::from_fn(&mut unit)),
                of_columns: Units(std::array::from_fn(&mut unit)),
            };
            let before: Vec<f32> = (0..TILE_ROWS * COLUMNS).map(|_| stream.normal() as f32).collect();
            let mut expected = before.clone();
            for (row, out) in expected.chunks_exact_mut(COLUMNS).enumerate() {
                for (column, out) in out.iter_mut().enumerate().take(width) {
                    let sums = sums.map(|tile| tile.0[row][column].cast_signed());
                    let base = if add { *out } else { 0.0 };
                    *out = recombine(sums, block.of_rows.0[row], block.of_columns.0[column], base);
                }
            }
            let (mut by_intrinsics, mut by_assembly) = (before.clone(), before);
            // SAFETY: AVX-512 is there, and both hold sixteen rows.
            #[allow(unsafe_code)]
            unsafe {
                put(&sums, &block, &mut by_intrinsics, COLUMNS);
                put_rows(&sums, &block, &mut by_assembly, COLUMNS);
            }
            for got in [by_intrinsics, by_assembly] {
                for (place, (got, expected)) in got.iter().zip(&expected).enumerate() {
                    let same = got.to_bits() == expected.to_bits() || got.is_nan() && expected.is_nan();
                    assert!(
                        same,
                        "place {place}, width {width}: {got:e}, the reference gives {expected:e}"
                    );
                }
            }
        }
    }
}

// In the place of AMX: its sums, and the instructions between those of AMX.
struct Emulated([Tile; SUMS]);

// SAFETY: the test makes one only where it has found AVX-512.
#[allow(unsafe_code)]
unsafe impl Multiplier for Emulated {
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
        *to = self.0;
        self.0 = reference::add_up(a, b).map(|sums| Tile(sums.map(|row| row.map(i32::cast_unsigned))));
        // SAFETY: the test has looked for AVX-512; the rest is as the function's.
        unsafe {
            put_rows(from, earlier, out, columns);
        }
    }

    unsafe fn finish(&mut self, sums: &mut [Tile; SUMS]) {
        *sums = self.0;
    }
}

type Packed = (Vec<Tile>, Vec<Units>, usize);

fn panel((tiles, units, size): &Packed, row: usize) -> MicroPanel<'_> {
    let place = row / TILE_ROWS;
    MicroPanel {
        tiles: &tiles[place * size..][..*size],
        units: &units[place],
    }
}

// Which sums go where, and when, is tested on machines without AMX too.
#[test]
fn blocks_under_way_come_to_the_places_where_the_reference_puts_them() {
    if V4::try_new().is_none() {
        return;
    }
    let mut stream = Stream::new(2, "test blocks", 0);
    for (rows, columns) in [(1, 1), (16, 16), (17, 40), (48, 33), (70, 100), (5, 64)] {
        for depth in [60, 64, 300] {
            let mut pack = |outer: usize, side: Side| {
                let numbers: Vec<f32> = (0..outer * depth).map(|_| stream.normal() as f32).collect();
                let matrices = [Matrix::new(&numbers, depth)];
                let (panels, size) = (outer.div_ceil(TILE_ROWS), panel_tiles(&matrices));
                let (mut tiles, mut units) = (vec![Tile::ZERO; panels * size], vec![Units([0.0; TILE_ROWS]); panels]);
                reference::pack(&mut tiles, &mut units, &matrices, 0, side);
                (tiles, units, size)
            };
            let (a, b) = (pack(rows, Side::Left), pack(columns, Side::Right));
            let (mut got, mut expected) = (vec![f32::NAN; rows * columns], vec![f32::NAN; rows * columns]);
            let (left, right) = (|row| panel(&a, row), |column| panel(&b, column));
            {
                let mut by_emulation = Product::by(Emulated([Tile::ZERO; SUMS]), &mut got, rows, columns);
                let mut by_reference = reference::Product::new(&mut expected, rows, columns);
                // As the driver does it: rows are begun with a base where there is one, then a round is added.
                for first in (0..rows).step_by(2 * TILE_ROWS) {
                    let count = rows.min(first + 2 * TILE_ROWS) - first;
                    let base: Vec<f32> = (0..count * columns).map(|i| i as f32).collect();
                    by_emulation.rows(first, count).copy_from_slice(&base);
                    by_reference.rows(first, count).copy_from_slice(&base);
                    by_emulation.blocks(first..first + count, 0..columns, left, right, true);
                    by_reference.blocks(first..first + count, 0..columns, left, right, true);
                }
                by_emulation.blocks(0..rows, 0..columns, left, right, true);
                by_reference.blocks(0..rows, 0..columns, left, right, true);
            }
            assert!(got == expected, "{rows} × {depth} × {columns}");
            {
                let mut by_emulation = Product::by(Emulated([Tile::ZERO; SUMS]), &mut got, rows, columns);
                by_emulation.blocks(0..rows, 0..columns, left, right, false);
                let mut by_reference = reference::Product::new(&mut expected, rows, columns);
                by_reference.blocks(0..rows, 0..columns, left, right, false);
            }
            assert!(got == expected, "{rows} × {depth} × {columns}, on top of nothing");
        }
    }
}
