//! Portable randomness: the same seed gives the same numbers on every machine.
//!
//! A [`Stream`] is ChaCha8 keyed by (seed, purpose, index), so that no two purposes share numbers, and none depends on how
//! many numbers another drew. Integers are mapped without the platform's word size, normals with a software `ln` and `cos`.

use rand::RngCore;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// A stream of random numbers, a function of its key alone.
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of `purpose` (and its `index`-th instance, an epoch for example) under `seed`.
    pub fn new(seed: u64, purpose: &str, index: u64) -> Self {
        let key = Sha256::new()
            .chain_update(seed.to_le_bytes())
            .chain_update(index.to_le_bytes())
            .chain_update(purpose.as_bytes())
            .finalize();
        Self(ChaCha8Rng::from_seed(key.into()))
    }

    /// A uniform number in `0..bound`; 0 where `bound` is 0.
    ///
    /// Widening multiplication with rejection (Lemire 2019), so that it is unbiased.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = bound as u64;
        if bound == 0 {
            return 0;
        }
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let wide = u128::from(self.0.next_u64()) * u128::from(bound);
            if wide as u64 >= threshold {
                return (wide >> 64) as usize;
            }
        }
    }

    /// A uniform number in [0, 1) with 53 bits.
    pub fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A standard normal number (Box–Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * libm::log(1.0 - self.uniform())).sqrt();
        radius * libm::cos(std::f64::consts::TAU * self.uniform())
    }

    /// A Poisson number with mean `lambda`, which must not exceed some hundreds (Knuth 1969: the number of uniform factors
    /// whose product is above e^−λ).
    pub fn poisson(&mut self, lambda: f64) -> u64 {
        let min = libm::exp(-lambda);
        let (mut product, mut count) = (self.uniform(), 0);
        while product > min {
            product *= self.uniform();
            count += 1;
        }
        count
    }

    /// Shuffles the items uniformly.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        self.partial_shuffle(items, items.len());
    }

    /// Moves a uniform sample of `count` items, in random order, to the front.
    pub fn partial_shuffle<T>(&mut self, items: &mut [T], count: usize) {
        for i in 0..count.min(items.len()) {
            let j = i + self.below(items.len() - i);
            items.swap(i, j);
        }
    }

    /// A uniform sample of at most `count` of `items`, in their own order.
    pub fn sample<T: Clone>(&mut self, items: &[T], count: usize) -> Vec<T> {
        let mut indices: Vec<usize> = (0..items.len()).collect();
        self.partial_shuffle(&mut indices, count);
        indices.truncate(count);
        indices.sort_unstable();
        indices.into_iter().map(|i| items[i].clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_fixed_by_its_key_for_all_time() {
        // These values are a promise: data and runs of earlier versions must stay reproducible.
        let mut stream = Stream::new(7, "test", 0);
        let drawn: Vec<usize> = (0..5).map(|_| stream.below(1000)).collect();
        assert_eq!(drawn, PROMISED);
    }

    const PROMISED: [usize; 5] = [688, 771, 428, 959, 48];

    #[test]
    fn different_keys_give_different_streams() {
        let first = |seed, purpose, index| Stream::new(seed, purpose, index).below(usize::MAX);
        assert_ne!(first(1, "a", 0), first(2, "a", 0));
        assert_ne!(first(1, "a", 0), first(1, "b", 0));
        assert_ne!(first(1, "a", 0), first(1, "a", 1));
    }

    #[test]
    fn normals_have_mean_zero_and_variance_one() {
        let mut stream = Stream::new(3, "normal", 0);
        let draws: Vec<f64> = (0..40_000).map(|_| stream.normal()).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
    }

    #[test]
    fn poisson_numbers_have_their_distribution() {
        let mut stream = Stream::new(3, "poisson", 0);
        let n = 40_000;
        let mut counts = [0_u32; 40];
        for _ in 0..n {
            counts[stream.poisson(4.0) as usize] += 1;
        }
        let mut expected = (-4.0_f64).exp();
        for (k, &count) in counts[..12].iter().enumerate() {
            let share = f64::from(count) / f64::from(n);
            // Four standard errors.
            let error = 4.0 * (expected * (1.0 - expected) / f64::from(n)).sqrt();
            assert!((share - expected).abs() < error, "{k}: {share}, not {expected}");
            expected *= 4.0 / (k + 1) as f64;
        }
    }

    #[test]
    fn a_sample_keeps_the_order_and_has_no_repeats() {
        let items: Vec<u32> = (0..100).collect();
        let sample = Stream::new(5, "sample", 0).sample(&items, 30);
        assert_eq!(sample.len(), 30);
        assert!(sample.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
