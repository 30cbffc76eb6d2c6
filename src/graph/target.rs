//! Targets: the entity or relation of a chain that a method looks for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Ids, Position, Query};
use crate::wording::did_you_mean;

/// An entity or relation of a query `<e_h><r_1>…<r_k>`, by its index in the chain.
///
/// Names are those of tables and probe specs: `head`, `bridge` (the only one of a 2-hop chain), `bridge1`, `bridge2`, … (of
/// longer chains), `target`, `entity` (the one that the chain has reached at the given position), `relation1`, ….
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Target {
    /// The head entity.
    Head,
    /// The bridge of a 2-hop chain.
    Bridge,
    /// The bridge after this many hops, from 1, of a longer chain.
    BridgeAfter(usize),
    /// The answer, the entity after the last hop.
    Answer,
    /// The entity that the chain has reached at the given position.
    EntityHere,
    /// The relation with this index in the chain, from 1.
    Relation(usize),
}

/// An entity or relation of a chain of known length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    /// The entity after this many hops; the head at 0.
    Entity(usize),
    /// The relation with this index in the chain, from 1.
    Relation(usize),
}

impl Target {
    /// The entity after `hop` of `hops` hops (1-based), by the name that it has in such a chain.
    pub fn entity(hop: usize, hops: usize) -> Self {
        match (hop == hops, hops) {
            (true, _) => Self::Answer,
            (false, 2) => Self::Bridge,
            (false, _) => Self::BridgeAfter(hop),
        }
    }

    /// Every token of a chain of `hops` hops: its head, its relations, the entities that they lead to.
    pub fn all(hops: usize) -> Vec<Self> {
        let relations = (1..=hops).map(Self::Relation);
        let entities = (1..=hops).map(|hop| Self::entity(hop, hops));
        std::iter::once(Self::Head).chain(relations).chain(entities).collect()
    }

    /// Its token in a chain of `hops` hops, for a state at `position`; `None` where such a chain does not have it.
    pub fn in_chain(self, hops: usize, position: Position) -> Option<Token> {
        match self {
            Self::Head => Some(Token::Entity(0)),
            Self::Bridge => (hops == 2).then_some(Token::Entity(1)),
            Self::BridgeAfter(hop) => (1..hops).contains(&hop).then_some(Token::Entity(hop)),
            Self::Answer => Some(Token::Entity(hops)),
            Self::EntityHere => Some(Token::Entity(position.index(hops))),
            Self::Relation(index) => (1..=hops).contains(&index).then_some(Token::Relation(index)),
        }
    }

    /// The hop after which a chain of `hops` hops has reached this entity; `None` for relations and for `entity`.
    pub fn hop(self, hops: usize) -> Option<usize> {
        match self {
            Self::Head => Some(0),
            Self::Bridge => Some(1),
            Self::BridgeAfter(hop) => Some(hop),
            Self::Answer => Some(hops),
            Self::EntityHere | Self::Relation(_) => None,
        }
    }
}

impl Token {
    /// Its vocabulary id in a query; `None` where it is not known.
    pub fn of(self, query: &Query) -> Option<u32> {
        match self {
            Self::Entity(0) => query.tokens.first().copied(),
            Self::Entity(hop) => query.entity_after(hop),
            Self::Relation(index) => query.tokens.get(index).copied(),
        }
    }

    /// The fact that yields it, as its entity and relation: (h, r1) for the bridge, (bridge, r2) for the target,
    /// (entity after hop j − 1, r_j) for the entity after hop j; `None` where that entity is not known.
    ///
    /// The head and the relations are tokens of the chain, so no fact yields them. What a probe could memorize of them is
    /// a causal prefix as a whole, the tokens up to `position`, which takes the place of the fact.
    pub fn fact(self, query: &Query, position: usize) -> Option<Ids> {
        match self {
            Self::Entity(hop) if hop > 0 => {
                let from = Self::Entity(hop - 1).of(query)?;
                Some(Ids::from_slice(&[from, *query.tokens.get(hop)?]))
            }
            _ => query.tokens.get(..=position).map(Ids::from),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Head => f.pad("head"),
            Self::Bridge => f.pad("bridge"),
            Self::BridgeAfter(hop) => f.pad(&format!("bridge{hop}")),
            Self::Answer => f.pad("target"),
            Self::EntityHere => f.pad("entity"),
            Self::Relation(index) => f.pad(&format!("relation{index}")),
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let index = |prefix: &str| {
            let digits = text.strip_prefix(prefix)?;
            let n = digits.parse::<usize>().ok()?;
            (n > 0 && digits == n.to_string()).then_some(n)
        };
        match text {
            "head" => Some(Self::Head),
            "bridge" => Some(Self::Bridge),
            "target" => Some(Self::Answer),
            "entity" => Some(Self::EntityHere),
            _ => index("bridge")
                .map(Self::BridgeAfter)
                .or_else(|| index("relation").map(Self::Relation)),
        }
        .ok_or_else(|| {
            let near = did_you_mean(text, ["head", "bridge", "target", "entity", "relation1", "relation2"]);
            format!(
                "{text:?}; allowed: head, bridge, bridge1, bridge2, …, target, entity, relation1, relation2, …{near}"
            )
        })
    }
}

text_conversions!(Target);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Bridges;

    #[test]
    fn names_are_read_back_and_others_refused() {
        let entities = (1..=5).map(|hop| Target::entity(hop, 5));
        let others = [Target::Head, Target::Bridge, Target::EntityHere, Target::Relation(3)];
        for target in entities.chain(others) {
            assert_eq!(target.to_string().parse(), Ok(target));
        }
        for bad in ["", "bridges", "bridge0", "bridge01", "relation", "relation0", "Target"] {
            assert!(bad.parse::<Target>().unwrap_err().contains("allowed"), "{bad}");
        }
        let near = "brigde".parse::<Target>().unwrap_err();
        assert!(near.ends_with("did you mean bridge?"), "{near}");
    }

    #[test]
    fn a_chain_has_the_targets_of_its_length() {
        let at = Position::Relation(2);
        assert_eq!(Target::Bridge.in_chain(2, at), Some(Token::Entity(1)));
        assert_eq!(Target::Bridge.in_chain(3, at), None);
        assert_eq!(Target::BridgeAfter(3).in_chain(3, at), None);
        assert_eq!(Target::EntityHere.in_chain(3, at), Some(Token::Entity(2)));
        assert_eq!(Target::EntityHere.in_chain(3, Position::Head), Some(Token::Entity(0)));
        assert_eq!(Target::Relation(4).in_chain(3, at), None);
        assert_eq!(Target::Answer.in_chain(3, at), Some(Token::Entity(3)));
    }

    #[test]
    fn the_fact_that_yields_an_entity_is_its_last_hop() {
        // <e_10><r_20><r_21><r_22> by way of 11 and 12 to 13
        let query = Query {
            tokens: Ids::from_slice(&[10, 20, 21, 22]),
            target: 13,
            bridges: Bridges::Known(Ids::from_slice(&[11, 12])),
        };
        let fact = |token: Token, position| token.fact(&query, position).unwrap().to_vec();
        assert_eq!(fact(Token::Entity(1), 2), [10, 20]);
        assert_eq!(fact(Token::Entity(2), 2), [11, 21]);
        assert_eq!(fact(Token::Entity(3), 3), [12, 22]);
        assert_eq!(fact(Token::Entity(0), 2), [10, 20, 21]);
        assert_eq!(fact(Token::Relation(2), 2), [10, 20, 21]);
        let unknown = Query {
            bridges: Bridges::Unknown,
            ..query.clone()
        };
        assert!(Token::Entity(3).fact(&unknown, 3).is_none());
    }
}
