//! The recurrent block, applied R times, over a batch of packed rows: forward and backward.
//!
//! A batch is cut into chunks of rows that attend only to each other ([`Plan`]), and each runs through all effective
//! layers on its own. Buffers are reused from step to step.

mod backward;
mod embeddings;
mod forward;
mod layer;
mod ops;
mod packed_weights;
mod plan;
mod saved;
mod taps;
mod weight_gradients;

use std::sync::Arc;

use rayon::prelude::*;

use super::attention::Geometry;
use super::backend::Backend;
use super::batch::{Branches, DistinctEmbeddings};
use super::buffer::Buffer;
use super::matmul::RightOperand;
use super::parameters::{Layer, Parameters};
use backward::ChunkGradients;
use embeddings::EmbeddingBuffers;
use layer::LayerPass;
use ops::Ops;
use packed_weights::PackedWeights;
use plan::Chunk;
use saved::{Saved, Scratch};
use taps::ChunkTaps;

pub(crate) use plan::Plan;
pub(crate) use taps::{Tap, TapRows, Taps};

/// The buffers of a stack, and which pass used them last.
#[derive(Default)]
pub(crate) struct Workspace {
    pass: u64,
    buffers: Vec<ChunkBuffers>,
    // One for each chunk that is worked on at a time, so that they stay in the L2 caches.
    scratches: Vec<Scratch>,
    embeddings: EmbeddingBuffers,
    packed: PackedWeights,
}

/// The buffers of one chunk.
#[derive(Default)]
struct ChunkBuffers {
    // For each effective layer in order, what it keeps, as `Saved` splits it.
    saved: Buffer,
    out: Buffer, // [queries, d]
    gradients: ChunkGradients,
}

impl Workspace {
    /// The number of passes that have used it. A backward pass needs what its forward pass kept, so it runs only if
    /// this has not changed since.
    pub(crate) fn pass(&self) -> u64 {
        self.pass
    }

    /// A workspace that packs the weights of one layer at a time, as that of a very large block does.
    #[cfg(test)]
    pub(crate) fn one_layer_at_a_time() -> Self {
        Self {
            packed: PackedWeights::new(0),
            ..Self::default()
        }
    }
}

/// R iterations of a block of layers over one batch.
#[derive(Clone)]
pub(crate) struct Stack {
    pub(crate) plan: Arc<Plan>,
    pub(crate) d: usize,
    pub(crate) heads: usize,
    pub(crate) layers: usize,
    pub(crate) iterations: usize,
    /// ε of layer norm.
    pub(crate) epsilon: f32,
    /// Whether the last layer gives only the readout rows, not all.
    pub(crate) readouts_only: bool,
    /// Whether x is added again before every iteration but the first.
    pub(crate) injection: bool,
    /// Where x has one row for each distinct embedding, not for each row of the batch.
    pub(crate) distinct: Option<Arc<DistinctEmbeddings>>,
    /// Rows that enter the loop late, in forward passes without gradients.
    pub(crate) branches: Option<Arc<Branches>>,
    pub(crate) backend: Backend,
}

impl Stack {
    fn effective_layers(&self) -> usize {
        self.layers * self.iterations
    }

    fn injects_before(&self, effective_layer: usize) -> bool {
        self.injection && effective_layer > 0 && effective_layer.is_multiple_of(self.layers)
    }

    // The parameters of every layer of the block.
    fn weights<'a>(&self, block: &'a [f32]) -> Vec<Parameters<&'a [f32]>> {
        block
            .chunks_exact(block.len() / self.layers)
            .map(|flat| Parameters::split(self.d, flat))
            .collect()
    }

    fn ops<'a>(&self, weights: &'a Parameters<&'a [f32]>, operands: Layer<(), RightOperand<'a>>) -> Ops<'a> {
        Ops {
            weights,
            operands,
            d: self.d,
            epsilon: self.epsilon,
            backend: self.backend,
        }
    }

    // The row of x for each row of a chunk.
    fn rows_of_x<'a>(&self, x: &'a [f32], chunk: &Chunk) -> impl Iterator<Item = &'a [f32]> {
        let d = self.d;
        chunk.rows.clone().map(move |row| {
            let distinct = self.distinct.as_ref();
            let row = distinct.map_or(row, |distinct| distinct.of_row[row] as usize);
            &x[row * d..][..d]
        })
    }

    fn layer_pass<'a>(
        &'a self,
        chunk: &'a Chunk,
        ops: &'a Ops<'a>,
        effective_layer: usize,
        taps: Option<&'a dyn Taps>,
    ) -> LayerPass<'a> {
        let live = self.live(chunk, effective_layer);
        LayerPass {
            of: self.geometry(chunk, self.queries(chunk, effective_layer)),
            ops,
            all: &chunk.all[..live],
            taps: ChunkTaps {
                taps,
                effective_layer,
                first_row: chunk.rows.start,
            },
        }
    }

    // The number of rows of a chunk that run through an effective layer; they are its first ones.
    fn live(&self, chunk: &Chunk, effective_layer: usize) -> usize {
        match &self.branches {
            None => chunk.all.len(),
            Some(branches) => {
                let starts = &branches.starts[chunk.rows.clone()];
                starts.partition_point(|&start| start as usize <= effective_layer)
            }
        }
    }

    fn geometry<'a>(&'a self, chunk: &Chunk, queries: &'a [u32]) -> Geometry<'a> {
        Geometry {
            ancestry: &self.plan.ancestry,
            first_row: chunk.rows.start,
            queries,
            d: self.d,
            heads: self.heads,
        }
    }

    // The most numbers that a chunk keeps at an effective layer.
    fn max_saved(&self, chunk: &Chunk) -> usize {
        Saved::lengths(chunk.all.len(), &self.geometry(chunk, &chunk.all)).total()
    }

    // The rows that come out of an effective layer.
    fn queries<'a>(&self, chunk: &'a Chunk, effective_layer: usize) -> &'a [u32] {
        if effective_layer + 1 == self.effective_layers() {
            self.outputs(chunk)
        } else {
            &chunk.all[..self.live(chunk, effective_layer)]
        }
    }

    // The rows that come out of the last layer.
    fn outputs<'a>(&self, chunk: &'a Chunk) -> &'a [u32] {
        if self.readouts_only {
            &chunk.readouts
        } else {
            &chunk.all
        }
    }
}

// Runs `f` on every chunk with its own state, on the threads of the current pool.
fn for_each_chunk<T: Send>(states: &mut [T], chunks: &[Chunk], f: impl Fn(&mut T, &Chunk) + Sync) {
    if rayon::current_num_threads() == 1 || chunks.len() == 1 {
        states.iter_mut().zip(chunks).for_each(|(state, chunk)| f(state, chunk));
    } else {
        states
            .par_iter_mut()
            .zip(chunks)
            .for_each(|(state, chunk)| f(state, chunk));
    }
}
