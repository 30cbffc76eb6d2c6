//! Matrices of the block as operands of products, as many at a time as memory is worth.

use super::super::backend::Backend;
use super::super::gemm::{Matrix, Operand, Right, operand_bytes};
use super::layer::Layer;

// What a block's operands may take; of a larger block, one layer's are packed at a time.
const BYTES: usize = 128 << 20;

/// One thing for each matrix of a layer.
#[derive(Default, Clone, Copy)]
pub(super) struct Matrices<T> {
    pub(super) c_attn: T,
    pub(super) attn_proj: T,
    pub(super) c_fc: T,
    pub(super) mlp_proj: T,
}

/// Operands of the layers of a block.
pub(super) struct Bank {
    bytes: usize,
    slots: Vec<Slot>,
}

impl Default for Bank {
    fn default() -> Self {
        Self::new(BYTES)
    }
}

#[derive(Default)]
struct Slot {
    // Whose matrices it holds.
    layer: Option<usize>,
    operands: Matrices<Operand>,
}

impl Bank {
    /// One that may take so many bytes, or what a layer needs.
    pub(super) fn new(bytes: usize) -> Self {
        let slots = Vec::new();
        Self { bytes, slots }
    }

    /// Forgets what it holds, which other weights have taken the place of; `layers` layers of width `d` will come.
    pub(super) fn clear(&mut self, backend: Backend, layers: usize, d: usize) {
        let all = layers * operand_bytes(backend.gemm, 12 * d * d);
        let count = if all <= self.bytes { layers } else { 1 };
        self.slots.resize_with(count, Slot::default);
        for slot in &mut self.slots {
            slot.layer = None;
        }
    }

    /// The layers that it can hold at a time.
    pub(super) fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Packs a layer's matrices for `backend`, where it does not hold them.
    pub(super) fn hold(&mut self, backend: Backend, layer: usize, matrices: Matrices<Matrix>) {
        let count = self.capacity();
        let slot = &mut self.slots[layer % count];
        if slot.layer != Some(layer) {
            slot.layer = Some(layer);
            slot.operands.c_attn.set(backend, matrices.c_attn);
            slot.operands.attn_proj.set(backend, matrices.attn_proj);
            slot.operands.c_fc.set(backend, matrices.c_fc);
            slot.operands.mlp_proj.set(backend, matrices.mlp_proj);
        }
    }

    /// The operands of a layer that it holds, which are these matrices.
    pub(super) fn get<'a>(&'a self, layer: usize, matrices: Matrices<Matrix<'a>>) -> Matrices<Right<'a>> {
        let operands = &self.slots[layer % self.capacity()].operands;
        Matrices {
            c_attn: operands.c_attn.of(matrices.c_attn),
            attn_proj: operands.attn_proj.of(matrices.attn_proj),
            c_fc: operands.c_fc.of(matrices.c_fc),
            mlp_proj: operands.mlp_proj.of(matrices.mlp_proj),
        }
    }
}

impl<'a> Layer<&'a [f32]> {
    /// The matrices as they are.
    pub(super) fn matrices(&self) -> Matrices<Matrix<'a>> {
        let matrix = |[weight, bias]: [&'a [f32]; 2]| Matrix::new(weight, bias.len());
        Matrices {
            c_attn: matrix(self.c_attn),
            attn_proj: matrix(self.attn_proj),
            c_fc: matrix(self.c_fc),
            mlp_proj: matrix(self.mlp_proj),
        }
    }
}

impl Matrices<Matrix<'_>> {
    /// The same turned over, as the backward pass needs them.
    pub(super) fn transposed(self) -> Self {
        Self {
            c_attn: self.c_attn.transposed(),
            attn_proj: self.attn_proj.transposed(),
            c_fc: self.c_fc.transposed(),
            mlp_proj: self.mlp_proj.transposed(),
        }
    }
}
