use super::*;
use crate::random::Stream;

// A matrix of numbers of all sizes, some of them too small for an f32 of full precision.
fn random(stream: &mut Stream, rows: usize, columns: usize) -> Vec<f32> {
    let number = |_| match stream.below(50) {
        0 => 0.0,
        1 => 1e-39 * stream.normal() as f32,
        2 => 1e-30 * stream.normal() as f32,
        _ => stream.normal() as f32,
    };
    (0..rows * columns).map(number).collect()
}

// Root mean squares of base + a · b in f64, and of what `got` is off from it.
fn size_and_error(got: &[f32], base: &[f32], a: Matrix, b: Matrix) -> (f64, f64) {
    let (mut size, mut error) = (0.0, 0.0);
    let rows = got.chunks_exact(b.columns).zip(base.chunks_exact(b.columns));
    for (i, (got, base)) in rows.enumerate() {
        for (j, (&got, &base)) in got.iter().zip(base).enumerate() {
            let term = |k| {
                let a = a.numbers[i * a.row_stride + k * a.column_stride];
                f64::from(a) * f64::from(b.numbers[k * b.row_stride + j * b.column_stride])
            };
            let exact = f64::from(base) + (0..a.columns).map(term).sum::<f64>();
            size += exact.powi(2);
            error += (f64::from(got) - exact).powi(2);
        }
    }
    let mean = |squares: f64| (squares / got.len() as f64).sqrt();
    (mean(size), mean(error))
}

#[test]
fn products_are_as_near_to_those_of_f64_as_f32_instructions_come() {
    let mut stream = Stream::new(1, "test products", 0);
    let mut sizes = vec![
        (1, 1, 1),
        (2, 33, 1000),
        (64, 64, 64),
        (65, 192, 70),
        (384, 40, 512),
        (300, 700, 600),
    ];
    sizes.extend((0..20).map(|_| (1 + stream.below(90), 1 + stream.below(90), 1 + stream.below(90))));
    for (rows, columns, depth) in sizes {
        let (x, y) = (random(&mut stream, rows, depth), random(&mut stream, depth, columns));
        let base = random(&mut stream, rows, columns);
        for (left, right) in [(false, false), (false, true), (true, false), (true, true)] {
            // The same numbers by rows or by columns.
            let a = if left {
                Matrix::new(&x, rows).transposed()
            } else {
                Matrix::new(&x, depth)
            };
            let b = if right {
                Matrix::new(&y, depth).transposed()
            } else {
                Matrix::new(&y, columns)
            };
            let mut plain = base.clone();
            portable_product(&mut plain, a, b, true);
            let (size, of_f32) = size_and_error(&plain, &base, a, b);
            assert!(of_f32 < 1e-6 * size, "f32 is off by {of_f32} of {size}");
            let check = |got: &[f32], base: &[f32]| {
                let (size, off) = size_and_error(got, base, a, b);
                // f32 instructions too are off by more or less, as they order the sum.
                let allowed = 2.0 * of_f32.max(f64::from(f32::EPSILON) * size);
                assert!(
                    off <= allowed,
                    "{rows} × {depth} × {columns}: off by {off} of {size}, f32 by {of_f32}"
                );
            };
            let mut out = base.clone();
            add_products(&mut out, &[(a, b)]);
            check(&out, &base);
            let mut operand = Operand::default();
            operand.set(b);
            operand.of(b).product(&mut out, a);
            check(&out, &vec![0.0; base.len()]);
            let columns = b.columns;
            let onto = |first: usize, out: &mut [f32]| out.copy_from_slice(&base[first * columns..][..out.len()]);
            operand.of(b).product_onto(&mut out, a, Some(&onto));
            check(&out, &base);
            let mut out = base.clone();
            spread_product(&mut out, a, b);
            check(&out, &base);
        }
    }
}

// A matrix whose rows differ in size by powers of ten.
fn uneven(stream: &mut Stream, rows: usize, columns: usize) -> Vec<f32> {
    let mut numbers = random(stream, rows, columns);
    for row in numbers.chunks_exact_mut(columns) {
        let size = 10.0_f32.powi(stream.below(7) as i32 - 3);
        for x in row {
            *x *= size;
        }
    }
    numbers
}

#[test]
fn each_number_is_as_near_as_its_row_and_column_are_long() {
    let mut stream = Stream::new(2, "test products", 0);
    for (rows, columns, depth) in [(40, 70, 64), (33, 48, 384), (64, 20, 1500)] {
        // Along the depth and across it.
        for along in [false, true] {
            let of_left = if along { (depth, rows) } else { (rows, depth) };
            let of_right = if along { (depth, columns) } else { (columns, depth) };
            let (x, y) = (
                uneven(&mut stream, of_left.0, of_left.1),
                uneven(&mut stream, of_right.0, of_right.1),
            );
            let (a, b) = (Matrix::new(&x, of_left.1), Matrix::new(&y, of_right.1));
            let (a, b) = if along {
                (a.transposed(), b)
            } else {
                (a, b.transposed())
            };
            let mut out = vec![0.0; rows * columns];
            add_products(&mut out, &[(a, b)]);
            for (place, &got) in out.iter().enumerate() {
                let (i, j) = (place / columns, place % columns);
                let a = |k: usize| f64::from(a.numbers[i * a.row_stride + k * a.column_stride]);
                let b = |k: usize| f64::from(b.numbers[k * b.row_stride + j * b.column_stride]);
                let sum = |f: &dyn Fn(usize) -> f64| (0..depth).map(f).sum::<f64>();
                let exact = sum(&|k| a(k) * b(k));
                let lengths = (sum(&|k| a(k).powi(2)) * sum(&|k| b(k).powi(2))).sqrt();
                let off = (f64::from(got) - exact).abs();
                assert!(
                    off <= 2.0 * f64::from(f32::EPSILON) * lengths,
                    "{i}, {j} of {rows} × {depth} × {columns}: off by {off}, lengths {lengths}"
                );
            }
        }
    }
}

#[test]
fn products_of_pieces_are_that_of_the_whole() {
    let mut stream = Stream::new(3, "test products", 0);
    for sizes in [vec![100, 92], vec![300, 500, 1, 0, 700], vec![0]] {
        let depth = sizes.iter().sum();
        let (x, y) = (random(&mut stream, depth, 50), random(&mut stream, depth, 70));
        let (mut of_x, mut of_y) = (&x[..], &y[..]);
        let products: Vec<_> = sizes
            .iter()
            .map(|&rows| {
                let x = of_x.split_off(..rows * 50).unwrap_or_default();
                let y = of_y.split_off(..rows * 70).unwrap_or_default();
                (Matrix::new(x, 50).transposed(), Matrix::new(y, 70))
            })
            .collect();
        let base = random(&mut stream, 50, 70);
        let mut out = base.clone();
        add_products(&mut out, &products);
        let (a, b) = (Matrix::new(&x, 50).transposed(), Matrix::new(&y, 70));
        let (size, off) = size_and_error(&out, &base, a, b);
        assert!(
            off <= 4.0 * f64::from(f32::EPSILON) * size,
            "{sizes:?}: off by {off} of {size}"
        );
    }
}

#[test]
fn what_is_not_a_number_stays_so() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let (mut x, y) = (vec![1.0; 40 * 100], vec![1.0; 100 * 30]);
        x[3 * 100 + 70] = bad;
        for along in [false, true] {
            let transposed: Vec<f32> = (0..x.len()).map(|i| x[i % 40 * 100 + i / 40]).collect();
            let a = if along {
                Matrix::new(&transposed, 40).transposed()
            } else {
                Matrix::new(&x, 100)
            };
            let mut out = vec![0.0; 40 * 30];
            add_products(&mut out, &[(a, Matrix::new(&y, 30))]);
            for (row, out) in out.chunks_exact(30).enumerate() {
                assert!(out.iter().all(|x| x.is_finite() == (row != 3)), "row {row}: {out:?}");
            }
        }
    }
}
