//! The backward pass: layer by layer over all chunks, because a weight gradient is a sum over all of them.

use rayon::prelude::*;

use super::super::buffer::Buffer;
use super::super::gemm::Matrix;
use super::super::parameters::{Affine, Kind, LAYER, Parameters};
use super::super::simd::add;
use super::plan::Chunk;
use super::saved::{Saved, Scratch};
use super::weight_gradients::{Panel, panels};
use super::{ChunkBuffers, Stack, Workspace, for_each_chunk};

/// The gradients of one chunk.
#[derive(Default)]
pub(super) struct ChunkGradients {
    // dL/dy of the layer that is next in the backward pass, [queries, d].
    d_y: Buffer,
    // dL/dQKV of the first effective layer where it reads distinct embeddings, [rows, 3 × d].
    d_qkv: Buffer,
    // The gradient of the rows that are added before later iterations, [rows, d].
    d_injected: Buffer,
    // The gradients of norms and biases, layer by layer.
    sums: Vec<Parameters<Vec<f32>>>,
}

impl ChunkGradients {
    /// Adds the contributions of `row` to the gradients of its embedding: through QKV, and through the residual stream.
    pub(super) fn add_of_embedding(&self, row: usize, d: usize, d_qkv: &mut [f32], d_x: &mut [f32]) {
        add(d_qkv, &self.d_qkv[row * 3 * d..][..3 * d]);
        add(d_x, &self.d_y[row * d..][..d]);
        if let Some(injected) = self.d_injected.get(row * d..(row + 1) * d) {
            add(d_x, injected);
        }
    }
}

impl Stack {
    /// dL/dx from dL/dy, after [`Stack::forward_keeping`] with the same workspace; adds dL/d(block) to `d_block`.
    pub(crate) fn backward(
        &self,
        workspace: &mut Workspace,
        block: &[f32],
        d_y: &[f32],
        d_block: &mut [f32],
    ) -> Vec<f32> {
        let (d, chunks, weights) = (self.d, &self.plan.chunks, self.weights(block));
        workspace.pass += 1;
        let (packed, embeddings) = (&mut workspace.packed, &mut workspace.embeddings);
        packed.clear(self.backend, self.layers, d);
        let buffers = workspace.buffers[..chunks.len()].iter_mut();
        let (saved, mut gradients): (Vec<&[f32]>, Vec<&mut ChunkGradients>) = buffers
            .map(|ChunkBuffers { saved, gradients, .. }| (&**saved, gradients))
            .unzip();
        self.begin_backward(&mut gradients, d_y);
        let at_a_time = self.chunks_at_a_time();
        let scratches = &mut workspace.scratches;
        if scratches.len() < at_a_time {
            scratches.resize_with(at_a_time, Scratch::default);
        }
        let (mut embedding_sums, mut d_x) = (self.zero_sums(), Vec::new());
        for effective_layer in (0..self.effective_layers()).rev() {
            let layer = effective_layer % self.layers;
            let distinct = self.distinct.as_ref().filter(|_| effective_layer == 0);
            let matrices = weights[layer].matrices().linear_maps(Matrix::transposed);
            packed.pack(self.backend, layer, matrices);
            let ops = &self.ops(&weights[layer], packed.get(layer, matrices));
            for first in (0..chunks.len()).step_by(at_a_time) {
                let range = first..(first + at_a_time).min(chunks.len());
                let (chunks, saved) = (&chunks[range.clone()], &saved[range.clone()]);
                let states = gradients[range].iter_mut().zip(scratches.iter_mut()).zip(saved);
                let mut states: Vec<_> = states.collect();
                for_each_chunk(&mut states, chunks, |((gradients, scratch), saved), chunk| {
                    let pass = self.layer_pass(chunk, ops, effective_layer, None);
                    let saved = self.saved(chunk, effective_layer, saved);
                    let sums = &mut gradients.sums[layer];
                    pass.backward(distinct.is_some(), &saved, scratch, &gradients.d_y, sums);
                    // Now `d_y` holds dL/dx, and `scratch.d_x` holds dL/dy, as the weight gradients expect it.
                    std::mem::swap(&mut gradients.d_y, &mut scratch.d_x);
                    if distinct.is_some() {
                        std::mem::swap(&mut gradients.d_qkv, &mut scratch.d_qkv);
                    }
                    if self.injects_before(effective_layer) {
                        add(&mut gradients.d_injected, &gradients.d_y);
                    }
                });
                self.add_weight_gradients(d_block, effective_layer, chunks, saved, scratches);
            }
            if let Some(distinct) = distinct {
                d_x = embeddings.backward(ops, distinct, chunks, &gradients, &mut embedding_sums);
                let layer = Parameters::split_mut(d, &mut d_block[..block.len() / self.layers]);
                let of_qkv = panels(layer, d).into_iter().filter(Panel::is_of_c_attn).par_bridge();
                let operands = embeddings.qkv_operands();
                of_qkv.for_each(|mut panel| panel.add(self.backend.gemm, d, std::iter::once(operands)));
            }
        }
        for (layer, flat) in d_block.chunks_exact_mut(block.len() / self.layers).enumerate() {
            let of_chunks = gradients.iter().map(|gradients| &gradients.sums[layer]);
            let of_embeddings = std::iter::once(&embedding_sums).filter(|_| layer == 0);
            let mut layer = Parameters::split_mut(d, flat);
            of_chunks
                .chain(of_embeddings)
                .for_each(|sums| add_sums(&mut layer, sums));
        }
        if self.distinct.is_some() {
            return d_x;
        }
        d_x.reserve_exact(chunks.last().map_or(0, |chunk| chunk.rows.end * d));
        for gradients in gradients {
            if self.injection {
                add(&mut gradients.d_y, &gradients.d_injected);
            }
            d_x.extend_from_slice(&gradients.d_y);
        }
        d_x
    }

    // Few chunks at a time, so that their scratch buffers stay in the L2 caches, but enough for the threads to share,
    // and whole groups that are one GEMM.
    fn chunks_at_a_time(&self) -> usize {
        let threads = rayon::current_num_threads();
        let count = if threads == 1 { 1 } else { 2 * threads };
        count.next_multiple_of(self.plan.chunks_per_gemm())
    }

    // Copies to every chunk its rows of dL/dy, and sets its sums to zero.
    fn begin_backward(&self, gradients: &mut [&mut ChunkGradients], mut d_y: &[f32]) {
        for (gradients, chunk) in gradients.iter_mut().zip(&self.plan.chunks) {
            let of_chunk = d_y.split_off(..self.outputs(chunk).len() * self.d).unwrap_or_default();
            gradients.d_y.fit(of_chunk.len()).copy_from_slice(of_chunk);
            let injected = if self.injection { chunk.all.len() * self.d } else { 0 };
            gradients.d_injected.fit(injected).fill(0.0);
            gradients.sums.clear();
            gradients.sums.resize_with(self.layers, || self.zero_sums());
        }
    }

    // Zeros for the gradients of a layer's norms and biases. Those of weight matrices go to the block's gradient
    // directly.
    fn zero_sums(&self) -> Parameters<Vec<f32>> {
        LAYER.each(|module| Affine {
            weight: match module.kind {
                Kind::Norm => vec![0.0; module.weight_len(self.d)],
                Kind::Linear | Kind::OutputProjection => Vec::new(),
            },
            bias: vec![0.0; module.outputs(self.d)],
        })
    }

    // What a chunk has kept at an effective layer.
    fn saved<'a>(&self, chunk: &Chunk, effective_layer: usize, saved: &'a [f32]) -> Saved<&'a [f32]> {
        let of = self.geometry(chunk, self.queries(chunk, effective_layer));
        let start = self.max_saved(chunk) * effective_layer;
        Saved::lengths(chunk.all.len(), &of).split(&saved[start..])
    }

    // Adds the weight gradients of a layer from chunks that have run backward through it, whose scratch buffers hold
    // the operands. Every panel sums the chunks in their order, on whichever thread it is.
    fn add_weight_gradients<'a>(
        &self,
        d_block: &mut [f32],
        effective_layer: usize,
        chunks: &[Chunk],
        saved: &[&'a [f32]],
        scratches: &'a [Scratch],
    ) {
        let (d, size) = (self.d, d_block.len() / self.layers);
        let layer = &mut d_block[effective_layer % self.layers * size..][..size];
        // That of the QKV projection comes from the distinct embeddings where there are any.
        let skips_qkv = effective_layer == 0 && self.distinct.is_some();
        let panels = panels(Parameters::split_mut(d, layer), d).into_iter();
        let panels = panels.filter(|panel| !(skips_qkv && panel.is_of_c_attn()));
        let per_gemm = self.plan.chunks_per_gemm();
        let add = |mut panel: Panel| {
            let groups = chunks.chunks(per_gemm).zip(saved.chunks(per_gemm));
            for ((chunks, saved), scratches) in groups.zip(scratches.chunks(per_gemm)) {
                let index = panel.index;
                let chunks = chunks.iter().zip(saved).zip(scratches);
                let operands = chunks.map(|((chunk, &saved), scratch)| {
                    let z = self.saved(chunk, effective_layer, saved).z;
                    scratch.operands(z).into_linear_maps()[index]
                });
                panel.add(self.backend.gemm, d, operands);
            }
        };
        if rayon::current_num_threads() == 1 {
            panels.for_each(add);
        } else {
            // Threads take panels in this order, those with the most work first.
            panels.par_bridge().for_each(add);
        }
    }
}

// gradients += sums, of norms and biases.
fn add_sums(gradients: &mut Parameters<&mut [f32]>, sums: &Parameters<Vec<f32>>) {
    gradients.as_mut().zip(sums.as_ref()).each(|(gradient, sum)| {
        // Empty where the module is a linear map.
        add(gradient.weight, &sum.weight);
        add(gradient.bias, &sum.bias);
    });
}
