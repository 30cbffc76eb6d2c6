//! GEMM on every backend against componentwise error bounds, which hold for any order of summation and any CPU.
//!
//! With u = 2⁻²⁴, the unit roundoff of f32, and γₙ = n u / (1 − n u) (Higham 2002, *Accuracy and Stability of Numerical
//! Algorithms*, 2nd edition, Lemma 3.1), an operation gives fl(x ∘ y) = (x ∘ y)(1 + δ) + η, |δ| ≤ u, where |η| ≤ 2⁻¹⁵⁰
//! is half the smallest subnormal number, and 0 where nothing underflows (Section 2.4): Rust has underflow gradual.
//! Sums never have an η, because what is subnormal in them is exact.
//!
//! **f32.** Each of the k products that an entry is a sum of is rounded once where it is no fused multiply-add, and
//! goes through at most k additions, one of them to c: whatever tree they form, k + 1 factors (1 + δ). So (Section 3.5)
//!
//! |fl(c + a·b) − (c + a·b)| ≤ γₖ₊₁ (|c| + |a|·|b|) + 2 k η.
//!
//! **Int8 slices.** Let α = max(max |aₖ|, 2⁻¹⁰⁰) over the row and β over the column; a scale that belongs to fewer
//! terms is only larger. M = 8,355,710.
//!
//! - *Split.* σ = fl(M / α) ≥ M (1 − u) / α, and |round(fl(a σ)) − a σ| ≤ 1/2 + u |a| σ + η. So the error of
//!   ã = q / σ is at most e(a) = h + u |a|, h = (1/2 + η) α / (M (1 − u)); likewise b̃ and g in place of h. Then
//!   |ã·b̃ − a·b| ≤ Σ (|a| + e(a)) (|b| + e(b)) − |a| |b| = (2 u + u²) |a|·|b| + (1 + u) (g Σ|a| + h Σ|b|) + k h g.
//! - *Omitted.* |q₃ p₃| ≤ 2¹⁴ in units of 1 / (σ τ) ≤ (2 h) (2 g): at most 2¹⁶ k h g.
//! - *Recombination.* A round of n ≤ 768 terms has int32 sums S₀ … S₃, its value is X = ω T, T = Σ Sₘ 2⁻⁸ᵐ, ω = 2³² /
//!   (σ τ) ≤ 2³⁴ h g. Since |q₁| ≤ 127 and |q₂|, |q₃| ≤ 128, S₀ < 2²⁴ is exact in f32 and the other Sₘ 2⁻⁸ᵐ together
//!   are below 128 n. The errors of their conversions are at most 128 n u, those of the first two fused multiply-adds
//!   1 n u and 128 n u but for terms of u²: less than 258 n u; that of the third is u times its result. So the error of
//!   T̂ is at most u |T| + 259 n u. Two units, each rounded, and their product with T̂ are three more factors, which
//!   make γ₄ |X| + 260 n u ω, and an underflow of at most 2 η times the column's unit, 2¹⁷ g (1 + u).
//! - *Accumulation.* Each of r rounds is added to the sum so far: γᵣ of everything, and η each.
//!
//! With |X| ≤ P = Σ (|a| + e(a)) (|b| + e(b)) + 2¹⁶ k h g the error is at most
//! split + omitted + γ₄₊ᵣ P + γᵣ |c| + (1 + γᵣ) (260 · 2³⁴ k u h g + 2¹⁹ r η g) + 2 r η, where nothing overflows.

use super::*;
use crate::kernels::on_every_backend;
use crate::random::Stream;

const U: f64 = f64::EPSILON * (1_u64 << 28) as f64;
// Half the smallest subnormal f32.
const ETA: f64 = f32::MIN_POSITIVE as f64 * U;

fn gamma(n: usize) -> f64 {
    n as f64 * U / (1.0 - n as f64 * U)
}

// The exact product of a [rows, depth] and b [depth, columns], and the terms of its error bounds.
struct Exact {
    columns: usize,
    depth: usize,
    products: Vec<f64>, // [rows, columns]
    absolute: Vec<f64>, // |a| · |b|, [rows, columns]
    rows: Vec<Norms>,   // of a
    columns_of_b: Vec<Norms>,
}

// The 1-norm and the maximum norm of a row or column.
#[derive(Clone, Copy)]
struct Norms {
    sum: f64,
    largest: f64,
}

impl Exact {
    // From a and b by rows. Products of two f32 are exact in f64; the error of the sum of k of them is at most k 2⁻⁵³
    // |a|·|b|.
    fn new(a: &[f32], b: &[f32], columns: usize) -> Self {
        let depth = b.len() / columns;
        let norms = |numbers: &mut dyn Iterator<Item = f32>| {
            let zero = Norms { sum: 0.0, largest: 0.0 };
            numbers.fold(zero, |norms, x| Norms {
                sum: norms.sum + f64::from(x.abs()),
                largest: norms.largest.max(f64::from(x.abs())),
            })
        };
        let rows = a.len() / depth;
        let (mut products, mut absolute) = (vec![0.0; rows * columns], vec![0.0; rows * columns]);
        let entries = products
            .chunks_exact_mut(columns)
            .zip(absolute.chunks_exact_mut(columns));
        for ((products, absolute), a) in entries.zip(a.chunks_exact(depth)) {
            for (&a, b) in a.iter().zip(b.chunks_exact(columns)) {
                for ((product, absolute), &b) in products.iter_mut().zip(&mut *absolute).zip(b) {
                    let term = f64::from(a) * f64::from(b);
                    *product += term;
                    *absolute += term.abs();
                }
            }
        }
        Self {
            columns,
            depth,
            products,
            absolute,
            rows: a
                .chunks_exact(depth)
                .map(|row| norms(&mut row.iter().copied()))
                .collect(),
            columns_of_b: (0..columns)
                .map(|column| norms(&mut b.iter().skip(column).step_by(columns).copied()))
                .collect(),
        }
    }

    // The error bound of an entry that is added to `c` in `rounds` rounds.
    fn bound(&self, backend: Backend, entry: usize, c: f64, rounds: usize) -> f64 {
        let (absolute, k) = (self.absolute[entry], self.depth as f64);
        let of_reference = 2.0 * (k + 1.0) * f64::EPSILON * (absolute + c.abs());
        let of_gemm = match backend.gemm {
            Gemm::F32(_) => gamma(self.depth + 1) * (absolute + c.abs()) + 2.0 * k * ETA,
            Gemm::Int8(_) => {
                let (a, b) = (self.rows[entry / self.columns], self.columns_of_b[entry % self.columns]);
                let half = |largest: f64| (0.5 + ETA) * largest.max(2.0_f64.powi(-100)) / (8_355_710.0 * (1.0 - U));
                let (h, g) = (half(a.largest), half(b.largest));
                let split = (2.0 * U + U * U) * absolute + (1.0 + U) * (g * a.sum + h * b.sum) + k * h * g;
                let omitted = 2.0_f64.powi(16) * k * h * g;
                let round = 260.0 * 2.0_f64.powi(34) * k * U * h * g + 2.0_f64.powi(19) * rounds as f64 * ETA * g;
                split
                    + omitted
                    + gamma(4 + rounds) * (absolute + split + omitted)
                    + gamma(rounds) * c.abs()
                    + (1.0 + gamma(rounds)) * round
                    + 2.0 * rounds as f64 * ETA
            }
        };
        of_gemm + of_reference
    }

    // The first entry of c + a · b that is outside its error bound, and how far.
    fn violation(&self, backend: Backend, got: &[f32], c: &[f32], rounds: usize) -> Option<String> {
        assert_eq!(got.len(), self.products.len(), "the product has its shape");
        got.iter().zip(c).enumerate().find_map(|(entry, (&got, &c))| {
            let error = (f64::from(got) - (f64::from(c) + self.products[entry])).abs();
            let bound = self.bound(backend, entry, f64::from(c), rounds);
            let is_within = error <= bound;
            (!is_within).then(|| {
                let (row, column) = (entry / self.columns, entry % self.columns);
                format!(
                    "{backend}, depth {}, entry {row}, {column}: error {error:e}, bound {bound:e}",
                    self.depth
                )
            })
        })
    }
}

// The most rounds of a sum of `depth` terms: each sums 768 terms, or 384 where the depth is cut evenly.
fn max_rounds(depth: usize) -> usize {
    depth.div_ceil(384).max(1)
}

// A matrix of numbers of all sizes, some of them subnormal.
fn random(stream: &mut Stream, rows: usize, columns: usize) -> Vec<f32> {
    let number = |_| match stream.below(50) {
        0 => 0.0,
        1 => 1e-39 * stream.normal() as f32,
        2 => 1e-30 * stream.normal() as f32,
        _ => stream.normal() as f32,
    };
    (0..rows * columns).map(number).collect()
}

// A matrix whose rows, or columns, differ in size by powers of ten.
fn uneven(stream: &mut Stream, rows: usize, columns: usize, by_rows: bool) -> Vec<f32> {
    let mut numbers = random(stream, rows, columns);
    let lines = if by_rows { rows } else { columns };
    let sizes: Vec<f32> = (0..lines).map(|_| 10.0_f32.powi(stream.below(7) as i32 - 3)).collect();
    for (i, x) in numbers.iter_mut().enumerate() {
        *x *= sizes[if by_rows { i / columns } else { i % columns }];
    }
    numbers
}

fn transposed(numbers: &[f32], columns: usize) -> Vec<f32> {
    let rows = numbers.len() / columns;
    (0..numbers.len())
        .map(|i| numbers[i % rows * columns + i / rows])
        .collect()
}

// Every way to multiply a [·, depth] by b [depth, columns], both given by rows, each operand by rows and by columns.
fn check_all_ways(backend: Backend, exact: &Exact, a: &[f32], b: &[f32], c: &[f32]) {
    let (columns, depth, rows) = (exact.columns, exact.depth, c.len() / exact.columns);
    let (a_turned, b_turned) = (transposed(a, depth), transposed(b, columns));
    let zeros = vec![0.0; c.len()];
    let lefts = [Matrix::new(a, depth), Matrix::new(&a_turned, rows).transposed()];
    let rights = [Matrix::new(b, columns), Matrix::new(&b_turned, depth).transposed()];
    for a in lefts {
        for b in rights {
            let check = |got: &[f32], c: &[f32]| {
                assert_eq!(exact.violation(backend, got, c, max_rounds(depth)), None);
            };
            let mut out = c.to_vec();
            backend.gemm.accumulate(&mut out, &[(a, b)]);
            check(&out, c);
            let mut operand = PackedOperand::default();
            operand.pack(backend, b);
            operand.right(b).gemm(&mut out, a, None);
            check(&out, &zeros);
            let beta = |first: usize, out: &mut [f32]| out.copy_from_slice(&c[first * columns..][..out.len()]);
            operand.right(b).gemm(&mut out, a, Some(&beta));
            check(&out, c);
            let mut out = c.to_vec();
            accumulate_in_parallel(backend, &mut out, a, b);
            check(&out, c);
        }
    }
}

#[test]
fn every_product_is_within_its_componentwise_error_bound() {
    let mut stream = Stream::new(1, "test products", 0);
    // The last two take several rounds; of the last one, the right operand is larger than what is kept in caches.
    let mut sizes = vec![
        (1, 1, 1),
        (2, 33, 1000),
        (64, 64, 64),
        (65, 192, 70),
        (300, 40, 130),
        (33, 48, 1500),
        (20, 300, 1300),
    ];
    sizes.extend((0..10).map(|_| (1 + stream.below(90), 1 + stream.below(90), 1 + stream.below(90))));
    for (rows, columns, depth) in sizes {
        let c = random(&mut stream, rows, columns);
        let (a, b) = (random(&mut stream, rows, depth), random(&mut stream, depth, columns));
        let exact = Exact::new(&a, &b, columns);
        on_every_backend(|backend| check_all_ways(backend, &exact, &a, &b, &c));
    }
    // Rows and columns of very different sizes, and terms of the sums.
    for (rows, columns, depth) in [(40, 70, 64), (33, 48, 384), (20, 20, 1500)] {
        for along in [false, true] {
            let c = uneven(&mut stream, rows, columns, true);
            let (a, b) = (
                uneven(&mut stream, rows, depth, along),
                uneven(&mut stream, depth, columns, !along),
            );
            let exact = Exact::new(&a, &b, columns);
            on_every_backend(|backend| check_all_ways(backend, &exact, &a, &b, &c));
        }
    }
}

#[test]
fn the_error_bounds_find_what_is_wrong() {
    const DEPTH: usize = 60;
    let (a, b): (Vec<f32>, Vec<f32>) = {
        let mut stream = Stream::new(4, "test products", 0);
        let mut numbers = |count| (0..count).map(|_| 1.0 + stream.uniform() as f32).collect();
        (numbers(20 * DEPTH), numbers(DEPTH * 30))
    };
    let c = vec![1.0; 20 * 30];
    let exact = Exact::new(&a, &b, 30);
    on_every_backend(|backend| {
        let product = |a: &[f32], b: &[f32]| {
            let mut out = c.clone();
            let (a, b) = (Matrix::new(a, DEPTH), Matrix::new(b, 30));
            backend.gemm.accumulate(&mut out, &[(a, b)]);
            out
        };
        let is_found = |got: &[f32]| exact.violation(backend, got, &c, 1).is_some();
        let right = product(&a, &b);
        assert!(!is_found(&right), "{backend}");
        // An error of twice the bound in one entry.
        let mut perturbed = right.clone();
        perturbed[77] += 2.0 * exact.bound(backend, 77, 1.0, 1) as f32;
        assert!(is_found(&perturbed), "{backend}");
        // A term left out of one row.
        let mut without = a.clone();
        without[5 * DEPTH + 7] = 0.0;
        assert!(is_found(&product(&without, &b)), "{backend}");
        // Operands of 16 bits: bfloat16, and integers of two slices.
        let bf16: Vec<f32> = a.iter().map(|x| f32::from_bits(x.to_bits() & 0xffff_0000)).collect();
        assert!(is_found(&product(&bf16, &b)), "{backend}");
        let two_slices: Vec<f32> = a.iter().map(|x| (x * 16_256.0).floor() / 16_256.0).collect();
        assert!(is_found(&product(&two_slices, &b)), "{backend}");
        // A sum without c, and NaN.
        let without_c: Vec<f32> = right.iter().map(|x| x - 1.0).collect();
        assert!(is_found(&without_c), "{backend}");
        perturbed[77] = f32::NAN;
        assert!(is_found(&perturbed), "{backend}");
    });
}

#[test]
fn the_sum_of_the_products_of_parts_is_the_product_of_the_whole() {
    let mut stream = Stream::new(3, "test products", 0);
    for sizes in [vec![100, 92], vec![300, 500, 1, 0, 700]] {
        let depth: usize = sizes.iter().sum();
        let (x, y) = (random(&mut stream, depth, 50), random(&mut stream, depth, 70));
        let c = random(&mut stream, 50, 70);
        let exact = Exact::new(&transposed(&x, 50), &y, 70);
        on_every_backend(|backend| {
            let (mut of_x, mut of_y) = (&x[..], &y[..]);
            let products: Vec<_> = sizes
                .iter()
                .map(|&rows| {
                    let x = of_x.split_off(..rows * 50).unwrap_or_default();
                    let y = of_y.split_off(..rows * 70).unwrap_or_default();
                    (Matrix::new(x, 50).transposed(), Matrix::new(y, 70))
                })
                .collect();
            let mut out = c.clone();
            backend.gemm.accumulate(&mut out, &products);
            let rounds = sizes.iter().map(|&size| max_rounds(size)).sum();
            assert_eq!(exact.violation(backend, &out, &c, rounds), None);
        });
    }
    // Of nothing, nothing.
    on_every_backend(|backend| {
        let mut out = vec![1.5; 50 * 70];
        let nothing = (Matrix::new(&[], 50).transposed(), Matrix::new(&[], 70));
        backend.gemm.accumulate(&mut out, &[nothing]);
        assert!(out.iter().all(|&x| x == 1.5), "{backend}");
    });
}

#[test]
fn a_number_that_is_infinite_or_nan_shows_in_its_row_and_only_there() {
    on_every_backend(|backend| {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let (mut x, y) = (vec![1.0; 40 * 100], vec![1.0; 100 * 30]);
            x[3 * 100 + 70] = bad;
            let turned = transposed(&x, 100);
            for a in [Matrix::new(&x, 100), Matrix::new(&turned, 40).transposed()] {
                let mut out = vec![0.0; 40 * 30];
                backend.gemm.accumulate(&mut out, &[(a, Matrix::new(&y, 30))]);
                for (row, out) in out.chunks_exact(30).enumerate() {
                    assert!(
                        out.iter().all(|x| x.is_finite() == (row != 3)),
                        "{backend}, row {row}: {out:?}"
                    );
                }
            }
        }
    });
}

#[test]
fn an_operand_is_the_matrix_that_was_packed_last_whatever_backend_packed_it_before() {
    let mut stream = Stream::new(5, "test products", 0);
    let [old, new] = [(); 2].map(|()| random(&mut stream, 30, 20));
    let a = random(&mut stream, 10, 30);
    let product = |operand: &PackedOperand, b: Matrix| {
        let mut out = vec![0.0; 10 * 20];
        operand.right(b).gemm(&mut out, Matrix::new(&a, 30), None);
        out
    };
    // By rows and by columns, of which f32 GEMM copies only the latter.
    let views: [fn(&[f32]) -> Matrix; 2] = [|b| Matrix::new(b, 20), |b| Matrix::new(b, 30).transposed()];
    for view in views {
        for before in Backend::available() {
            on_every_backend(|backend| {
                let mut used = PackedOperand::default();
                used.pack(before, view(&old));
                product(&used, view(&old));
                used.pack(backend, view(&new));
                let mut fresh = PackedOperand::default();
                fresh.pack(backend, view(&new));
                assert_eq!(
                    product(&used, view(&new)),
                    product(&fresh, view(&new)),
                    "{before}, then {backend}"
                );
            });
        }
    }
}
