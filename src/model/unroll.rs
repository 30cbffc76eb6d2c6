//! The loop one iteration at a time, from which queries leave when they have halted.

use candle_core::Tensor;

use super::forward::{LoopPlan, Model};
use super::rows::{Rows, Sharing};
use crate::error::Result;

/// A batch between two iterations.
pub struct Unrolled<'a> {
    model: &'a Model,
    queries: Vec<&'a [u32]>,
    rows: Rows,
    plan: LoopPlan,
    readout: Tensor,  // [queries]
    embedded: Tensor, // [rows, d_model]
    state: Tensor,    // [rows, d_model]
    iterations: usize,
}

impl Model {
    /// A batch of these queries before its first iteration; queries share the rows of their common prefixes.
    ///
    /// # Errors
    /// When a query does not fit the model, or the device fails.
    pub fn unroll<'a>(&'a self, queries: Vec<&'a [u32]>) -> Result<Unrolled<'a>> {
        let rows = self.pack(queries.iter().copied(), Sharing::Prefixes)?;
        let embedded = self.embed(&rows)?.detach();
        Ok(Unrolled {
            model: self,
            queries,
            state: embedded.clone(),
            embedded,
            plan: self.loop_plan(&rows)?,
            readout: self.indices(&rows.readout)?,
            rows,
            iterations: 0,
        })
    }
}

impl Unrolled<'_> {
    /// Runs one more iteration and gives the residual stream after it at the readout rows, `[queries, d_model]`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn iterate(&mut self) -> Result<Tensor> {
        let mut x = self.state.clone();
        if self.iterations > 0 && self.model.config().injection {
            x = (x + &self.embedded)?;
        }
        self.state = self.model.iterate(x, &self.plan)?.detach();
        self.iterations += 1;
        Ok(self.state.index_select(&self.readout, 0)?)
    }

    /// The number of rows that the next iteration runs.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Keeps only these queries (increasing indices in the present batch); the rows that they do not need leave.
    ///
    /// # Errors
    /// When the device fails.
    pub fn keep(&mut self, queries: &[usize]) -> Result<()> {
        let kept: Vec<&[u32]> = queries.iter().map(|&query| self.queries[query]).collect();
        let rows = self.model.pack(kept.iter().copied(), Sharing::Prefixes)?;
        let mut from = vec![0; rows.len()];
        for (new, &old) in queries.iter().enumerate() {
            for (&to, &row) in rows.of_query(new).iter().zip(self.rows.of_query(old)) {
                from[to as usize] = row;
            }
        }
        let from = self.model.indices(&from)?;
        self.state = self.state.index_select(&from, 0)?;
        self.embedded = self.embedded.index_select(&from, 0)?;
        self.queries = kept;
        self.plan = self.model.loop_plan(&rows)?;
        self.readout = self.model.indices(&rows.readout)?;
        self.rows = rows;
        Ok(())
    }
}
