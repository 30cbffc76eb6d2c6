//! Where states inside the loop can be read or replaced.

use std::ops::Range;

use super::super::attention::Geometry;

/// A place in a layer, in the order of the forward pass, with the names of TransformerLens. A state is `[rows, d]`, but
/// `[rows, heads, max_ancestors]` padded with zeros at `AttnPattern`, and `[rows, 4 × d]` at `MlpPost`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tap {
    ResidPre,
    AttnPattern,
    Z,
    AttnOut,
    ResidMid,
    MlpPost,
    MlpOut,
    ResidPost,
}

/// Reads and replaces states while the loop runs. Chunks of a batch call it in any order, from any thread.
pub(crate) trait Taps: Sync {
    /// Whether the state at `tap` of `effective_layer` is to be visited.
    fn wants(&self, tap: Tap, effective_layer: usize) -> bool;

    /// Visits the state of `rows` of the batch at `tap` of `effective_layer`. The loop continues with what it leaves in
    /// `state`.
    fn visit(&self, tap: Tap, effective_layer: usize, rows: Range<usize>, state: &mut [f32]);
}

/// The taps of one chunk at one effective layer.
#[derive(Clone)]
pub(super) struct ChunkTaps<'a> {
    pub(super) taps: Option<&'a dyn Taps>,
    pub(super) effective_layer: usize,
    pub(super) rows: Range<usize>,
}

impl ChunkTaps<'_> {
    pub(super) fn wants(&self, tap: Tap) -> bool {
        self.taps.is_some_and(|taps| taps.wants(tap, self.effective_layer))
    }

    pub(super) fn visit(&self, tap: Tap, state: &mut [f32]) {
        if let Some(taps) = self.taps
            && self.wants(tap)
        {
            taps.visit(tap, self.effective_layer, self.rows.clone(), state);
        }
    }

    /// Visits the pattern as a table `[rows, heads, max_ancestors]`.
    pub(super) fn visit_pattern(&self, of: Geometry, pattern: &mut [f32]) {
        if !self.wants(Tap::AttnPattern) {
            return;
        }
        let max = of.ancestry.max_ancestors();
        let mut table = vec![0.0; of.queries.len() * of.heads * max];
        let entry = |query: usize, i: usize, count: usize| (query * of.heads + i / count) * max + i % count;
        of.for_each_pattern(pattern, |query, pattern, count| {
            for (i, &p) in pattern.iter().enumerate() {
                table[entry(query, i, count)] = p;
            }
        });
        self.visit(Tap::AttnPattern, &mut table);
        of.for_each_pattern(pattern, |query, pattern, count| {
            for (i, p) in pattern.iter_mut().enumerate() {
                *p = table[entry(query, i, count)];
            }
        });
    }
}
