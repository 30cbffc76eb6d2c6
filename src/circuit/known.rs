//! The facts of a data set that a circuit can hold.

use std::collections::BTreeSet;

use crate::error::{Error, Result};
use crate::graph::{Dataset, Graph};

/// An atomic fact by its vocabulary ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fact {
    pub(super) head: u32,
    pub(super) relation: u32,
    pub(super) tail: u32,
}

/// The facts with a single tail, and their entities and relations by vocabulary id.
pub(super) struct KnownGraph<'a> {
    pub(super) graph: &'a Graph,
    pub(super) facts: Vec<Fact>,
    pub(super) entities: Vec<u32>,
    pub(super) relations: Vec<u32>,
    /// The most hops of a query of the data.
    pub(super) max_hops: usize,
}

impl<'a> KnownGraph<'a> {
    /// # Errors
    /// When there is no such fact, or a token is both an entity and a relation.
    pub(super) fn of(data: &'a Dataset) -> Result<Self> {
        let graph = &data.graph;
        let known = graph.facts().iter().filter_map(|&(head, relation)| {
            let tail = graph.tail(head, relation).ok()?;
            Some(Fact { head, relation, tail })
        });
        let facts: Vec<Fact> = known.collect();
        if facts.is_empty() {
            return Err(Error::input(
                "the data has no known facts: a circuit needs rows of one relation in train.json, each with one answer",
            ));
        }
        let entities: BTreeSet<u32> = facts.iter().flat_map(|fact| [fact.head, fact.tail]).collect();
        let relations: BTreeSet<u32> = facts.iter().map(|fact| fact.relation).collect();
        if let Some(&both) = entities.intersection(&relations).next() {
            return Err(Error::input(format!(
                "the token {} is an entity in one fact and a relation in another; a circuit needs each to be one of both",
                data.vocab.tokens()[both as usize]
            )));
        }
        Ok(Self {
            graph,
            facts,
            entities: entities.into_iter().collect(),
            relations: relations.into_iter().collect(),
            max_hops: data.longest_row().saturating_sub(1).max(1),
        })
    }
}
