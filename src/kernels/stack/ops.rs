//! The operations of a layer that treat every row alone: norms, linear maps, sums.

use pulp::{Simd, WithSimd};

use super::super::backend::Backend;
use super::super::buffer::Buffer;
use super::super::gemm::Matrix;
use super::super::matmul::RightOperand;
use super::super::norm;
use super::super::parameters::{Affine, Layer, Parameters};

/// The residual stream that a linear map is added to: x `[rows, d]`, and the row of x for each row of the result.
pub(super) type Residual<'a> = (&'a [f32], &'a [u32]);

// Writes the bias into every row of `out`, plus the residual stream where there is one.
struct BiasAndResidual<'a> {
    out: &'a mut [f32],
    bias: &'a [f32],
    residual: Option<Residual<'a>>,
}

impl WithSimd for BiasAndResidual<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let d = self.bias.len();
        match self.residual {
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

// Adds row i of `from` to row `rows[i]` of `to`.
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

// Adds the sum of the rows of `x` to `sums`.
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

/// The row-wise operations of a layer.
#[derive(Clone, Copy)]
pub(super) struct Ops<'a> {
    pub(super) weights: &'a Parameters<&'a [f32]>,
    /// The layer's packed weights, transposed for the backward pass.
    pub(super) operands: Layer<(), RightOperand<'a>>,
    pub(super) d: usize,
    pub(super) epsilon: f32,
    pub(super) backend: Backend,
}

impl Ops<'_> {
    /// QKV = ln_1(x) · W + b, `[rows, 3 × d]`, of x `[rows, d]`.
    pub(super) fn project_qkv(&self, x: &[f32], normed: &mut Buffer, qkv: &mut [f32]) {
        self.norm(normed, x, &self.weights.ln_1);
        let (weight, bias) = (self.operands.c_attn, self.weights.c_attn.bias);
        self.linear(qkv, Matrix::new(normed, self.d), weight, bias, None);
    }

    /// dL/dx from dL/dQKV. Recomputes `normed`, and adds the gradients of the norm and the bias to `sums`.
    pub(super) fn project_qkv_back(
        &self,
        x: &[f32],
        d_qkv: &[f32],
        normed: &mut Buffer,
        d_x: &mut Buffer,
        sums: &mut Parameters<Vec<f32>>,
    ) {
        self.column_sums(d_qkv, &mut sums.c_attn.bias);
        d_x.fit(x.len());
        self.operands.c_attn.gemm(d_x, Matrix::new(d_qkv, 3 * self.d), None);
        self.norm_back(d_x, normed, x, &self.weights.ln_1, &mut sums.ln_1);
    }

    /// out = x · weight + bias, plus the residual stream where there is one.
    pub(super) fn linear(
        &self,
        out: &mut [f32],
        x: Matrix,
        weight: RightOperand,
        bias: &[f32],
        residual: Option<Residual>,
    ) {
        let columns = bias.len();
        let beta = |first: usize, out: &mut [f32]| {
            let residual = residual.map(|(x, rows)| (x, &rows[first..][..out.len() / columns]));
            self.backend.run(BiasAndResidual { out, bias, residual });
        };
        weight.gemm(out, x, Some(&beta));
    }

    /// y = norm(x).
    pub(super) fn norm(&self, y: &mut Buffer, x: &[f32], weights: &Affine<&[f32]>) {
        y.fit(x.len());
        self.backend.run(norm::Forward {
            x,
            weight: weights.weight,
            bias: weights.bias,
            y,
            epsilon: self.epsilon,
        });
    }

    /// Turns dL/dy in `dx` into dL/dx. Recomputes y = norm(x), and adds the gradients of the norm's parameters to `sums`.
    pub(super) fn norm_back(
        &self,
        dx: &mut [f32],
        y: &mut Buffer,
        x: &[f32],
        weights: &Affine<&[f32]>,
        sums: &mut Affine<Vec<f32>>,
    ) {
        y.fit(x.len());
        self.backend.run(norm::Backward {
            x,
            weight: weights.weight,
            bias: weights.bias,
            y,
            dx,
            dw: &mut sums.weight,
            db: &mut sums.bias,
            epsilon: self.epsilon,
        });
    }

    /// sums += the sum of the rows of x.
    pub(super) fn column_sums(&self, x: &[f32], sums: &mut [f32]) {
        self.backend.run(ColumnSums { x, sums });
    }

    /// Adds row i of `from` to row `rows[i]` of `to`.
    pub(super) fn scatter_add(&self, to: &mut [f32], rows: &[u32], from: &[f32]) {
        let d = self.d;
        self.backend.run(Scatter { to, rows, from, d });
    }
}
