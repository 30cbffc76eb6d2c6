//! The recurrent block, applied R times, as one differentiable op over packed rows.
//!
//! A batch is cut into pieces that need nothing of each other ([`Plan`]), and each runs through all effective layers by
//! itself. Buffers are reused from step to step.

mod backward;
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
use rayon::prelude::*;

use super::attention::Geometry;
use super::backend::Backend;
use super::buffer::Buffer;
use super::gemm::Right;
use super::gradients::Gradients;
use super::{add, like, slice, with_numbers};
use crate::model::rows::Sources;
use backward::Flow;
use bank::{Bank, Matrices};
use layer::{Layer, Saved, Scratch, Turn};
use ops::Ops;
use plan::Piece;
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
    flow: Flow,
}

/// The buffers of a model, and which forward pass they hold.
#[derive(Default)]
pub(in super::super) struct Workspace {
    pass: u64,
    spaces: Vec<Space>,
    // One for each piece that is worked on at a time, so that they stay in caches.
    scratches: Vec<Scratch>,
    origin: Origin,
    // The layers' matrices for the pass that is under way.
    matrices: Bank,
}

#[cfg(test)]
impl Workspace {
    pub(in super::super) fn one_layer_at_a_time() -> Self {
        Self {
            matrices: Bank::new(0),
            ..Self::default()
        }
    }
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
    pub(in super::super) backend: Backend,
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
            arch: self.backend.arch,
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
        Turn {
            of: self.geometry(piece, self.queries(piece, turn)),
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

    fn geometry<'a>(&'a self, piece: &Piece, queries: &'a [u32]) -> Geometry<'a> {
        Geometry {
            ancestry: &self.plan.ancestry,
            first: piece.rows.start,
            queries,
            d: self.d,
            heads: self.heads,
        }
    }

    // Numbers that a piece's states at an effective layer take up.
    fn room(&self, piece: &Piece) -> usize {
        Saved::sizes(piece.all.len(), &self.geometry(piece, &piece.all)).room()
    }

    // The rows that come out of an effective layer.
    fn queries<'a>(&self, piece: &'a Piece, turn: usize) -> &'a [u32] {
        if turn + 1 == self.effective_layers() {
            self.outputs(piece)
        } else {
            &piece.all
        }
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
        matrices.clear(self.backend, self.layers, d);
        let turns = self.effective_layers();
        // Where the whole block can be held, a piece goes through all of it at once, which caches like best.
        let stretch = if matrices.capacity() < self.layers { 1 } else { turns };
        // The states of two effective layers by turns, where none are kept.
        let place = |turn: usize| if keep { turn } else { turn % 2 };
        let free = Mutex::new(std::mem::take(scratches));
        for first in (0..turns).step_by(stretch) {
            for (layer, weights) in weights.iter().enumerate() {
                if stretch > 1 || first % self.layers == layer {
                    matrices.hold(self.backend, layer, weights.matrices());
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
