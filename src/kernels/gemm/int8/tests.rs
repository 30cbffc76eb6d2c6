//! The scalar reference against the definition of the scheme, and AMX against the scalar reference.

use std::io::Write;

use super::*;
use crate::random::Stream;

fn random(stream: &mut Stream, count: usize) -> Vec<f32> {
    let number = |_| match stream.below(40) {
        0 => 0.0,
        1 => 1e-39 * stream.normal() as f32,
        2 => 1e4 * stream.normal() as f32,
        _ => stream.normal() as f32,
    };
    (0..count).map(number).collect()
}

fn at(matrix: Matrix, row: usize, column: usize) -> f32 {
    matrix.numbers[row * matrix.row_stride + column * matrix.column_stride]
}

// The integers of a row and the value of 1 in their highest slice, by definition.
fn integers(row: &[f32]) -> (Vec<i64>, f32) {
    let largest = row.iter().fold(2.0_f32.powi(-100), |max, x| max.max(x.abs()));
    let scale = 8_355_710.0 / largest;
    let integers = row.iter().map(|x| (x * scale).round_ties_even() as i64).collect();
    (integers, 65_536.0 / scale)
}

// q = 2¹⁶ q₁ + 2⁸ q₂ + q₃ with slices from −128 to 127.
fn slices(q: i64) -> [i64; 3] {
    let low = (q + 128).rem_euclid(256) - 128;
    let rest = (q - low) / 256;
    let middle = (rest + 128).rem_euclid(256) - 128;
    [(rest - middle) / 256, middle, low]
}

// beta + A · B of one round, from the integers and the units of a row and a column.
fn by_definition((a, row_unit): (&[i64], f32), (b, column_unit): (&[i64], f32), beta: f32) -> f32 {
    let mut sums = [0_i64; 5];
    for (&a, &b) in a.iter().zip(b) {
        let (a, b) = (slices(a), slices(b));
        for i in 0..3 {
            for j in 0..3 {
                sums[i + j] += a[i] * b[j];
            }
        }
    }
    let [first, second, third, fourth, _] = sums.map(|sum| sum as f32);
    let sum = (fourth / 256.0 + third, second, first);
    // Division by 256 is exact, so each rounds once.
    let fused = |low: f32, high: f32| (low / 256.0).mul_add(1.0, high);
    let sum = fused(fused(fused(fourth, third), sum.1), sum.2);
    (sum * row_unit).mul_add(column_unit, beta)
}

#[test]
fn the_reference_follows_the_definition_of_the_scheme() {
    let mut stream = Stream::new(1, "test int8", 0);
    // In one round, and in several of 64 × 9 and 64 × 11 terms.
    for (rows, columns, depth) in [
        (1, 1, 1),
        (17, 35, 63),
        (5, 16, 64),
        (3, 18, 768),
        (4, 17, 1150),
        (2, 3, 1400),
    ] {
        let (x, y) = (random(&mut stream, rows * depth), random(&mut stream, depth * columns));
        let (a, b) = (Matrix::new(&x, depth), Matrix::new(&y, columns));
        let mut packed = Packed::default();
        packed.pack(Int8Engine::Reference, b);
        let mut got = vec![f32::NAN; rows * columns];
        packed.gemm(&mut got, a, None);
        let mut added = x[..1].repeat(rows * columns);
        Int8Engine::Reference.accumulate(&mut added, &[(a, b)]);
        for (i, row) in x.chunks_exact(depth).enumerate() {
            for j in 0..columns {
                let column: Vec<f32> = (0..depth).map(|k| at(b, k, j)).collect();
                let (of_column, column_unit) = integers(&column);
                let (mut expected, mut expected_added) = (0.0, x[0]);
                for (first, count) in rounds(depth) {
                    let terms = first..first + count;
                    let (of_row, row_unit) = integers(&row[terms.clone()]);
                    let left = (&of_row[..], row_unit);
                    // An operand that is packed once has one scale for all rounds, one that is packed for a sum of
                    // products one for each.
                    expected = by_definition(left, (&of_column[terms.clone()], column_unit), expected);
                    let (of_column, column_unit) = integers(&column[terms]);
                    expected_added = by_definition(left, (&of_column, column_unit), expected_added);
                }
                let entry = i * columns + j;
                assert_eq!(got[entry].to_bits(), expected.to_bits(), "{i}, {j} of depth {depth}");
                assert_eq!(
                    added[entry].to_bits(),
                    expected_added.to_bits(),
                    "{i}, {j} of depth {depth}"
                );
            }
        }
    }
}

#[test]
fn integers_that_fit_three_slices_are_multiplied_exactly_but_for_the_lowest_product() {
    // The largest number of a row is scaled to itself, so that all numbers stay the integers that they are.
    const LARGEST: i64 = 8_355_710;
    let mut stream = Stream::new(2, "test int8", 0);
    let depth = 100;
    let mut line = |largest_at: usize| -> Vec<i64> {
        let mut line: Vec<i64> = (0..depth).map(|_| stream.below(1 << 15) as i64 - (1 << 14)).collect();
        line[largest_at] = LARGEST;
        line[1 - largest_at] = 0;
        line
    };
    let (a, b) = (line(0), line(1));
    let f32s = |line: &[i64]| line.iter().map(|&x| x as f32).collect::<Vec<_>>();
    let mut out = [0.0];
    let (x, y) = (f32s(&a), f32s(&b));
    let product = (Matrix::new(&x, depth), Matrix::new(&y, 1));
    Int8Engine::Reference.accumulate(&mut out, &[product]);
    let exact: i64 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
    let lowest: i64 = a.iter().zip(&b).map(|(&a, &b)| slices(a)[2] * slices(b)[2]).sum();
    // Six roundings in f32 of sums that are at most those of absolute values.
    let size: i64 = a.iter().zip(&b).map(|(a, b)| (a * b).abs()).sum();
    let error = (f64::from(out[0]) - (exact - lowest) as f64).abs();
    assert!(
        error <= 6.0 * 2.0_f64.powi(-24) * 3.0 * size as f64,
        "{error} of {exact}"
    );
}

#[test]
fn slices_give_the_integer_back() {
    for integer in [
        0, 1, -1, 127, 128, -128, -129, 32_639, 32_640, 32_896, 65_535, 8_355_711, -8_355_711, 1_234_567,
    ] {
        let slices = slices(integer);
        assert_eq!(slices[0] * 65_536 + slices[1] * 256 + slices[2], integer);
        let split = reference::split(integer as i32).map(i64::from);
        assert_eq!(split, slices, "{integer}");
    }
}

// The same bits, or both NaN.
fn assert_same_bits(got: &[f32], expected: &[f32], what: &str) {
    assert_eq!(got.len(), expected.len());
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        let same = got.to_bits() == expected.to_bits() || got.is_nan() && expected.is_nan();
        assert!(same, "{what}, index {index}: {got:e}, the reference gives {expected:e}");
    }
}

#[test]
fn amx_gives_the_bits_of_the_reference() {
    let Some(amx) = Int8Engine::amx() else {
        // `write_all` passes the capture of test output.
        let line = b"skipped: AMX against its scalar reference, because this machine has no AMX\n";
        std::io::stderr().write_all(line).unwrap();
        return;
    };
    let mut stream = Stream::new(3, "test int8", 0);
    let mut sizes = vec![
        (1, 1, 1),
        (2, 33, 1000),
        (64, 64, 64),
        (65, 192, 70),
        (300, 700, 600),
        (20, 300, 1500),
    ];
    sizes.extend((0..20).map(|_| (1 + stream.below(90), 1 + stream.below(90), 1 + stream.below(200))));
    for (rows, columns, depth) in sizes {
        let (mut x, y) = (random(&mut stream, rows * depth), random(&mut stream, depth * columns));
        if depth > 100 {
            x[depth / 2] = f32::INFINITY;
        }
        let base = random(&mut stream, rows * columns);
        let lefts = [Matrix::new(&x, depth), Matrix::new(&x, rows).transposed()];
        let rights = [Matrix::new(&y, columns), Matrix::new(&y, depth).transposed()];
        for a in lefts {
            for b in rights {
                let of = |engine: Int8Engine| {
                    let mut added = base.clone();
                    engine.accumulate(&mut added, &[(a, b), (a, b), (a, b)]);
                    let mut packed = Packed::default();
                    packed.pack(engine, b);
                    let mut alone = vec![f32::NAN; base.len()];
                    packed.gemm(&mut alone, a, None);
                    let mut onto = vec![f32::NAN; base.len()];
                    let beta =
                        |first: usize, out: &mut [f32]| out.copy_from_slice(&base[first * columns..][..out.len()]);
                    packed.gemm(&mut onto, a, Some(&beta));
                    [added, alone, onto]
                };
                let what = format!("{rows} × {depth} × {columns}");
                for (got, expected) in of(amx).iter().zip(&of(Int8Engine::Reference)) {
                    assert_same_bits(got, expected, &what);
                }
            }
        }
    }
}
