//! The backward pass of the loop, layer by layer, because the gradients of the shared weights are sums over all pieces.

use rayon::prelude::*;

use super::super::add;
use super::super::buffer::Buffer;
use super::layer::{Layer, Saved, Scratch};
use super::plan::Piece;
use super::products::{Panel, panels};
use super::{Space, Stack, Workspace, each};

/// What flows back through a piece.
#[derive(Default)]
pub(super) struct Flow {
    // [queries, d]; once the backward pass has been through a layer, dL/dx there, which is dL/dy of the one before.
    d_y: Buffer,
    // Of the first layer, where distinct embeddings are read once: [rows, 3 × d].
    d_qkv: Buffer,
    // Of the rows that are added before later iterations: [rows, d].
    d_injected: Buffer,
    // Gradients of norms and biases, layer by layer.
    sums: Vec<Layer<Vec<f32>>>,
}

impl Flow {
    /// Adds what one row's queries, keys, values and residual stream give to the gradients of its embedding.
    pub(super) fn add_origin(&self, row: usize, d: usize, d_qkv: &mut [f32], d_x: &mut [f32]) {
        add(d_qkv, &self.d_qkv[row * 3 * d..][..3 * d]);
        add(d_x, &self.d_y[row * d..][..d]);
        if let Some(injected) = self.d_injected.get(row * d..(row + 1) * d) {
            add(d_x, injected);
        }
    }
}

impl Stack {
    /// dL/dx from dL/dy, after a forward pass that kept; adds to dL/d(block).
    pub(super) fn backward(
        &self,
        workspace: &mut Workspace,
        block: &[f32],
        d_y: &[f32],
        d_block: &mut [f32],
    ) -> Vec<f32> {
        let (d, pieces, weights) = (self.d, &self.plan.pieces, self.weights(block));
        workspace.pass += 1;
        let Workspace {
            spaces,
            scratches,
            origin,
            matrices: turned,
            ..
        } = workspace;
        turned.clear(self.backend, self.layers, d);
        let spaces = spaces[..pieces.len()].iter_mut();
        let (states, mut flows): (Vec<&[f32]>, Vec<&mut Flow>) =
            spaces.map(|Space { saved, flow, .. }| (&**saved, flow)).unzip();
        self.start(&mut flows, d_y);
        // Few pieces at a time, so that their scratch buffers stay in caches, but enough for threads to share.
        let threads = rayon::current_num_threads();
        let together = if threads == 1 { 1 } else { 2 * threads };
        let together = together.next_multiple_of(self.plan.summed());
        if scratches.len() < together {
            scratches.resize_with(together, Scratch::default);
        }
        let (mut origin_sums, mut d_x) = (self.no_sums(), Vec::new());
        for turn in (0..self.effective_layers()).rev() {
            let layer = turn % self.layers;
            let sources = self.sources.as_ref().filter(|_| turn == 0);
            let matrices = weights[layer].matrices().transposed();
            turned.hold(self.backend, layer, matrices);
            let ops = self.ops(&weights[layer], turned.get(layer, matrices));
            for first in (0..pieces.len()).step_by(together) {
                let range = first..(first + together).min(pieces.len());
                let owned = flows[range.clone()].iter_mut().zip(scratches.iter_mut());
                let mut owned: Vec<_> = owned.zip(&states[range.clone()]).collect();
                each(
                    &mut owned,
                    &pieces[range.clone()],
                    |((flow, scratch), states), piece| {
                        let at = self.turn(piece, ops, turn, None);
                        let (saved, sums) = (self.saved(piece, turn, states), &mut flow.sums[layer]);
                        at.backward(sources.is_some(), &saved, scratch, &flow.d_y, sums);
                        std::mem::swap(&mut flow.d_y, &mut scratch.d_x);
                        if sources.is_some() {
                            std::mem::swap(&mut flow.d_qkv, &mut scratch.d_qkv);
                        }
                        if self.injects_before(turn) {
                            add(&mut flow.d_injected, &flow.d_y);
                        }
                    },
                );
                self.add_gradients(d_block, turn, &pieces[range.clone()], &states[range], scratches);
            }
            if let Some(sources) = sources {
                d_x = origin.backward(ops, sources, pieces, &flows, &mut origin_sums);
                let gradients = Layer::new_mut(d, &mut d_block[..block.len() / self.layers]);
                let gemm = self.backend.gemm;
                let of_origin = panels(gradients, d).into_iter().filter(Panel::reads_origin);
                of_origin
                    .par_bridge()
                    .for_each(|mut panel| panel.add_origin(gemm, origin, d));
            }
        }
        for (layer, flat) in d_block.chunks_exact_mut(block.len() / self.layers).enumerate() {
            let mut gradients = Layer::new_mut(d, flat);
            for flow in &flows {
                gradients.add(&flow.sums[layer]);
            }
            if layer == 0 {
                gradients.add(&origin_sums);
            }
        }
        if self.sources.is_some() {
            return d_x;
        }
        d_x.reserve_exact(pieces.last().map_or(0, |piece| piece.rows.end * d));
        for flow in flows {
            if self.injection {
                add(&mut flow.d_y, &flow.d_injected);
            }
            d_x.extend_from_slice(&flow.d_y);
        }
        d_x
    }

    // Gives every piece its rows of dL/dy.
    fn start(&self, flows: &mut [&mut Flow], mut d_y: &[f32]) {
        for (flow, piece) in flows.iter_mut().zip(&self.plan.pieces) {
            let mine = d_y.split_off(..self.outputs(piece).len() * self.d).unwrap_or_default();
            flow.d_y.fit(mine.len()).copy_from_slice(mine);
            let injected = if self.injection { piece.all.len() * self.d } else { 0 };
            flow.d_injected.fit(injected).fill(0.0);
            flow.sums.clear();
            flow.sums.resize_with(self.layers, || self.no_sums());
        }
    }

    // Zeros for the gradients of a layer's norms and biases.
    fn no_sums(&self) -> Layer<Vec<f32>> {
        Layer::from_sizes(self.d, |n| if n <= 4 * self.d { vec![0.0; n] } else { Vec::new() })
    }

    // What a piece has kept at an effective layer, among its states.
    fn saved<'a>(&self, piece: &Piece, turn: usize, states: &'a [f32]) -> Saved<&'a [f32]> {
        let of = self.geometry(piece, self.queries(piece, turn));
        Saved::sizes(piece.all.len(), &of).lie_in(&states[self.room(piece) * turn..])
    }

    // Adds the gradients of a layer's matrices from pieces that have been through it, whose scratch buffers hold what these
    // are made of, with dL/dy in the place of dL/dx. Every panel adds pieces up in their order, whoever does it.
    fn add_gradients<'a>(
        &self,
        d_block: &mut [f32],
        turn: usize,
        pieces: &[Piece],
        states: &[&'a [f32]],
        scratches: &'a [Scratch],
    ) {
        let (d, size) = (self.d, d_block.len() / self.layers);
        let gradients = Layer::new_mut(d, &mut d_block[turn % self.layers * size..][..size]);
        let from_origin = turn == 0 && self.sources.is_some();
        let panels = panels(gradients, d).into_iter();
        let panels = panels.filter(|panel| !(from_origin && panel.reads_origin()));
        let summed = self.plan.summed();
        let add = |mut panel: Panel| {
            let groups = pieces.chunks(summed).zip(states.chunks(summed));
            for ((pieces, states), scratches) in groups.zip(scratches.chunks(summed)) {
                let z = |(piece, &states): (&Piece, &&'a [f32])| self.saved(piece, turn, states).z;
                panel.add(self.backend.gemm, pieces.iter().zip(states).map(z).zip(scratches), d);
            }
        };
        if rayon::current_num_threads() == 1 {
            panels.for_each(add);
        } else {
            // In this order, whichever thread is free.
            panels.par_bridge().for_each(add);
        }
    }
}
