//! The gradients of a layer's matrices: products over all rows of a batch, in panels that threads may share out.

use super::super::gemm::{Gemm, Matrix, add_products};
use super::layer::{Layer, Scratch};
use super::sources::Origin;

/// Some rows of one of a layer's matrices.
pub(super) struct Panel<'a> {
    matrix: usize,
    from: usize,
    gradient: &'a mut [f32],
}

// From this width on, panels are 2 d² numbers, so that many threads find work; below, cutting one in two costs more
// where its other operand is wide, because that is prepared twice.
const WIDE: usize = 256;

/// Cuts a layer's gradients into panels; those with most work come first.
pub(super) fn panels(layer: Layer<&mut [f32]>, d: usize) -> Vec<Panel<'_>> {
    let cut = |narrow: usize, wide: usize| if d >= WIDE { wide } else { narrow };
    let matrices = [
        (layer.c_attn, 3 * d, cut(d, (2 * d).div_ceil(3))),
        (layer.attn_proj, d, d),
        (layer.c_fc, 4 * d, cut(d, d.div_ceil(2))),
        (layer.mlp_proj, d, 2 * d),
    ];
    let mut panels = Vec::new();
    for (matrix, ([gradient, _], columns, rows)) in matrices.into_iter().enumerate() {
        for (i, gradient) in gradient.chunks_mut(rows * columns).enumerate() {
            panels.push(Panel {
                matrix,
                from: i * rows,
                gradient,
            });
        }
    }
    panels.sort_by_key(|panel| std::cmp::Reverse(panel.gradient.len()));
    panels
}

impl Panel<'_> {
    /// Whether it is the matrix that the first layer applies to the distinct embeddings.
    pub(super) fn reads_origin(&self) -> bool {
        self.matrix == 0
    }

    /// Adds what the rows of some pieces give, from their z and what their backward pass has left, with dL/dy in the place of
    /// dL/dx.
    pub(super) fn add<'a>(&mut self, gemm: Gemm, pieces: impl Iterator<Item = (&'a [f32], &'a Scratch)>, d: usize) {
        let matrix = self.matrix;
        let operands = |(z, scratch): (&'a [f32], &'a Scratch)| match matrix {
            0 => (&*scratch.normed_1, &*scratch.d_qkv),
            1 => (z, &*scratch.d_mid),
            2 => (&*scratch.normed_2, &*scratch.d_hidden),
            _ => (&*scratch.post, &*scratch.d_x),
        };
        let [x_columns, columns] = [[d, 3 * d], [d, d], [d, 4 * d], [4 * d, d]][matrix];
        self.add_products(gemm, pieces.map(operands), x_columns, columns);
    }

    /// Adds what the distinct embeddings give, after theirs.
    pub(super) fn add_origin(&mut self, gemm: Gemm, origin: &Origin, d: usize) {
        self.add_products(gemm, std::iter::once((&*origin.normed, &*origin.d_qkv)), d, 3 * d);
    }

    // Some rows of the xᵀ · dy.
    fn add_products<'a>(
        &mut self,
        gemm: Gemm,
        operands: impl Iterator<Item = (&'a [f32], &'a [f32])>,
        x_columns: usize,
        columns: usize,
    ) {
        let (from, count) = (self.from, self.gradient.len() / columns);
        let products: Vec<_> = operands
            .map(|(x, dy)| {
                let x = Matrix::new(x, x_columns).transposed().rows(from, count);
                (x, Matrix::new(dy, columns))
            })
            .collect();
        add_products(gemm, self.gradient, &products);
    }
}
