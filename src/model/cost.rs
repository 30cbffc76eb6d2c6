//! What a training step costs: floating-point operations and memory.

use super::config::{Activation, ModelConfig, Positions};
use super::rows::Rows;
use crate::kernels::stack::Plan;

// Bytes of a number.
const F32: usize = size_of::<f32>();

// Numbers of width `d_model` that a layer keeps of a row for the backward pass, beside the attention pattern: its input, QKV, the
// heads' outputs, the stream between attention and MLP, and the MLP's hidden states.
const SAVED_WIDTHS: usize = 10;

// Those that candle's operations keep, which have a tensor for every operation: of the row itself, and of each of its ancestors,
// whose number is the same for all rows of a batch. Fitted to the memory of runs with dropout, d_model 64 and 256, 3 and 17 ancestors.
const COMPOSED_WIDTHS: usize = 72;
const COMPOSED_WIDTHS_OF_AN_ANCESTOR: usize = 6;

impl ModelConfig {
    // Whether the embedding of a token depends on its position.
    pub(super) fn embeds_positions(&self) -> bool {
        self.positions != Positions::None
    }

    /// Floating-point operations of the matrix products of a training step over these rows: 2 for each multiply-add,
    /// forward and twice that backward, without those of attention. After the attention of the last layer only readout
    /// rows count, and before that of the first only distinct embeddings.
    pub fn training_flops(&self, vocab: usize, rows: &Rows, iterations: usize) -> u64 {
        let plan = Plan::new(rows.ancestry.clone(), &rows.readout);
        let (d, n) = (self.d_model as u64, rows.len() as u64);
        let distinct = rows.distinct_embeddings(self.embeds_positions());
        let saved = distinct.map_or(0, |distinct| n - distinct.len() as u64);
        let full = (self.layers * iterations) as u64 - 1;
        let multiply_adds = full * 12 * d * d * n + 3 * d * d * n + 9 * d * d * plan.n_readouts() as u64
            - 3 * d * d * saved
            + d * (vocab * rows.queries()) as u64;
        3 * 2 * multiply_adds
    }

    /// About the bytes that a training step over these rows takes in f32 on the CPU, weights included: 16 for each weight
    /// (its value, its gradient, two moments), its packed copy, what every effective layer keeps for the backward pass, and the
    /// logits with their gradient.
    pub(crate) fn training_bytes(&self, vocab: usize, rows: &Rows, iterations: usize) -> usize {
        let (d, n) = (self.d_model, rows.len());
        let weights = self.parameters(vocab);
        let block: usize = self
            .slots(vocab)
            .iter()
            .filter(|slot| slot.in_block())
            .map(super::Slot::count)
            .sum();
        // The kernels have neither dropout nor another activation.
        let is_fused = self.dropout == 0.0 && self.activation == Activation::default();
        let widths = if is_fused {
            SAVED_WIDTHS
        } else {
            COMPOSED_WIDTHS + COMPOSED_WIDTHS_OF_AN_ANCESTOR * rows.max_ancestors()
        };
        let kept = self.layers * iterations * self.kept_of_a_layer(rows, widths);
        // The gradient of the stream, of QKV at the first layer, and of what is injected.
        let gradients = 5 * d * n;
        let logits = 3 * vocab * rows.queries();
        F32 * (4 * weights + block + kept + gradients + logits)
    }

    /// About the bytes that a forward pass without gradients takes over these rows, weights apart: the states of two effective
    /// layers, and the logits twice.
    pub(crate) fn forward_bytes(&self, vocab: usize, rows: &Rows) -> usize {
        F32 * (2 * self.kept_of_a_layer(rows, SAVED_WIDTHS) + 2 * vocab * rows.queries())
    }

    // Numbers that a layer keeps: `widths` vectors of width `d_model` for each row, and the attention pattern.
    fn kept_of_a_layer(&self, rows: &Rows, widths: usize) -> usize {
        let ancestors: usize = (0..rows.len()).map(|row| rows.ancestors(row).len()).sum();
        widths * self.d_model * rows.len() + self.heads * ancestors
    }
}
