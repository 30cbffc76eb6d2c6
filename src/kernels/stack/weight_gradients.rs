//! The gradients of a layer's weight matrices: GEMMs over all rows of a batch, in panels that threads share.

use super::super::gemm::{Gemm, Matrix};
use super::super::parameters::{LAYER, Module, Parameters};

/// Rows of the gradient of one of a layer's weight matrices.
pub(super) struct Panel<'a> {
    /// The index of its linear map among those of the layer.
    pub(super) index: usize,
    linear: Module,
    first_row: usize,
    gradient: &'a mut [f32],
}

/// The operands of a linear map's weight gradient, xᵀ · dL/dy: its inputs and the gradients of its outputs.
pub(super) type Operands<'a> = (&'a [f32], &'a [f32]);

// From this width on, a panel has at most 2 d² numbers, so that there are enough panels for many threads. Below, it has
// at most 2 d rows: cutting a matrix packs its other operand twice, which costs more where that is wide.
const WIDE: usize = 256;

/// Cuts a layer's weight gradients into panels, those with the most work first.
pub(super) fn panels(gradients: Parameters<&mut [f32]>, d: usize) -> Vec<Panel<'_>> {
    let linear_maps = LAYER.into_linear_maps().into_iter().zip(gradients.into_linear_maps());
    let mut panels = Vec::new();
    for (index, (linear, gradients)) in linear_maps.enumerate() {
        let columns = linear.outputs(d);
        let rows = if d >= WIDE {
            (2 * d * d).div_ceil(columns)
        } else {
            2 * d
        };
        for (i, gradient) in gradients.weight.chunks_mut(rows * columns).enumerate() {
            panels.push(Panel {
                index,
                linear,
                first_row: i * rows,
                gradient,
            });
        }
    }
    panels.sort_by_key(|panel| std::cmp::Reverse(panel.gradient.len()));
    panels
}

impl Panel<'_> {
    /// Whether its matrix projects to QKV.
    pub(super) fn is_of_c_attn(&self) -> bool {
        self.index == 0
    }

    /// Adds the sum of xᵀ · dL/dy over `operands` of its linear map.
    pub(super) fn add<'a>(&mut self, gemm: Gemm, d: usize, operands: impl Iterator<Item = Operands<'a>>) {
        let (inputs, outputs) = (self.linear.inputs(d), self.linear.outputs(d));
        let rows = self.gradient.len() / outputs;
        let products: Vec<_> = operands
            .map(|(x, dy)| {
                let x = Matrix::new(x, inputs).transposed().rows(self.first_row, rows);
                (x, Matrix::new(dy, outputs))
            })
            .collect();
        gemm.accumulate(self.gradient, &products);
    }
}
