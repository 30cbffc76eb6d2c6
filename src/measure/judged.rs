//! What of a report can be held against a model whose mechanism is known: scores of sites, and numbers that are foretold.

use serde::{Deserialize, Serialize};

use super::place::Place;
use crate::graph::{Position, Query, Split, Target};
use crate::model::Point;

/// What a method claims of a token at a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Claim {
    /// The output matrix gives it the highest logit there.
    Visible,
    /// A linear map finds it there.
    Decodable,
    /// The answer follows the entity that the state there holds.
    Used,
    /// An edit there, in queries that nothing was fitted to, gives the answer that follows from another token: the score is the
    /// share of queries in which it does. It counts in reports of [`Method::to_edit`](super::Method::to_edit) alone.
    Counterfactual,
}

impl Claim {
    /// The name that marks and tables have.
    pub fn name(self) -> &'static str {
        match self {
            Self::Visible => "visible",
            Self::Decodable => "decodable",
            Self::Used => "used",
            Self::Counterfactual => "counterfactual",
        }
    }
}

/// How strongly a method claims something of a site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SiteScore {
    /// What is claimed.
    pub claim: Claim,
    /// Of which tokens: of any of these.
    pub targets: Vec<Target>,
    /// Hops of the queries.
    pub hops: usize,
    /// The hook point.
    pub point: Point,
    /// The position.
    pub position: Position,
    /// The effective layer.
    #[serde(flatten)]
    pub place: Place,
    /// The head, from 1; absent where the point has no heads, or all of them are meant.
    pub head: Option<usize>,
    /// The higher, the more the method is for it.
    pub score: f64,
    /// Whether the method says that it is so, at its own threshold.
    pub is_called: bool,
}

/// A number that a model is designed to give, and the one that a method found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What number.
    pub what: String,
    /// As designed.
    pub expected: f64,
    /// As found.
    pub found: f64,
}

impl Check {
    /// Whether both agree within `tolerance`; what is not a number agrees with nothing.
    pub fn passes(&self, tolerance: f64) -> bool {
        (self.expected - self.found).abs() <= tolerance
    }
}

/// What a model is designed to do with the queries of its data.
pub trait Design {
    /// The queries of a split with this number of hops, all where it is `None`.
    fn queries(&self, split: &Split, hops: Option<usize>) -> Vec<&Query>;

    /// Whether it answers the query right after `iterations` iterations; `None` where that is not known.
    fn is_right(&self, query: &Query, iterations: usize) -> Option<bool>;

    /// The last of `max` iterations that changes the state at the readout; `None` where that is not known.
    fn last_change(&self, query: &Query, max: usize) -> Option<usize>;

    /// The number of relations at the end of a query of `hops` hops that decide its answer, and one more where its head does
    /// too; `None` where that is not known.
    fn suffix(&self, hops: usize) -> Option<usize>;
}

/// The share of the queries of a split that a model is designed to answer right; `None` where that is not known of each.
pub(super) fn designed_accuracy(
    design: &dyn Design,
    split: &Split,
    hops: Option<usize>,
    iterations: usize,
) -> Option<f64> {
    mean_of(design, split, hops, |query| {
        Some(f64::from(u8::from(design.is_right(query, iterations)?)))
    })
}

/// The mean of a number that is known of every query of a split.
pub(super) fn mean_of(
    design: &dyn Design,
    split: &Split,
    hops: Option<usize>,
    of: impl Fn(&Query) -> Option<f64>,
) -> Option<f64> {
    let queries = design.queries(split, hops);
    let all: Option<Vec<f64>> = queries.into_iter().map(of).collect();
    all.filter(|all| !all.is_empty()).map(super::statistics::mean)
}

/// The first of `max` iterations after which a query is to be answered right, `max` where none is; `None` where that is not
/// known.
pub(super) fn designed_hit(design: &dyn Design, query: &Query, max: usize) -> Option<f64> {
    for iteration in 1..=max {
        if design.is_right(query, iteration)? {
            return Some(iteration as f64);
        }
    }
    Some(max as f64)
}

/// Which models a method is verified on, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The numbers of hops of the queries, rising.
    pub hops: Vec<usize>,
    /// Iterations of the model.
    pub iterations: usize,
    /// Layers of its block.
    pub layers: usize,
    /// Attention heads of a layer.
    pub heads: usize,
    /// Whether answers are read at a position of their own.
    pub reads_apart: bool,
    /// Whether the model gives right answers: a control does not.
    pub answers_right: bool,
}

impl Setting {
    /// Iterations up to which methods look beyond those of the model.
    pub fn beyond(&self) -> usize {
        3 * self.iterations
    }
}
