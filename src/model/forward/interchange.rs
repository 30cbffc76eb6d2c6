//! Interchange interventions: the state of a source query at one site and column in the place of a base query's, for many
//! sites at once (Geiger et al. 2021; "activation patching", Meng et al. 2022).

use candle_core::Tensor;

use super::Model;
use crate::error::{Error, Result};
use crate::model::branches::{Cut, Loop, cut_batch};
use crate::model::budget::Budget;
use crate::model::hooks::Hooks;
use crate::model::rows::Sharing;
use crate::model::site::{Point, Site};

/// The logits of all runs of a sweep, `[pairs, vocab]` each.
pub struct Interchanged {
    /// The source queries as they are.
    pub source: Tensor,
    /// The base queries as they are.
    pub base: Tensor,
    /// The base queries with the source's state, for each cut.
    pub patched: Vec<Tensor>,
    /// Rows that were computed, times the effective layers of each.
    pub row_layers: u64,
}

impl Model {
    /// The logits of pairs of queries (source, base), and of each base with the state of its source at each of `cuts`,
    /// after the iterations of `budget` (or a number of iterations). Both queries of all pairs have the same length.
    ///
    /// The CPU kernels compute a sweep as one batch in which a cut costs only what it changes: the effective layers from it on,
    /// at the columns from it on.
    ///
    /// # Errors
    /// When queries differ in length or do not fit the model, a cut is at no layer of the loop, or the device fails.
    pub fn interchange(&self, pairs: &[[&[u32]; 2]], cuts: &[Cut], budget: impl Into<Budget>) -> Result<Interchanged> {
        let budget = budget.into();
        let iterations = budget.iterations;
        let length = pairs.first().map_or(0, |[source, _]| source.len());
        if pairs.iter().flatten().any(|tokens| tokens.len() != length) || length == 0 {
            return Err(Error::input("an interchange needs pairs of queries of one length"));
        }
        for Cut { site, .. } in cuts {
            self.check_state(*site, iterations)?;
        }
        // Where the embedding is injected, a state before a layer holds it already: only hooks put in exactly that.
        let is_plain = |cut: &Cut| cut.site.point() != Point::ResidPre || !self.config.injection;
        if !self.is_fused || !cuts.iter().all(is_plain) {
            return self.interchange_by_hooks(pairs, cuts, iterations);
        }
        // At most: a branch has a row for each column, and a row about 24 numbers of d_model in buffers.
        let bytes_of_pair = (length + 1) * (cuts.len() + 2) * self.config.d_model * 24 * size_of::<f32>();
        let pairs_at_once = budget.at_once(bytes_of_pair).min(4096);
        let mut parts = Vec::new();
        for pairs in pairs.chunks(pairs_at_once) {
            parts.push(self.interchange_fused(pairs, cuts, iterations)?);
        }
        Interchanged::joined(&parts)
    }

    // One batch by the kernels.
    fn interchange_fused(&self, pairs: &[[&[u32]; 2]], cuts: &[Cut], iterations: usize) -> Result<Interchanged> {
        let rows = self.pack(pairs.iter().flatten().copied(), Sharing::Nothing)?;
        let model = Loop::new(&self.config, iterations);
        let (batch, taps) = cut_batch(&rows, cuts, model);
        let row_layers = batch.row_layers(model.effective_layers());
        let (logits, outcomes) = self.run_branches(&rows, batch, &taps, iterations)?;
        // The outcome of each pair: of the source, of the base, and of each cut.
        let select = |of: usize| -> Result<Tensor> {
            let rows: Vec<u32> = outcomes.iter().skip(of).step_by(cuts.len() + 2).copied().collect();
            Ok(logits.index_select(&self.indices(&rows)?, 0)?)
        };
        Ok(Interchanged {
            source: select(0)?,
            base: select(1)?,
            patched: (2..cuts.len() + 2).map(select).collect::<Result<_>>()?,
            row_layers,
        })
    }

    // A whole pass for every cut: on devices and for models without the kernels, and what tests hold these to.
    fn interchange_by_hooks(&self, pairs: &[[&[u32]; 2]], cuts: &[Cut], iterations: usize) -> Result<Interchanged> {
        let pack = |side: usize| self.pack(pairs.iter().map(|pair| pair[side]), Sharing::Nothing);
        let run = |rows, hooks| self.run_hooked(rows, iterations, hooks);
        let (source_rows, base_rows) = (pack(0)?, pack(1)?);
        let mut sites: Vec<Site> = cuts.iter().map(|cut| cut.site).collect();
        sites.sort_unstable();
        sites.dedup();
        let (source, recorded) = run(&source_rows, sites.into_iter().fold(Hooks::none(), Hooks::record))?;
        let patched = cuts.iter().map(|cut| {
            let rows: Vec<u32> = (0..pairs.len())
                .map(|pair| base_rows.of_query(pair)[cut.column])
                .collect();
            let state = recorded.recorded(cut.site)?;
            let values = state.index_select(&Tensor::new(rows.as_slice(), state.device())?, 0)?;
            Ok(run(&base_rows, Hooks::none().replace(cut.site, rows, values))?.0)
        });
        Ok(Interchanged {
            patched: patched.collect::<Result<_>>()?,
            base: run(&base_rows, Hooks::none())?.0,
            source,
            row_layers: (base_rows.len() * (cuts.len() + 2) * iterations * self.config.layers) as u64,
        })
    }
}

impl Interchanged {
    // The pairs of several batches, one after the other.
    fn joined(parts: &[Self]) -> Result<Self> {
        let all = |of: &dyn Fn(&Self) -> Tensor| Tensor::cat(&parts.iter().map(of).collect::<Vec<_>>(), 0);
        let cuts = parts.first().map_or(0, |part| part.patched.len());
        Ok(Self {
            source: all(&|part| part.source.clone())?,
            base: all(&|part| part.base.clone())?,
            patched: (0..cuts)
                .map(|cut| Ok(all(&|part| part.patched[cut].clone())?))
                .collect::<Result<_>>()?,
            row_layers: parts.iter().map(|part| part.row_layers).sum(),
        })
    }
}
