//! The first layer's queries, keys and values, which are those of the distinct embeddings: made once for each, not for
//! each row.

use rayon::prelude::*;

use super::super::add;
use super::super::buffer::Buffer;
use super::backward::Flow;
use super::layer::Layer;
use super::ops::Ops;
use super::plan::Piece;
use crate::model::rows::Sources;

// Sources whose gradients a thread adds up at a time.
const CHUNK: usize = 32;

/// The buffers of the distinct embeddings of a batch.
#[derive(Default)]
pub(super) struct Origin {
    pub(super) x: Buffer,      // [sources, d]
    pub(super) normed: Buffer, // [sources, d]
    pub(super) qkv: Buffer,    // [sources, 3 × d]
    pub(super) d_qkv: Buffer,  // [sources, 3 × d]
    d_x: Buffer,               // [sources, d]
}

impl Origin {
    /// Takes up x `[sources, d]`.
    pub(super) fn forward(&mut self, ops: Ops, x: &[f32]) {
        self.x.fit(x.len());
        self.x.copy_from_slice(x);
        ops.project(x, &mut self.normed, self.qkv.fit(3 * x.len()));
    }

    /// dL/dx, from what the backward pass of the first layer has left with each piece; adds to the gradients of norm and
    /// bias.
    pub(super) fn backward(
        &mut self,
        ops: Ops,
        sources: &Sources,
        pieces: &[Piece],
        flows: &[&mut Flow],
        sums: &mut Layer<Vec<f32>>,
    ) -> Vec<f32> {
        let d = ops.d;
        self.d_qkv.fit(sources.len() * 3 * d);
        let mut of_stream = vec![0.0; sources.len() * d];
        let chunks = self.d_qkv.par_chunks_mut(CHUNK * 3 * d);
        let chunks = chunks.zip(of_stream.par_chunks_mut(CHUNK * d)).enumerate();
        chunks.for_each(|(chunk, (d_qkv, of_stream))| {
            d_qkv.fill(0.0);
            let each = d_qkv.chunks_exact_mut(3 * d).zip(of_stream.chunks_exact_mut(d));
            for (i, (d_qkv, of_stream)) in each.enumerate() {
                for &row in sources.members(chunk * CHUNK + i) {
                    let piece = pieces.partition_point(|piece| piece.rows.end <= row as usize);
                    let row = row as usize - pieces[piece].rows.start;
                    flows[piece].add_origin(row, d, d_qkv, of_stream);
                }
            }
        });
        ops.project_back(&self.x, &self.d_qkv, &mut self.normed, &mut self.d_x, sums);
        add(&mut of_stream, &self.d_x);
        of_stream
    }
}
