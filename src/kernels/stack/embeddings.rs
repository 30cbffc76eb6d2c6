//! QKV of the first effective layer, computed once for each distinct embedding, not for each row.

use rayon::prelude::*;

use super::super::batch::DistinctEmbeddings;
use super::super::buffer::Buffer;
use super::super::parameters::Parameters;
use super::super::simd::add;
use super::backward::ChunkGradients;
use super::ops::Ops;
use super::plan::Chunk;
use super::weight_gradients::Operands;

// Embeddings whose gradients one thread sums at a time.
const PER_TASK: usize = 32;

/// The buffers of the distinct embeddings of a batch.
#[derive(Default)]
pub(super) struct EmbeddingBuffers {
    x: Buffer,              // [embeddings, d]
    normed: Buffer,         // [embeddings, d]
    pub(super) qkv: Buffer, // [embeddings, 3 × d]
    d_qkv: Buffer,          // [embeddings, 3 × d]
    d_x: Buffer,            // [embeddings, d]
}

impl EmbeddingBuffers {
    /// Keeps x `[embeddings, d]` and computes its QKV.
    pub(super) fn forward(&mut self, ops: &Ops, x: &[f32]) {
        self.x.fit(x.len());
        self.x.copy_from_slice(x);
        ops.project_qkv(x, &mut self.normed, self.qkv.fit(3 * x.len()));
    }

    /// dL/dx from what the backward pass of the first layer left in each chunk; adds the gradients of the norm and the bias to
    /// `sums`.
    pub(super) fn backward(
        &mut self,
        ops: &Ops,
        distinct: &DistinctEmbeddings,
        chunks: &[Chunk],
        gradients: &[&mut ChunkGradients],
        sums: &mut Parameters<Vec<f32>>,
    ) -> Vec<f32> {
        let d = ops.d;
        self.d_qkv.fit(distinct.len() * 3 * d);
        let mut of_stream = vec![0.0; distinct.len() * d];
        let tasks = self.d_qkv.par_chunks_mut(PER_TASK * 3 * d);
        let tasks = tasks.zip(of_stream.par_chunks_mut(PER_TASK * d)).enumerate();
        tasks.for_each(|(task, (d_qkv, of_stream))| {
            d_qkv.fill(0.0);
            let embeddings = d_qkv.chunks_exact_mut(3 * d).zip(of_stream.chunks_exact_mut(d));
            for (i, (d_qkv, of_stream)) in embeddings.enumerate() {
                for &row in distinct.rows(task * PER_TASK + i) {
                    let chunk = chunks.partition_point(|chunk| chunk.rows.end <= row as usize);
                    let row = row as usize - chunks[chunk].rows.start;
                    gradients[chunk].add_of_embedding(row, d, d_qkv, of_stream);
                }
            }
        });
        ops.project_qkv_back(&self.x, &self.d_qkv, &mut self.normed, &mut self.d_x, sums);
        add(&mut of_stream, &self.d_x);
        of_stream
    }

    /// The operands of the gradient of the QKV projection, after [`EmbeddingBuffers::backward`].
    pub(super) fn qkv_operands(&self) -> Operands<'_> {
        (&self.normed, &self.d_qkv)
    }
}
