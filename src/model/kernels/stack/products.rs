//! The gradients of a layer's matrices: products over all rows of a batch, in panels that threads may share out.

use super::super::gemm::{Matrix, add_product};
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

    /// Adds what the rows of a piece give, after their backward pass from `d_y`.
    pub(super) fn add(&mut self, z: &[f32], scratch: &Scratch, d_y: &[f32], d: usize) {
        match self.matrix {
            0 => self.add_product(&scratch.normed_1, d, &scratch.d_qkv, 3 * d),
            1 => self.add_product(z, d, &scratch.d_mid, d),
            2 => self.add_product(&scratch.normed_2, d, &scratch.d_hidden, 4 * d),
            _ => self.add_product(&scratch.post, 4 * d, d_y, d),
        }
    }

    /// Adds what the distinct embeddings give, after theirs.
    pub(super) fn add_origin(&mut self, origin: &Origin, d: usize) {
        self.add_product(&origin.normed, d, &origin.d_qkv, 3 * d);
    }

    // Some rows of xᵀ · dy.
    fn add_product(&mut self, x: &[f32], x_columns: usize, dy: &[f32], columns: usize) {
        let x = Matrix::new(x, x_columns)
            .transposed()
            .rows(self.from, self.gradient.len() / columns);
        add_product(self.gradient, x, Matrix::new(dy, columns));
    }
}
