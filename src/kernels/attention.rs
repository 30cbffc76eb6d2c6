//! Causal attention of packed rows over their ancestors, and its gradient.

use pulp::{Simd, WithSimd};

use super::batch::Ancestry;
use super::simd::{add_scaled, dot, exp};

/// Who attends to whom within a chunk of a batch. Rows count from the chunk's first row.
#[derive(Clone, Copy)]
pub(super) struct Geometry<'a> {
    pub(super) ancestry: &'a Ancestry,
    /// The index of the chunk's first row in the batch.
    pub(super) first_row: usize,
    /// The rows that attend; the other rows only give keys and values.
    pub(super) queries: &'a [u32],
    pub(super) d: usize,
    pub(super) heads: usize,
}

impl<'a> Geometry<'a> {
    #[inline(always)]
    fn ancestors(&self, row: u32) -> &'a [u32] {
        self.ancestry.of(self.first_row + row as usize)
    }

    /// The number of attention probabilities: one for each query, head and ancestor.
    pub(super) fn pattern_len(&self) -> usize {
        let pairs: usize = self.queries.iter().map(|&row| self.ancestors(row).len()).sum();
        pairs * self.heads
    }

    /// Calls `f` with the index of each query, its pattern `[heads, ancestors]`, and the number of its ancestors.
    #[inline(always)]
    pub(super) fn for_each_pattern(&self, pattern: &mut [f32], mut f: impl FnMut(usize, &mut [f32], usize)) {
        let mut rest = pattern;
        for (query, &row) in self.queries.iter().enumerate() {
            let count = self.ancestors(row).len();
            let (of_query, later) = rest.split_at_mut(count * self.heads);
            rest = later;
            f(query, of_query, count);
        }
    }
}

/// Attention probabilities: softmax over the ancestors of q · k / √d_head, from QKV `[rows, 3 × d]`.
pub(super) struct Softmax<'a> {
    pub(super) of: Geometry<'a>,
    pub(super) qkv: &'a [f32],
    pub(super) pattern: &'a mut [f32],
}

impl WithSimd for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (of, qkv, d) = (self.of, self.qkv, self.of.d);
        let width = d / of.heads;
        let scale = 1.0 / (width as f32).sqrt();
        of.for_each_pattern(self.pattern, |query, pattern, count| {
            let row = of.queries[query];
            for (head, scores) in (0..d).step_by(width).zip(pattern.chunks_exact_mut(count)) {
                let query = &qkv[row as usize * 3 * d + head..][..width];
                let mut max = f32::NEG_INFINITY;
                for (score, &ancestor) in scores.iter_mut().zip(of.ancestors(row)) {
                    let key = (ancestor as usize - of.first_row) * 3 * d + d + head;
                    *score = scale * dot(query, &qkv[key..][..width]);
                    max = max.max(*score);
                }
                for score in scores {
                    *score -= max;
                }
            }
        });
        // In one loop over all lists, because most of them are too short to be vectorised alone.
        for score in self.pattern.iter_mut() {
            *score = exp(*score);
        }
        of.for_each_pattern(self.pattern, |_, pattern, count| {
            for scores in pattern.chunks_exact_mut(count) {
                let mut total = 0.0;
                for score in scores.iter() {
                    total += score;
                }
                let share = 1.0 / total;
                for score in scores {
                    *score *= share;
                }
            }
        });
    }
}

/// z `[queries, d]`: for each head, the values of the ancestors weighted by the pattern.
pub(super) struct Mix<'a> {
    pub(super) of: Geometry<'a>,
    pub(super) qkv: &'a [f32],
    pub(super) pattern: &'a [f32],
    pub(super) z: &'a mut [f32],
}

impl WithSimd for Mix<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (of, qkv, d) = (self.of, self.qkv, self.of.d);
        let width = d / of.heads;
        let mut rest = self.pattern;
        self.z.fill(0.0);
        for (&row, z) in of.queries.iter().zip(self.z.chunks_exact_mut(d)) {
            let ancestors = of.ancestors(row);
            for head in (0..d).step_by(width) {
                let (pattern, later) = rest.split_at(ancestors.len());
                rest = later;
                for (&p, &ancestor) in pattern.iter().zip(ancestors) {
                    let value = (ancestor as usize - of.first_row) * 3 * d + 2 * d + head;
                    add_scaled(&mut z[head..][..width], p, &qkv[value..][..width]);
                }
            }
        }
    }
}

/// dL/dQKV `[rows, 3 × d]` from dL/dz.
pub(super) struct Backward<'a> {
    pub(super) of: Geometry<'a>,
    pub(super) qkv: &'a [f32],
    pub(super) pattern: &'a [f32],
    pub(super) dz: &'a [f32],
    pub(super) dqkv: &'a mut [f32],
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (of, qkv, d, grad) = (self.of, self.qkv, self.of.d, self.dqkv);
        let width = d / of.heads;
        let scale = 1.0 / (width as f32).sqrt();
        let mut rest = self.pattern;
        let mut dp = vec![0.0; of.ancestry.max_ancestors()];
        grad.fill(0.0);
        for (&row, dz) in of.queries.iter().zip(self.dz.chunks_exact(d)) {
            let ancestors = of.ancestors(row);
            for head in (0..d).step_by(width) {
                let (pattern, later) = rest.split_at(ancestors.len());
                rest = later;
                let dz = &dz[head..][..width];
                // The start of an ancestor's key; its value follows d numbers later.
                let key = |ancestor: u32| (ancestor as usize - of.first_row) * 3 * d + d + head;
                let query = row as usize * 3 * d + head;
                for (dp, &ancestor) in dp.iter_mut().zip(ancestors) {
                    *dp = dot(dz, &qkv[key(ancestor) + d..][..width]);
                }
                let mean: f32 = pattern.iter().zip(&dp).map(|(p, dp)| p * dp).sum();
                for ((&p, &dp), &ancestor) in pattern.iter().zip(&dp).zip(ancestors) {
                    let key = key(ancestor);
                    let ds = scale * p * (dp - mean);
                    add_scaled(&mut grad[key + d..][..width], p, dz);
                    add_scaled(&mut grad[key..][..width], ds, &qkv[query..][..width]);
                    add_scaled(&mut grad[query..][..width], ds, &qkv[key..][..width]);
                }
            }
        }
    }
}
