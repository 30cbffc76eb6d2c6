//! Knowledge graphs, chains of facts over them, and the published JSON layout.
//!
//! The task is ⟨h⟩⟨r1⟩…⟨rk⟩ → t: a head entity and k relations, answered by the entity that the chain of facts leads to. The
//! entities on the way are the bridges. A [`Dataset`] has queries of this form by [`Split`].

// The conversions that serde's `into` and `try_from` need, for a type with `Display` and `FromStr`.
macro_rules! text_conversions {
    ($Type:ty) => {
        impl From<$Type> for String {
            fn from(value: $Type) -> Self {
                value.to_string()
            }
        }

        impl TryFrom<String> for $Type {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }
    };
}

pub(crate) use text_conversions;

mod chains;
mod dataset;
mod json;
mod position;
mod split;
mod systematic;
mod target;
mod vocab;

use std::collections::HashMap;

pub use chains::{Chains, Tails};
pub use dataset::{Bridges, Dataset, Ids, Query};
pub use position::Position;
pub use split::{Role, Split, TRAIN, VALID};
pub use systematic::Systematic;
pub use target::{Target, Token};
pub use vocab::{PAD, TokenKind, Vocab};

/// The tail of one (head, relation).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    One(u32),
    Several,
}

/// Why a chain of facts has no unique end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// An atomic fact of the chain is not in the graph.
    Unknown,
    /// An atomic fact of the chain has more than one tail.
    Ambiguous,
}

/// A knowledge graph: atomic facts (h, r, t) of vocabulary ids.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    tails: HashMap<(u32, u32), Tail>,
    facts: Vec<(u32, u32)>,
}

impl Graph {
    /// Adds the fact (head, relation, tail); a second, different tail makes the pair ambiguous.
    pub fn insert(&mut self, head: u32, relation: u32, tail: u32) {
        use std::collections::hash_map::Entry;
        match self.tails.entry((head, relation)) {
            Entry::Vacant(slot) => {
                slot.insert(Tail::One(tail));
                self.facts.push((head, relation));
            }
            Entry::Occupied(mut slot) => {
                if *slot.get() != Tail::One(tail) {
                    slot.insert(Tail::Several);
                }
            }
        }
    }

    /// The (head, relation) pairs that have a fact, in the order of insertion.
    pub fn facts(&self) -> &[(u32, u32)] {
        &self.facts
    }

    /// The tail of (head, relation).
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn tail(&self, head: u32, relation: u32) -> Result<u32, Gap> {
        match self.tails.get(&(head, relation)) {
            Some(Tail::One(tail)) => Ok(*tail),
            Some(Tail::Several) => Err(Gap::Ambiguous),
            None => Err(Gap::Unknown),
        }
    }

    /// The entities after each relation of the chain that starts at `head`: the bridges, then the target.
    ///
    /// # Errors
    /// At the first fact that is unknown or ambiguous.
    pub fn walk(&self, head: u32, relations: &[u32]) -> Result<Vec<u32>, Gap> {
        let mut at = head;
        relations
            .iter()
            .map(|&relation| {
                at = self.tail(at, relation)?;
                Ok(at)
            })
            .collect()
    }
}
