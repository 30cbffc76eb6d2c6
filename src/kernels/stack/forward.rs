//! The forward pass: every chunk runs through all effective layers on its own.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::super::simd::add;
use super::embeddings::EmbeddingBuffers;
use super::ops::Ops;
use super::plan::Chunk;
use super::saved::Scratch;
use super::taps::{Tap, Taps};
use super::{ChunkBuffers, Stack, Workspace, for_each_chunk};

// What all chunks of a forward pass share.
#[derive(Clone, Copy)]
struct Pass<'a> {
    stack: &'a Stack,
    x: &'a [f32],
    // Whether the backward pass needs what the layers keep.
    keep: bool,
    taps: Option<&'a dyn Taps>,
}

impl Stack {
    /// The states after the last layer, of the readout rows or of all, in row order. x is `[rows, d]` or
    /// `[embeddings, d]`, and block `[layers, weights of a layer]`.
    pub(crate) fn forward(
        &self,
        workspace: &mut Workspace,
        x: &[f32],
        block: &[f32],
        taps: Option<&dyn Taps>,
    ) -> Vec<f32> {
        self.run(workspace, x, block, false, taps)
    }

    /// [`Stack::forward`], which keeps in `workspace` what [`Stack::backward`] needs.
    pub(crate) fn forward_keeping(&self, workspace: &mut Workspace, x: &[f32], block: &[f32]) -> Vec<f32> {
        self.run(workspace, x, block, true, None)
    }

    fn run(
        &self,
        workspace: &mut Workspace,
        x: &[f32],
        block: &[f32],
        keep: bool,
        taps: Option<&dyn Taps>,
    ) -> Vec<f32> {
        let (chunks, weights) = (&self.plan.chunks, self.weights(block));
        workspace.pass += 1;
        if workspace.buffers.len() < chunks.len() {
            workspace.buffers.resize_with(chunks.len(), ChunkBuffers::default);
        }
        let Workspace {
            buffers,
            scratches,
            embeddings,
            packed,
            ..
        } = workspace;
        let buffers = &mut buffers[..chunks.len()];
        packed.clear(self.backend, self.layers, self.d);
        let pass = Pass {
            stack: self,
            x,
            keep,
            taps,
        };
        let last = self.effective_layers();
        // Where the whole block can be packed, a chunk runs through all effective layers at once, so that its states
        // stay in the L2 cache. Otherwise all chunks run through one effective layer, then through the next.
        let step = if packed.capacity() < self.layers { 1 } else { last };
        let unused = Mutex::new(std::mem::take(scratches));
        for first in (0..last).step_by(step) {
            for (layer, weights) in weights.iter().enumerate() {
                if step > 1 || first % self.layers == layer {
                    packed.pack(self.backend, layer, weights.matrices());
                }
            }
            let ops = |layer: usize| self.ops(&weights[layer], packed.get(layer, weights[layer].matrices()));
            if first == 0 && self.distinct.is_some() {
                embeddings.forward(&ops(0), x);
            }
            for_each_chunk(buffers, chunks, |buffers, chunk| {
                let mut scratch = lock(&unused).pop().unwrap_or_default();
                if first == 0 {
                    pass.begin(buffers, chunk);
                }
                for effective_layer in first..first + step {
                    let ops = &ops(effective_layer % self.layers);
                    pass.layer(effective_layer, ops, embeddings, chunk, buffers, &mut scratch);
                }
                lock(&unused).push(scratch);
            });
        }
        *scratches = unused.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut out = Vec::with_capacity(chunks.iter().map(|chunk| self.outputs(chunk).len() * self.d).sum());
        for buffers in buffers.iter() {
            out.extend_from_slice(&buffers.out);
        }
        out
    }
}

impl Pass<'_> {
    // Copies the chunk's rows of x to where the first effective layer reads them.
    fn begin(self, buffers: &mut ChunkBuffers, chunk: &Chunk) {
        let (stack, d) = (self.stack, self.stack.d);
        // Without a backward pass, effective layers alternate between two places.
        let places = if self.keep { stack.effective_layers() } else { 2 };
        let saved = buffers.saved.fit(stack.max_saved(chunk) * places);
        let rows = saved.chunks_exact_mut(d).zip(stack.rows_of_x(self.x, chunk));
        rows.for_each(|(to, from)| to.copy_from_slice(from));
        buffers.out.fit(stack.outputs(chunk).len() * d);
    }

    // Runs one effective layer. Its output is the input of the next one, or `buffers.out`.
    fn layer(
        self,
        effective_layer: usize,
        ops: &Ops,
        embeddings: &EmbeddingBuffers,
        chunk: &Chunk,
        buffers: &mut ChunkBuffers,
        scratch: &mut Scratch,
    ) {
        let stack = self.stack;
        let ChunkBuffers { saved, out, .. } = buffers;
        let size = stack.max_saved(chunk);
        let start = |effective_layer: usize| {
            size * if self.keep {
                effective_layer
            } else {
                effective_layer % 2
            }
        };
        let distinct = stack.distinct.as_ref().filter(|_| effective_layer == 0);
        let known = distinct.map(|distinct| (&*embeddings.qkv, &distinct.of_row[chunk.rows.clone()]));
        let layer = stack.layer_pass(chunk, ops, effective_layer, self.taps);
        let (here, next) = (start(effective_layer), start(effective_layer + 1));
        if effective_layer + 1 == stack.effective_layers() {
            let mut saved = layer.lengths().split_mut(&mut saved[here..][..size]);
            layer.forward(known, &mut saved, scratch, out);
            return;
        }
        let (live, later) = (layer.all.len(), stack.live(chunk, effective_layer + 1));
        let both = saved.get_disjoint_mut([here..here + size, next..next + later * stack.d]);
        let Ok([saved, next]) = both else {
            unreachable!("the places of two successive effective layers are disjoint");
        };
        let d = stack.d;
        layer.forward(
            known,
            &mut layer.lengths().split_mut(saved),
            scratch,
            &mut next[..live * d],
        );
        if let Some(branches) = &stack.branches {
            for row in live..later {
                let source = branches.sources[chunk.rows.start + row] as usize - chunk.rows.start;
                next.copy_within(source * d..(source + 1) * d, row * d);
            }
            // A row may also begin with another state than the one that it copies.
            layer
                .taps
                .visit(Tap::ResidPost, &chunk.all[live..later], &mut next[live * d..]);
        }
        if stack.injects_before(effective_layer + 1) {
            let rows = next.chunks_exact_mut(d).zip(stack.rows_of_x(self.x, chunk));
            rows.for_each(|(to, from)| add(to, from));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
