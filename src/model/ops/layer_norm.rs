//! Layer norm as a candle op.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use super::{gradient_of, slice, with_numbers};
use crate::kernels::{Backend, norm};

/// `weight × (x − mean) / √(variance + ε) + bias` over the last axis; x `[rows, d]`, weight and bias `[d]`.
pub(crate) struct LayerNorm {
    pub(crate) epsilon: f32,
    pub(crate) backend: Backend,
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let x = slice(x, x_layout)?;
        let mut y = vec![0.0; x.len()];
        self.backend.run(norm::Forward {
            x,
            weight: slice(weight, weight_layout)?,
            bias: slice(bias, bias_layout)?,
            y: &mut y,
            epsilon: self.epsilon,
        });
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let d = weight.elem_count();
        let (mut y, mut dw, mut db) = (vec![0.0; x.elem_count()], vec![0.0; d], vec![0.0; d]);
        let mut dx = with_numbers(dy, |dy| Ok(dy.to_vec()))?;
        with_numbers(x, |x| {
            with_numbers(weight, |weight| {
                with_numbers(bias, |bias| {
                    self.backend.run(norm::Backward {
                        x,
                        weight,
                        bias,
                        y: &mut y,
                        dx: &mut dx,
                        dw: &mut dw,
                        db: &mut db,
                        epsilon: self.epsilon,
                    });
                    Ok(())
                })
            })
        })?;
        Ok((gradient_of(x, dx)?, gradient_of(weight, dw)?, gradient_of(bias, db)?))
    }
}
