//! Recombination and the order of blocks against the scalar reference: everything but the tile instructions themselves.

use std::arch::asm;
use std::arch::x86_64::{_mm512_loadu_ps, _mm512_set1_ps};

use pulp::x86::V4;

use super::super::super::backend::Int8Backend;
use super::super::super::reference::{self, Reference};
use super::super::super::tile::{SLICE_RATIO, Side, Units, panel_tiles};
use super::super::multiply::{recombine_row, recombining_asm};
use super::*;
use crate::kernels::gemm::Matrix;
use crate::random::Stream;

const COLUMNS: usize = 21;

// Recombines all rows of a block by the instructions that stand between those of AMX.
//
// # Safety
// `what.out` must hold 16 rows.
#[target_feature(enable = "avx512f")]
unsafe fn recombine_in_assembly(what: Recombination) {
    // SAFETY: the caller guarantees that `out` holds 16 rows; columns outside the product are masked out.
    unsafe {
        recombining_asm!(
            what,
            [
                recombine_row!(0),
                recombine_row!(1),
                recombine_row!(2),
                recombine_row!(3),
                recombine_row!(4),
                recombine_row!(5),
                recombine_row!(6),
                recombine_row!(7),
                recombine_row!(8),
                recombine_row!(9),
                recombine_row!(10),
                recombine_row!(11),
                recombine_row!(12),
                recombine_row!(13),
                recombine_row!(14),
                recombine_row!(15),
            ],
            []
        );
    }
}

// Recombination needs only AVX-512, so both its implementations are tested on machines without AMX too.
#[test]
fn avx_512_recombines_sums_as_the_reference_does() {
    if V4::try_new().is_none() {
        return;
    }
    let mut stream = Stream::new(1, "test recombination", 0);
    for width in [1, 7, 15, 16] {
        for add in [false, true] {
            // Of all sizes up to those of 768 terms: next to a large sum, those of lower weight are rounded away.
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
                start: 0,
                height: TILE_ROWS,
                written,
                read: if add { written } else { 0 },
                row_units: Units(std::array::from_fn(&mut unit)),
                column_units: Units(std::array::from_fn(&mut unit)),
            };
            let before: Vec<f32> = (0..TILE_ROWS * COLUMNS).map(|_| stream.normal() as f32).collect();
            let mut expected = before.clone();
            for (row, out) in expected.chunks_exact_mut(COLUMNS).enumerate() {
                for (column, out) in out.iter_mut().enumerate().take(width) {
                    let sums = sums.map(|tile| tile.0[row][column].cast_signed());
                    let base = if add { *out } else { 0.0 };
                    *out = reference::recombine(sums, block.row_units.0[row], block.column_units.0[column], base);
                }
            }
            let (mut by_intrinsics, mut by_assembly) = (before.clone(), before);
            let onto = |out| Recombination {
                block: &block,
                sums: &sums,
                out,
                columns: COLUMNS,
            };
            // SAFETY: the CPU has AVX-512, and both slices hold 16 rows.
            unsafe {
                recombine(onto(&mut by_intrinsics));
                recombine_in_assembly(onto(&mut by_assembly));
            }
            for got in [by_intrinsics, by_assembly] {
                for (index, (got, expected)) in got.iter().zip(&expected).enumerate() {
                    let same = got.to_bits() == expected.to_bits() || got.is_nan() && expected.is_nan();
                    assert!(
                        same,
                        "index {index}, width {width}: {got:e}, the reference gives {expected:e}"
                    );
                }
            }
        }
    }
}

// Stands in for AMX: the reference's sums, and the instructions between those of AMX.
struct Emulated([Tile; SUMS]);

// SAFETY: the test makes a value only where the CPU has AVX-512.
unsafe impl Multiplier for Emulated {
    unsafe fn multiply(&mut self, a: MicroPanel, b: MicroPanel, previous: &mut [Tile; SUMS], earlier: Recombination) {
        *previous = self.0;
        self.0 = reference::block_sums(a, b).map(|sums| Tile(sums.map(|row| row.map(i32::cast_unsigned))));
        // SAFETY: the CPU has AVX-512, and the caller guarantees that `earlier.out` holds 16 rows.
        unsafe {
            recombine_in_assembly(earlier);
        }
    }

    unsafe fn finish(&mut self, sums: &mut [Tile; SUMS]) {
        *sums = self.0;
    }
}

type Packed = (Vec<Tile>, Vec<Units>, usize);

fn panel((tiles, units, size): &Packed, row: usize) -> MicroPanel<'_> {
    let index = row / TILE_ROWS;
    MicroPanel {
        tiles: &tiles[index * size..][..*size],
        units: &units[index],
    }
}

// The order of blocks is tested on machines without AMX too.
#[test]
fn the_pipeline_writes_every_block_where_the_reference_does() {
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
                Reference.pack(&mut tiles, &mut units, &matrices, 0, side);
                (tiles, units, size)
            };
            let (a, b) = (pack(rows, Side::Left), pack(columns, Side::Right));
            let (mut got, mut expected) = (vec![f32::NAN; rows * columns], vec![f32::NAN; rows * columns]);
            let (left, right) = (|row| panel(&a, row), |column| panel(&b, column));
            {
                let mut by_emulation = Product::new(Emulated([Tile::ZERO; SUMS]), &mut got, rows, columns);
                let mut by_reference = Reference.begin(&mut expected, rows, columns);
                // As in `gemm`: a beta term is written to the rows, then a round is added.
                for first in (0..rows).step_by(2 * TILE_ROWS) {
                    let count = rows.min(first + 2 * TILE_ROWS) - first;
                    let beta: Vec<f32> = (0..count * columns).map(|i| i as f32).collect();
                    by_emulation.rows(first, count).copy_from_slice(&beta);
                    by_reference.rows(first, count).copy_from_slice(&beta);
                    by_emulation.blocks(first..first + count, 0..columns, left, right, true);
                    by_reference.blocks(first..first + count, 0..columns, left, right, true);
                }
                by_emulation.blocks(0..rows, 0..columns, left, right, true);
                by_reference.blocks(0..rows, 0..columns, left, right, true);
            }
            assert!(got == expected, "{rows} × {depth} × {columns}");
            {
                let mut by_emulation = Product::new(Emulated([Tile::ZERO; SUMS]), &mut got, rows, columns);
                by_emulation.blocks(0..rows, 0..columns, left, right, false);
                let mut by_reference = Reference.begin(&mut expected, rows, columns);
                by_reference.blocks(0..rows, 0..columns, left, right, false);
            }
            assert!(got == expected, "{rows} × {depth} × {columns}, without a beta term");
        }
    }
}
