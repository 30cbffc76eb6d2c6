//! The features that a program writes into the residual stream, and states as counts of them.

use std::collections::HashMap;
use std::ops::Range;

/// What a feature stands for within its subspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Value {
    /// An entity or a relation, by its vocabulary id.
    Token(u32),
    /// There is no entity in this subspace yet.
    Pending,
    /// The token is not a relation.
    NoRelation,
    /// The token is the `<pad>` at which answers are read.
    Pad,
    /// The position of the token in the query.
    Position(usize),
    /// The only value of a subspace that is the same for all tokens.
    Constant,
}

/// A subspace of the residual stream: orthogonal features of one norm, one of which is present at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Subspace(usize);

/// A direction of the residual stream, by its index among all features.
pub(super) type Feature = usize;

/// All features of a program. Those of all subspaces together are orthogonal.
#[derive(Default)]
pub(super) struct Features {
    // By feature.
    values: Vec<(Subspace, Value)>,
    // By subspace.
    ranges: Vec<Range<Feature>>,
    norms: Vec<f64>,
    index: HashMap<(Subspace, Value), Feature>,
}

impl Features {
    /// Adds a subspace of these values, whose features have norm `norm` in the residual stream.
    pub(super) fn add(&mut self, norm: f64, values: impl IntoIterator<Item = Value>) -> Subspace {
        let subspace = Subspace(self.ranges.len());
        let start = self.values.len();
        for value in values {
            self.index.insert((subspace, value), self.values.len());
            self.values.push((subspace, value));
        }
        self.ranges.push(start..self.values.len());
        self.norms.push(norm);
        subspace
    }

    /// The number of features.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// The features of a subspace.
    pub(super) fn of(&self, subspace: Subspace) -> Range<Feature> {
        self.ranges[subspace.0].clone()
    }

    /// The feature of this value in a subspace, where the subspace has it.
    pub(super) fn find(&self, subspace: Subspace, value: Value) -> Option<Feature> {
        self.index.get(&(subspace, value)).copied()
    }

    /// The subspace that a feature belongs to.
    pub(super) fn subspace(&self, feature: Feature) -> Subspace {
        self.values[feature].0
    }

    /// The token that a feature stands for, if it stands for one.
    pub(super) fn token(&self, feature: Feature) -> Option<u32> {
        match self.values[feature].1 {
            Value::Token(id) => Some(id),
            _ => None,
        }
    }

    /// The norm of a feature in the residual stream.
    pub(super) fn norm(&self, feature: Feature) -> f64 {
        self.norms[self.values[feature].0.0]
    }

    /// The norm of the features of a subspace.
    pub(super) fn norm_in(&self, subspace: Subspace) -> f64 {
        self.norms[subspace.0]
    }
}

/// A vector of the residual stream as counts of features, sorted by feature, without those of count 0. A negative count is
/// a feature that a layer takes out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct State(Vec<(Feature, i32)>);

impl State {
    /// The count of a feature.
    pub(super) fn count(&self, feature: Feature) -> i32 {
        self.0
            .binary_search_by_key(&feature, |entry| entry.0)
            .map_or(0, |i| self.0[i].1)
    }

    /// Adds a feature `count` times.
    pub(super) fn add(&mut self, feature: Feature, count: i32) {
        match self.0.binary_search_by_key(&feature, |entry| entry.0) {
            Ok(i) => {
                self.0[i].1 += count;
                if self.0[i].1 == 0 {
                    self.0.remove(i);
                }
            }
            Err(_) if count == 0 => {}
            Err(i) => self.0.insert(i, (feature, count)),
        }
    }

    /// Adds another state.
    pub(super) fn add_state(&mut self, other: &Self) {
        for &(feature, count) in &other.0 {
            self.add(feature, count);
        }
    }

    /// The features that are present, with their counts.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Feature, i32)> {
        self.0.iter().copied()
    }

    /// The same state in which every feature of the token `from` is that of `to`, where its subspace has one.
    pub(super) fn interchange(&self, from: u32, to: u32, features: &Features) -> Self {
        let mut interchanged = Self::default();
        for (feature, count) in self.iter() {
            let other = match features.token(feature) {
                Some(token) if token == from => features.find(features.subspace(feature), Value::Token(to)),
                _ => None,
            };
            interchanged.add(other.unwrap_or(feature), count);
        }
        interchanged
    }
}

impl FromIterator<Feature> for State {
    fn from_iter<I: IntoIterator<Item = Feature>>(features: I) -> Self {
        let mut state = Self::default();
        for feature in features {
            state.add(feature, 1);
        }
        state
    }
}
