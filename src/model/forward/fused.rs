//! The model by fused CPU kernels: the whole loop is one op, forward and backward.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::{EPSILON, Model, Pass};
use crate::error::Result;
use crate::kernels::stack::{Plan, Stack};
use crate::kernels::{Affine, DistinctEmbeddings};
use crate::model::config::{Activation, ModelConfig};
use crate::model::ops::{self, Embed, LayerNorm, Recurrence, Unembed};
use crate::model::rows::Rows;
use crate::model::site::Site;
use crate::model::taps::HookTaps;

/// Whether the kernels compute a model of this config, precision and device. They are GPT-2's: layer norm before
/// attention and MLP, tanh-GELU, f32, on the CPU.
pub(super) fn supports(config: &ModelConfig, dtype: DType, device: &Device) -> bool {
    // Every key is named, so that a new one does not compile before it is decided here.
    let ModelConfig {
        activation,
        layers: _,
        iterations: _,
        d_model: _,
        heads: _,
        positions: _,
        max_positions: _,
        init: _,
        injection: _,
        embedding_std: _,
        // A pass with dropout runs composed.
        dropout: _,
        tied: _,
        readout: _,
        columns: _,
    } = config;
    let is_gpt_2 = match activation {
        Activation::GeluTanh => true,
        Activation::Relu => false,
    };
    is_gpt_2 && ops::can_take(dtype, device)
}

impl Model {
    /// [`Model::forward`] by the kernels. States at the readout rows after earlier iterations are tapped where hooks
    /// want them.
    pub(super) fn fused_forward(&self, rows: &Rows, iterations: usize, pass: &mut Pass) -> Result<Tensor> {
        let distinct = if pass.hooks.visits_entry() {
            None
        } else {
            self.distinct_embeddings(rows).map(Arc::new)
        };
        let x = match &distinct {
            Some(distinct) => {
                let of =
                    |all: &[u32]| -> Vec<u32> { distinct.first_rows.iter().map(|&row| all[row as usize]).collect() };
                self.embed_tokens(&of(&rows.tokens), &of(&rows.positions))?
            }
            None => pass.hooks.visit(Site::embed(), self.embed(rows)?)?,
        };
        let last = iterations - 1;
        let early: Vec<usize> = (0..last).filter(|&i| pass.hooks.wants_readout(i)).collect();
        let plan = Arc::new(Plan::new(rows.ancestry.clone(), &rows.readout));
        let readouts_only = !pass.hooks.wants_layer(last, self.config.layers - 1);
        let readout = if readouts_only { &plan.readout } else { &rows.readout };
        let readout = self.indices(readout)?;
        let recurrence = self.recurrence(Stack {
            iterations,
            readouts_only,
            injection: self.config.injection,
            distinct,
            ..self.stack(plan.clone())
        });
        let out = if pass.gradients {
            recurrence.differentiable(&x, &self.block)?
        } else if early.is_empty() && !pass.hooks.wants_block() {
            recurrence.run(&x, &self.block, None)?
        } else {
            let taps = HookTaps::new(&pass.hooks, &self.config, rows, iterations, &early)?;
            let out = recurrence.run(&x, &self.block, Some(&taps))?;
            let (recorded, ends) = taps.finish()?;
            pass.hooks.keep(recorded);
            for (iteration, state) in early.into_iter().zip(ends) {
                self.read_out(&state, iteration, pass)?;
            }
            out
        };
        self.read_out(&out.index_select(&readout, 0)?, last, pass)
    }

    /// [`Model::iterate`] by the kernels.
    pub(super) fn fused_iteration(&self, x: &Tensor, plan: &Arc<Plan>) -> Result<Tensor> {
        let recurrence = self.recurrence(self.stack(plan.clone()));
        Ok(recurrence.run(&x.contiguous()?, &self.block, None)?)
    }

    // One iteration over all rows of a batch, without injection and deduplication.
    pub(super) fn stack(&self, plan: Arc<Plan>) -> Stack {
        Stack {
            plan,
            d: self.config.d_model,
            heads: self.config.heads,
            layers: self.config.layers,
            iterations: 1,
            epsilon: EPSILON as f32,
            readouts_only: false,
            injection: false,
            distinct: None,
            branches: None,
            backend: self.backend,
        }
    }

    pub(super) fn recurrence(&self, stack: Stack) -> Recurrence {
        Recurrence {
            stack,
            workspace: self.workspace.clone(),
            gradients: self.gradients.clone(),
        }
    }

    // The distinct embeddings of a batch, where that saves much.
    fn distinct_embeddings(&self, rows: &Rows) -> Option<DistinctEmbeddings> {
        rows.distinct_embeddings(self.config.embeds_positions())
    }

    pub(super) fn fused_norm(&self, Affine { weight, bias }: &Affine<Tensor>, x: &Tensor) -> Result<Tensor> {
        let op = LayerNorm {
            epsilon: EPSILON as f32,
            backend: self.backend,
        };
        Ok(x.contiguous()?.apply_op3(weight, bias, op)?)
    }

    pub(super) fn fused_logits(&self, normed: &Tensor) -> Result<Tensor> {
        let op = Unembed {
            backend: self.backend,
            gradients: self.gradients.clone(),
        };
        Ok(normed.contiguous()?.apply_op2(&self.unembedding, op)?)
    }

    pub(super) fn fused_lookup(&self, table: &Tensor, indices: &[u32]) -> Result<Tensor> {
        let op = Embed {
            indices: indices.to_vec(),
            gradients: self.gradients.clone(),
        };
        Ok(table.apply_op1(op)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::config::tests::tiny;

    #[test]
    fn the_kernels_support_gpt_2_in_f32_on_the_cpu_and_nothing_else() {
        let cpu = &Device::Cpu;
        assert!(supports(&tiny(), DType::F32, cpu));
        assert!(!supports(&tiny(), DType::F64, cpu));
        let relu = ModelConfig {
            activation: Activation::Relu,
            ..tiny()
        };
        assert!(!supports(&relu, DType::F32, cpu));
    }
}
