//! Packing by AVX-512 against the scalar reference.

use super::super::super::backend::Int8Backend;
use super::super::super::reference::Reference;
use super::*;
use crate::random::Stream;

// The tiles and units that `f` packs.
fn packed(
    f: impl Fn(&mut [Tile], &mut [Units], &[Matrix], usize, Side),
    matrices: &[Matrix],
    first: usize,
    side: Side,
) -> (Vec<Tile>, Vec<u32>) {
    let panels = (matrices[0].rows - first).div_ceil(TILE_ROWS);
    // Filled with what must be overwritten.
    let mut tiles = vec![Tile([[0x0102_0304; TILE_ROWS]; TILE_ROWS]); panels * panel_tiles(matrices)];
    let mut units = vec![Units([7.0; TILE_ROWS]); panels];
    f(&mut tiles, &mut units, matrices, first, side);
    let units = units.iter().flat_map(|units| units.0.map(f32::to_bits)).collect();
    (tiles, units)
}

fn by_reference(tiles: &mut [Tile], units: &mut [Units], matrices: &[Matrix], first: usize, side: Side) {
    Reference.pack(tiles, units, matrices, first, side);
}

// Packing needs only AVX-512, so this runs on machines without AMX too.
#[test]
fn avx_512_packs_what_the_reference_packs() {
    let Some(avx512) = V4::try_new() else { return };
    let mut stream = Stream::new(1, "test packing", 0);
    for (outer, depths) in [
        (1, vec![1]),
        (16, vec![64]),
        (40, vec![70]),
        (70, vec![64, 130, 1]),
        (130, vec![20, 200]),
    ] {
        let count = outer * depths.iter().sum::<usize>();
        let mut numbers: Vec<f32> = (0..count)
            .map(|_| stream.normal() as f32 * 10.0_f32.powi(stream.below(9) as i32 - 4))
            .collect();
        // Ties between two integers where the largest number is scaled to itself; zeros, the smallest and the largest numbers.
        for x in numbers.iter_mut().step_by(11) {
            *x = [0.5, -1.5, 2.5, 0.0, -0.0, 1e-45, 8_355_710.0, -8_355_710.0, 1e-38][stream.below(9)];
        }
        for x in numbers.iter_mut().step_by(97) {
            *x = [f32::MAX, 1e-40, f32::MIN_POSITIVE, -1e38][stream.below(4)];
        }
        for by_rows in [true, false] {
            let mut rest = &numbers[..];
            let matrices: Vec<Matrix> = depths
                .iter()
                .map(|&depth| {
                    let numbers = rest.split_off(..outer * depth).unwrap_or_default();
                    if by_rows {
                        Matrix::new(numbers, depth)
                    } else {
                        Matrix::new(numbers, outer).transposed()
                    }
                })
                .collect();
            for side in [Side::Left, Side::Right] {
                for first in (0..outer).step_by(PACK_WIDTH * TILE_ROWS) {
                    let by_avx512 = |tiles: &mut [Tile], units: &mut [Units], matrices: &[Matrix], first, side| {
                        pack(avx512, tiles, units, matrices, first, side);
                    };
                    let expected = packed(by_reference, &matrices, first, side);
                    let got = packed(by_avx512, &matrices, first, side);
                    assert!(
                        got.0 == expected.0,
                        "tiles of {outer} × {depths:?}, {by_rows}, {side:?}"
                    );
                    assert_eq!(got.1, expected.1, "units of {outer} × {depths:?}, {by_rows}, {side:?}");
                }
            }
        }
    }
}

// A number that is infinite or NaN makes the unit of its row NaN, and leaves other rows alone.
#[test]
fn avx_512_marks_the_rows_that_the_reference_marks() {
    let Some(avx512) = V4::try_new() else { return };
    let mut numbers = vec![1.0; 40 * 70];
    for (row, bad) in [(3, f32::NAN), (17, f32::INFINITY), (39, f32::NEG_INFINITY)] {
        numbers[row * 70 + row] = bad;
    }
    let matrix = Matrix::new(&numbers, 70);
    let by_avx512 = |tiles: &mut [Tile], units: &mut [Units], matrices: &[Matrix], first, side| {
        pack(avx512, tiles, units, matrices, first, side);
    };
    let (_, got) = packed(by_avx512, &[matrix], 0, Side::Left);
    let (_, expected) = packed(by_reference, &[matrix], 0, Side::Left);
    for (row, (&got, &expected)) in got.iter().zip(&expected).enumerate() {
        assert_eq!(f32::from_bits(got).is_nan(), [3, 17, 39].contains(&row), "row {row}");
        assert!(got == expected || f32::from_bits(expected).is_nan(), "row {row}");
    }
}
