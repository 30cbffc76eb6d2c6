//! The memory of a layer: what it keeps for the backward pass, and what it overwrites.

use super::super::attention;
use super::super::buffer::Buffer;
use super::super::parameters::Layer;
use super::weight_gradients::Operands;

/// What a layer keeps of its forward pass for the backward pass, which recomputes norms and GELU.
pub(super) struct Saved<T> {
    pub(super) x: T,       // [rows, d]
    pub(super) qkv: T,     // [rows, 3 × d]
    pub(super) pattern: T, // for each query, [heads, ancestors]
    pub(super) z: T,       // [queries, d]
    pub(super) mid: T,     // [queries, d]
    pub(super) hidden: T,  // [queries, 4 × d], before bias and GELU
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

// The length of `count` numbers with padding, so that the next numbers begin at a cache line.
const fn padded(count: usize) -> usize {
    count.next_multiple_of(16)
}

impl Saved<usize> {
    /// The lengths for a layer of `rows` input rows, whose output rows are the queries of `of`.
    pub(super) fn lengths(rows: usize, of: &attention::Geometry) -> Self {
        let (d, queries) = (of.d, of.queries.len());
        Self {
            x: rows * d,
            qkv: rows * 3 * d,
            pattern: of.pattern_len(),
            z: queries * d,
            mid: queries * d,
            hidden: queries * 4 * d,
        }
    }

    /// The length of all of them together, with padding.
    pub(super) fn total(&self) -> usize {
        let Self {
            x,
            qkv,
            pattern,
            z,
            mid,
            hidden,
        } = *self;
        [x, qkv, pattern, z, mid, hidden].map(padded).iter().sum()
    }

    /// The parts of `flat` that hold them.
    pub(super) fn split(self, mut flat: &[f32]) -> Saved<&[f32]> {
        self.map(|count| &flat.split_off(..padded(count)).unwrap_or_default()[..count])
    }

    /// The parts of `flat` that hold them, to write.
    pub(super) fn split_mut(self, mut flat: &mut [f32]) -> Saved<&mut [f32]> {
        self.map(|count| &mut flat.split_off_mut(..padded(count)).unwrap_or_default()[..count])
    }
}

/// The buffers of one chunk at one layer, overwritten at every layer.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) normed_1: Buffer, // [rows, d]
    pub(super) normed_2: Buffer, // [queries, d]
    pub(super) post: Buffer,     // [queries, 4 × d], after GELU
    pub(super) d_hidden: Buffer, // [queries, 4 × d]
    pub(super) d_mid: Buffer,    // [queries, d]
    pub(super) d_z: Buffer,      // [queries, d]
    pub(super) d_qkv: Buffer,    // [rows, 3 × d]
    pub(super) d_x: Buffer,      // [rows, d]
    pub(super) added: Buffer,    // [queries, d], what is added to the residual stream, where a tap wants it
}

impl Scratch {
    /// The operands of the gradients of all weight matrices, after the backward pass of a layer that kept `z`. dL/dy of
    /// the layer lies in `d_x`.
    pub(super) fn operands<'a>(&'a self, z: &'a [f32]) -> Layer<(), Operands<'a>> {
        Layer {
            ln_1: (),
            c_attn: (&self.normed_1, &self.d_qkv),
            attn_proj: (z, &self.d_mid),
            ln_2: (),
            c_fc: (&self.normed_2, &self.d_hidden),
            mlp_proj: (&self.post, &self.d_x),
        }
    }
}
