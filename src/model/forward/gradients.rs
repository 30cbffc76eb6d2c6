//! Gradients with respect to states inside the loop, as first-order attribution of interventions needs them (Nanda 2023,
//! "attribution patching"; Kramár et al. 2024).

use candle_core::Tensor;

use super::{Model, Pass};
use crate::error::Result;
use crate::model::hooks::Hooks;
use crate::model::rows::Rows;

impl Model {
    /// The logits of a pass with `hooks`, `[readouts, vocab]`, and the hooks with the gradients of `loss`, a function of the logits,
    /// at the sites of [`Hooks::record_with_gradient`]. For a sum over queries that share no rows, the gradient at a row is that of
    /// its own query's term.
    ///
    /// The pass runs by candle's operations, several times slower than the CPU kernels.
    ///
    /// # Errors
    /// As [`Model::forward`], when the pass does not reach a site, and those of `loss`.
    pub fn gradients(
        &self,
        rows: &Rows,
        iterations: usize,
        hooks: Hooks,
        loss: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<(Tensor, Hooks)> {
        let mut pass = Pass {
            hooks,
            dropout: None,
            gradients: true,
        };
        let logits = self.forward(rows, iterations, &mut pass)?;
        let store = loss(&logits)?.backward()?;
        pass.hooks.keep_gradients(&store)?;
        Ok((logits.detach(), pass.hooks))
    }
}
