//! The structure of a batch of packed rows: which rows each row attends to, and which rows have the same embedding.

use std::collections::HashMap;
use std::hash::Hash;

// Lists that lie one after the other: list i is `items[starts[i]..starts[i + 1]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Lists {
    items: Vec<u32>,
    starts: Vec<u32>,
}

impl Lists {
    #[inline]
    fn get(&self, list: usize) -> &[u32] {
        &self.items[self.starts[list] as usize..self.starts[list + 1] as usize]
    }
}

/// The ancestors of each row: the rows that it attends to, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ancestry(Lists);

/// Of no rows.
impl Default for Ancestry {
    fn default() -> Self {
        Self(Lists {
            items: Vec::new(),
            starts: vec![0],
        })
    }
}

impl Ancestry {
    /// Adds a row and returns its index. It attends to the ancestors of `parent`, and to itself if `is_key`.
    pub(crate) fn push(&mut self, parent: Option<u32>, is_key: bool) -> u32 {
        let row = self.len() as u32;
        let Lists { items, starts } = &mut self.0;
        if let Some(parent) = parent {
            let (start, end) = (starts[parent as usize], starts[parent as usize + 1]);
            items.extend_from_within(start as usize..end as usize);
        }
        if is_key {
            items.push(row);
        }
        starts.push(items.len() as u32);
        row
    }

    /// Adds a row that attends to these rows.
    pub(crate) fn push_list(&mut self, ancestors: impl Iterator<Item = u32>) {
        self.0.items.extend(ancestors);
        self.0.starts.push(self.0.items.len() as u32);
    }

    /// The number of rows.
    pub(crate) fn len(&self) -> usize {
        self.0.starts.len() - 1
    }

    /// The rows that `row` attends to, oldest first.
    #[inline]
    pub(crate) fn of(&self, row: usize) -> &[u32] {
        self.0.get(row)
    }

    /// Whether `row` attends to no row before it: it begins a tree of rows.
    pub(crate) fn is_root(&self, row: usize) -> bool {
        self.of(row).first() == Some(&(row as u32))
    }

    /// The length of the longest list of ancestors.
    pub(crate) fn max_ancestors(&self) -> usize {
        (0..self.len()).map(|row| self.of(row).len()).max().unwrap_or(0)
    }
}

/// The deduplicated embeddings of a batch: rows with the same token at the same position enter the loop in the same state.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DistinctEmbeddings {
    /// The first row of each, in increasing order.
    pub(crate) first_rows: Vec<u32>,
    /// The index of each row's embedding.
    pub(crate) of_row: Vec<u32>,
    rows: Lists,
}

impl DistinctEmbeddings {
    /// Groups rows by `keys`, one for each row; rows with equal keys have the same embedding.
    pub(crate) fn new<K: Hash + Eq>(keys: impl Iterator<Item = K>) -> Self {
        let (mut first_rows, mut of_row) = (Vec::new(), Vec::new());
        let mut known = HashMap::new();
        for (row, key) in keys.enumerate() {
            let index = *known.entry(key).or_insert_with(|| {
                first_rows.push(row as u32);
                first_rows.len() as u32 - 1
            });
            of_row.push(index);
        }
        let mut starts = vec![0; first_rows.len() + 1];
        for &index in &of_row {
            starts[index as usize + 1] += 1;
        }
        for index in 0..first_rows.len() {
            starts[index + 1] += starts[index];
        }
        let (mut items, mut next) = (vec![0; of_row.len()], starts.clone());
        for (row, &index) in of_row.iter().enumerate() {
            items[next[index as usize] as usize] = row as u32;
            next[index as usize] += 1;
        }
        Self {
            first_rows,
            of_row,
            rows: Lists { items, starts },
        }
    }

    /// The number of distinct embeddings.
    pub(crate) fn len(&self) -> usize {
        self.first_rows.len()
    }

    /// The rows with embedding `index`, in increasing order.
    pub(crate) fn rows(&self, index: usize) -> &[u32] {
        self.rows.get(index)
    }
}

/// Rows that enter the loop late: at an effective layer each begins as a copy of another row's state there. Within a chunk
/// rows stand in the order in which they start, so that the rows that run through a layer are the first ones.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Branches {
    /// The effective layer that each row is first in; 0 for rows that begin with their embedding.
    pub(crate) starts: Vec<u32>,
    /// The row whose state each late row begins with.
    pub(crate) sources: Vec<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_attends_to_its_ancestors_and_a_row_that_is_no_key_is_no_ancestor() {
        let mut ancestry = Ancestry::default();
        let head = ancestry.push(None, true);
        let relation = ancestry.push(Some(head), true);
        let pad = ancestry.push(Some(relation), false);
        let other = ancestry.push(None, true);
        assert_eq!(ancestry.of(pad as usize), [head, relation]);
        assert_eq!(ancestry.of(other as usize), [other]);
        let roots: Vec<bool> = (0..ancestry.len()).map(|row| ancestry.is_root(row)).collect();
        assert_eq!(roots, [true, false, false, true]);
        assert_eq!(ancestry.max_ancestors(), 2);
    }

    #[test]
    fn rows_with_equal_keys_have_one_embedding() {
        let distinct = DistinctEmbeddings::new("abca".chars());
        assert_eq!(distinct.first_rows, [0, 1, 2]);
        assert_eq!(distinct.of_row, [0, 1, 2, 0]);
        assert_eq!((distinct.rows(0), distinct.rows(2)), (&[0, 3][..], &[2][..]));
    }
}
