//! Where states inside the loop can be read or replaced.

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

/// The rows of the batch whose states a tap visits, in increasing order; their states lie one after the other.
#[derive(Clone, Copy)]
pub(crate) struct TapRows<'a> {
    // The first row of the chunk, and the rows from there.
    chunk: u32,
    rows: &'a [u32],
}

impl<'a> TapRows<'a> {
    /// These rows of a batch that is one chunk.
    pub(crate) fn new(rows: &'a [u32]) -> Self {
        Self { chunk: 0, rows }
    }

    /// The number of rows.
    pub(crate) fn len(self) -> usize {
        self.rows.len()
    }

    /// The first row.
    pub(crate) fn first(self) -> Option<u32> {
        Some(self.chunk + self.rows.first()?)
    }

    /// The last row.
    pub(crate) fn last(self) -> Option<u32> {
        Some(self.chunk + self.rows.last()?)
    }

    /// The index of a row of the batch among these.
    pub(crate) fn position(self, row: u32) -> Option<usize> {
        let row = row.checked_sub(self.chunk)?;
        match self.rows.get(row as usize) {
            // Mostly they are all rows from the chunk's first on.
            Some(&found) if found == row => Some(row as usize),
            _ => self.rows.binary_search(&row).ok(),
        }
    }

    /// The rows.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        self.rows.iter().map(|row| self.chunk + row)
    }
}

/// Reads and replaces states while the loop runs. Chunks of a batch call it in any order, from any thread.
pub(crate) trait Taps: Sync {
    /// Whether the state at `tap` of `effective_layer` is to be visited.
    fn wants(&self, tap: Tap, effective_layer: usize) -> bool;

    /// Visits the state of `rows` of the batch at `tap` of `effective_layer`. The loop continues with what it leaves in
    /// `state`.
    fn visit(&self, tap: Tap, effective_layer: usize, rows: TapRows, state: &mut [f32]);
}

/// The taps of one chunk at one effective layer.
#[derive(Clone)]
pub(super) struct ChunkTaps<'a> {
    pub(super) taps: Option<&'a dyn Taps>,
    pub(super) effective_layer: usize,
    /// The first row of the chunk.
    pub(super) first_row: usize,
}

impl ChunkTaps<'_> {
    pub(super) fn wants(&self, tap: Tap) -> bool {
        self.taps.is_some_and(|taps| taps.wants(tap, self.effective_layer))
    }

    /// Visits the state of `rows`, counted from the chunk's first row.
    pub(super) fn visit(&self, tap: Tap, rows: &[u32], state: &mut [f32]) {
        if let Some(taps) = self.taps
            && self.wants(tap)
        {
            let chunk = self.first_row as u32;
            taps.visit(tap, self.effective_layer, TapRows { chunk, rows }, state);
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
        self.visit(Tap::AttnPattern, of.queries, &mut table);
        of.for_each_pattern(pattern, |query, pattern, count| {
            for (i, p) in pattern.iter_mut().enumerate() {
                *p = table[entry(query, i, count)];
            }
        });
    }
}
