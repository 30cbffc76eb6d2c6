//! How a batch is cut into pieces that need nothing of each other.

use std::ops::Range;
use std::sync::Arc;

use crate::model::rows::{Ancestry, Rows};

// Rows of a piece, at most about: enough that its products run at full speed; more gains nothing, and threads need
// pieces to share.
const ROWS: usize = 384;
// Below so many rows, a batch is one piece.
const WORTH_CUTTING: usize = 128;

/// Rows that look at each other alone: whole trees of chains with a common head.
pub(super) struct Piece {
    pub(super) rows: Range<usize>,
    /// All of its rows, counted from the first.
    pub(super) all: Vec<u32>,
    /// Those at which some query is read out.
    pub(super) readouts: Vec<u32>,
}

/// A batch in pieces. It depends on the rows alone, never on the number of threads.
pub(in super::super::super) struct Plan {
    pub(super) ancestry: Arc<Ancestry>,
    pub(super) pieces: Vec<Piece>,
    /// The place of each query's readout among all rows that are read out, in row order.
    pub(in super::super::super) readout: Vec<u32>,
}

impl Plan {
    /// The number of rows that are read out.
    pub(in super::super::super) fn outputs(&self) -> usize {
        self.pieces.iter().map(|piece| piece.readouts.len()).sum()
    }

    /// The number of pieces whose part in a gradient is one product: more than one where they are small, because sums are
    /// read and written for each.
    pub(super) fn summed(&self) -> usize {
        let largest = self.pieces.iter().map(|piece| piece.rows.len()).max();
        (ROWS / largest.unwrap_or(ROWS).max(1)).min(self.pieces.len()).max(1)
    }

    pub(in super::super::super) fn new(rows: &Rows) -> Self {
        let count = rows.len();
        let mut is_read = vec![false; count];
        for &row in &rows.readout {
            is_read[row as usize] = true;
        }
        let mut place = vec![0_u32; count];
        let mut read = 0;
        for (place, &is_read) in place.iter_mut().zip(&is_read) {
            *place = read;
            read += u32::from(is_read);
        }
        // An even number shares out among two threads.
        let parts = if count < WORTH_CUTTING {
            1
        } else {
            count.div_ceil(ROWS).next_multiple_of(2)
        };
        let mut pieces = Vec::new();
        let mut start = 0;
        for end in 1..=count {
            let is_tree_end = end == count || rows.positions[end] == 0;
            // Where it has its share of all rows so far: what one piece has too many, the next has too few.
            if is_tree_end && (end == count || end * parts >= (pieces.len() + 1) * count) {
                pieces.push(Piece {
                    rows: start..end,
                    all: (0..(end - start) as u32).collect(),
                    readouts: (start..end)
                        .filter(|&row| is_read[row])
                        .map(|row| (row - start) as u32)
                        .collect(),
                });
                start = end;
            }
        }
        Self {
            ancestry: rows.ancestry.clone(),
            pieces,
            readout: rows.readout.iter().map(|&row| place[row as usize]).collect(),
        }
    }
}
