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
    /// ```
    /// # use loopscope::Device;
    /// use loopscope::model::{Hooks, Model, ModelConfig, Point, Sharing, Site, Weights};
    ///
    /// # fn main() -> loopscope::Result<()> {
    /// # let config = ModelConfig::new(1, 4, 32, 2);
    /// # let model = Model::new(config.clone(), 10, &Weights::init(&config, 10, 1, &Device::Cpu)?)?;
    /// let rows = model.pack([&[1, 5, 6][..], &[2, 5, 6]], Sharing::Nothing)?;
    /// let site = Site::new(Point::Z, 1, 0);
    /// // The logit of token 3, summed over queries.
    /// let (_, hooks) = model.gradients(&rows, 4, Hooks::none().record_with_gradient(site), |logits| {
    ///     Ok(logits.narrow(1, 3, 1)?.sum_all()?)
    /// })?;
    /// // What silencing each head would change, to first order: [rows, heads].
    /// let change = (hooks.recorded(site)? * hooks.gradient(site)?)?.sum(2)?.neg()?;
    /// assert_eq!(change.dims(), [6, 2]);
    /// # Ok(())
    /// # }
    /// ```
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
