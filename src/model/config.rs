//! The architecture of a model, and the weight tensors that follow from it.

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};
use crate::kernels::{Kind, LAYER};

/// How the position of a token in its chain enters the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Positions {
    /// A trained table of `max_positions` rows (the paper's systematic task).
    #[default]
    Learned,
    /// Fixed sines and cosines (Vaswani et al. 2017, Section 3.5).
    Sinusoidal,
    /// None: the causal mask alone tells order (the paper's depth task).
    None,
}

/// The non-linearity of the MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// GELU in the tanh approximation of GPT-2.
    #[default]
    GeluTanh,
    /// max(x, 0). The CPU kernels lack it, so that such a model runs by candle's own operations, several times slower.
    Relu,
}

impl Activation {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The initial output projections of attention and MLP: c times the Gaussian of all other matrices (Kohli et al.
/// 2026, Section 4 and Appendix F). In a config it is `"zero"`, `"gaussian"`, or c itself.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Init(f64);

impl Init {
    /// c = 0: every layer is the identity at the start.
    pub const ZERO: Self = Self(0.0);
    /// c = 1: N(0, 0.02), as everything else.
    pub const GAUSSIAN: Self = Self(1.0);

    /// c.
    pub fn scale(self) -> f64 {
        self.0
    }
}

impl Serialize for Init {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match *self {
            Self::ZERO => serializer.serialize_str("zero"),
            Self::GAUSSIAN => serializer.serialize_str("gaussian"),
            Self(scale) => serializer.serialize_f64(scale),
        }
    }
}

impl<'de> Deserialize<'de> for Init {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(InitVisitor)
    }
}

struct InitVisitor;

impl Visitor<'_> for InitVisitor {
    type Value = Init;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("\"zero\", \"gaussian\", or a number of 0 or more")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> std::result::Result<Init, E> {
        match text {
            "zero" => Ok(Init::ZERO),
            "gaussian" => Ok(Init::GAUSSIAN),
            _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
        }
    }

    fn visit_f64<E: de::Error>(self, scale: f64) -> std::result::Result<Init, E> {
        if scale.is_finite() && scale >= 0.0 {
            Ok(Init(scale))
        } else {
            Err(E::invalid_value(de::Unexpected::Float(scale), &self))
        }
    }

    fn visit_i64<E: de::Error>(self, scale: i64) -> std::result::Result<Init, E> {
        self.visit_f64(scale as f64)
    }

    fn visit_u64<E: de::Error>(self, scale: u64) -> std::result::Result<Init, E> {
        self.visit_f64(scale as f64)
    }
}

/// Where a query's answer is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Readout {
    /// At the query's last token (the paper's text).
    #[default]
    LastToken,
    /// At the last of `columns` columns after right padding (the published code): for a shorter query, a `<pad>` row
    /// that attends to the tokens before it, and to which no row attends.
    LastColumn,
}

/// A looped GPT-2 (Kohli et al. 2026, Section 4): `layers` pre-norm blocks, applied `iterations` times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Layers of the recurrent block, L.
    pub layers: usize,
    /// Times that the block is applied in training, R; 1 is the vanilla transformer.
    pub iterations: usize,
    /// The width of the residual stream.
    pub d_model: usize,
    /// Attention heads; must divide `d_model`.
    pub heads: usize,
    /// How the position of a token enters the model.
    #[serde(default)]
    pub positions: Positions,
    /// Rows of the table of learned positions.
    #[serde(default = "default_max_positions")]
    pub max_positions: usize,
    /// The scale of the initial output projections.
    #[serde(default)]
    pub init: Init,
    /// Whether the embedding is added to the residual stream again before every iteration but the first (Yang et al.
    /// 2024, Equation 1).
    #[serde(default, skip_serializing_if = "is_false")]
    pub injection: bool,
    /// The non-linearity of the MLP.
    #[serde(default, skip_serializing_if = "Activation::is_default")]
    pub activation: Activation,
    /// Standard deviation of the initial embeddings.
    #[serde(default = "default_embedding_std")]
    pub embedding_std: f64,
    /// Dropout probability at the embedding, the attention pattern, and what attention and MLP add to the stream.
    #[serde(default)]
    pub dropout: f64,
    /// Whether the output matrix is the token embedding.
    #[serde(default = "default_tied")]
    pub tied: bool,
    /// The position at which a query's answer is read.
    #[serde(default)]
    pub readout: Readout,
    /// Columns after padding, for the readout `last-column`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<usize>,
}

fn default_max_positions() -> usize {
    5
}
fn default_embedding_std() -> f64 {
    0.02
}
fn default_tied() -> bool {
    true
}
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// The role of a weight tensor, which decides its initial values and whether it decays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A table of embeddings.
    Embedding,
    /// A matrix inside a layer, or an untied output matrix.
    Matrix,
    /// The last matrix of attention or MLP, which [`Init`] scales.
    OutputProjection,
    /// A bias of a matrix or a layer norm.
    Bias,
    /// The scale of a layer norm.
    NormWeight,
}

/// Name, shape and role of one weight tensor, named as in the published checkpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The name, as in `blocks.0.attn.c_attn.weight`.
    pub name: String,
    /// The shape; matrices of a layer are `[in, out]`.
    pub shape: Vec<usize>,
    /// The role.
    pub role: Role,
}

impl Slot {
    /// The number of weights.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it belongs to a layer of the recurrent block.
    pub fn in_block(&self) -> bool {
        self.name.starts_with("blocks.")
    }
}

impl ModelConfig {
    /// A model of `layers` layers that are applied `iterations` times, of width `d_model` with `heads` attention heads, and
    /// the defaults of a config file for everything else.
    pub fn new(layers: usize, iterations: usize, d_model: usize, heads: usize) -> Self {
        Self {
            layers,
            iterations,
            d_model,
            heads,
            positions: Positions::default(),
            max_positions: default_max_positions(),
            init: Init::default(),
            injection: false,
            activation: Activation::default(),
            embedding_std: default_embedding_std(),
            dropout: 0.0,
            tied: default_tied(),
            readout: Readout::default(),
            columns: None,
        }
    }

    /// Checks all values.
    ///
    /// # Errors
    /// With the key, the value, and what is allowed.
    pub fn check(&self) -> Result<()> {
        let range = |key: &str, value: usize, max: usize| {
            if (1..=max).contains(&value) {
                Ok(())
            } else {
                Err(Error::input(format!("model.{key} = {value}; allowed: 1 to {max}")))
            }
        };
        range("layers", self.layers, 1024)?;
        range("iterations", self.iterations, 4096)?;
        range("d_model", self.d_model, 65_536)?;
        if !(1..=self.d_model).contains(&self.heads) {
            return Err(Error::input(format!(
                "model.heads = {}; allowed: 1 to model.d_model = {}",
                self.heads, self.d_model
            )));
        }
        range("max_positions", self.max_positions, 1 << 20)?;
        if !self.d_model.is_multiple_of(self.heads) {
            let divisors: Vec<String> = (1..=self.d_model)
                .filter(|h| self.d_model.is_multiple_of(*h))
                .map(|h| h.to_string())
                .collect();
            return Err(Error::input(format!(
                "model.heads = {} does not divide model.d_model = {}; allowed: {}",
                self.heads,
                self.d_model,
                divisors.join(", ")
            )));
        }
        if self.positions == Positions::Sinusoidal && !self.d_model.is_multiple_of(2) {
            return Err(Error::input(format!(
                "model.d_model = {} is odd; sinusoidal positions need an even one",
                self.d_model
            )));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(Error::input(format!(
                "model.dropout = {}; allowed: 0 up to below 1",
                self.dropout
            )));
        }
        if !(self.embedding_std > 0.0 && self.embedding_std.is_finite()) {
            return Err(Error::input(format!(
                "model.embedding_std = {}; allowed: above 0",
                self.embedding_std
            )));
        }
        match (self.readout, self.columns) {
            (Readout::LastColumn, None) => Err(Error::input(
                "model.readout = \"last-column\" needs model.columns, the number of columns after padding",
            )),
            (Readout::LastToken, Some(columns)) => Err(Error::input(format!(
                "model.columns = {columns} is for model.readout = \"last-column\" alone; the readout is \"last-token\""
            ))),
            (Readout::LastColumn, Some(columns)) => range("columns", columns, 1 << 20),
            (Readout::LastToken, None) => Ok(()),
        }
    }

    /// The effective depth D = layers × iterations.
    pub fn effective_layers(&self) -> usize {
        self.layers * self.iterations
    }

    /// The weight tensors of a model with `vocab` tokens, in the order of their initialisation.
    pub fn slots(&self, vocab: usize) -> Vec<Slot> {
        let d = self.d_model;
        let mut slots = Vec::new();
        let mut slot = |name: String, shape: &[usize], role: Role| {
            slots.push(Slot {
                name,
                shape: shape.to_vec(),
                role,
            });
        };
        slot("token_embedding.weight".into(), &[vocab, d], Role::Embedding);
        if self.positions == Positions::Learned {
            slot(
                "position_embedding.weight".into(),
                &[self.max_positions, d],
                Role::Embedding,
            );
        }
        for i in 0..self.layers {
            for module in LAYER.into_array() {
                let role = match module.kind {
                    Kind::Norm => Role::NormWeight,
                    Kind::Linear => Role::Matrix,
                    Kind::OutputProjection => Role::OutputProjection,
                };
                let name = format!("blocks.{i}.{}", module.name);
                slot(format!("{name}.weight"), &module.weight_shape(d), role);
                slot(format!("{name}.bias"), &[module.outputs(d)], Role::Bias);
            }
        }
        slot("ln_f.weight".into(), &[d], Role::NormWeight);
        slot("ln_f.bias".into(), &[d], Role::Bias);
        if !self.tied {
            slot("lm_head.weight".into(), &[vocab, d], Role::Matrix);
        }
        slots
    }

    /// The number of weights.
    pub fn parameters(&self, vocab: usize) -> usize {
        self.slots(vocab).iter().map(Slot::count).sum()
    }

    /// Floating-point operations of the matrix products of one forward pass over one query of `tokens` tokens, none of
    /// them shared: 2 for each multiply-add, attention scores and mixing included, one readout.
    pub fn forward_flops(&self, vocab: usize, tokens: usize) -> u64 {
        let (d, n) = (self.d_model as u64, tokens as u64);
        let matrices = 2 * 12 * d * d * n;
        let attention = 2 * 2 * d * n * (n + 1) / 2;
        self.effective_layers() as u64 * (matrices + attention) + 2 * d * vocab as u64
    }
}

#[cfg(test)]
pub(crate) mod tests;
