//! A sweep of interchange interventions as one batch: every intervention is a branch of rows that leaves its query's chain
//! where the state is put in, and shares everything before with it.
//!
//! In a causal model a state at (effective layer e, column p) changes nothing before layer e, and at no column before p. So a
//! branch has rows for the columns from p on alone, and they begin after e, as copies of the rows of the base query.
//! What is known without computing has no rows: where the source's state equals the base's, the outcome is that of the base; a
//! column that depends on no other column in which the two differ continues as the source's does.

use std::sync::Arc;

use super::config::ModelConfig;
use super::rows::Rows;
use super::site::{Point, Site};
use super::taps::site_of;
use super::write::Write;
use crate::kernels::stack::{Tap, TapRows, Taps};
use crate::kernels::{Ancestry, Branches};

/// A place at which the state of a source query is put into its base query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Any point of a layer, or the embedding.
    pub site: Site,
    /// The index of the row in its chain, the head at 0.
    pub column: usize,
}

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

/// Which readout row has the outcome of each run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcomes {
    /// Of the source and the base query of each pair.
    pub(super) plain: Vec<[usize; 2]>,
    /// `[pair][cut]`
    pub(super) patched: Vec<Vec<usize>>,
}

/// The rows of a sweep.
pub(super) struct BranchBatch {
    pub(super) ancestry: Arc<Ancestry>,
    pub(super) branches: Arc<Branches>,
    /// The row of `pairs` whose token and position each row has at its start.
    pub(super) of_pairs: Vec<u32>,
    /// The rows at which outcomes are read; [`Outcomes`] holds indices of this list.
    pub(super) readout: Vec<u32>,
    pub(super) chunk_ends: Vec<usize>,
    pub(super) outcomes: Outcomes,
    pub(super) grafts: Grafts,
}

impl BranchBatch {
    /// The number of effective layers that all rows run through together.
    pub(super) fn row_layers(&self, effective_layers: usize) -> u64 {
        let starts = self.branches.starts.iter();
        starts.map(|&start| (effective_layers - start as usize) as u64).sum()
    }
}

/// What of a model decides which rows a sweep needs.
#[derive(Clone, Copy)]
pub(super) struct Loop {
    pub(super) iterations: usize,
    pub(super) layers: usize,
    /// Whether each row's embedding is added anew before every iteration.
    pub(super) injection: bool,
}

impl Loop {
    fn effective_layers(self) -> usize {
        self.iterations * self.layers
    }

    fn effective_layer(self, site: Site) -> usize {
        site.iteration() * self.layers + site.layer()
    }
}

// A row before it has its place in the batch.
struct Draft {
    start: u32,
    // The chain's rows so far, which it attends to: the drafts by index.
    ancestors: Vec<usize>,
    is_key: bool,
    of_pairs: u32,
    // The draft that it is a copy of where it starts late, and the draft whose state is grafted into it.
    source: usize,
    graft: Option<(usize, Site)>,
}

// The drafts of one chunk.
struct Chunk<'a> {
    model: Loop,
    // The source and the base query of each pair, one after the other.
    pairs: &'a Rows,
    drafts: Vec<Draft>,
}

impl Chunk<'_> {
    // The rows of a query of `pairs` as they are, from the first layer on.
    fn chain(&mut self, query: usize) -> Vec<usize> {
        let first = self.drafts.len();
        for (column, &row) in self.pairs.of_query(query).iter().enumerate() {
            let is_key = self.pairs.ancestors(row as usize).contains(&row);
            self.drafts.push(Draft {
                start: 0,
                ancestors: (first..first + column).collect(),
                is_key,
                of_pairs: row,
                source: first + column,
                graft: None,
            });
        }
        (first..self.drafts.len()).collect()
    }

    // The draft whose readout is the outcome of a cut; adds the rows of its branch.
    fn branch(&mut self, cut: Cut, source: &[usize], base: &[usize], first_different: usize) -> usize {
        let (last, layers) = (base.len() - 1, self.model.effective_layers());
        let in_block = cut.site.point().in_block();
        let layer = if in_block {
            self.model.effective_layer(cut.site)
        } else {
            0
        };
        let is_inside = is_inside(cut.site.point());
        // The first layer that the other columns see the cut in.
        let seen = match cut.site.point() {
            Point::Embed | Point::ResidPre => layer,
            _ => layer + 1,
        };
        let is_read = cut.column == last;
        // Whether the column goes on as the source's own does: it sees no other difference, and where embeddings are added anew
        // it is the source's that is.
        let is_embedding = cut.site.point() == Point::Embed;
        let is_sources = cut.column == first_different && !is_inside && (is_embedding || !self.model.injection);
        if cut.column < first_different || (seen == layers && !is_read) {
            return base[last];
        }
        if (!is_inside && seen == layers) || (is_read && is_sources) {
            return source[last];
        }
        // What the rows of the branch attend to: the base's columns before the cut, then the branch's own.
        let mut chain: Vec<usize> = base[..cut.column].to_vec();
        if is_sources {
            // It continues as the source's own row does, which sees nothing else of the base.
            chain.push(source[cut.column]);
        } else {
            let row = if is_inside {
                base[cut.column]
            } else {
                source[cut.column]
            };
            let start = if is_inside { layer } else { seen };
            let graft = is_inside.then_some((source[cut.column], cut.site));
            // A state before the first layer is the embedding; later ones are copied, whatever the row began with.
            let embedding = if matches!(cut.site.point(), Point::Embed | Point::ResidPre) {
                source[cut.column]
            } else {
                base[cut.column]
            };
            let draft = self.copy(row, start, chain.clone());
            self.drafts[draft].of_pairs = self.drafts[embedding].of_pairs;
            self.drafts[draft].graft = graft;
            chain.push(draft);
        }
        if seen < layers {
            for &row in &base[cut.column + 1..] {
                chain.push(self.copy(row, seen, chain.clone()));
            }
        }
        // The answer is read at the last column, whose row the branch has: the cut was at it, or is seen there.
        chain.last().copied().unwrap_or(base[last])
    }

    fn copy(&mut self, row: usize, start: usize, ancestors: Vec<usize>) -> usize {
        self.drafts.push(Draft {
            start: start as u32,
            ancestors,
            is_key: self.drafts[row].is_key,
            of_pairs: self.drafts[row].of_pairs,
            source: row,
            graft: None,
        });
        self.drafts.len() - 1
    }
}

// Whether a state at this point is one of a row inside a layer, which other columns do not see before the next layer.
fn is_inside(point: Point) -> bool {
    !matches!(point, Point::Embed | Point::ResidPre | Point::ResidPost)
}

impl BranchBatch {
    /// The rows that `cuts` of all `pairs` need. `pairs` packs, without sharing, the source and the base query of each pair one
    /// after the other; all have the same number of rows.
    pub(super) fn new(pairs: &Rows, cuts: &[Cut], config: &ModelConfig, iterations: usize) -> Self {
        let model = Loop {
            iterations,
            layers: config.layers,
            injection: config.injection,
        };
        let mut batch = Self {
            ancestry: Arc::default(),
            branches: Arc::default(),
            of_pairs: Vec::new(),
            readout: Vec::new(),
            chunk_ends: Vec::new(),
            outcomes: Outcomes {
                plain: Vec::new(),
                patched: Vec::new(),
            },
            grafts: Grafts {
                layers: config.layers,
                grafts: Vec::new(),
            },
        };
        let (mut ancestry, mut branches) = (Ancestry::default(), Branches::default());
        let mut chunk = Chunk {
            model,
            pairs,
            drafts: Vec::new(),
        };
        // The drafts whose readouts are the outcomes of the chunk's pairs: source, base, then one a cut.
        let mut outcomes: Vec<Vec<usize>> = Vec::new();
        let count = pairs.queries() / 2;
        for pair in 0..count {
            let [source, base] = [2 * pair, 2 * pair + 1].map(|query| chunk.chain(query));
            let token = |draft: &usize| pairs.tokens[chunk.drafts[*draft].of_pairs as usize];
            let same = source
                .iter()
                .zip(&base)
                .take_while(|(a, b)| token(a) == token(b))
                .count();
            let last = base.len() - 1;
            let of_cuts: Vec<usize> = cuts
                .iter()
                .map(|&cut| chunk.branch(cut, &source, &base, same))
                .collect();
            outcomes.push([source[last], base[last]].into_iter().chain(of_cuts).collect());
            if pair + 1 == count || chunk.drafts.len() >= MIN_CHUNK_ROWS {
                batch.close(&mut chunk.drafts, &mut outcomes, &mut ancestry, &mut branches);
            }
        }
        batch.ancestry = Arc::new(ancestry);
        batch.branches = Arc::new(branches);
        batch
    }

    // Gives the drafts of a chunk their rows, in the order in which they start.
    fn close(
        &mut self,
        drafts: &mut Vec<Draft>,
        outcomes: &mut Vec<Vec<usize>>,
        ancestry: &mut Ancestry,
        branches: &mut Branches,
    ) {
        let mut order: Vec<usize> = (0..drafts.len()).collect();
        order.sort_by_key(|&draft| drafts[draft].start);
        let mut row_of = vec![0_u32; drafts.len()];
        for &draft in &order {
            let Draft {
                start,
                ancestors,
                is_key,
                of_pairs,
                source,
                graft,
            } = &drafts[draft];
            let row = ancestry.len() as u32;
            row_of[draft] = row;
            let keys = ancestors.iter().map(|&ancestor| row_of[ancestor]);
            ancestry.push_list(keys.chain(is_key.then_some(row)));
            branches.starts.push(*start);
            branches.sources.push(row_of[*source]);
            self.of_pairs.push(*of_pairs);
            if let Some((from, site)) = graft {
                self.grafts.grafts.push(Graft {
                    site: *site,
                    from: row_of[*from],
                    to: row,
                });
            }
        }
        for of_pair in outcomes.drain(..) {
            let mut readout = |draft: usize| {
                self.readout.push(row_of[draft]);
                self.readout.len() - 1
            };
            let [source, base] = [of_pair[0], of_pair[1]].map(&mut readout);
            self.outcomes.plain.push([source, base]);
            let of_cut = |&draft: &usize| match draft {
                draft if draft == of_pair[0] => source,
                draft if draft == of_pair[1] => base,
                draft => readout(draft),
            };
            self.outcomes.patched.push(of_pair[2..].iter().map(of_cut).collect());
        }
        drafts.clear();
        self.chunk_ends.push(ancestry.len());
    }
}

// Rows from which on a chunk is closed: enough for GEMM at full speed.
const MIN_CHUNK_ROWS: usize = 256;

// A state of one row that takes the place of another's inside a layer.
struct Graft {
    site: Site,
    from: u32,
    to: u32,
}

/// The states that are put in inside a layer, which both rows run through.
pub(super) struct Grafts {
    layers: usize,
    grafts: Vec<Graft>,
}

impl Grafts {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.grafts.is_empty()
    }

    fn of(&self, tap: Tap, effective_layer: usize) -> impl Iterator<Item = &Graft> {
        let site = site_of(tap, effective_layer, self.layers);
        self.grafts.iter().filter(move |graft| graft.site == site)
    }
}

impl Taps for Grafts {
    fn wants(&self, tap: Tap, effective_layer: usize) -> bool {
        self.of(tap, effective_layer).next().is_some()
    }

    fn visit(&self, tap: Tap, effective_layer: usize, rows: TapRows, state: &mut [f32]) {
        let width = state.len() / rows.len().max(1);
        for graft in self.of(tap, effective_layer) {
            if let Some((from, to)) = rows.position(graft.from).zip(rows.position(graft.to)) {
                state.copy_within(from * width..(from + 1) * width, to * width);
            }
        }
    }
}
