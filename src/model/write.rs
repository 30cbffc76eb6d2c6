//! Changes of the state of single rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::site::{Point, Site};
use crate::kernels::stack::TapRows;

/// A function that changes a state in place.
pub type StateFn = dyn Fn(&mut [f32]) + Send + Sync;

/// What an edit does to a state: to that of a whole row, or to one head's slice of it.
#[derive(Clone)]
pub enum Write {
    /// The state becomes these numbers.
    Set(Vec<f32>),
    /// A function changes the state in place.
    Apply(Arc<StateFn>),
}

impl Write {
    /// Writes to a state, which is as wide as the numbers of [`Write::Set`].
    pub(super) fn to(&self, state: &mut [f32]) {
        match self {
            Self::Set(numbers) => state.copy_from_slice(numbers),
            Self::Apply(f) => f(state),
        }
    }
}

impl std::fmt::Debug for Write {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Set(numbers) => f.debug_tuple("Set").field(numbers).finish(),
            Self::Apply(_) => f.write_str("Apply(_)"),
        }
    }
}

/// Calls `f` with the part of a row's state that a change is about: that of `head`, or all of it without padding. `shape`: the
/// point, the number of heads, and that of the row's ancestors, which count at `attn_pattern` alone.
pub(super) fn with_slice<T: Copy>(
    row: &mut [T],
    (point, heads, ancestors): (Point, usize, usize),
    head: Option<usize>,
    f: impl FnOnce(&mut [T]),
) {
    let of_head = row.len() / heads.max(1);
    let used = if point == Point::AttnPattern {
        ancestors
    } else {
        of_head
    };
    match head {
        Some(head) => f(&mut row[head * of_head..][..used]),
        None if point == Point::AttnPattern && used < of_head => {
            let mut all: Vec<T> = row
                .chunks_exact(of_head)
                .flat_map(|head| &head[..used])
                .copied()
                .collect();
            f(&mut all);
            for (head, from) in row.chunks_exact_mut(of_head).zip(all.chunks_exact(used)) {
                head[..used].copy_from_slice(from);
            }
        }
        None => f(row),
    }
}

/// What becomes of a row's state.
pub(super) enum Written<'a> {
    /// A write.
    By(&'a Write),
    /// These numbers take its place, padding included.
    Numbers(Vec<f32>),
    /// The state of another row of the same chunk takes its place.
    OfRow(u32),
}

struct RowWrite<'a> {
    row: u32,
    head: Option<usize>,
    ancestors: usize,
    written: Written<'a>,
}

/// Writes to single rows inside the loop, by site.
pub(super) struct RowWrites<'a> {
    heads: usize,
    // Once sorted, in increasing order of rows, and for each row in the order in which they are made.
    by_site: BTreeMap<Site, Vec<RowWrite<'a>>>,
}

impl<'a> RowWrites<'a> {
    /// None, in a model with this number of heads.
    pub(super) fn none(heads: usize) -> Self {
        Self {
            heads,
            by_site: BTreeMap::new(),
        }
    }

    /// Adds a write to a row that attends to this number of ancestors, after those to it so far.
    pub(super) fn push(&mut self, site: Site, row: u32, head: Option<usize>, ancestors: usize, written: Written<'a>) {
        self.by_site.entry(site).or_default().push(RowWrite {
            row,
            head,
            ancestors,
            written,
        });
    }

    /// The same once all are added.
    pub(super) fn sorted(mut self) -> Self {
        for writes in self.by_site.values_mut() {
            writes.sort_by_key(|write| write.row);
        }
        self
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.by_site.is_empty()
    }

    /// Whether there is one at `site`.
    pub(super) fn wants(&self, site: Site) -> bool {
        self.by_site.contains_key(&site)
    }

    /// Makes the writes of `site` to `rows`, whose states lie in `state`.
    pub(super) fn make(&self, site: Site, rows: TapRows, state: &mut [f32]) {
        let writes = self.by_site.get(&site).map_or(&[][..], Vec::as_slice);
        let Some((first, last)) = rows.first().zip(rows.last()) else {
            return;
        };
        let width = state.len() / rows.len();
        let begin = writes.partition_point(|write| write.row < first);
        for write in writes[begin..].iter().take_while(|write| write.row <= last) {
            let Some(to) = rows.position(write.row) else { continue };
            let to = to * width..(to + 1) * width;
            let shape = (site.point(), self.heads, write.ancestors);
            match &write.written {
                Written::By(by) => with_slice(&mut state[to], shape, write.head, |slice| by.to(slice)),
                Written::Numbers(numbers) => state[to].copy_from_slice(numbers),
                Written::OfRow(row) => {
                    if let Some(from) = rows.position(*row) {
                        state.copy_within(from * width..(from + 1) * width, to.start);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_a_pattern_is_about_the_ancestors_of_its_row() {
        let padded = [1, 2, 0, 3, 4, 0];
        let changed = |head| {
            let mut row = padded;
            with_slice(&mut row, (Point::AttnPattern, 2, 2), head, |slice| {
                for x in slice {
                    *x += 10;
                }
            });
            row
        };
        assert_eq!(changed(None), [11, 12, 0, 13, 14, 0]);
        assert_eq!(changed(Some(1)), [1, 2, 0, 13, 14, 0]);
    }

    #[test]
    fn a_change_of_z_is_about_the_whole_head() {
        let mut row = [1, 2, 3, 4];
        with_slice(&mut row, (Point::Z, 2, 1), Some(0), |slice| slice.fill(9));
        assert_eq!(row, [9, 9, 3, 4]);
    }
}
