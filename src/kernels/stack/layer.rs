//! One layer on one chunk of a batch, forward and backward.
//!
//! ```text
//! resid_mid  = x + attn(ln_1(x)) · W_o + b_o
//! resid_post = resid_mid + gelu(ln_2(resid_mid) · W_fc + b_fc) · W_p + b_p
//! ```

use super::super::buffer::Buffer;
use super::super::gemm::Matrix;
use super::super::matmul::RightOperand;
use super::super::parameters::Parameters;
use super::super::{attention, gelu};
use super::ops::{Ops, Residual};
use super::saved::{Saved, Scratch};
use super::taps::{ChunkTaps, Tap};

/// A chunk of a batch at one effective layer.
pub(super) struct LayerPass<'a> {
    /// Who attends to whom; its queries are the rows that come out of the layer.
    pub(super) of: attention::Geometry<'a>,
    pub(super) ops: &'a Ops<'a>,
    /// 0, 1, 2, … up to the number of rows that go in.
    pub(super) all: &'a [u32],
    pub(super) taps: ChunkTaps<'a>,
}

/// QKV of distinct embeddings, `[embeddings, 3 × d]`, and the embedding of each row.
pub(super) type EmbeddingQkv<'a> = (&'a [f32], &'a [u32]);

impl LayerPass<'_> {
    /// The lengths of what the layer keeps.
    pub(super) fn lengths(&self) -> Saved<usize> {
        Saved::lengths(self.all.len(), &self.of)
    }

    /// From `saved.x` to `out` `[queries, d]`. `known`: QKV, where they need not be computed.
    pub(super) fn forward(
        &self,
        known: Option<EmbeddingQkv>,
        saved: &mut Saved<&mut [f32]>,
        scratch: &mut Scratch,
        out: &mut [f32],
    ) {
        let (of, ops, taps) = (self.of, self.ops, &self.taps);
        let (d, queries) = (ops.d, of.queries.len());
        taps.visit(Tap::ResidPre, self.all, saved.x);
        if let Some((qkv, of_row)) = known {
            for (to, &embedding) in saved.qkv.chunks_exact_mut(3 * d).zip(of_row) {
                to.copy_from_slice(&qkv[embedding as usize * 3 * d..][..3 * d]);
            }
        } else {
            ops.project_qkv(saved.x, &mut scratch.normed_1, saved.qkv);
        }
        ops.backend.run(attention::Softmax {
            of,
            qkv: saved.qkv,
            pattern: saved.pattern,
        });
        taps.visit_pattern(of, saved.pattern);
        ops.backend.run(attention::Mix {
            of,
            qkv: saved.qkv,
            pattern: saved.pattern,
            z: saved.z,
        });
        taps.visit(Tap::Z, of.queries, saved.z);
        let linear = (ops.operands.attn_proj, ops.weights.attn_proj.bias);
        let residual = (&*saved.x, of.queries);
        let added = (Tap::AttnOut, &mut scratch.added);
        self.add_to_stream(saved.mid, Matrix::new(saved.z, d), linear, residual, added);
        taps.visit(Tap::ResidMid, of.queries, saved.mid);

        let (normed_2, post) = (&mut scratch.normed_2, &mut scratch.post);
        ops.norm(normed_2, saved.mid, &ops.weights.ln_2);
        ops.operands.c_fc.gemm(saved.hidden, Matrix::new(normed_2, d), None);
        post.fit(queries * 4 * d);
        ops.backend.run(gelu::Forward {
            x: saved.hidden,
            bias: ops.weights.c_fc.bias,
            y: post,
        });
        taps.visit(Tap::MlpPost, of.queries, post);
        let linear = (ops.operands.mlp_proj, ops.weights.mlp_proj.bias);
        let residual = (&*saved.mid, &self.all[..queries]);
        let added = (Tap::MlpOut, &mut scratch.added);
        self.add_to_stream(out, Matrix::new(post, 4 * d), linear, residual, added);
        taps.visit(Tap::ResidPost, of.queries, out);
    }

    // out = residual + x · weight + bias. What is added is computed alone, into `added`, only where its tap wants it.
    fn add_to_stream(
        &self,
        out: &mut [f32],
        x: Matrix,
        (weight, bias): (RightOperand, &[f32]),
        residual: Residual,
        (tap, added): (Tap, &mut Buffer),
    ) {
        if !self.taps.wants(tap) {
            return self.ops.linear(out, x, weight, bias, Some(residual));
        }
        added.fit(out.len());
        self.ops.linear(added, x, weight, bias, None);
        self.taps.visit(tap, self.of.queries, added);
        let (d, (stream, rows)) = (self.of.d, residual);
        for ((out, added), &row) in out.chunks_exact_mut(d).zip(added.chunks_exact(d)).zip(rows) {
            let x = &stream[row as usize * d..][..d];
            for ((out, added), x) in out.iter_mut().zip(added).zip(x) {
                *out = x + added;
            }
        }
    }

    /// From `dy` = dL/d(out) to `scratch.d_x` = dL/d(saved.x), and the operands of the weight gradients in `scratch`; adds the
    /// gradients of norms and biases to `sums`. Where QKV were `known`, it ends at their gradient in `scratch.d_qkv`, and
    /// `scratch.d_x` is the gradient through the residual stream alone.
    pub(super) fn backward(
        &self,
        known: bool,
        saved: &Saved<&[f32]>,
        scratch: &mut Scratch,
        dy: &[f32],
        sums: &mut Parameters<Vec<f32>>,
    ) {
        let (of, ops) = (self.of, self.ops);
        let (d, rows, queries) = (ops.d, self.all.len(), of.queries.len());
        let Scratch {
            normed_1,
            normed_2,
            post,
            d_hidden,
            d_mid,
            d_z,
            d_qkv,
            d_x,
            ..
        } = scratch;
        ops.column_sums(dy, &mut sums.mlp_proj.bias);
        d_hidden.fit(queries * 4 * d);
        ops.operands.mlp_proj.gemm(d_hidden, Matrix::new(dy, d), None);
        post.fit(queries * 4 * d);
        ops.backend.run(gelu::Backward {
            x: saved.hidden,
            bias: ops.weights.c_fc.bias,
            y: post,
            dx: d_hidden,
            db: &mut sums.c_fc.bias,
        });
        d_mid.fit(queries * d);
        ops.operands.c_fc.gemm(d_mid, Matrix::new(d_hidden, 4 * d), None);
        ops.norm_back(d_mid, normed_2, saved.mid, &ops.weights.ln_2, &mut sums.ln_2);
        ops.scatter_add(d_mid, &self.all[..queries], dy);

        ops.column_sums(d_mid, &mut sums.attn_proj.bias);
        d_z.fit(queries * d);
        ops.operands.attn_proj.gemm(d_z, Matrix::new(d_mid, d), None);
        d_qkv.fit(rows * 3 * d);
        ops.backend.run(attention::Backward {
            of,
            qkv: saved.qkv,
            pattern: saved.pattern,
            dz: d_z,
            dqkv: d_qkv,
        });
        if known {
            d_x.fit(rows * d).fill(0.0);
        } else {
            ops.project_qkv_back(saved.x, d_qkv, normed_1, d_x, sums);
        }
        ops.scatter_add(d_x, of.queries, d_mid);
    }
}
