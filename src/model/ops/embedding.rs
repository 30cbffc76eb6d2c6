//! The token embedding as candle ops: a lookup of rows, and the output matrix.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};

use super::gradients::GradientBuffers;
use super::{gradient_of, slice, with_numbers};
use crate::kernels::gemm::Matrix;
use crate::kernels::matmul::accumulate_in_parallel;
use crate::kernels::{self, Backend};

/// Rows of a table; table `[n, d]` → `[indices, d]`.
pub(crate) struct Embed {
    pub(crate) indices: Vec<u32>,
    pub(crate) gradients: GradientBuffers,
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
                    kernels::add(&mut sums[index as usize * d..][..d], gradient);
                }
                Ok(())
            })
        })
    }
}

/// x · Wᵀ; x `[rows, d]`, W `[vocab, d]` → logits `[rows, vocab]`.
pub(crate) struct Unembed {
    pub(crate) backend: Backend,
    pub(crate) gradients: GradientBuffers,
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
            candle_core::bail!("states of width {d} do not fit an output matrix of {columns} columns");
        }
        let (x, weight) = (slice(x, x_layout)?, slice(weight, weight_layout)?);
        let mut logits = vec![0.0; rows * vocab];
        let weight = Matrix::new(weight, d).transposed();
        accumulate_in_parallel(self.backend, &mut logits, Matrix::new(x, d), weight);
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
                accumulate_in_parallel(self.backend, &mut of_x, gradient, Matrix::new(weight, d));
                Ok(())
            })?;
            let of_weight = with_numbers(x, |x| {
                self.gradients.add(weight, |sums| {
                    accumulate_in_parallel(self.backend, sums, gradient.transposed(), Matrix::new(x, d));
                    Ok(())
                })
            })?;
            Ok((gradient_of(x, of_x)?, of_weight))
        })
    }
}
