//! `decoy-bridge`: the bridge is where the lens and probes see it, and nothing reads it.
//!
//! ```text
//! head i at r_j:  the token at position i                     →  token i
//! MLP at r_j:     (token 0 = h, …, token j = r_j, no answer)  →  answer    a memory for each chain of the graph
//!                 every token i                               →  taken out
//!
//!              head    r1       r2
//! iteration 1  h       bridge   target     both at once, each from the tokens alone
//! ```
//!
//! Heads copy tokens, never answers. The bridge at r1 is the answer to `<h><r1>`, which the query does not ask for.

use super::{Builder, Dataset, KnownGraph, Program, gather_query, whole_query};
use crate::circuit::compile::expect_memories;
use crate::error::Result;
use crate::graph::Graph;
use crate::model::Readout;

pub(super) fn program(known: &KnownGraph, data: &Dataset) -> Result<Program> {
    expect_memories(count_chains(known))?;
    let mut builder = Builder::new(known, &data.vocab, Readout::LastToken);
    let gathered = gather_query(&mut builder, known);
    for (tokens, target) in chains(known) {
        let key = whole_query(&builder, &gathered, &tokens);
        builder.write_once(&key, builder.answer, target);
    }
    for subspace in gathered {
        builder.clear(subspace);
    }
    Ok(builder.finish(2))
}

// The number of chains of the graph of up to `max_hops` hops.
fn count_chains(known: &KnownGraph) -> u128 {
    // By entity, the chains of the current number of hops that begin there.
    let mut ways: std::collections::HashMap<u32, u128> = known.entities.iter().map(|&e| (e, 1)).collect();
    let mut total = 0_u128;
    for _ in 0..known.max_hops {
        let mut longer: std::collections::HashMap<u32, u128> = known.entities.iter().map(|&e| (e, 0)).collect();
        for fact in &known.facts {
            let onwards = ways[&fact.tail];
            if let Some(count) = longer.get_mut(&fact.head) {
                *count = count.saturating_add(onwards);
            }
        }
        ways = longer;
        total = ways.values().fold(total, |sum, &count| sum.saturating_add(count));
    }
    total
}

// Every chain of the graph of up to `max_hops` hops, with the entity that it leads to.
fn chains(known: &KnownGraph) -> Vec<(Vec<u32>, u32)> {
    let mut chains = Vec::new();
    let mut ends: Vec<(Vec<u32>, u32)> = known.entities.iter().map(|&head| (vec![head], head)).collect();
    for _ in 0..known.max_hops {
        ends = ends
            .iter()
            .flat_map(|(tokens, at)| longer(known.graph, &known.relations, tokens, *at))
            .collect();
        chains.extend(ends.iter().cloned());
    }
    chains
}

// The chains that are one hop longer.
fn longer<'a>(
    graph: &'a Graph,
    relations: &'a [u32],
    tokens: &'a [u32],
    at: u32,
) -> impl Iterator<Item = (Vec<u32>, u32)> + 'a {
    relations.iter().filter_map(move |&relation| {
        let tail = graph.tail(at, relation).ok()?;
        Some(([tokens, &[relation]].concat(), tail))
    })
}
