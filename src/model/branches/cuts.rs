//! The branches of interchange interventions: each has the state of a source query at one place.
//!
//! What is known without computing has no rows: where the source's state equals the base's, the outcome is that of the base; a
//! column that depends on no other column in which the two differ continues as the source's does.

use super::taps::BranchTaps;
use super::{BranchBatch, Drafts, Loop};
use crate::model::rows::Rows;
use crate::model::site::{Point, Site};
use crate::model::write::Written;

/// A place in a run: the state of one row at one site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Any point of a layer, or the embedding.
    pub site: Site,
    /// The index of the row in its chain, the head at 0.
    pub column: usize,
}

// Rows from which on a chunk is closed: enough for GEMM at full speed.
const MIN_CHUNK_ROWS: usize = 256;

struct Chunk<'a> {
    model: Loop,
    drafts: Drafts<'a>,
    // The drafts of states that are put in inside a layer, which both rows run through: from, to.
    grafts: Vec<(Site, usize, usize)>,
    // The drafts at which outcomes are read.
    outcomes: Vec<usize>,
}

impl Chunk<'_> {
    fn pair(&mut self, pair: usize, cuts: &[Cut]) {
        let [source, base] = [2 * pair, 2 * pair + 1].map(|query| self.drafts.chain(query));
        let Drafts { rows, all } = &self.drafts;
        let token = |draft: &usize| rows.tokens[all[*draft].of_row as usize];
        let same = source
            .iter()
            .zip(&base)
            .take_while(|(a, b)| token(a) == token(b))
            .count();
        let last = base.len() - 1;
        self.outcomes.extend([source[last], base[last]]);
        for &cut in cuts {
            let outcome = self.branch(cut, &source, &base, same);
            self.outcomes.push(outcome);
        }
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
        // Whether the column continues as in the source run: it sees no other difference, and where embeddings are added anew
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
            // A state before the first layer is the embedding; later ones are copied, whatever the row began with.
            let embedding = if matches!(cut.site.point(), Point::Embed | Point::ResidPre) {
                source[cut.column]
            } else {
                base[cut.column]
            };
            let draft = self.drafts.copy(row, start, chain.clone());
            self.drafts.all[draft].of_row = self.drafts.all[embedding].of_row;
            if is_inside {
                self.grafts.push((cut.site, source[cut.column], draft));
            }
            chain.push(draft);
        }
        if seen < layers {
            for &row in &base[cut.column + 1..] {
                chain.push(self.drafts.copy(row, seen, chain.clone()));
            }
        }
        // The answer is read at the last column, whose row the branch has: the cut was at it, or is seen there.
        chain.last().copied().unwrap_or(base[last])
    }

    fn close(self, batch: &mut BranchBatch, taps: &mut BranchTaps) {
        let row_of = batch.close(&self.drafts.all);
        batch.readout.extend(self.outcomes.iter().map(|&draft| row_of[draft]));
        for (site, from, to) in self.grafts {
            // Both rows have as many ancestors, so that the whole state is copied.
            taps.writes
                .push(site, row_of[to], None, 0, Written::OfRow(row_of[from]));
        }
    }
}

// Whether a state at this point is one of a row inside a layer, which other columns do not see before the next layer.
fn is_inside(point: Point) -> bool {
    !matches!(point, Point::Embed | Point::ResidPre | Point::ResidPost)
}

/// The rows that `cuts` of all `pairs` need, and the states that are put in inside layers. Outcomes are, for each pair, those of the
/// source, of the base, and of each cut. `pairs` packs, without sharing, the source and the base query of each pair one after the
/// other; all have the same number of rows.
pub(crate) fn cut_batch(pairs: &Rows, cuts: &[Cut], model: Loop) -> (BranchBatch, BranchTaps<'static>) {
    let mut batch = BranchBatch::default();
    let mut taps = BranchTaps::none(model);
    let chunk = || Chunk {
        model,
        drafts: Drafts::new(pairs),
        grafts: Vec::new(),
        outcomes: Vec::new(),
    };
    let mut open = chunk();
    let count = pairs.queries() / 2;
    for pair in 0..count {
        open.pair(pair, cuts);
        if pair + 1 == count || open.drafts.all.len() >= MIN_CHUNK_ROWS {
            std::mem::replace(&mut open, chunk()).close(&mut batch, &mut taps);
        }
    }
    (batch, taps.sorted())
}
