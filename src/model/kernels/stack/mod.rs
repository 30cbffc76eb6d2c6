//! The recurrent block, applied R times, as one differentiable op over packed rows.
//!
//! A batch is cut into pieces that need nothing of each other ([`Plan`]), and each runs through all effective layers by
//! itself; the backward pass goes through them layer by layer, because the gradients of the shared weights are sums
//! over all pieces. Buffers are reused from step to step.

mod layer;
mod ops;
mod plan;
mod products;
mod sources;
mod taps;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use pulp::Arch;
use rayon::prelude::*;

use super::attention::Geometry;
use super::gradients::Gradients;
use super::{add, fit, like, slice, with_numbers};
use crate::model::rows::Sources;
use layer::{Layer, Saved, Scratch, Turn};
use ops::{Ops, Turned};
use plan::Piece;
use products::panels;
use sources::Origin;
use taps::Visitor;

pub(in super::super) use plan::Plan;
pub(in super::super) use taps::Taps;

// GPT-2's, as in the composed version.
const EPSILON: f32 = crate::model::forward::EPSILON as f32;

/// The buffers of one piece.
#[derive(Default)]
struct Space {
    saved: Vec<Saved>,
    scratch: Scratch,
    out: Vec<f32>, // [queries, d]
    d_y: Vec<f32>, // [queries, d]
    // Of the rows that are added before later iterations: [rows, d].
    d_injected: Vec<f32>,
    // Gradients of norms and biases, layer by layer.
    sums: Vec<Layer<Vec<f32>>>,
}

impl Space {
    // Adds what one row's queries, keys, values and residual stream give to the gradients of its embedding.
    fn add_origin(&self, row: usize, d: usize, d_qkv: &mut [f32], d_x: &mut [f32]) {
        add(d_qkv, &self.scratch.d_qkv[row * 3 * d..][..3 * d]);
        add(d_x, &self.scratch.d_x[row * d..][..d]);
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
    origin: Origin,
    turned: Vec<Turned>,
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
            Err(TryLockError::WouldBlock) => Buffers::Own(Workspace::default()),
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

    fn ops<'a>(&self, weights: &'a [Layer<&'a [f32]>], turn: usize) -> Ops<'a> {
        Ops {
            weights: &weights[turn % self.layers],
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

    fn turn<'a>(
        &'a self,
        piece: &'a Piece,
        weights: &'a [Layer<&'a [f32]>],
        turn: usize,
        taps: Option<&'a dyn Taps>,
    ) -> Turn<'a> {
        let last = turn + 1 == self.effective_layers();
        Turn {
            of: Geometry {
                ancestry: &self.plan.ancestry,
                first: piece.rows.start,
                queries: if last { self.outputs(piece) } else { &piece.all },
                d: self.d,
                heads: self.heads,
            },
            ops: self.ops(weights, turn),
            all: &piece.all,
            visitor: Visitor {
                taps,
                iteration: turn / self.layers,
                layer: turn % self.layers,
                rows: piece.rows.clone(),
            },
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
        let Workspace { spaces, origin, .. } = workspace;
        let spaces = &mut spaces[..pieces.len()];
        if self.sources.is_some() {
            origin.forward(self.ops(&weights, 0), x);
        }
        let place = |turn: usize| if keep { turn } else { 0 };
        each(spaces, pieces, |space, piece| {
            let kept = if keep { self.effective_layers() } else { 1 };
            if space.saved.len() < kept {
                space.saved.resize_with(kept, Saved::default);
            }
            let first = &mut space.saved[0].x;
            fit(first, piece.all.len() * d);
            let rows = first.chunks_exact_mut(d).zip(self.rows_of(x, piece));
            rows.for_each(|(to, from)| to.copy_from_slice(from));
            for turn in 0..self.effective_layers() {
                let Space {
                    saved, scratch, out, ..
                } = &mut *space;
                let sources = self.sources.as_ref().filter(|_| turn == 0);
                let known = sources.map(|sources| (&*origin.qkv, &sources.of_row[piece.rows.clone()]));
                let at = self.turn(piece, &weights, turn, taps);
                at.forward(known, &mut saved[place(turn)], scratch, out);
                if turn + 1 < self.effective_layers() {
                    let next = &mut saved[place(turn + 1)].x;
                    std::mem::swap(next, out);
                    if self.injects_before(turn + 1) {
                        let rows = next.chunks_exact_mut(d).zip(self.rows_of(x, piece));
                        rows.for_each(|(to, from)| add(to, from));
                    }
                }
            }
        });
        let mut out = Vec::with_capacity(pieces.iter().map(|piece| self.outputs(piece).len() * d).sum());
        for space in spaces.iter() {
            out.extend_from_slice(&space.out);
        }
        out
    }

    // dL/dx from dL/dy, after a forward pass that kept, and whose states it uses up; adds to dL/d(block).
    fn backward(&self, workspace: &mut Workspace, block: &[f32], d_y: &[f32], d_block: &mut [f32]) -> Vec<f32> {
        let (d, pieces, weights) = (self.d, &self.plan.pieces, self.weights(block));
        workspace.pass += 1;
        workspace.turned.resize_with(self.layers, Turned::default);
        let no_sums = || Layer::from_sizes(d, |n| if n <= 4 * d { vec![0.0; n] } else { Vec::new() });
        let layers = workspace.turned.par_iter_mut().zip(&weights);
        layers.for_each(|(turned, weights)| turned.set(weights, Arch::new()));
        let Workspace {
            spaces, origin, turned, ..
        } = workspace;
        let spaces = &mut spaces[..pieces.len()];
        let mut rest = d_y;
        for (space, piece) in spaces.iter_mut().zip(pieces) {
            let (mine, later) = rest.split_at(self.outputs(piece).len() * d);
            rest = later;
            fit(&mut space.d_y, mine.len());
            space.d_y.copy_from_slice(mine);
            space.d_injected.clear();
            if self.injection {
                space.d_injected.resize(piece.all.len() * d, 0.0);
            }
            space.sums.clear();
            space.sums.resize_with(self.layers, no_sums);
        }
        let (mut origin_sums, mut d_x) = (no_sums(), Vec::new());
        let layer_size = block.len() / self.layers;
        for turn in (0..self.effective_layers()).rev() {
            let layer = turn % self.layers;
            let sources = self.sources.as_ref().filter(|_| turn == 0);
            let back = |space: &mut Space, piece: &Piece| {
                let at = self.turn(piece, &weights, turn, None);
                let (saved, scratch, sums) = (&mut space.saved[turn], &mut space.scratch, &mut space.sums[layer]);
                at.backward(sources.is_some(), &turned[layer], saved, scratch, &space.d_y, sums);
            };
            let gradients = Layer::new_mut(d, &mut d_block[layer * layer_size..][..layer_size]);
            let (mut of_origin, mut of_pieces): (Vec<_>, Vec<_>) = panels(gradients, d)
                .into_iter()
                .partition(|panel| sources.is_some() && panel.reads_origin());
            // Every panel adds the pieces up in their order, whoever does it.
            if rayon::current_num_threads() == 1 {
                for (space, piece) in spaces.iter_mut().zip(pieces) {
                    back(space, piece);
                    for panel in &mut of_pieces {
                        panel.add(space, turn, d);
                    }
                }
            } else {
                each(spaces, pieces, back);
                // In this order, whichever thread is free.
                of_pieces
                    .iter_mut()
                    .par_bridge()
                    .for_each(|panel| spaces.iter().for_each(|space| panel.add(space, turn, d)));
            }
            if let Some(sources) = sources {
                let ops = self.ops(&weights, 0);
                d_x = origin.backward(ops, sources, pieces, spaces, &turned[0], &mut origin_sums);
                of_origin.par_iter_mut().for_each(|panel| panel.add_origin(origin, d));
            }
            for space in spaces.iter_mut() {
                std::mem::swap(&mut space.d_y, &mut space.scratch.d_x);
                if self.injects_before(turn) {
                    add(&mut space.d_injected, &space.d_y);
                }
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

// Runs `f` on every piece with its buffers, on as many threads as there are.
fn each(spaces: &mut [Space], pieces: &[Piece], f: impl Fn(&mut Space, &Piece) + Sync) {
    if rayon::current_num_threads() == 1 || pieces.len() == 1 {
        spaces.iter_mut().zip(pieces).for_each(|(space, piece)| f(space, piece));
    } else {
        spaces
            .par_iter_mut()
            .zip(pieces)
            .for_each(|(space, piece)| f(space, piece));
    }
}

enum Buffers<'a> {
    Shared(MutexGuard<'a, Workspace>),
    Own(Workspace),
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
