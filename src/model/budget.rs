//! What a sweep of interventions may take.

/// The iterations of every run of a sweep, and the memory of its buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Times that the block is applied.
    pub iterations: usize,
    /// Bytes that buffers may take at a time, beside the results and the weights. A sweep runs in parts that fit; one branch is
    /// never cut.
    pub max_bytes: usize,
}

impl Budget {
    /// The bytes of [`Budget::from`] a number of iterations: 2 GiB.
    pub const DEFAULT_MAX_BYTES: usize = 2 << 30;

    // Larger parts would no longer be faster.
    const MAX_PART_BYTES: usize = 256 << 20;

    /// The number of things of this many bytes that a part of the sweep holds, at least one.
    pub(crate) fn at_once(self, bytes: usize) -> usize {
        (self.max_bytes.min(Self::MAX_PART_BYTES) / bytes.max(1)).max(1)
    }
}

/// This number of iterations, within [`Budget::DEFAULT_MAX_BYTES`].
impl From<usize> for Budget {
    fn from(iterations: usize) -> Self {
        Self {
            iterations,
            max_bytes: Self::DEFAULT_MAX_BYTES,
        }
    }
}
