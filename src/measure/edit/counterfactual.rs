//! Draws another entity for each query, and a query that has it after the same hop.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::error::Result;
use crate::graph::{Dataset, Query, Role, Split, Token};
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
    /// The tokens of a query with the other one there and the same relations after it.
    pub(super) source: Vec<u32>,
    /// What the facts lead to from the other one, which the source is answered with.
    pub(super) answer: u32,
}

/// Which facts training composes in chains, and which it has alone.
struct FactRoles {
    // Those of trained chains; `None` where the data does not tell facts apart.
    composed: Option<HashSet<(u32, u32)>>,
}

impl FactRoles {
    fn of(data: &Dataset) -> Result<Self> {
        let tells_apart = |(split, _): &(Split, Vec<Query>)| matches!(split.role(), Role::Ood | Role::OodFacts);
        if !data.splits.iter().any(tells_apart) {
            return Ok(Self { composed: None });
        }
        let chains = data.split(Split::train())?.iter().filter(|query| query.hops() > 1);
        Ok(Self {
            composed: Some(chains.flat_map(facts).collect()),
        })
    }

    fn of_fact(&self, fact: (u32, u32)) -> Role {
        match &self.composed {
            None => Role::Facts,
            Some(composed) if composed.contains(&fact) => Role::InDistributionFacts,
            Some(_) => Role::OodFacts,
        }
    }
}

// The facts of a query, (head, relation) each, as far as its bridges are known.
fn facts(query: &Query) -> impl Iterator<Item = (u32, u32)> {
    (1..=query.hops()).map_while(|hop| {
        let fact = Token::Entity(hop).fact(query, hop)?;
        Some((fact[0], fact[1]))
    })
}

/// Chains of facts by their end; the fact of each hop has a given role.
struct Backwards<'a> {
    /// The facts (head, relation) that lead to each entity.
    into: &'a BTreeMap<u32, Vec<(u32, u32)>>,
    facts: &'a FactRoles,
    roles: Vec<Role>,
    /// Of each number of hops, from 0: where chains of that many can end.
    ends: Vec<BTreeSet<u32>>,
}

impl<'a> Backwards<'a> {
    /// Chains of up to as many hops as there are roles.
    fn new(into: &'a BTreeMap<u32, Vec<(u32, u32)>>, facts: &'a FactRoles, roles: &[Role]) -> Self {
        let heads = into.values().flatten().map(|&(head, _)| head);
        let mut chains = Self {
            into,
            facts,
            roles: roles.to_vec(),
            ends: vec![heads.collect()],
        };
        for hop in 0..roles.len() {
            let is_end = |end: &u32| chains.last_facts(*end, hop).next().is_some();
            let next = into.keys().copied().filter(is_end).collect();
            chains.ends.push(next);
        }
        chains
    }

    // The facts that can be the last ones, after `hop` hops, of a chain that ends at `end`.
    fn last_facts(&self, end: u32, hop: usize) -> impl Iterator<Item = (u32, u32)> {
        let all = self.into.get(&end).into_iter().flatten().copied();
        all.filter(move |&(head, relation)| {
            self.ends[hop].contains(&head) && self.facts.of_fact((head, relation)) == self.roles[hop]
        })
    }

    fn has_end(&self, end: u32) -> bool {
        self.ends.last().is_some_and(|ends| ends.contains(&end))
    }

    /// The head and the relations of a chain that ends at `end`, its facts drawn one by one from the last.
    fn draw(&self, end: u32, stream: &mut Stream) -> Option<Vec<u32>> {
        let (mut at, mut relations) = (end, Vec::new());
        for hop in (0..self.roles.len()).rev() {
            let facts: Vec<(u32, u32)> = self.last_facts(at, hop).collect();
            let &(head, relation) = facts.get(stream.below(facts.len()))?;
            relations.push(relation);
            at = head;
        }
        relations.push(at);
        relations.reverse();
        Some(relations)
    }
}

/// For each query another entity after `hop`, uniform over those of `entities` that some chain leads to in that many hops and
/// from which the query's later relations lead to another answer; and a chain that leads to it. Hop by hop, the facts of the
/// chain are of the query's kind: composed in training where the query's are, else not, so that both queries are of the same split.
/// Queries without any are left out.
///
/// # Errors
/// When the data has no training split.
pub(super) fn draw(
    population: &Population,
    data: &Dataset,
    hop: usize,
    entities: &[u32],
    stream: &mut Stream,
) -> Result<Vec<Counterfactual>> {
    let graph = &data.graph;
    let mut into: BTreeMap<u32, Vec<(u32, u32)>> = BTreeMap::new();
    for &(head, relation) in graph.facts() {
        if let Ok(tail) = graph.tail(head, relation) {
            into.entry(tail).or_default().push((head, relation));
        }
    }
    let fact_roles = FactRoles::of(data)?;
    let mut by_roles: BTreeMap<Vec<Role>, Backwards> = BTreeMap::new();
    let of_query = |(place, query): (usize, &&Query)| {
        let bridge = query.entity_after(hop)?;
        let roles: Vec<Role> = facts(query).map(|fact| fact_roles.of_fact(fact)).collect();
        let (to_bridge, from_bridge) = roles.split_at_checked(hop).filter(|_| roles.len() == query.hops())?;
        let chains = by_roles
            .entry(to_bridge.to_vec())
            .or_insert_with(|| Backwards::new(&into, &fact_roles, to_bridge));
        let rest = &query.tokens[hop + 1..];
        let answer = |&other: &u32| {
            let mut answer = other;
            for (&relation, &role) in rest.iter().zip(from_bridge) {
                let is_same_role = fact_roles.of_fact((answer, relation)) == role;
                answer = graph.tail(answer, relation).ok().filter(|_| is_same_role)?;
            }
            (other != bridge && answer != query.target && chains.has_end(other)).then_some((other, answer))
        };
        let others: Vec<(u32, u32)> = entities.iter().filter_map(answer).collect();
        let &(other, answer) = others.get(stream.below(others.len()))?;
        let mut source = chains.draw(other, stream)?;
        source.extend_from_slice(rest);
        Some(Counterfactual {
            place,
            bridge,
            other,
            source,
            answer,
        })
    };
    Ok(population.queries.iter().enumerate().filter_map(of_query).collect())
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
    use crate::graph::{Chains, Systematic, Tails};
    use crate::measure::population::{Group, Per};

    fn population<'a>(data: &'a Dataset, split: &'a Split) -> Population<'a> {
        let group = Group {
            data,
            checkpoints: Vec::new(),
            seed: 1,
        };
        group.populations(split, Per::Hops, &mut Vec::new()).unwrap().remove(0)
    }

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
            let split = Split::depth_test(4);
            let population = population(&data, &split);
            let known: Vec<u32> = (1..=9).collect();
            for hop in 1..=4 {
                let found = draw(&population, &data, hop, &known, &mut Stream::new(1, "test", 0)).unwrap();
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
                let again = draw(&population, &data, hop, &known, &mut Stream::new(1, "test", 0)).unwrap();
                assert_eq!(found, again);
            }
        }
    }

    #[test]
    fn the_facts_of_a_source_are_of_the_kind_that_the_querys_are() {
        let data = Systematic::laptop().generate().unwrap();
        let ood: HashSet<(u32, u32)> = data.split("ood_atomic").unwrap().iter().flat_map(facts).collect();
        let known: Vec<u32> = (1..=50).collect();
        for (split, is_ood) in [(Split::in_distribution(), false), (Split::ood(), true)] {
            let population = population(&data, &split);
            for hop in [1, 2] {
                let drawn = draw(&population, &data, hop, &known, &mut Stream::new(1, "test", 0)).unwrap();
                // Few OOD facts have the same relation.
                assert!(
                    drawn.len() * 10 > population.queries.len() * 9,
                    "{split}: {}",
                    drawn.len()
                );
                for drawn in drawn {
                    let source = Query::new(&drawn.source, drawn.answer, &data.graph);
                    assert!(facts(&source).all(|fact| ood.contains(&fact) == is_ood), "{source:?}");
                }
            }
        }
    }
}
