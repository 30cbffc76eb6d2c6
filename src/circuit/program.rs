//! A program of attention heads and key-value memories over features: what a circuit computes, without weights.

use std::collections::HashMap;

use super::features::{Feature, Features, State, Subspace, Value};
use super::known::KnownGraph;
use crate::graph::{PAD, Vocab};
use crate::model::Readout;

/// The norm of the features of the answer. It is larger than that of a relation, so that with a tied output matrix an answer
/// has a larger logit than the relation at whose position it stands.
pub(super) const ANSWER_NORM: f64 = 1.5;

/// The norm of the feature that all tokens share. The larger it is, the smaller are the weights that thresholds put on it.
const CONSTANT_NORM: f64 = 1.5;

/// The norm of the features that heads gather and MLPs take out again. It is small, so that a state in which an intervention
/// has left some of them has nearly the norm of any other.
const GATHERED_NORM: f64 = 0.5;

/// Which position a head attends to. The position alone decides.
#[derive(Debug, Clone, Copy)]
pub(super) enum Attends {
    /// The position this many tokens back; the head entity where there are fewer.
    Back(usize),
    /// The position with this index; the head entity where the query is shorter.
    To(usize),
    /// From the `<pad>` at which answers are read, the query's last token; from everywhere else the head entity.
    LastToken,
}

impl Attends {
    /// The preference of the query at position `query` for the key at `key`: the key of the highest one is attended to.
    /// `last` is the last position that there can be.
    pub(super) fn preference(self, query: usize, key: usize, last: usize) -> usize {
        let wanted = match self {
            Self::Back(n) => query.saturating_sub(n),
            Self::To(index) => index,
            Self::LastToken if query == last => return key,
            Self::LastToken => 0,
        };
        if key == wanted { 2 } else { usize::from(key == 0) }
    }
}

/// An attention head: the QK circuit chooses a position, the OV circuit copies features from there.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) attends: Attends,
    /// (from, to): what is present in `from` at the position attended to is added to `to`. Both have the same values in the
    /// same order.
    pub(super) copies: Vec<(Subspace, Subspace)>,
}

/// A key-value memory of an MLP (Geva et al. 2021): where the weighted count of its key features reaches `min`, it writes its
/// value.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    /// Features with weights of 1 or more. Without the first one `min` is not reached, even with gathered features twice.
    pub(super) key: Vec<(Feature, i32)>,
    pub(super) min: i32,
    /// Features with the count that is added to the state.
    pub(super) value: Vec<(Feature, i32)>,
}

impl Memory {
    /// Fires where all features of `key` are present; writes `adds` and takes out `removes`.
    pub(super) fn all(key: &[Feature], adds: &[Feature], removes: &[Feature]) -> Self {
        let added = adds.iter().map(|&feature| (feature, 1));
        let removed = removes.iter().map(|&feature| (feature, -1));
        Self {
            key: key.iter().map(|&feature| (feature, 1)).collect(),
            min: key.len() as i32,
            value: added.chain(removed).collect(),
        }
    }

    /// Whether it fires in this state.
    pub(super) fn fires(&self, state: &State) -> bool {
        let sum: i32 = self.key.iter().map(|&(f, weight)| weight * state.count(f)).sum();
        sum >= self.min
    }
}

/// One layer of the block.
#[derive(Default)]
pub(super) struct Layer {
    pub(super) heads: Vec<Head>,
    pub(super) memories: Vec<Memory>,
    // The memories by the first feature of their key.
    by_key: HashMap<Feature, Vec<usize>>,
}

impl Layer {
    fn push(&mut self, memory: Memory) {
        let first = memory.key[0].0;
        self.by_key.entry(first).or_default().push(self.memories.len());
        self.memories.push(memory);
    }

    /// What the memories that fire in `state` write.
    pub(super) fn written(&self, state: &State) -> State {
        let mut written = State::default();
        for (feature, _) in state.iter() {
            for &i in self.by_key.get(&feature).into_iter().flatten() {
                if self.memories[i].fires(state) {
                    for &(feature, count) in &self.memories[i].value {
                        written.add(feature, count);
                    }
                }
            }
        }
        written
    }
}

/// A looped program: what is embedded, and the block that is applied `iterations` times.
pub(super) struct Program {
    pub(super) features: Features,
    /// The position of each token: one feature a position, of norm 1.
    pub(super) positions: Subspace,
    /// The feature that every token has, which thresholds are multiples of.
    pub(super) constant: Feature,
    /// Positions, that of the `<pad>` included where answers are read there.
    pub(super) n_positions: usize,
    /// By vocabulary id, without the position.
    pub(super) embedding: Vec<State>,
    pub(super) layers: Vec<Layer>,
    pub(super) iterations: usize,
    pub(super) readout: Readout,
}

/// Builds a [`Program`] with what all circuits share: positions, the relation of a token, and the answer, which the output
/// matrix reads.
pub(super) struct Builder {
    pub(super) features: Features,
    positions: Subspace,
    constant: Feature,
    n_positions: usize,
    /// The token's relation, [`Value::NoRelation`], or [`Value::Pad`].
    pub(super) relation: Subspace,
    /// The entity that the output matrix reads: that of an entity's token, and [`Value::Pending`] at all other tokens.
    pub(super) answer: Subspace,
    embedding: Vec<State>,
    layers: Vec<Layer>,
    readout: Readout,
    entities: Vec<u32>,
    relations: Vec<u32>,
}

impl Builder {
    pub(super) fn new(known: &KnownGraph, vocab: &Vocab, readout: Readout) -> Self {
        // The head, the relations, and the column of `<pad>` behind them.
        let n_positions = known.max_hops + 1 + usize::from(readout == Readout::LastColumn);
        let mut features = Features::default();
        let positions = features.add(1.0, (0..n_positions).map(Value::Position));
        let constant = features.add(CONSTANT_NORM, [Value::Constant]);
        let constant = features.of(constant).start;
        let relation = features.add(1.0, relation_values(&known.relations));
        let answer = features.add(ANSWER_NORM, entity_values(&known.entities));
        let mut builder = Self {
            features,
            positions,
            constant,
            n_positions,
            relation,
            answer,
            embedding: Vec::new(),
            layers: vec![Layer::default()],
            readout,
            entities: known.entities.clone(),
            relations: known.relations.clone(),
        };
        builder.embedding = (0..vocab.len() as u32).map(|id| builder.embed(id)).collect();
        builder
    }

    fn embed(&self, id: u32) -> State {
        let find = |subspace, value| self.features.find(subspace, value);
        let relation = find(self.relation, Value::Token(id)).unwrap_or_else(|| {
            let is_readout = id == PAD && self.readout == Readout::LastColumn;
            self.at(self.relation, if is_readout { Value::Pad } else { Value::NoRelation })
        });
        let answer = find(self.answer, Value::Token(id)).unwrap_or_else(|| self.pending(self.answer));
        [self.constant, relation, answer].into_iter().collect()
    }

    /// A subspace of entities that is empty in the embedding.
    pub(super) fn entities(&mut self) -> Subspace {
        self.features.add(GATHERED_NORM, entity_values(&self.entities))
    }

    /// A subspace of entities that is [`Value::Pending`] in the embedding of every token. All tokens have this in common, so
    /// the output matrix, which is the embedding, cannot tell entities by it: it is invisible to the lens.
    pub(super) fn hidden_entities(&mut self) -> Subspace {
        let subspace = self.features.add(1.0, entity_values(&self.entities));
        let pending = self.pending(subspace);
        for state in &mut self.embedding {
            state.add(pending, 1);
        }
        subspace
    }

    /// A subspace of relations that is empty in the embedding.
    pub(super) fn relations(&mut self) -> Subspace {
        self.features.add(GATHERED_NORM, relation_values(&self.relations))
    }

    /// Begins the next layer of the block.
    pub(super) fn next_layer(&mut self) {
        self.layers.push(Layer::default());
    }

    fn layer(&mut self) -> &mut Layer {
        if self.layers.is_empty() {
            self.next_layer();
        }
        let last = self.layers.len() - 1;
        &mut self.layers[last]
    }

    /// Adds a head to the layer.
    pub(super) fn head(&mut self, attends: Attends, copies: &[(Subspace, Subspace)]) {
        let copies = copies.to_vec();
        self.layer().heads.push(Head { attends, copies });
    }

    /// Adds a memory to the layer.
    pub(super) fn remember(&mut self, memory: Memory) {
        self.layer().push(memory);
    }

    /// Adds a memory that writes an entity to a subspace where `key` is present and the subspace is still pending.
    pub(super) fn write_once(&mut self, key: &[Feature], to: Subspace, entity: u32) {
        // What heads gathered may be present twice, where an intervention has kept an MLP from taking it out. That must not
        // stand in for anything else.
        let gathered = key.iter().filter(|&&feature| self.is_gathered(feature)).count() as i32;
        let (entity, pending) = (self.token(to, entity), self.pending(to));
        let mut key: Vec<(Feature, i32)> = key
            .iter()
            .chain([&pending])
            .map(|&feature| (feature, if self.is_gathered(feature) { 1 } else { gathered + 1 }))
            .collect();
        key.sort_by_key(|&(_, weight)| std::cmp::Reverse(weight));
        self.remember(Memory {
            min: key.iter().map(|&(_, weight)| weight).sum(),
            key,
            value: vec![(entity, 1), (pending, -1)],
        });
    }

    // Whether a feature is in a subspace that is empty in the embedding.
    fn is_gathered(&self, feature: Feature) -> bool {
        let subspace = self.features.subspace(feature);
        let token = self.embedding.first();
        token.is_some_and(|token| token.iter().all(|(held, _)| self.features.subspace(held) != subspace))
    }

    /// Has the layer's MLP take out whatever is in a subspace.
    pub(super) fn clear(&mut self, subspace: Subspace) {
        for feature in self.features.of(subspace) {
            self.remember(Memory::all(&[feature], &[], &[feature]));
        }
    }

    /// The feature of a value that the subspace has.
    pub(super) fn at(&self, subspace: Subspace, value: Value) -> Feature {
        self.features
            .find(subspace, value)
            .unwrap_or_else(|| self.pending(subspace))
    }

    /// The feature of a token.
    pub(super) fn token(&self, subspace: Subspace, id: u32) -> Feature {
        self.at(subspace, Value::Token(id))
    }

    /// The last feature of a subspace: nothing is there yet, or the token is not a relation.
    pub(super) fn pending(&self, subspace: Subspace) -> Feature {
        self.features.of(subspace).end - 1
    }

    /// The feature of a relation subspace that a token without a relation has.
    pub(super) fn no_relation(&self, subspace: Subspace) -> Feature {
        self.at(subspace, Value::NoRelation)
    }

    /// The feature of the `<pad>` at which answers are read.
    pub(super) fn is_pad(&self) -> Feature {
        self.at(self.relation, Value::Pad)
    }

    pub(super) fn finish(self, iterations: usize) -> Program {
        Program {
            features: self.features,
            positions: self.positions,
            constant: self.constant,
            n_positions: self.n_positions,
            embedding: self.embedding,
            layers: self.layers,
            iterations,
            readout: self.readout,
        }
    }
}

// The last value is the one of an entity that is not there.
fn entity_values(entities: &[u32]) -> Vec<Value> {
    let tokens = entities.iter().map(|&id| Value::Token(id));
    tokens.chain([Value::Pending]).collect()
}

// The last value is the one of a token that is not a relation.
fn relation_values(relations: &[u32]) -> Vec<Value> {
    let tokens = relations.iter().map(|&id| Value::Token(id));
    tokens.chain([Value::Pad, Value::NoRelation]).collect()
}
