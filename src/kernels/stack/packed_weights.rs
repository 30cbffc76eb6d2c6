//! The weight matrices of the block, packed for GEMM: all layers where memory allows, otherwise one layer at a time.

use super::super::backend::Backend;
use super::super::gemm::Matrix;
use super::super::matmul::{PackedOperand, RightOperand};
use super::super::parameters::{LAYER, Layer};

// The most bytes that a block's packed weights may take; of a larger block, one layer is packed at a time.
const MAX_BYTES: usize = 128 << 20;

/// The packed weights of the layers of a block.
pub(super) struct PackedWeights {
    max_bytes: usize,
    slots: Vec<Slot>,
}

impl Default for PackedWeights {
    fn default() -> Self {
        Self::new(MAX_BYTES)
    }
}

#[derive(Default)]
struct Slot {
    // The layer whose matrices it holds.
    layer: Option<usize>,
    operands: Layer<(), PackedOperand>,
}

impl PackedWeights {
    /// Packed weights that take at most `max_bytes`, or what one layer needs.
    pub(super) fn new(max_bytes: usize) -> Self {
        let slots = Vec::new();
        Self { max_bytes, slots }
    }

    /// Forgets the weights of the last pass, and makes slots for `layers` layers of width `d`.
    pub(super) fn clear(&mut self, backend: Backend, layers: usize, d: usize) {
        let lengths = LAYER.into_linear_maps().map(|linear| linear.weight_len(d));
        let bytes = layers * backend.gemm.max_packed_bytes(lengths.iter().sum());
        let count = if bytes <= self.max_bytes { layers } else { 1 };
        self.slots.resize_with(count, Slot::default);
        for slot in &mut self.slots {
            slot.layer = None;
        }
    }

    /// The number of layers that are packed at a time.
    pub(super) fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Packs the matrices of a layer for `backend`, where they are not packed already.
    pub(super) fn pack(&mut self, backend: Backend, layer: usize, matrices: Layer<(), Matrix>) {
        let count = self.capacity();
        let slot = &mut self.slots[layer % count];
        if slot.layer != Some(layer) {
            slot.layer = Some(layer);
            slot.operands
                .as_mut()
                .zip(matrices)
                .linear_maps(|(operand, matrix)| operand.pack(backend, matrix));
        }
    }

    /// The operands of a layer that is packed, whose matrices these are.
    pub(super) fn get<'a>(&'a self, layer: usize, matrices: Layer<(), Matrix<'a>>) -> Layer<(), RightOperand<'a>> {
        let operands = self.slots[layer % self.capacity()].operands.as_ref();
        operands
            .zip(matrices)
            .linear_maps(|(operand, matrix)| operand.right(matrix))
    }
}
