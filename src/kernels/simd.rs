//! Vector arithmetic over slices that the compiler turns into SIMD instructions.

const LANES: usize = 16;

// The sum of the lanes by halves, so that few additions wait for the one before.
#[inline(always)]
fn total(lanes: [f32; LANES]) -> f32 {
    let eight: [f32; 8] = std::array::from_fn(|i| lanes[i] + lanes[i + 8]);
    let four: [f32; 4] = std::array::from_fn(|i| eight[i] + eight[i + 4]);
    (four[0] + four[2]) + (four[1] + four[3])
}

/// Σ f(x) in `LANES` partial sums, so that the compiler can vectorise the loop.
#[inline(always)]
pub(super) fn sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest: f32 = chunks.remainder().iter().map(|&x| f(x)).sum();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane += f(x);
        }
    }
    total(lanes) + rest
}

/// a · b, summed as in [`sum`].
#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a_chunks
        .remainder()
        .iter()
        .zip(b_chunks.remainder())
        .map(|(x, y)| x * y)
        .sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for i in 0..LANES {
            lanes[i] = a[i].mul_add(b[i], lanes[i]);
        }
    }
    total(lanes) + rest
}

/// to += from.
pub(crate) fn add(to: &mut [f32], from: &[f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += from;
    }
}

/// to += scale × from.
#[inline(always)]
pub(super) fn add_scaled(to: &mut [f32], scale: f32, from: &[f32]) {
    // Whole arrays let the compiler vectorise short slices too.
    let ((to, to_rest), (from, from_rest)) = (to.as_chunks_mut::<LANES>(), from.as_chunks::<LANES>());
    for (to, from) in to.iter_mut().zip(from) {
        *to = std::array::from_fn(|i| scale.mul_add(from[i], to[i]));
    }
    for (to, &from) in to_rest.iter_mut().zip(from_rest) {
        *to = scale.mul_add(from, *to);
    }
}

/// e^x, with x clamped to ±87: 2^n from the exponent bits times the polynomial of Cephes' `expf` (relative error 2e-7).
/// It has no call and no branch, so that the compiler can vectorise loops over it.
#[inline(always)]
#[allow(clippy::excessive_precision, reason = "ln 2 in two parts, as in Cephes")]
pub(super) fn exp(x: f32) -> f32 {
    // Adding 1.5 × 2^23 rounds to the nearest integer and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 87.0);
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(2.121_944_4e-4, n.mul_add(-0.693_359_375, x));
    let p = 1.987_569_2e-4_f32;
    let p = p.mul_add(r, 1.398_2e-3);
    let p = p.mul_add(r, 8.333_452e-3);
    let p = p.mul_add(r, 4.166_579_6e-2);
    let p = p.mul_add(r, 1.666_666_5e-1);
    let p = p.mul_add(r, 5.000_000_1e-1);
    let p = (p * r).mul_add(r, r) + 1.0;
    p * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
}

#[cfg(test)]
mod tests {
    use pulp::{Simd, WithSimd};

    use super::*;
    use crate::kernels::on_every_backend;

    struct Exp<'a>(&'a mut [f32]);

    impl WithSimd for Exp<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) {
            self.0.iter_mut().for_each(|x| *x = exp(*x));
        }
    }

    #[test]
    fn the_fast_exponential_is_the_exponential() {
        on_every_backend(|backend| {
            let numbers: Vec<f32> = (-8700..=8700).map(|i| i as f32 / 100.0).collect();
            let mut got = numbers.clone();
            backend.run(Exp(&mut got));
            for (x, got) in numbers.into_iter().zip(got) {
                let (got, expected) = (f64::from(got), f64::from(x).exp());
                assert!(
                    (got - expected).abs() / expected < 4e-7,
                    "{backend}: exp({x}) = {got}, not {expected}"
                );
            }
        });
    }
}
