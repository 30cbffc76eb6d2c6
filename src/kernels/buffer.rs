//! A buffer of f32 that is reused from step to step.

use std::ops::{Deref, DerefMut};

/// A slice of f32 that starts at a cache line and can be resized.
#[derive(Default)]
pub(super) struct Buffer {
    lines: Vec<Line>,
    len: usize,
}

#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
struct Line([f32; 16]);

impl Buffer {
    /// Resizes to `len` numbers, whose values are unspecified. It allocates 1/16 more than is needed, because batches differ by
    /// a few rows; doubling would take twice the memory of the activations.
    pub(super) fn fit(&mut self, len: usize) -> &mut [f32] {
        let needed = len.div_ceil(16);
        if needed > self.lines.capacity() {
            self.lines = Vec::new();
            self.lines.reserve_exact(needed + needed / 16);
            prefer_large_pages(self.lines.spare_capacity_mut());
        }
        if needed > self.lines.len() {
            self.lines.resize(needed, Line::default());
        }
        self.len = len;
        self
    }
}

// Asks for large pages for `memory` before it is written: address translation is faster with them, and some systems give them
// only where a process asks.
#[cfg(target_os = "linux")]
fn prefer_large_pages<T>(memory: &mut [T]) {
    const SMALL: usize = 4 << 10;
    const LARGE: usize = 2 << 20;
    let (start, bytes) = (memory.as_mut_ptr().cast::<u8>(), size_of_val(memory));
    let skipped = start.align_offset(SMALL);
    if bytes >= 2 * LARGE {
        // SAFETY: the range lies in `memory`, and `madvise` changes how it is mapped, not what it holds.
        unsafe {
            libc::madvise(start.add(skipped).cast(), bytes - skipped, libc::MADV_HUGEPAGE);
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn prefer_large_pages<T>(_: &mut [T]) {}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: a line is sixteen numbers without padding, and `fit` has made enough lines for `len` numbers.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above, and the lines are borrowed as a whole.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}
