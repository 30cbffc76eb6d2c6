//! Many runs of a query as one batch: a run that differs from the query somewhere is a branch of rows, which leaves the query's
//! chain where it differs and shares everything before with it.
//!
//! In a causal model a state at (effective layer e, column p) changes nothing before layer e, and at no column before p. So a
//! branch has rows for the columns from p on alone, and they begin after e, as copies of the rows of the query.

mod cuts;
mod edits;
mod taps;

use super::config::ModelConfig;
use super::rows::Rows;
use super::site::Site;
use crate::kernels::{Ancestry, Branches};

pub use cuts::Cut;
pub(crate) use cuts::cut_batch;
pub use edits::{Branch, Edit};
pub(crate) use edits::{EditPlan, Step};
pub(crate) use taps::{BranchTaps, Record};

/// What of a model decides which rows a branch needs.
#[derive(Clone, Copy)]
pub(crate) struct Loop {
    pub(crate) iterations: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    /// Whether each row's embedding is added anew before every iteration.
    pub(crate) injection: bool,
}

impl Loop {
    /// That of a model that runs this number of iterations.
    pub(crate) fn new(config: &ModelConfig, iterations: usize) -> Self {
        Self {
            iterations,
            layers: config.layers,
            heads: config.heads,
            injection: config.injection,
        }
    }

    /// The number of effective layers.
    pub(crate) fn effective_layers(self) -> usize {
        self.iterations * self.layers
    }

    // The effective layer of a site, 0 for the embedding.
    fn effective_layer(self, site: Site) -> usize {
        site.iteration() * self.layers + site.layer()
    }
}

/// The rows of a batch of branches.
#[derive(Default)]
pub(crate) struct BranchBatch {
    pub(crate) ancestry: Ancestry,
    pub(crate) branches: Branches,
    /// The row of the packed queries whose token and position each row has at its start.
    pub(crate) of_rows: Vec<u32>,
    /// The row at which the outcome of each run is read.
    pub(crate) readout: Vec<u32>,
    pub(crate) chunk_ends: Vec<usize>,
}

impl BranchBatch {
    /// The number of effective layers that all rows run through together.
    pub(crate) fn row_layers(&self, effective_layers: usize) -> u64 {
        let starts = self.branches.starts.iter();
        starts.map(|&start| (effective_layers - start as usize) as u64).sum()
    }

    // Gives the drafts of a chunk their rows, in the order in which they start, and returns the row of each.
    fn close(&mut self, drafts: &[Draft]) -> Vec<u32> {
        let mut order: Vec<usize> = (0..drafts.len()).collect();
        order.sort_by_key(|&draft| drafts[draft].start);
        let mut row_of = vec![0_u32; drafts.len()];
        for &draft in &order {
            let Draft {
                start,
                ancestors,
                is_key,
                of_row,
                source,
            } = &drafts[draft];
            let row = self.ancestry.len() as u32;
            row_of[draft] = row;
            let keys = ancestors.iter().map(|&ancestor| row_of[ancestor]);
            self.ancestry.push_list(keys.chain(is_key.then_some(row)));
            self.branches.starts.push(*start);
            self.branches.sources.push(row_of[*source]);
            self.of_rows.push(*of_row);
        }
        self.chunk_ends.push(self.ancestry.len());
        row_of
    }
}

// A row before it has its place in the batch.
struct Draft {
    start: u32,
    // The chain's rows so far, which it attends to: the drafts by index.
    ancestors: Vec<usize>,
    is_key: bool,
    of_row: u32,
    // The draft that it is a copy of where it starts late.
    source: usize,
}

// The drafts of one chunk.
struct Drafts<'a> {
    // Queries that share no rows.
    rows: &'a Rows,
    all: Vec<Draft>,
}

impl<'a> Drafts<'a> {
    fn new(rows: &'a Rows) -> Self {
        Self { rows, all: Vec::new() }
    }

    // The rows of a query as they are, from the first layer on.
    fn chain(&mut self, query: usize) -> Vec<usize> {
        let first = self.all.len();
        for (column, &row) in self.rows.of_query(query).iter().enumerate() {
            let is_key = self.rows.ancestors(row as usize).contains(&row);
            self.all.push(Draft {
                start: 0,
                ancestors: (first..first + column).collect(),
                is_key,
                of_row: row,
                source: first + column,
            });
        }
        (first..self.all.len()).collect()
    }

    // A row that begins at effective layer `start` in the state of another.
    fn copy(&mut self, row: usize, start: usize, ancestors: Vec<usize>) -> usize {
        self.all.push(Draft {
            start: start as u32,
            ancestors,
            is_key: self.all[row].is_key,
            of_row: self.all[row].of_row,
            source: row,
        });
        self.all.len() - 1
    }
}
