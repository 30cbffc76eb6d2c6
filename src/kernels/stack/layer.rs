//! One layer on one piece of a batch, forward and backward.
//!
//! ```text
//! resid_mid  = x + attn(ln_1(x)) · W_o + b_o
//! resid_post = resid_mid + gelu(ln_2(resid_mid) · W_fc + b_fc) · W_p + b_p
//! ```

use super::super::buffer::Buffer;
use super::super::gemm::{Matrix, Right};
use super::super::{attention, gelu};
use super::ops::Ops;
use super::taps::Visitor;
use crate::model::hooks::Point;

/// One thing for each weight of a layer, in the order in which they lie in its flat tensor.
pub(super) struct Layer<T> {
    pub(super) ln_1: [T; 2], // weight, bias
    pub(super) c_attn: [T; 2],
    pub(super) attn_proj: [T; 2],
    pub(super) ln_2: [T; 2],
    pub(super) c_fc: [T; 2],
    pub(super) mlp_proj: [T; 2],
}

impl<T> Layer<T> {
    /// Makes each from the number of its weights.
    pub(super) fn from_sizes(d: usize, mut f: impl FnMut(usize) -> T) -> Self {
        let mut pair = |weight: usize, bias: usize| [f(weight), f(bias)];
        Self {
            ln_1: pair(d, d),
            c_attn: pair(3 * d * d, 3 * d),
            attn_proj: pair(d * d, d),
            ln_2: pair(d, d),
            c_fc: pair(4 * d * d, 4 * d),
            mlp_proj: pair(4 * d * d, d),
        }
    }
}

impl<'a> Layer<&'a [f32]> {
    /// The weights of a layer in its flat numbers.
    pub(super) fn new(d: usize, mut flat: &'a [f32]) -> Self {
        Self::from_sizes(d, |n| flat.split_off(..n).unwrap_or_default())
    }
}

impl<'a> Layer<&'a mut [f32]> {
    /// The gradients of a layer in its flat numbers.
    pub(super) fn new_mut(d: usize, mut flat: &'a mut [f32]) -> Self {
        Self::from_sizes(d, |n| flat.split_off_mut(..n).unwrap_or_default())
    }
}

/// What a layer keeps of its forward pass for the backward one; norms and gelu are made again there.
pub(super) struct Saved<T> {
    pub(super) x: T, // [rows, d]
    qkv: T,          // [rows, 3 × d]
    pattern: T,      // for each query, [heads, ancestors]
    pub(super) z: T, // [queries, d]
    mid: T,          // [queries, d]
    hidden: T,       // [queries, 4 × d], before bias and gelu
}

impl<T> Saved<T> {
    fn map<U>(self, mut f: impl FnMut(T) -> U) -> Saved<U> {
        Saved {
            x: f(self.x),
            qkv: f(self.qkv),
            pattern: f(self.pattern),
            z: f(self.z),
            mid: f(self.mid),
            hidden: f(self.hidden),
        }
    }
}

// Numbers that so many take up, so that the next begin at a cache line.
const fn room(count: usize) -> usize {
    count.next_multiple_of(16)
}

impl Saved<usize> {
    /// What a layer keeps where so many rows go in and the queries of `of` come out.
    pub(super) fn sizes(rows: usize, of: &attention::Geometry) -> Self {
        let (d, queries) = (of.d, of.queries.len());
        Self {
            x: rows * d,
            qkv: rows * 3 * d,
            pattern: of.entries(),
            z: queries * d,
            mid: queries * d,
            hidden: queries * 4 * d,
        }
    }

    /// Numbers that all of it takes up.
    pub(super) fn room(&self) -> usize {
        let Self {
            x,
            qkv,
            pattern,
            z,
            mid,
            hidden,
        } = *self;
        [x, qkv, pattern, z, mid, hidden].map(room).iter().sum()
    }

    /// Each at its place from the start of `flat` on.
    pub(super) fn lie_in(self, mut flat: &[f32]) -> Saved<&[f32]> {
        self.map(|count| &flat.split_off(..room(count)).unwrap_or_default()[..count])
    }

    /// The same, to write.
    pub(super) fn lie_in_mut(self, mut flat: &mut [f32]) -> Saved<&mut [f32]> {
        self.map(|count| &mut flat.split_off_mut(..room(count)).unwrap_or_default()[..count])
    }
}

/// What is overwritten at every layer.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) normed_1: Buffer, // [rows, d]
    pub(super) normed_2: Buffer, // [queries, d]
    pub(super) post: Buffer,     // [queries, 4 × d], after gelu
    pub(super) d_hidden: Buffer, // [queries, 4 × d]
    pub(super) d_mid: Buffer,    // [queries, d]
    d_z: Buffer,                 // [queries, d]
    pub(super) d_qkv: Buffer,    // [rows, 3 × d]
    pub(super) d_x: Buffer,      // [rows, d]
    added: Buffer,               // [queries, d], what is added to the stream, where a hook wants it
}

/// A piece of a batch at one layer of one iteration.
pub(super) struct Turn<'a> {
    /// What attends to what; its queries are the rows that come out of the layer.
    pub(super) of: attention::Geometry<'a>,
    pub(super) ops: Ops<'a>,
    /// 0, 1, 2, … for as many rows as go in.
    pub(super) all: &'a [u32],
    pub(super) visitor: Visitor<'a>,
}

impl Turn<'_> {
    /// What this keeps.
    pub(super) fn sizes(&self) -> Saved<usize> {
        Saved::sizes(self.all.len(), &self.of)
    }

    /// From `saved.x` to `out` `[queries, d]`; `known` are queries, keys and values of each distinct x, `[sources, 3 × d]`,
    /// and which of them is a row's.
    pub(super) fn forward(
        &self,
        known: Option<(&[f32], &[u32])>,
        saved: &mut Saved<&mut [f32]>,
        scratch: &mut Scratch,
        out: &mut [f32],
    ) {
        let (of, ops, visitor) = (self.of, self.ops, &self.visitor);
        let Ops {
            weights,
            matrices,
            d,
            arch,
        } = ops;
        let queries = of.queries.len();
        visitor.visit(Point::ResidPre, saved.x);
        if let Some((qkv, of_row)) = known {
            for (to, &source) in saved.qkv.chunks_exact_mut(3 * d).zip(of_row) {
                to.copy_from_slice(&qkv[source as usize * 3 * d..][..3 * d]);
            }
        } else {
            ops.project(saved.x, &mut scratch.normed_1, saved.qkv);
        }
        let (normed_2, post) = (&mut scratch.normed_2, &mut scratch.post);
        arch.dispatch(attention::Attend {
            of,
            qkv: saved.qkv,
            pattern: saved.pattern,
        });
        visitor.visit_pattern(of, saved.pattern);
        arch.dispatch(attention::Mix {
            of,
            qkv: saved.qkv,
            pattern: saved.pattern,
            z: saved.z,
        });
        visitor.visit(Point::Z, saved.z);
        let onto = (&*saved.x, of.queries);
        self.add(
            saved.mid,
            Matrix::new(saved.z, d),
            (matrices.attn_proj, weights.attn_proj[1]),
            onto,
            (Point::AttnOut, &mut scratch.added),
        );
        visitor.visit(Point::ResidMid, saved.mid);

        ops.norm(normed_2, saved.mid, &weights.ln_2);
        matrices.c_fc.product(saved.hidden, Matrix::new(normed_2, d));
        post.fit(queries * 4 * d);
        arch.dispatch(gelu::Forward {
            x: saved.hidden,
            bias: weights.c_fc[1],
            y: post,
        });
        visitor.visit(Point::MlpPost, post);
        let onto = (&*saved.mid, &self.all[..queries]);
        let linear = (matrices.mlp_proj, weights.mlp_proj[1]);
        let post = Matrix::new(post, 4 * d);
        self.add(out, post, linear, onto, (Point::MlpOut, &mut scratch.added));
        visitor.visit(Point::ResidPost, out);
    }

    // An affine map onto the residual stream; only a hook makes the sum's second half come out alone, into `added`.
    fn add(
        &self,
        out: &mut [f32],
        x: Matrix,
        (weight, bias): (Right, &[f32]),
        onto: (&[f32], &[u32]),
        (point, added): (Point, &mut Buffer),
    ) {
        if !self.visitor.wants(point) {
            return self.ops.affine(out, x, weight, bias, Some(onto));
        }
        added.fit(out.len());
        self.ops.affine(added, x, weight, bias, None);
        self.visitor.visit(point, added);
        let d = self.of.d;
        for ((out, added), &row) in out.chunks_exact_mut(d).zip(added.chunks_exact(d)).zip(onto.1) {
            let x = &onto.0[row as usize * d..][..d];
            for ((out, added), x) in out.iter_mut().zip(added).zip(x) {
                *out = x + added;
            }
        }
    }

    /// From `dy` = dL/d(out) to `scratch.d_x` = dL/d(saved.x), and all else in `scratch` that
    /// [`Panel::add`](super::products::Panel::add) needs; adds to the gradients of norms and biases. Where queries, keys and
    /// values were `known`, it ends at theirs, in `scratch.d_qkv`, and `scratch.d_x` is what comes by the residual stream.
    pub(super) fn backward(
        &self,
        known: bool,
        saved: &Saved<&[f32]>,
        scratch: &mut Scratch,
        dy: &[f32],
        sums: &mut Layer<Vec<f32>>,
    ) {
        let (of, ops) = (self.of, self.ops);
        let Ops {
            weights,
            matrices,
            d,
            arch,
        } = ops;
        let (rows, queries) = (self.all.len(), of.queries.len());
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
        ops.column_sums(dy, &mut sums.mlp_proj[1]);
        d_hidden.fit(queries * 4 * d);
        matrices.mlp_proj.product(d_hidden, Matrix::new(dy, d));
        post.fit(queries * 4 * d);
        arch.dispatch(gelu::Backward {
            x: saved.hidden,
            bias: weights.c_fc[1],
            y: post,
            dx: d_hidden,
            db: &mut sums.c_fc[1],
        });
        d_mid.fit(queries * d);
        matrices.c_fc.product(d_mid, Matrix::new(d_hidden, 4 * d));
        ops.norm_back(d_mid, normed_2, saved.mid, &weights.ln_2, &mut sums.ln_2);
        ops.scatter(d_mid, &self.all[..queries], dy);

        ops.column_sums(d_mid, &mut sums.attn_proj[1]);
        d_z.fit(queries * d);
        matrices.attn_proj.product(d_z, Matrix::new(d_mid, d));
        d_qkv.fit(rows * 3 * d);
        arch.dispatch(attention::Backward {
            of,
            qkv: saved.qkv,
            pattern: saved.pattern,
            dz: d_z,
            dqkv: d_qkv,
        });
        if known {
            d_x.fit(rows * d).fill(0.0);
        } else {
            ops.project_back(saved.x, d_qkv, normed_1, d_x, sums);
        }
        ops.scatter(d_x, of.queries, d_mid);
    }
}

impl Layer<&mut [f32]> {
    /// Adds the gradients of norms and biases.
    pub(super) fn add(&mut self, sums: &Layer<Vec<f32>>) {
        let pairs = |a: &mut [f32], b: &[f32]| a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        pairs(self.ln_1[0], &sums.ln_1[0]);
        pairs(self.ln_1[1], &sums.ln_1[1]);
        pairs(self.c_attn[1], &sums.c_attn[1]);
        pairs(self.attn_proj[1], &sums.attn_proj[1]);
        pairs(self.ln_2[0], &sums.ln_2[0]);
        pairs(self.ln_2[1], &sums.ln_2[1]);
        pairs(self.c_fc[1], &sums.c_fc[1]);
        pairs(self.mlp_proj[1], &sums.mlp_proj[1]);
    }
}
