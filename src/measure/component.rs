//! What writes into the residual stream.

use serde::{Deserialize, Serialize};

use super::place::Place;
use crate::model::Point;

/// What writes into the residual stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Component {
    /// Token plus position embedding, before the first iteration.
    Embedding,
    /// The embedding, added anew before an iteration.
    Injection,
    /// A head of attention, without the bias of the output projection.
    Head,
    /// The bias of the output projection of attention.
    AttentionBias,
    /// The MLP with its bias.
    Mlp,
    /// The bias of the final layer norm, which reads no stream.
    FinalBias,
}

/// A component at its place in the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentAt {
    /// The component.
    pub component: Component,
    /// Which attention head, from 1, where it is one.
    pub attention_head: Option<usize>,
    /// The iteration and the layer.
    #[serde(flatten)]
    pub place: Place,
}

impl Component {
    /// The hook point of what it writes; a bias writes the same everywhere.
    pub(super) fn point(self) -> Option<Point> {
        match self {
            Self::Embedding => Some(Point::Embed),
            Self::Head => Some(Point::Z),
            Self::Mlp => Some(Point::MlpOut),
            Self::Injection | Self::AttentionBias | Self::FinalBias => None,
        }
    }
}
