//! A batch of branches by the CPU kernels.

use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::Model;
use crate::error::Result;
use crate::kernels::DistinctEmbeddings;
use crate::kernels::stack::{Plan, Stack, TapRows};
use crate::model::branches::{BranchBatch, BranchTaps};
use crate::model::config::Positions;
use crate::model::rows::Rows;
use crate::model::site::Site;

impl Model {
    /// The logits of the distinct readout rows of a batch of branches of `queries`, `[readout rows, vocab]`, and the row of them
    /// that has the outcome of each run.
    pub(super) fn run_branches(
        &self,
        queries: &Rows,
        batch: BranchBatch,
        taps: &BranchTaps,
        iterations: usize,
    ) -> Result<(Tensor, Vec<u32>)> {
        let (x, distinct) = self.embed_branches(queries, &batch, taps)?;
        let BranchBatch {
            ancestry,
            branches,
            mut readout,
            chunk_ends,
            ..
        } = batch;
        let plan = Arc::new(Plan::of_chunks(Arc::new(ancestry), &readout, &chunk_ends));
        let readouts_only = !taps.records_last_layer();
        let recurrence = self.recurrence(Stack {
            iterations,
            readouts_only,
            injection: self.config.injection,
            distinct,
            branches: Some(Arc::new(branches)),
            ..self.stack(plan.clone())
        });
        let mut states = recurrence.run(&x, &self.block, (!taps.is_empty()).then_some(taps as _))?;
        if !readouts_only {
            readout.sort_unstable();
            readout.dedup();
            states = states.index_select(&self.indices(&readout)?, 0)?;
        }
        Ok((self.unembed(&states)?, plan.readout.clone()))
    }

    // The states before the loop: of the distinct embeddings, or, where rows with the same one may differ, of each row.
    fn embed_branches(
        &self,
        queries: &Rows,
        batch: &BranchBatch,
        taps: &BranchTaps,
    ) -> Result<(Tensor, Option<Arc<DistinctEmbeddings>>)> {
        let of = |all: &[u32]| -> Vec<u32> { batch.of_rows.iter().map(|&row| all[row as usize]).collect() };
        let (tokens, positions) = (of(&queries.tokens), of(&queries.positions));
        if taps.visits_entry() {
            let x = self.embed_tokens(&tokens, &positions)?;
            let mut numbers: Vec<f32> = x.flatten_all()?.to_vec1()?;
            let rows: Vec<u32> = (0..tokens.len() as u32).collect();
            taps.visit_site(Site::embed(), TapRows::new(&rows), &mut numbers);
            return Ok((Tensor::from_vec(numbers, x.shape(), &Device::Cpu)?, None));
        }
        let by_position = self.config.positions != Positions::None;
        let keys = tokens
            .iter()
            .zip(&positions)
            .map(|(&token, &position)| (token, if by_position { position } else { 0 }));
        let distinct = DistinctEmbeddings::new(keys);
        let first = |all: &[u32]| -> Vec<u32> { distinct.first_rows.iter().map(|&row| all[row as usize]).collect() };
        let x = self.embed_tokens(&first(&tokens), &first(&positions))?;
        Ok((x, Some(Arc::new(distinct))))
    }
}
