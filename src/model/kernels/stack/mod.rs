//! The recurrent block, applied R times, as one differentiable op over packed rows.
//!
//! A batch is cut into pieces that need nothing of each other ([`Plan`]), and each runs through all effective layers by
//! itself; the backward pass goes through them layer by layer, because the gradients of the shared weights are sums
//! over all pieces. Buffers are reused from step to step.

mod bank;
mod layer;
mod ops;
mod plan;
mod products;
mod sources;
mod taps;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use pulp::Arch;
use rayon::prelude::*;

use super::attention::Geometry;
use super::buffer::Buffer;
use super::gemm::Right;
use super::gradients::Gradients;
use super::{add, like, slice, with_numbers};
use crate::model::rows::Sources;
use bank::{Bank, Matrices};
use layer::{Layer, Saved, Scratch, Turn};
use ops::Ops;
use plan::Piece;
use products::{Panel, panels};
use sources::Origin;
use taps::Visitor;

pub(in super::super) use plan::Plan;
pub(in super::super) use taps::Taps;

// GPT-2's, as in the composed version.
const EPSILON: f32 = crate::model::forward::EPSILON as f32;

/// The buffers of one piece.
#[derive(Default)]
struct Space {
    // What is kept at each effective layer in its turn, as `Saved` lies.
    saved: Buffer,
    out: Buffer, // [queries, d]
    // [queries, d]; once the backward pass has been through the layer, dL/dx there, which is dL/dy of the one before.
    d_y: Buffer,
    // Of the first layer, where distinct embeddings are read once: [rows, 3 × d].
    d_qkv: Buffer,
    // Of the rows that are added before later iterations: [rows, d].
    d_injected: Buffer,
    // Gradients of norms and biases, layer by layer.
    sums: Vec<Layer<Vec<f32>>>,
}

impl Space {
    // Adds what one row's queries, keys, values and residual stream give to the gradients of its embedding.
    fn add_origin(&self, row: usize, d: usize, d_qkv: &mut [f32], d_x: &mut [f32]) {
        add(d_qkv, &self.d_qkv[row * 3 * d..][..3 * d]);
        add(d_x, &self.d_y[row * d..][..d]);
        if let Some(injected) = self.d_injected.get(row * d..(row + 1) * d) {
            add(d_x, injected);
        }
    }
}

/// The buffers of a model, and which forward pass they hold.
#[derive(Default)]
pub(in super::super) struct Workspace {
    pass: u64,
    spaces: Vec<Space>,
    // One for each piece that is worked on at a time, so that they stay in caches.
    scratches: Vec<Scratch>,
    origin: Origin,
    matrices: Bank,
    turned: Bank,
}

/// R turns of a block of layers over one batch.
#[derive(Clone)]
pub(in super::super) struct Stack {
    pub(in super::super) plan: Arc<Plan>,
    pub(in super::super) d: usize,
    pub(in super::super) heads: usize,
    pub(in super::super) layers: usize,
    pub(in super::super) iterations: usize,
    /// Whether the last layer gives only the rows that are read out, not all.
    pub(in super::super) readouts_only: bool,
    /// Whether x is added again before every iteration but the first.
    pub(in super::super) injection: bool,
    /// Where x has one row for each of these alone, not for each row of the batch.
    pub(in super::super) sources: Option<Arc<Sources>>,
    pub(in super::super) workspace: Arc<Mutex<Workspace>>,
    pub(in super::super) gradients: Gradients,
}

impl Stack {
    /// The states after the last layer, of the readout rows or of all, with gradients; x `[rows, d]` or
    /// `[sources, d]`, block `[layers, weights of a layer]`.
    ///
    /// # Errors
    /// When an operand is not contiguous f32 on the CPU.
    pub(in super::super) fn differentiable(self, x: &Tensor, block: &Tensor) -> Result<Tensor> {
        let op = Loop {
            stack: self,
            pass: AtomicU64::new(u64::MAX),
        };
        x.contiguous()?.apply_op2(block, op)
    }

    /// The same without gradients, met by `taps`.
    ///
    /// # Errors
    /// As [`Stack::differentiable`].
    pub(in super::super) fn run(&self, x: &Tensor, block: &Tensor, taps: Option<&dyn Taps>) -> Result<Tensor> {
        let out = with_numbers(x, |x| {
            with_numbers(block, |block| Ok(self.forward(&mut self.lock(), x, block, false, taps)))
        })?;
        let rows = out.len() / self.d;
        Tensor::from_vec(out, (rows, self.d), x.device())
    }

    // The model's buffers, or fresh ones where another thread is using them.
    fn lock(&self) -> Buffers<'_> {
        match self.workspace.try_lock() {
            Ok(guard) => Buffers::Shared(guard),
            Err(TryLockError::Poisoned(poisoned)) => Buffers::Shared(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => Buffers::Own(Box::default()),
        }
    }

    fn effective_layers(&self) -> usize {
        self.layers * self.iterations
    }

    fn injects_before(&self, turn: usize) -> bool {
        self.injection && turn > 0 && turn.is_multiple_of(self.layers)
    }

    fn weights<'a>(&self, block: &'a [f32]) -> Vec<Layer<&'a [f32]>> {
        block
            .chunks_exact(block.len() / self.layers)
            .map(|flat| Layer::new(self.d, flat))
            .collect()
    }

    fn ops<'a>(&self, weights: &'a Layer<&'a [f32]>, matrices: Matrices<Right<'a>>) -> Ops<'a> {
        Ops {
            weights,
            matrices,
            d: self.d,
            arch: Arch::new(),
        }
    }

    // The rows of x that a piece's rows are.
    fn rows_of<'a>(&self, x: &'a [f32], piece: &Piece) -> impl Iterator<Item = &'a [f32]> {
        let d = self.d;
        piece.rows.clone().map(move |row| {
            let row = self
                .sources
                .as_ref()
                .map_or(row, |sources| sources.of_row[row] as usize);
            &x[row * d..][..d]
        })
    }

    fn turn<'a>(&'a self, piece: &'a Piece, ops: Ops<'a>, turn: usize, taps: Option<&'a dyn Taps>) -> Turn<'a> {
        let last = turn + 1 == self.effective_layers();
        Turn {
            of: Geometry {
                ancestry: &self.plan.ancestry,
                first: piece.rows.start,
                queries: if last { self.outputs(piece) } else { &piece.all },
                d: self.d,
                heads: self.heads,
            },
            ops,
            all: &piece.all,
            visitor: Visitor {
                taps,
                iteration: turn / self.layers,
                layer: turn % self.layers,
                rows: piece.rows.clone(),
            },
        }
    }

    // Numbers that a piece's states at an effective layer take up.
    fn room(&self, piece: &Piece) -> usize {
        let of = Geometry {
            ancestry: &self.plan.ancestry,
            first: piece.rows.start,
            queries: &piece.all,
            d: self.d,
            heads: self.heads,
        };
        Saved::sizes(piece.all.len(), &of).room()
    }

    // The rows that come out of the last layer.
    fn outputs<'a>(&self, piece: &'a Piece) -> &'a [u32] {
        if self.readouts_only {
            &piece.readouts
        } else {
            &piece.all
        }
    }

    fn forward(
        &self,
        workspace: &mut Workspace,
        x: &[f32],
        block: &[f32],
        keep: bool,
        taps: Option<&dyn Taps>,
    ) -> Vec<f32> {
        let (d, pieces, weights) = (self.d, &self.plan.pieces, self.weights(block));
        workspace.pass += 1;
        if workspace.spaces.len() < pieces.len() {
            workspace.spaces.resize_with(pieces.len(), Space::default);
        }
        let Workspace {
            spaces,
            scratches,
            origin,
            matrices,
            ..
        } = workspace;
        let spaces = &mut spaces[..pieces.len()];
        matrices.clear(self.layers, d);
        let turns = self.effective_layers();
        // Where the whole block can be held, a piece goes through all of it at once, which caches like best.
        let stretch = if matrices.capacity() < self.layers { 1 } else { turns };
        // The states of two effective layers by turns, where none are kept.
        let place = |turn: usize| if keep { turn } else { turn % 2 };
        let free = Mutex::new(std::mem::take(scratches));
        for first in (0..turns).step_by(stretch) {
            for (layer, weights) in weights.iter().enumerate() {
                if stretch > 1 || first % self.layers == layer {
                    matrices.hold(layer, weights.matrices());
                }
            }
            let ops = |layer: usize| self.ops(&weights[layer], matrices.get(layer, weights[layer].matrices()));
            if first == 0 && self.sources.is_some() {
                origin.forward(ops(0), x);
            }
            each(spaces, pieces, |space, piece| {
                let mut scratch = lock(&free).pop().unwrap_or_default();
                let Space { saved, out, .. } = space;
                let room = self.room(piece);
                if first == 0 {
                    let saved = saved.fit(room * if keep { turns } else { 2 });
                    let rows = saved.chunks_exact_mut(d).zip(self.rows_of(x, piece));
                    rows.for_each(|(to, from)| to.copy_from_slice(from));
                    out.fit(self.outputs(piece).len() * d);
                }
                for turn in first..first + stretch {
                    let sources = self.sources.as_ref().filter(|_| turn == 0);
                    let known = sources.map(|sources| (&*origin.qkv, &sources.of_row[piece.rows.clone()]));
                    let at = self.turn(piece, ops(turn % self.layers), turn, taps);
                    let here = room * place(turn);
                    if turn + 1 == turns {
                        let mut here = at.sizes().lie_in_mut(&mut saved[here..][..room]);
                        at.forward(known, &mut here, &mut scratch, out);
                        break;
                    }
                    let next = room * place(turn + 1);
                    let both = saved.get_disjoint_mut([here..here + room, next..next + piece.all.len() * d]);
                    let Ok([here, next]) = both else {
                        unreachable!("states of effective layers lie side by side");
                    };
                    at.forward(known, &mut at.sizes().lie_in_mut(here), &mut scratch, next);
                    if self.injects_before(turn + 1) {
                        let rows = next.chunks_exact_mut(d).zip(self.rows_of(x, piece));
                        rows.for_each(|(to, from)| add(to, from));
                    }
                }
                lock(&free).push(scratch);
            });
        }
        *scratches = free.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut out = Vec::with_capacity(pieces.iter().map(|piece| self.outputs(piece).len() * d).sum());
        for space in spaces.iter() {
            out.extend_from_slice(&space.out);
        }
        out
    }

    // dL/dx from dL/dy, after a forward pass that kept; adds to dL/d(block).
    fn backward(&self, workspace: &mut Workspace, block: &[f32], d_y: &[f32], d_block: &mut [f32]) -> Vec<f32> {
        let (d, pieces, weights) = (self.d, &self.plan.pieces, self.weights(block));
        workspace.pass += 1;
        let threads = rayon::current_num_threads();
        let no_sums = || Layer::from_sizes(d, |n| if n <= 4 * d { vec![0.0; n] } else { Vec::new() });
        let Workspace {
            spaces,
            scratches,
            origin,
            turned,
            ..
        } = workspace;
        turned.clear(self.layers, d);
        let spaces = &mut spaces[..pieces.len()];
        let mut rest = d_y;
        for (space, piece) in spaces.iter_mut().zip(pieces) {
            let (mine, later) = rest.split_at(self.outputs(piece).len() * d);
            rest = later;
            space.d_y.fit(mine.len());
            space.d_y.copy_from_slice(mine);
            let injected = if self.injection { piece.all.len() * d } else { 0 };
            space.d_injected.fit(injected).fill(0.0);
            space.sums.clear();
            space.sums.resize_with(self.layers, no_sums);
        }
        // Few enough that their scratch buffers stay in caches, enough that threads seldom wait for each other.
        let together = if threads == 1 { 1 } else { 2 * threads };
        if scratches.len() < together.min(pieces.len()) {
            scratches.resize_with(together.min(pieces.len()), Scratch::default);
        }
        let (mut origin_sums, mut d_x) = (no_sums(), Vec::new());
        let layer_size = block.len() / self.layers;
        for turn in (0..self.effective_layers()).rev() {
            let layer = turn % self.layers;
            let sources = self.sources.as_ref().filter(|_| turn == 0);
            let matrices = weights[layer].matrices().transposed();
            turned.hold(layer, matrices);
            let ops = self.ops(&weights[layer], turned.get(layer, matrices));
            let gradients = Layer::new_mut(d, &mut d_block[layer * layer_size..][..layer_size]);
            let (mut of_origin, mut of_pieces): (Vec<_>, Vec<_>) = panels(gradients, d)
                .into_iter()
                .partition(|panel| sources.is_some() && panel.reads_origin());
            // Every panel adds the pieces up in their order, whoever does it.
            for (spaces, pieces) in spaces.chunks_mut(together).zip(pieces.chunks(together)) {
                let mut busy: Vec<_> = spaces.iter_mut().zip(scratches.iter_mut()).collect();
                each(&mut busy, pieces, |(space, scratch), piece| {
                    let at = self.turn(piece, ops, turn, None);
                    let saved = at.sizes().lie_in(&space.saved[self.room(piece) * turn..]);
                    at.backward(sources.is_some(), &saved, scratch, &space.d_y, &mut space.sums[layer]);
                });
                let add_pieces = |panel: &mut Panel| {
                    for ((space, scratch), piece) in spaces.iter().zip(scratches.iter()).zip(pieces) {
                        let at = self.turn(piece, ops, turn, None);
                        let saved = at.sizes().lie_in(&space.saved[self.room(piece) * turn..]);
                        panel.add(saved.z, scratch, &space.d_y, d);
                    }
                };
                if threads == 1 {
                    of_pieces.iter_mut().for_each(add_pieces);
                } else {
                    // In this order, whichever thread is free.
                    of_pieces.iter_mut().par_bridge().for_each(add_pieces);
                }
                for (space, scratch) in spaces.iter_mut().zip(scratches.iter_mut()) {
                    std::mem::swap(&mut space.d_y, &mut scratch.d_x);
                    if sources.is_some() {
                        std::mem::swap(&mut space.d_qkv, &mut scratch.d_qkv);
                    }
                    if self.injects_before(turn) {
                        add(&mut space.d_injected, &space.d_y);
                    }
                }
            }
            if let Some(sources) = sources {
                d_x = origin.backward(ops, sources, pieces, spaces, &mut origin_sums);
                of_origin.par_iter_mut().for_each(|panel| panel.add_origin(origin, d));
            }
        }
        for (layer, flat) in d_block.chunks_exact_mut(layer_size).enumerate() {
            let mut gradients = Layer::new_mut(d, flat);
            for space in spaces.iter() {
                gradients.add(&space.sums[layer]);
            }
            if layer == 0 {
                gradients.add(&origin_sums);
            }
        }
        if self.sources.is_some() {
            return d_x;
        }
        d_x.reserve_exact(pieces.last().map_or(0, |piece| piece.rows.end * d));
        for space in spaces.iter_mut() {
            if self.injection {
                add(&mut space.d_y, &space.d_injected);
            }
            d_x.extend_from_slice(&space.d_y);
        }
        d_x
    }
}

// Runs `f` on every piece with what is its own, on as many threads as there are.
fn each<T: Send>(owned: &mut [T], pieces: &[Piece], f: impl Fn(&mut T, &Piece) + Sync) {
    if rayon::current_num_threads() == 1 || pieces.len() == 1 {
        owned.iter_mut().zip(pieces).for_each(|(owned, piece)| f(owned, piece));
    } else {
        owned
            .par_iter_mut()
            .zip(pieces)
            .for_each(|(owned, piece)| f(owned, piece));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

enum Buffers<'a> {
    Shared(MutexGuard<'a, Workspace>),
    Own(Box<Workspace>),
}

impl std::ops::Deref for Buffers<'_> {
    type Target = Workspace;

    fn deref(&self) -> &Workspace {
        match self {
            Self::Shared(guard) => guard,
            Self::Own(workspace) => workspace,
        }
    }
}

impl std::ops::DerefMut for Buffers<'_> {
    fn deref_mut(&mut self) -> &mut Workspace {
        match self {
            Self::Shared(guard) => guard,
            Self::Own(workspace) => workspace,
        }
    }
}

// The op as candle's autograd sees it.
struct Loop {
    stack: Stack,
    // The forward pass whose states the backward pass needs.
    pass: AtomicU64,
}

impl CustomOp2 for Loop {
    fn name(&self) -> &'static str {
        "loop"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        block: &CpuStorage,
        block_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let mut workspace = self.stack.lock();
        let (x, block) = (slice(x, x_layout)?, slice(block, block_layout)?);
        let out = self.stack.forward(&mut workspace, x, block, true, None);
        if let Buffers::Shared(workspace) = &workspace {
            self.pass.store(workspace.pass, Ordering::Relaxed);
        }
        let rows = out.len() / self.stack.d;
        Ok((CpuStorage::F32(out), (rows, self.stack.d).into()))
    }

    fn bwd(&self, x: &Tensor, block: &Tensor, _y: &Tensor, d_y: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let mut workspace = self.stack.lock();
        let mut d_x = Vec::new();
        let d_block = with_numbers(block, |block_numbers| {
            if workspace.pass != self.pass.load(Ordering::Relaxed) {
                // Another pass has used the buffers since.
                with_numbers(x, |x| {
                    self.stack.forward(&mut workspace, x, block_numbers, true, None);
                    Ok(())
                })?;
            }
            with_numbers(d_y, |d_y| {
                self.stack.gradients.add(block, |d_block| {
                    d_x = self.stack.backward(&mut workspace, block_numbers, d_y, d_block);
                    Ok(())
                })
            })
        })?;
        Ok((like(x, d_x)?, d_block))
    }
}
