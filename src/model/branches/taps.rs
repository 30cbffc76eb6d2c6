//! What is written and recorded inside the loop while a batch of branches runs.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::Loop;
use crate::kernels::stack::{Tap, TapRows, Taps};
use crate::model::site::{Point, Site};
use crate::model::taps::site_of;
use crate::model::write::RowWrites;

/// The states of all branches at one place, `[branches, width]`.
pub(crate) struct Record {
    width: usize,
    numbers: Mutex<Vec<f32>>,
}

impl Record {
    /// Zeros for this number of branches.
    pub(crate) fn new(branches: usize, width: usize) -> Self {
        Self {
            width,
            numbers: Mutex::new(vec![0.0; branches * width]),
        }
    }

    /// The numbers.
    pub(crate) fn into_numbers(self) -> Vec<f32> {
        self.numbers.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    // Keeps the state of a branch; each head of a pattern may have less padding here than there, or more.
    fn keep(&self, branch: usize, state: &[f32], heads: usize) {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = numbers[branch * self.width..][..self.width].chunks_exact_mut(self.width / heads);
        for (to, from) in kept.zip(state.chunks_exact(state.len() / heads)) {
            let used = to.len().min(from.len());
            to[..used].copy_from_slice(&from[..used]);
        }
    }
}

struct Read<'a> {
    row: u32,
    record: &'a Record,
    branch: usize,
}

/// The writes and records of a batch of branches.
pub(crate) struct BranchTaps<'a> {
    model: Loop,
    pub(super) writes: RowWrites<'a>,
    // Once sorted, in increasing order of rows.
    reads: BTreeMap<Site, Vec<Read<'a>>>,
}

impl<'a> BranchTaps<'a> {
    /// None.
    pub(super) fn none(model: Loop) -> Self {
        Self {
            model,
            writes: RowWrites::none(model.heads),
            reads: BTreeMap::new(),
        }
    }

    /// Records the state of a row at a site as that of a branch.
    pub(super) fn record(&mut self, site: Site, row: u32, record: &'a Record, branch: usize) {
        self.reads.entry(site).or_default().push(Read { row, record, branch });
    }

    /// The same once all writes and records are added.
    pub(super) fn sorted(mut self) -> Self {
        self.writes = self.writes.sorted();
        for reads in self.reads.values_mut() {
            reads.sort_by_key(|read| read.row);
        }
        self
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.reads.is_empty()
    }

    /// Whether rows may differ before the first layer reads them, though their embeddings are the same.
    pub(crate) fn visits_entry(&self) -> bool {
        self.wants_site(Site::embed()) || self.writes.wants(Site::new(Point::ResidPre, 0, 0))
    }

    /// Whether rows that are not read out are recorded in the last layer.
    pub(crate) fn records_last_layer(&self) -> bool {
        let last = self.model.effective_layers() - 1;
        self.reads
            .keys()
            .any(|&site| site.point().in_block() && self.model.effective_layer(site) == last)
    }

    fn wants_site(&self, site: Site) -> bool {
        self.writes.wants(site) || self.reads.contains_key(&site)
    }

    /// Writes to and records the states of `rows` at `site`, which lie in `state`.
    pub(crate) fn visit_site(&self, site: Site, rows: TapRows, state: &mut [f32]) {
        self.writes.make(site, rows, state);
        let reads = self.reads.get(&site).map_or(&[][..], Vec::as_slice);
        let Some((first, last)) = rows.first().zip(rows.last()) else {
            return;
        };
        let width = state.len() / rows.len();
        let begin = reads.partition_point(|read| read.row < first);
        for read in reads[begin..].iter().take_while(|read| read.row <= last) {
            if let Some(from) = rows.position(read.row) {
                read.record
                    .keep(read.branch, &state[from * width..][..width], self.model.heads);
            }
        }
    }
}

impl Taps for BranchTaps<'_> {
    fn wants(&self, tap: Tap, effective_layer: usize) -> bool {
        self.wants_site(site_of(tap, effective_layer, self.model.layers))
    }

    fn visit(&self, tap: Tap, effective_layer: usize, rows: TapRows, state: &mut [f32]) {
        self.visit_site(site_of(tap, effective_layer, self.model.layers), rows, state);
    }
}
