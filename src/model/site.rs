//! Where a forward pass can be read or changed.
//!
//! The names are those of TransformerLens. A recurrent block runs once an iteration, so a site always names its
//! iteration too: a cache keyed by layer alone would silently keep the last iteration.

use serde::{Deserialize, Serialize};

use super::config::ModelConfig;

/// A kind of place in the forward pass; shapes are those of the recorded tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Point {
    /// Token plus position embedding, `[rows, d_model]`.
    Embed,
    /// The residual stream before a layer, `[rows, d_model]`.
    ResidPre,
    /// Attention probabilities over each row's ancestors, oldest first, `[rows, heads, ancestors]`.
    AttnPattern,
    /// What each head gathers, before the output projection, `[rows, heads, d_head]`.
    Z,
    /// What attention adds to the stream, `[rows, d_model]`.
    AttnOut,
    /// The residual stream between attention and MLP, `[rows, d_model]`.
    ResidMid,
    /// MLP activations after the non-linearity, `[rows, 4 × d_model]`.
    MlpPost,
    /// What the MLP adds to the stream, `[rows, d_model]`.
    MlpOut,
    /// The residual stream after a layer, `[rows, d_model]`.
    ResidPost,
    /// After the final layer norm, at the readout rows, `[readouts, d_model]`.
    Final,
    /// The logits, at the readout rows, `[readouts, vocab]`.
    Logits,
}

impl Point {
    /// The name that users type.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embed => "embed",
            Self::ResidPre => "resid_pre",
            Self::AttnPattern => "attn_pattern",
            Self::Z => "z",
            Self::AttnOut => "attn_out",
            Self::ResidMid => "resid_mid",
            Self::MlpPost => "mlp_post",
            Self::MlpOut => "mlp_out",
            Self::ResidPost => "resid_post",
            Self::Final => "final",
            Self::Logits => "logits",
        }
    }

    /// Those whose states hold tokens, in the order of a layer.
    pub const OF_TOKENS: [Self; 7] = [
        Self::Embed,
        Self::ResidPre,
        Self::Z,
        Self::AttnOut,
        Self::ResidMid,
        Self::MlpOut,
        Self::ResidPost,
    ];

    /// Whether the point is inside a layer, and so has an iteration and a layer.
    pub fn in_block(self) -> bool {
        !matches!(self, Self::Embed | Self::Final | Self::Logits)
    }

    /// The shape of a row's state inside the loop, of a model of this width and number of heads: `max_ancestors` is the number of
    /// ancestors that a pattern is padded to.
    pub(super) fn state_shape(self, config: &ModelConfig, max_ancestors: usize) -> Vec<usize> {
        let (d, heads) = (config.d_model, config.heads);
        match self {
            Self::AttnPattern => vec![heads, max_ancestors],
            Self::Z => vec![heads, d / heads],
            Self::MlpPost => vec![4 * d],
            _ => vec![d],
        }
    }

    /// Whether the state of a row is one of heads, each with a slice of its own.
    pub fn has_heads(self) -> bool {
        matches!(self, Self::Z | Self::AttnPattern)
    }
}

/// One place in one forward pass. Iterations and layers count from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Site {
    point: Point,
    iteration: usize,
    layer: usize,
}

impl Site {
    /// The embedding.
    pub fn embed() -> Self {
        Self {
            point: Point::Embed,
            iteration: 0,
            layer: 0,
        }
    }

    /// `point` in `layer` at `iteration`. For `embed`, `final` and `logits` the layer has no meaning and is dropped.
    pub fn new(point: Point, iteration: usize, layer: usize) -> Self {
        match point {
            Point::Embed => Self::embed(),
            _ => Self {
                point,
                iteration,
                layer: if point.in_block() { layer } else { 0 },
            },
        }
    }

    /// Every site of `point` in a pass of `iterations` iterations of `layers` layers, in the order of the pass.
    pub fn all(point: Point, iterations: usize, layers: usize) -> Vec<Self> {
        match point {
            Point::Embed => vec![Self::embed()],
            Point::Final | Point::Logits => (0..iterations).map(|i| Self::new(point, i, 0)).collect(),
            _ => (0..iterations)
                .flat_map(|i| (0..layers).map(move |l| Self::new(point, i, l)))
                .collect(),
        }
    }

    /// The kind of place.
    pub fn point(self) -> Point {
        self.point
    }

    /// The iteration, from 0.
    pub fn iteration(self) -> usize {
        self.iteration
    }

    /// The layer, from 0.
    pub fn layer(self) -> usize {
        self.layer
    }
}

impl std::fmt::Display for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.point {
            Point::Embed => write!(f, "embed"),
            Point::Final | Point::Logits => write!(f, "{} at iteration {}", self.point.name(), self.iteration),
            _ => write!(
                f,
                "{} at iteration {}, layer {}",
                self.point.name(),
                self.iteration,
                self.layer
            ),
        }
    }
}
