//! Knowledge graphs, the chains that walk them, and the published JSON layout.

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

/// Where one (head, relation) leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    One(u32),
    Several,
}

/// Why a walk through the graph has no single course.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// An atomic fact on the way is not in the graph.
    Unknown,
    /// An atomic fact on the way has more than one tail.
    Ambiguous,
}

/// A knowledge graph: atomic facts (h, r, t), all named by their vocabulary ids.
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

    /// The (head, relation) pairs that have a fact, in the order in which they came.
    pub fn facts(&self) -> &[(u32, u32)] {
        &self.facts
    }

    /// Where (head, relation) leads.
    ///
    /// # Errors
    /// When it leads nowhere or to several entities.
    pub fn tail(&self, head: u32, relation: u32) -> Result<u32, Gap> {
        match self.tails.get(&(head, relation)) {
            Some(Tail::One(tail)) => Ok(*tail),
            Some(Tail::Several) => Err(Gap::Ambiguous),
            None => Err(Gap::Unknown),
        }
    }

    /// The entities met after each relation, starting from `head`: the bridge entities, then the target.
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
