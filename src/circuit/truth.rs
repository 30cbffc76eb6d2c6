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

use std::fmt::Display;

use serde::{Deserialize, Serialize};

use crate::graph::{Dataset, Position, Query, Target};
use crate::measure::{Claim, Place};
use crate::model::{ModelConfig, Point};

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
    /// What methods cannot show of it, by its mechanism; those of the circuits here are known without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<TruthLimit>,
}

/// What a method cannot show of a circuit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TruthLimit {
    /// The method's name.
    pub method: String,
    /// What it claims.
    pub claim: Claim,
    /// Why.
    pub reason: String,
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

impl CircuitSite {
    // Whether the model has it for a query of this number of hops.
    fn is_in(&self, model: &ModelConfig, hops: usize) -> bool {
        let Place {
            effective_layer,
            iteration,
            layer,
        } = self.place;
        let is_place = if self.point.in_block() {
            (1..=model.iterations).contains(&iteration)
                && (1..=model.layers).contains(&layer)
                && effective_layer == (iteration - 1) * model.layers + layer
        } else {
            self.place == Place::EMBEDDING
        };
        let is_head = self
            .head
            .is_none_or(|head| self.point.has_heads() && (1..=model.heads).contains(&head));
        is_place && is_head && Position::of_chain(hops, model.reads_apart(hops)).contains(&self.position)
    }
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
    /// Checks that it is the truth about this checkpoint, by its hash, on these data.
    ///
    /// # Errors
    /// What does not fit, in words.
    pub fn check(&self, model: &ModelConfig, checkpoint_hash: &str, data: &Dataset) -> Result<(), String> {
        if self.format != FORMAT {
            return Err(format!("format {}; allowed: {FORMAT}", self.format));
        }
        let differs = |what: &str, here: &dyn Display, there: &dyn Display, of: &str| {
            Err(format!(
                "does not fit the {of}: {what} is {here} here, and {there} there"
            ))
        };
        let numbers = [
            ("layers", self.layers, model.layers),
            ("iterations", self.iterations, model.iterations),
            ("heads", self.heads, model.heads),
        ];
        for (what, here, there) in numbers {
            if here != there {
                return differs(what, &here, &there, "checkpoint");
            }
        }
        if self.checkpoint_hash != checkpoint_hash {
            return differs("checkpoint_hash", &self.checkpoint_hash, &checkpoint_hash, "checkpoint");
        }
        if self.data_hash != data.hash {
            return differs("data_hash", &self.data_hash, &data.hash, "data");
        }
        let longest = data.splits.iter().flat_map(|(_, rows)| rows).map(Query::hops).max();
        let longest = longest.unwrap_or_default();
        if let Some(case) = self.cases.iter().find(|case| !(1..=longest).contains(&case.hops)) {
            return Err(format!(
                "a case of {} hops; allowed: 1 to {longest}, those of the data",
                case.hops
            ));
        }
        let outside = |case: &Case| {
            let of_rows = case.sites.iter().map(|row| &row.site);
            let mut sites = of_rows
                .chain(&case.carriers)
                .chain(case.joint.iter().flat_map(|joint| &joint.sites));
            sites.find(|site| !site.is_in(model, case.hops)).cloned()
        };
        match self.cases.iter().find_map(|case| Some((case.hops, outside(case)?))) {
            None => Ok(()),
            Some((hops, site)) => Err(format!(
                "does not fit the checkpoint: a case of {hops} hops has a site that it lacks, {} at {}, iteration {}, layer {}{}",
                site.point.name(),
                site.position,
                site.place.iteration,
                site.place.layer,
                site.head.map(|head| format!(", head {head}")).unwrap_or_default()
            )),
        }
    }

    /// The case of a query, by its hops, whether it is answered right, and the layers of its facts.
    pub fn case(&self, hops: usize, right: bool, fact_layers: &[usize]) -> Option<&Case> {
        self.cases
            .iter()
            .find(|case| (case.hops, case.right, case.fact_layers.as_slice()) == (hops, right, fact_layers))
    }
}
