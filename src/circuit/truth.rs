//! The truth about a circuit: at which sites each entity and relation of a query is visible, decodable and used.
//!
//! It is derived from runs of the program, which know nothing of weights:
//! - *decodable*: in every query, one and the same subspace holds the token at this site;
//! - *visible*: in every query, the token has the highest logit there, as the output matrix reads the site (for `z`, what the
//!   head adds to the stream);
//! - *used*: if the site held another token in its place, the answer would be another. This is so for most of the tokens that
//!   call for another answer: some change the answer of `late-bridge` at sites that are not on its path, because their facts
//!   are in earlier layers.
//!
//! Sites that are not listed hold none of a query's tokens. Queries of more than 16 hops are left out.

use serde::{Deserialize, Serialize};

use crate::graph::{Position, Target};
use crate::measure::Place;
use crate::model::Point;

/// The format of truth files.
pub(super) const FORMAT: u32 = 1;

/// What is true of a circuit at its own number of iterations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// The format of truth files.
    pub format: u32,
    /// The circuit's name.
    pub circuit: String,
    /// Its mechanism, in one sentence.
    pub mechanism: String,
    /// The first 16 digits of the checkpoint file's SHA-256.
    pub checkpoint_hash: String,
    /// Content hash of the data whose facts it holds.
    pub data_hash: String,
    /// Layers of the block.
    pub layers: usize,
    /// Iterations of the loop.
    pub iterations: usize,
    /// Attention heads a layer.
    pub heads: usize,
    /// The seed of the rotation of the residual stream, where it is rotated.
    pub rotate: Option<u64>,
    /// Noise in root mean squares of each tensor.
    pub noise: f64,
    /// Seed of the noise, and of the layers that facts are in.
    pub seed: u64,
    /// The layer of each fact, for a circuit that has each in one layer alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fact_layers: Vec<FactLayer>,
    /// Queries of one number of hops that are answered in one way, at the same sites.
    pub cases: Vec<Case>,
}

/// The layer, from 1, that a fact is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FactLayer {
    /// The head entity.
    pub head: String,
    /// The relation.
    pub relation: String,
    /// The layer, from 1.
    pub layer: usize,
}

/// The truth about the queries of one case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// Hops of the queries.
    pub hops: usize,
    /// Whether the circuit answers them right.
    pub right: bool,
    /// The layers of their facts, hop by hop, where each fact is in one layer alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fact_layers: Vec<usize>,
    /// The queries of this case among those of the data, or among a sample of 512 of this number of hops.
    pub queries: usize,
    /// Where tokens of the query and of its bridges are.
    pub sites: Vec<SiteTruth>,
    /// The sites whose state decides the answer that is given: those that are used, those of a wrong answer, and the patterns
    /// of the heads among them.
    pub carriers: Vec<CircuitSite>,
    /// Pairs of sites of which neither is used alone, but both together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub joint: Vec<Joint>,
}

/// A site of a circuit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CircuitSite {
    /// The hook point.
    pub point: Point,
    /// The position of the row.
    pub position: Position,
    /// The effective layer.
    #[serde(flatten)]
    pub place: Place,
    /// The head, from 1, for `z` and `attn_pattern`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<usize>,
}

/// What is true of a token at a site that holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SiteTruth {
    /// The entity or relation that the site holds.
    pub target: Target,
    /// Where it is.
    #[serde(flatten)]
    pub site: CircuitSite,
    /// Whether it has the highest logit there.
    pub visible: bool,
    /// Whether a linear map finds it.
    pub decodable: bool,
    /// Whether the answer follows it.
    pub used: bool,
}

/// Two sites that are used together: exchanging a token at both changes the answer, at one alone it does not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Joint {
    /// The entity or relation that both hold.
    pub target: Target,
    /// The two sites.
    pub sites: [CircuitSite; 2],
}

impl Truth {
    /// The case of a query, by its hops, whether it is answered right, and the layers of its facts.
    pub fn case(&self, hops: usize, right: bool, fact_layers: &[usize]) -> Option<&Case> {
        self.cases
            .iter()
            .find(|case| (case.hops, case.right, case.fact_layers.as_slice()) == (hops, right, fact_layers))
    }
}
