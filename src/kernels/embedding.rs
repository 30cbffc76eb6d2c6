//! The token embedding at both ends of the model: rows of it go in, and logits are products with it.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};

use super::backend::Backend;
use super::gemm::{Matrix, spread_product};
use super::gradients::Gradients;
use super::{like, slice, with_numbers};

/// Rows of a table; table `[n, d]` → `[indices, d]`.
pub(in super::super) struct Embed {
    pub(in super::super) indices: Vec<u32>,
    pub(in super::super) gradients: Gradients,
}

impl CustomOp1 for Embed {
    fn name(&self) -> &'static str {
        "embed"
    }

    fn cpu_fwd(&self, table: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n, d) = layout.shape().dims2()?;
        let table = slice(table, layout)?;
        let mut out = Vec::with_capacity(self.indices.len() * d);
        for &index in &self.indices {
            if index as usize >= n {
                candle_core::bail!("row {index} of a table of {n}");
            }
            out.extend_from_slice(&table[index as usize * d..][..d]);
        }
        Ok((CpuStorage::F32(out), (self.indices.len(), d).into()))
    }

    fn bwd(&self, table: &Tensor, _rows: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let d = table.dims2()?.1;
        with_numbers(gradient, |gradient| {
            self.gradients.add(table, |sums| {
                for (gradient, &index) in gradient.chunks_exact(d).zip(&self.indices) {
                    super::add(&mut sums[index as usize * d..][..d], gradient);
                }
                Ok(())
            })
        })
    }
}

/// x · Wᵀ; x `[rows, d]`, W `[vocab, d]` → logits `[rows, vocab]`.
pub(in super::super) struct Unembed {
    pub(in super::super) backend: Backend,
    pub(in super::super) gradients: Gradients,
}

impl CustomOp2 for Unembed {
    fn name(&self) -> &'static str {
        "unembed"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let ((rows, d), (vocab, columns)) = (x_layout.shape().dims2()?, weight_layout.shape().dims2()?);
        if d != columns {
            candle_core::bail!("states of {d} numbers meet an output matrix of {columns} columns");
        }
        let (x, weight) = (slice(x, x_layout)?, slice(weight, weight_layout)?);
        let mut logits = vec![0.0; rows * vocab];
        let weight = Matrix::new(weight, d).transposed();
        spread_product(self.backend, &mut logits, Matrix::new(x, d), weight);
        Ok((CpuStorage::F32(logits), (rows, vocab).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _logits: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (vocab, d) = weight.dims2()?;
        with_numbers(gradient, |gradient| {
            let gradient = Matrix::new(gradient, vocab);
            let mut of_x = vec![0.0; x.elem_count()];
            with_numbers(weight, |weight| {
                spread_product(self.backend, &mut of_x, gradient, Matrix::new(weight, d));
                Ok(())
            })?;
            let of_weight = with_numbers(x, |x| {
                self.gradients.add(weight, |sums| {
                    spread_product(self.backend, sums, gradient.transposed(), Matrix::new(x, d));
                    Ok(())
                })
            })?;
            Ok((like(x, of_x)?, of_weight))
        })
    }
}
