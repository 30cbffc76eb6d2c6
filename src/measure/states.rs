//! The states of queries at some sites, as interventions put them elsewhere.

use std::collections::BTreeSet;

use candle_core::Tensor;

use super::rows_of;
use crate::error::Result;
use crate::model::{Hooks, Model, Pass, Point, Rows, Sharing, Site};

/// What one pass recorded: the states of all its queries at some sites, at every column.
pub(super) struct States {
    rows: Rows,
    hooks: Hooks,
    /// The logits of the queries, `[queries, vocab]`.
    pub(super) logits: Tensor,
}

impl States {
    /// Records `sites`.
    pub(super) fn of<'a>(
        model: &Model,
        queries: impl IntoIterator<Item = &'a [u32]>,
        sites: &BTreeSet<Site>,
        iterations: usize,
    ) -> Result<Self> {
        let rows = model.pack(queries, Sharing::Prefixes)?;
        let mut pass = Pass {
            hooks: sites.iter().copied().fold(Hooks::none(), Hooks::record),
            ..Pass::default()
        };
        let logits = model.forward(&rows, iterations, &mut pass)?;
        Ok(Self {
            rows,
            hooks: pass.hooks,
            logits,
        })
    }

    /// Of each query.
    pub(super) fn columns(&self) -> usize {
        self.rows.of_query(0).len()
    }

    /// The states as an edit sets them: of `head` (from 0) or whole, a pattern without what pads it.
    pub(super) fn states(&self, site: Site, column: usize, head: Option<usize>) -> Result<Vec<Vec<f32>>> {
        slices(&self.rows, &self.hooks.recorded(site)?, site.point(), column, head)
    }
}

/// What was recorded of each query at a column, as an edit sets it: of `head` (from 0) or whole, a pattern without what pads it.
pub(super) fn slices(
    rows: &Rows,
    recorded: &Tensor,
    point: Point,
    column: usize,
    head: Option<usize>,
) -> Result<Vec<Vec<f32>>> {
    let at: Vec<u32> = (0..rows.queries()).map(|query| rows.of_query(query)[column]).collect();
    let ancestors = at.first().map_or(0, |&row| rows.ancestors(row as usize).len());
    let states = recorded.index_select(&Tensor::new(at, recorded.device())?, 0)?;
    if !point.has_heads() {
        return rows_of(&states);
    }
    // [queries, heads, width]
    let width = match point {
        Point::AttnPattern => ancestors,
        _ => states.dim(2)?,
    };
    let states = states.narrow(2, 0, width)?;
    match head {
        None => rows_of(&states.flatten_from(1)?),
        Some(head) => rows_of(&states.narrow(1, head, 1)?.squeeze(1)?),
    }
}
