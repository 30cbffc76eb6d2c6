//! Where hooks look into the loop.

use std::ops::Range;

use super::super::attention::Geometry;
use crate::model::hooks::{Point, Site};

/// What records or replaces states while the loop runs; pieces of a batch come by in any order, from any thread.
pub(in super::super::super) trait Taps: Sync {
    /// Whether `site` is to be visited.
    fn wants(&self, site: Site) -> bool;

    /// The state of these rows of the batch at `site`, `[rows, …]`; the loop goes on with what is left in it.
    fn visit(&self, site: Site, rows: Range<usize>, state: &mut [f32]);
}

/// The taps as one piece of a batch meets them at one layer of one iteration.
#[derive(Clone)]
pub(super) struct Visitor<'a> {
    pub(super) taps: Option<&'a dyn Taps>,
    pub(super) iteration: usize,
    pub(super) layer: usize,
    pub(super) rows: Range<usize>,
}

impl Visitor<'_> {
    pub(super) fn wants(&self, point: Point) -> bool {
        self.taps
            .is_some_and(|taps| taps.wants(Site::new(point, self.iteration, self.layer)))
    }

    pub(super) fn visit(&self, point: Point, state: &mut [f32]) {
        if let Some(taps) = self.taps
            && self.wants(point)
        {
            taps.visit(Site::new(point, self.iteration, self.layer), self.rows.clone(), state);
        }
    }

    /// Visits the pattern as `[rows, heads, most ancestors of the batch]`, short lists filled up with zeros.
    pub(super) fn visit_pattern(&self, of: Geometry, pattern: &mut [f32]) {
        if !self.wants(Point::AttnPattern) {
            return;
        }
        let most = of.ancestry.most();
        let mut table = vec![0.0; of.queries.len() * of.heads * most];
        let entry = |query: usize, i: usize, count: usize| (query * of.heads + i / count) * most + i % count;
        of.each_pattern(pattern, |query, pattern, count| {
            for (i, &p) in pattern.iter().enumerate() {
                table[entry(query, i, count)] = p;
            }
        });
        self.visit(Point::AttnPattern, &mut table);
        of.each_pattern(pattern, |query, pattern, count| {
            for (i, p) in pattern.iter_mut().enumerate() {
                *p = table[entry(query, i, count)];
            }
        });
    }
}
