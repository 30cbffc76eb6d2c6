//! Draws another entity for each query, and a query that has it after the same hop.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Result;
use crate::graph::{Graph, Query};
use crate::measure::checkpoint::LoadedCheckpoint;
use crate::measure::population::Population;
use crate::random::Stream;
use crate::train::answers;

/// A query with another entity in place of the one after some hop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Counterfactual {
    /// The place of the query in its population.
    pub(super) place: usize,
    /// The entity after the hop.
    pub(super) bridge: u32,
    /// The one in its place.
    pub(super) other: u32,
    /// The tokens of a query that has the other one there and goes on as the query does.
    pub(super) source: Vec<u32>,
    /// What the facts lead to from the other one, which the source is answered with.
    pub(super) answer: u32,
}

/// Chains of facts by their end.
struct Backwards {
    /// The facts (head, relation) that lead to each entity.
    into: BTreeMap<u32, Vec<(u32, u32)>>,
    /// Of each number of hops, from 0: where chains of that many can end.
    ends: Vec<BTreeSet<u32>>,
}

impl Backwards {
    /// Chains of up to `hops` hops.
    fn new(graph: &Graph, hops: usize) -> Self {
        let mut into: BTreeMap<u32, Vec<(u32, u32)>> = BTreeMap::new();
        for &(head, relation) in graph.facts() {
            if let Ok(tail) = graph.tail(head, relation) {
                into.entry(tail).or_default().push((head, relation));
            }
        }
        let mut ends: Vec<BTreeSet<u32>> = vec![into.values().flatten().map(|&(head, _)| head).collect()];
        for hop in 0..hops {
            let is_end = |facts: &[(u32, u32)]| facts.iter().any(|(head, _)| ends[hop].contains(head));
            let next = into.iter().filter(|(_, facts)| is_end(facts)).map(|(&end, _)| end);
            let next = next.collect();
            ends.push(next);
        }
        Self { into, ends }
    }

    /// The head and the relations of a chain of `hops` hops that ends at `end`, its facts drawn one by one from the last.
    fn draw(&self, end: u32, hops: usize, stream: &mut Stream) -> Option<Vec<u32>> {
        let (mut at, mut relations) = (end, Vec::new());
        for hop in (0..hops).rev() {
            let facts = self.into.get(&at)?.iter();
            let whole: Vec<&(u32, u32)> = facts.filter(|(head, _)| self.ends[hop].contains(head)).collect();
            let &(head, relation) = *whole.get(stream.below(whole.len()))?;
            relations.push(relation);
            at = head;
        }
        relations.push(at);
        relations.reverse();
        Some(relations)
    }
}

/// For each query another entity after `hop`, uniform over those of `entities` that some chain leads to in that many hops and
/// from which the query's later relations lead to another answer; and a chain that leads to it. Queries without any are left
/// out.
pub(super) fn draw(
    population: &Population,
    graph: &Graph,
    hop: usize,
    entities: &[u32],
    stream: &mut Stream,
) -> Vec<Counterfactual> {
    let chains = Backwards::new(graph, hop);
    let of_query = |(place, query): (usize, &&Query)| {
        let bridge = query.entity_after(hop)?;
        let rest = &query.tokens[hop + 1..];
        let answer = |&other: &u32| {
            let answer = graph.walk(other, rest).ok()?.last().copied().unwrap_or(other);
            (other != bridge && answer != query.target && chains.ends[hop].contains(&other)).then_some((other, answer))
        };
        let others: Vec<(u32, u32)> = entities.iter().filter_map(answer).collect();
        let &(other, answer) = others.get(stream.below(others.len()))?;
        let mut source = chains.draw(other, hop, stream)?;
        source.extend_from_slice(rest);
        Some(Counterfactual {
            place,
            bridge,
            other,
            source,
            answer,
        })
    };
    population.queries.iter().enumerate().filter_map(of_query).collect()
}

/// Those whose query and source are both answered right.
///
/// # Errors
/// When the queries do not fit the model, or the device fails.
pub(super) fn answered_right(
    checkpoint: &LoadedCheckpoint,
    population: &Population,
    drawn: Vec<Counterfactual>,
    iterations: usize,
) -> Result<Vec<Counterfactual>> {
    let queries = drawn.iter().map(|drawn| &*population.queries[drawn.place].tokens);
    let base = answers(&checkpoint.model, queries, iterations)?;
    let source = answers(&checkpoint.model, drawn.iter().map(|drawn| &*drawn.source), iterations)?;
    let is_right = |(drawn, (base, source)): &(Counterfactual, (u32, u32))| {
        *base == population.queries[drawn.place].target && *source == drawn.answer
    };
    let all = drawn.into_iter().zip(base.into_iter().zip(source));
    Ok(all.filter(is_right).map(|(drawn, _)| drawn).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Chains, Tails};
    use crate::measure::population::{Group, Per};

    #[test]
    fn a_source_has_the_other_entity_after_the_hop_and_its_own_answer() {
        for tails in [Tails::Permutation, Tails::Random] {
            let settings = Chains {
                entities: 12,
                relations: 4,
                hops: 4,
                train_rows: 60,
                test_rows: 80,
                seed: 3,
                tails,
            };
            let data = settings.generate().unwrap();
            let group = Group {
                data: &data,
                checkpoints: Vec::new(),
                seed: 1,
            };
            let split = crate::graph::Split::depth_test(4);
            let population = group.populations(&split, Per::Hops, &mut Vec::new()).unwrap().remove(0);
            let known: Vec<u32> = (1..=9).collect();
            for hop in 1..=4 {
                let found = draw(&population, &data.graph, hop, &known, &mut Stream::new(1, "test", 0));
                // Many-to-one relations lead to one end from several entities; most queries have another one all the same.
                assert!(found.len() > population.queries.len() / 2, "{}", found.len());
                let mut others = BTreeSet::new();
                for drawn in &found {
                    let query = population.queries[drawn.place];
                    let path = data.graph.walk(drawn.source[0], &drawn.source[1..]).unwrap();
                    assert_eq!((path[hop - 1], path[3]), (drawn.other, drawn.answer));
                    assert_eq!(drawn.source[hop + 1..], query.tokens[hop + 1..]);
                    assert_eq!(query.entity_after(hop), Some(drawn.bridge));
                    assert!(drawn.other != drawn.bridge && drawn.answer != query.target);
                    assert!(known.contains(&drawn.other));
                    others.insert(drawn.other);
                }
                assert!(others.len() > 4, "{others:?}");
                let again = draw(&population, &data.graph, hop, &known, &mut Stream::new(1, "test", 0));
                assert_eq!(found, again);
            }
        }
    }
}
