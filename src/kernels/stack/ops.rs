//! What a layer does to rows that need nothing of each other: norms, affine maps, sums.

use pulp::{Arch, Simd, WithSimd};

use super::super::buffer::Buffer;
use super::super::gemm::{Matrix, Right};
use super::super::norm;
use super::EPSILON;
use super::bank::Matrices;
use super::layer::Layer;

// Every row of `out` becomes the bias, on top of the row of `x` that `rows` names where there is one.
struct Prefill<'a> {
    out: &'a mut [f32],
    bias: &'a [f32],
    onto: Option<(&'a [f32], &'a [u32])>,
}

impl WithSimd for Prefill<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let d = self.bias.len();
        match self.onto {
            None => self
                .out
                .chunks_exact_mut(d)
                .for_each(|out| out.copy_from_slice(self.bias)),
            Some((x, rows)) => {
                for (out, &row) in self.out.chunks_exact_mut(d).zip(rows) {
                    let x = &x[row as usize * d..][..d];
                    for ((out, &x), &b) in out.iter_mut().zip(x).zip(self.bias) {
                        *out = x + b;
                    }
                }
            }
        }
    }
}

// Adds the rows of `from` to those of `to` that `rows` names.
struct Scatter<'a> {
    to: &'a mut [f32],
    rows: &'a [u32],
    from: &'a [f32],
    d: usize,
}

impl WithSimd for Scatter<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (from, &row) in self.from.chunks_exact(self.d).zip(self.rows) {
            let to = &mut self.to[row as usize * self.d..][..self.d];
            for (to, &from) in to.iter_mut().zip(from) {
                *to += from;
            }
        }
    }
}

// Adds the rows of `x` up.
struct ColumnSums<'a> {
    x: &'a [f32],
    sums: &'a mut [f32],
}

impl WithSimd for ColumnSums<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for row in self.x.chunks_exact(self.sums.len()) {
            for (sum, &x) in self.sums.iter_mut().zip(row) {
                *sum += x;
            }
        }
    }
}

/// What a layer does to rows that need nothing of each other.
#[derive(Clone, Copy)]
pub(super) struct Ops<'a> {
    pub(super) weights: &'a Layer<&'a [f32]>,
    /// The layer's matrices as operands, turned over for the backward pass.
    pub(super) matrices: Matrices<Right<'a>>,
    pub(super) d: usize,
    pub(super) arch: Arch,
}

impl Ops<'_> {
    /// Queries, keys and values of x `[rows, d]`: `[rows, 3 × d]`.
    pub(super) fn project(&self, x: &[f32], normed: &mut Buffer, qkv: &mut [f32]) {
        self.norm(normed, x, &self.weights.ln_1);
        self.affine(
            qkv,
            Matrix::new(normed, self.d),
            self.matrices.c_attn,
            self.weights.c_attn[1],
            None,
        );
    }

    /// From dL/d(queries, keys, values) to dL/dx, and what was normed again; adds to the gradients of the norm and the
    /// bias.
    pub(super) fn project_back(
        &self,
        x: &[f32],
        d_qkv: &[f32],
        normed: &mut Buffer,
        d_x: &mut Buffer,
        sums: &mut Layer<Vec<f32>>,
    ) {
        self.column_sums(d_qkv, &mut sums.c_attn[1]);
        d_x.fit(x.len());
        self.matrices.c_attn.product(d_x, Matrix::new(d_qkv, 3 * self.d));
        self.norm_back(d_x, normed, x, &self.weights.ln_1, &mut sums.ln_1);
    }

    /// out = x · weight + bias, on top of the rows of `onto` where there are any.
    pub(super) fn affine(
        &self,
        out: &mut [f32],
        x: Matrix,
        weight: Right,
        bias: &[f32],
        onto: Option<(&[f32], &[u32])>,
    ) {
        let columns = bias.len();
        let base = |first: usize, out: &mut [f32]| {
            let onto = onto.map(|(x, rows)| (x, &rows[first..][..out.len() / columns]));
            self.arch.dispatch(Prefill { out, bias, onto });
        };
        weight.product_onto(out, x, Some(&base));
    }

    pub(super) fn norm(&self, y: &mut Buffer, x: &[f32], &[weight, bias]: &[&[f32]; 2]) {
        y.fit(x.len());
        self.arch.dispatch(norm::Forward {
            x,
            weight,
            bias,
            y,
            epsilon: EPSILON,
        });
    }

    /// From dL/dy in `dx`: dL/dx there, and y again; adds to the gradients of the norm.
    pub(super) fn norm_back(
        &self,
        dx: &mut [f32],
        y: &mut Buffer,
        x: &[f32],
        &[weight, bias]: &[&[f32]; 2],
        [dw, db]: &mut [Vec<f32>; 2],
    ) {
        y.fit(x.len());
        self.arch.dispatch(norm::Backward {
            x,
            weight,
            bias,
            y,
            dx,
            dw,
            db,
            epsilon: EPSILON,
        });
    }

    pub(super) fn column_sums(&self, x: &[f32], sums: &mut [f32]) {
        self.arch.dispatch(ColumnSums { x, sums });
    }

    pub(super) fn scatter(&self, to: &mut [f32], rows: &[u32], from: &[f32]) {
        let d = self.d;
        self.arch.dispatch(Scatter { to, rows, from, d });
    }
}
