//! Room for numbers that are overwritten again and again.

use std::ops::{Deref, DerefMut};

/// Numbers that begin at the start of a cache line.
#[derive(Default)]
pub(super) struct Buffer {
    lines: Vec<Line>,
    len: usize,
}

#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
struct Line([f32; 16]);

impl Buffer {
    /// Makes it so long; it matters not what it held, nor what it holds then. It grows to a little more than is asked for,
    /// as batches differ by a few rows; doubling would hold twice the activations.
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

// Asks for large pages where `room` is worth some, before it is written: many small ones are slower to find, and some
// systems give large ones to those alone who ask.
#[cfg(target_os = "linux")]
fn prefer_large_pages<T>(room: &mut [T]) {
    const SMALL: usize = 4 << 10;
    const LARGE: usize = 2 << 20;
    let (start, bytes) = (room.as_mut_ptr().cast::<u8>(), size_of_val(room));
    let skipped = start.align_offset(SMALL);
    if bytes >= 2 * LARGE {
        // SAFETY: the range lies in `room`, and how it is mapped changes nothing of what it holds.
        #[allow(unsafe_code)]
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
        // SAFETY: a line is sixteen numbers and nothing else; `fit` has made as many as hold `len`.
        #[allow(unsafe_code)]
        unsafe {
            std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len)
        }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above, and the lines are borrowed as a whole.
        #[allow(unsafe_code)]
        unsafe {
            std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len)
        }
    }
}
