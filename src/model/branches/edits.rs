//! The branches of edited queries: rows where an edit can be felt, and nowhere else.

use super::taps::{BranchTaps, Record};
use super::{BranchBatch, Cut, Drafts, Loop};
use crate::model::rows::Rows;
use crate::model::site::{Point, Site};
use crate::model::write::{Write, Written};

/// A change of the state of one row at one site.
#[derive(Debug, Clone)]
pub struct Edit {
    /// Any point of a layer, or the embedding.
    pub site: Site,
    /// The index of the row in its chain, the head at 0.
    pub column: usize,
    /// The head whose slice is edited, at `z` and `attn_pattern`; `None` means the whole state.
    pub head: Option<usize>,
    /// What becomes of the state: `[d_model]`, of `mlp_post` `[4 × d_model]`, of `attn_pattern` `[heads, ancestors of the row]`,
    /// or a head's slice of it.
    pub write: Write,
}

impl Edit {
    /// An edit of a whole state.
    pub fn new(site: Site, column: usize, write: Write) -> Self {
        Self {
            site,
            column,
            head: None,
            write,
        }
    }
}

/// A query with edits. They are made in the order of the pass; those of one row and site, in the order in which they are given.
#[derive(Debug, Clone)]
pub struct Branch {
    /// The index of the query.
    pub query: usize,
    /// The edits.
    pub edits: Vec<Edit>,
}

// Rows from which on a chunk is closed: enough for GEMM at full speed, and many more than those of the query itself, which every
// chunk with a branch of it has.
const CHUNK_ROWS: usize = 384;

/// One run: a query as it is, or one of its branches.
#[derive(Clone, Copy)]
pub(crate) struct Step {
    pub(crate) query: usize,
    pub(crate) branch: Option<usize>,
}

/// Queries with their branches, before they are cut into batches.
pub(crate) struct EditPlan<'a> {
    /// The queries, which share no rows.
    pub(crate) rows: &'a Rows,
    pub(crate) branches: &'a [Branch],
    /// Where states of every branch are recorded.
    pub(crate) places: &'a [Cut],
    pub(crate) model: Loop,
}

struct Chunk<'a> {
    drafts: Drafts<'a>,
    // The query of which there are rows to branch from, with them.
    base: Option<(usize, Vec<usize>)>,
    outcomes: Vec<usize>,
    writes: Vec<(usize, &'a Edit)>,
    // The draft whose state is recorded, the place, and the branch.
    reads: Vec<(usize, usize, usize)>,
}

impl<'a> EditPlan<'a> {
    /// All runs, those of one query one after the other.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let plain = (0..self.rows.queries()).map(|query| Step { query, branch: None });
        let edited = self.branches.iter().enumerate().map(|(index, branch)| Step {
            query: branch.query,
            branch: Some(index),
        });
        let mut steps: Vec<Step> = plain.chain(edited).collect();
        steps.sort_by_key(|step| step.query);
        steps
    }

    /// A batch of the first of these runs, of about `max_rows` rows; what it writes and records; and the number of runs in it.
    pub(crate) fn batch(
        &self,
        steps: &[Step],
        max_rows: usize,
        records: &'a [Record],
    ) -> (BranchBatch, BranchTaps<'a>, usize) {
        let mut batch = BranchBatch::default();
        let mut taps = BranchTaps::none(self.model);
        let mut chunk = self.chunk();
        for (index, &step) in steps.iter().enumerate() {
            self.add(step, &mut chunk);
            let is_end = index + 1 == steps.len();
            if is_end || chunk.drafts.all.len() >= CHUNK_ROWS.min(max_rows) {
                self.close(
                    std::mem::replace(&mut chunk, self.chunk()),
                    &mut batch,
                    &mut taps,
                    records,
                );
                if is_end || batch.of_rows.len() >= max_rows {
                    return (batch, taps.sorted(), index + 1);
                }
            }
        }
        (batch, taps.sorted(), steps.len())
    }

    fn chunk(&self) -> Chunk<'a> {
        Chunk {
            drafts: Drafts::new(self.rows),
            base: None,
            outcomes: Vec::new(),
            writes: Vec::new(),
            reads: Vec::new(),
        }
    }

    // Adds the rows of a run that the chunk does not have yet.
    fn add(&self, step: Step, chunk: &mut Chunk<'a>) {
        let Chunk {
            drafts,
            base,
            outcomes,
            writes,
            reads,
        } = chunk;
        let base = match base {
            Some((query, rows)) if *query == step.query => &*rows,
            _ => &base.insert((step.query, drafts.chain(step.query))).1,
        };
        let Some(branch) = step.branch else {
            outcomes.extend(base.last());
            return;
        };
        let edits = &self.branches[branch].edits;
        let is_key: Vec<bool> = base.iter().map(|&row| drafts.all[row].is_key).collect();
        let starts = self.starts(edits, &is_key);
        let layers = self.model.effective_layers();
        let mut rows = Vec::with_capacity(base.len());
        for (&row, &start) in base.iter().zip(&starts) {
            rows.push(if start < layers {
                drafts.copy(row, start, rows.clone())
            } else {
                row
            });
        }
        outcomes.extend(rows.last());
        for edit in edits.iter().filter(|edit| starts[edit.column] < layers) {
            writes.push((rows[edit.column], edit));
        }
        for (index, &Cut { site, column }) in self.places.iter().enumerate() {
            // A row that begins at the next layer is there already at the end of this one.
            let layer = self.model.effective_layer(site) + usize::from(site.point() == Point::ResidPost);
            let row = if starts[column] <= layer {
                rows[column]
            } else {
                base[column]
            };
            reads.push((row, index, branch));
        }
    }

    // The effective layer that each column of a branch has a row of its own from; the number of layers where it has none.
    fn starts(&self, edits: &[Edit], is_key: &[bool]) -> Vec<usize> {
        let (layers, columns) = (self.model.effective_layers(), is_key.len());
        // The layer that each column is first edited in, and the first one in which other columns attend to the edited state.
        let mut edited = vec![(layers, layers); columns];
        for Edit { site, column, .. } in edits {
            let layer = self.model.effective_layer(*site);
            let (start, read_from) = match site.point() {
                Point::Embed | Point::ResidPre => (layer, layer),
                // The state before the next layer; there is none after the last.
                Point::ResidPost => ((layer + 1).min(layers - 1), layer + 1),
                _ => (layer, layer + 1),
            };
            let first = &mut edited[*column];
            *first = (first.0.min(start), first.1.min(read_from));
        }
        // The first layer in which a column attends to an earlier one that differs.
        let mut differs_from = layers;
        let mut starts: Vec<usize> = Vec::with_capacity(columns);
        for (column, (start, read_from)) in edited.into_iter().enumerate() {
            // A row that no later layer attends to, and that is neither read out nor recorded, is not computed.
            let is_visible = read_from.min(differs_from + 1) < layers;
            let is_needed = is_visible || column + 1 == columns || !self.places.is_empty();
            starts.push(if is_needed { start.min(differs_from) } else { layers });
            if is_key[column] {
                differs_from = differs_from.min(read_from);
            }
        }
        // A row attends to rows that exist: the branch's own of earlier columns begin no later.
        let mut earliest = layers;
        for start in starts.iter_mut().rev().filter(|start| **start < layers) {
            earliest = earliest.min(*start);
            *start = earliest;
        }
        starts
    }

    fn close(&self, chunk: Chunk<'a>, batch: &mut BranchBatch, taps: &mut BranchTaps<'a>, records: &'a [Record]) {
        let row_of = batch.close(&chunk.drafts.all);
        batch.readout.extend(chunk.outcomes.iter().map(|&draft| row_of[draft]));
        for (draft, edit) in chunk.writes {
            let row = row_of[draft];
            let ancestors = batch.ancestry.of(row as usize).len();
            taps.writes
                .push(edit.site, row, edit.head, ancestors, Written::By(&edit.write));
        }
        for (draft, place, branch) in chunk.reads {
            taps.record(self.places[place].site, row_of[draft], &records[place], branch);
        }
    }
}
