//! How a batch is cut into chunks.

use std::ops::Range;
use std::sync::Arc;

use super::super::batch::Ancestry;

// About the most rows of a chunk: enough for GEMM at full speed. Larger chunks would leave threads fewer chunks to
// share.
const MAX_CHUNK_ROWS: usize = 384;
// A batch of fewer rows is one chunk.
const MIN_ROWS_TO_CUT: usize = 128;

/// Rows that attend only to each other: whole trees of chains with a common head.
pub(super) struct Chunk {
    pub(super) rows: Range<usize>,
    /// All its rows, counted from its first.
    pub(super) all: Vec<u32>,
    /// Its readout rows, counted from its first row.
    pub(super) readouts: Vec<u32>,
}

/// A batch cut into chunks. It depends on the rows alone, never on the number of threads.
pub(crate) struct Plan {
    pub(super) ancestry: Arc<Ancestry>,
    pub(super) chunks: Vec<Chunk>,
    /// For each query, the index of its readout row among all readout rows, which are in increasing order.
    pub(crate) readout: Vec<u32>,
}

impl Plan {
    /// Cuts a batch with these ancestors, whose trees are contiguous, and this readout row for each query.
    pub(crate) fn new(ancestry: Arc<Ancestry>, readout_rows: &[u32]) -> Self {
        let count = ancestry.len();
        // An even number, so that two threads share them evenly.
        let n_chunks = if count < MIN_ROWS_TO_CUT {
            1
        } else {
            count.div_ceil(MAX_CHUNK_ROWS).next_multiple_of(2)
        };
        let mut ends = Vec::new();
        for end in 1..=count {
            let is_tree_end = end == count || ancestry.is_root(end);
            // A chunk ends with the tree with which it and those before have their share of all rows: rows that a chunk
            // has too many, the next one has too few.
            if is_tree_end && (end == count || end * n_chunks >= (ends.len() + 1) * count) {
                ends.push(end);
            }
        }
        Self::of_chunks(ancestry, readout_rows, &ends)
    }

    /// A batch whose chunks end before these rows. No row attends to a row of another chunk.
    pub(crate) fn of_chunks(ancestry: Arc<Ancestry>, readout_rows: &[u32], ends: &[usize]) -> Self {
        let mut is_readout = vec![false; ancestry.len()];
        for &row in readout_rows {
            is_readout[row as usize] = true;
        }
        let mut index = vec![0_u32; ancestry.len()];
        let mut n_readouts = 0;
        for (index, &is_readout) in index.iter_mut().zip(&is_readout) {
            *index = n_readouts;
            n_readouts += u32::from(is_readout);
        }
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let chunk = |(start, &end): (usize, &usize)| Chunk {
            rows: start..end,
            all: (0..(end - start) as u32).collect(),
            readouts: (start..end)
                .filter(|&row| is_readout[row])
                .map(|row| (row - start) as u32)
                .collect(),
        };
        Self {
            chunks: starts.zip(ends).map(chunk).collect(),
            readout: readout_rows.iter().map(|&row| index[row as usize]).collect(),
            ancestry,
        }
    }

    /// The number of readout rows.
    pub(crate) fn n_readouts(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.readouts.len()).sum()
    }

    /// The number of chunks whose contributions to a weight gradient are one GEMM: several where chunks are small,
    /// because every GEMM reads and writes the whole gradient.
    pub(super) fn chunks_per_gemm(&self) -> usize {
        let largest = self.chunks.iter().map(|chunk| chunk.rows.len()).max();
        let count = MAX_CHUNK_ROWS / largest.unwrap_or(MAX_CHUNK_ROWS).max(1);
        count.min(self.chunks.len()).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_whole_trees_that_cover_the_batch() {
        let mut ancestry = Ancestry::default();
        let mut readout = Vec::new();
        for _ in 0..100 {
            let head = ancestry.push(None, true);
            let relation = ancestry.push(Some(head), true);
            readout.push(ancestry.push(Some(relation), true));
        }
        let ancestry = Arc::new(ancestry);
        let plan = Plan::new(ancestry.clone(), &readout);
        assert_eq!((plan.chunks.len(), plan.n_readouts()), (2, 100));
        let mut end = 0;
        for chunk in &plan.chunks {
            assert_eq!(chunk.rows.start, end);
            end = chunk.rows.end;
            for row in chunk.rows.clone() {
                assert!(
                    ancestry
                        .of(row)
                        .iter()
                        .all(|&ancestor| chunk.rows.contains(&(ancestor as usize)))
                );
            }
        }
        assert_eq!(end, ancestry.len());
    }
}
