//! The sender of a path as rows have it.

use serde::{Deserialize, Serialize};

use crate::measure::component::Component;
use crate::measure::place::Place;

/// A sender as results name it; iterations, layers and heads count from 1, and are 0 at the embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SenderAt {
    /// The component.
    #[serde(rename = "sender_component")]
    pub component: Component,
    /// Which attention head, where it is one.
    #[serde(rename = "sender_attention_head")]
    pub attention_head: Option<usize>,
    /// (iteration − 1) × layers + layer.
    #[serde(rename = "sender_effective_layer")]
    pub effective_layer: usize,
    /// The iteration.
    #[serde(rename = "sender_iteration")]
    pub iteration: usize,
    /// The layer inside the block.
    #[serde(rename = "sender_layer")]
    pub layer: usize,
}

impl SenderAt {
    /// Where it is.
    pub(super) fn place(self) -> Place {
        Place {
            effective_layer: self.effective_layer,
            iteration: self.iteration,
            layer: self.layer,
        }
    }
}
