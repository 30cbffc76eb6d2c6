//! The states of queries at some sites, as interventions put them elsewhere.

use std::collections::BTreeSet;

use candle_core::Tensor;

use super::rows_of;
use crate::error::Result;
use crate::model::{Hooks, Model, Pass, Rows, Sharing, Site};

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

    /// The state of every query at a site and column, `[queries, …]` as the point is shaped.
    pub(super) fn at(&self, site: Site, column: usize) -> Result<Tensor> {
        let rows = (0..self.rows.queries()).map(|query| self.rows.of_query(query)[column]);
        let state = self.hooks.recorded(site)?;
        let rows = Tensor::new(rows.collect::<Vec<u32>>(), state.device())?;
        Ok(state.index_select(&rows, 0)?)
    }

    /// [`States::at`] as numbers, the heads of a state side by side.
    pub(super) fn numbers(&self, site: Site, column: usize) -> Result<Vec<Vec<f32>>> {
        rows_of(&self.at(site, column)?.flatten_from(1)?)
    }
}
