//! Draws a corrupt query for every clean one.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::graph::{Dataset, Graph, Query, Target};
use crate::measure::population::Population;
use crate::random::Stream;

/// What of a clean query is interchanged to make the corrupt one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Corrupt {
    /// The head entity.
    Head,
    /// The first relation.
    Relation1,
    /// Head and first relation.
    Prefix,
    /// The second relation; the bridge stays, only the answer changes.
    Relation2,
}

impl Corrupt {
    /// The name that users type.
    pub fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Relation1 => "relation1",
            Self::Prefix => "prefix",
            Self::Relation2 => "relation2",
        }
    }

    /// The tokens in which a corrupt query of `hops` hops and what follows from it differ from the clean ones.
    pub fn changes(self, hops: usize) -> Vec<Target> {
        let (tokens, first_hop): (&[Target], usize) = match self {
            Self::Head => (&[Target::Head], 1),
            Self::Relation1 => (&[Target::Relation(1)], 1),
            Self::Prefix => (&[Target::Head, Target::Relation(1)], 1),
            Self::Relation2 => (&[Target::Relation(2)], 2),
        };
        let entities = (first_hop..=hops).map(|hop| Target::entity(hop, hops));
        tokens.iter().copied().chain(entities).collect()
    }
}

/// A clean and a corrupt query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The place of the clean query in its population.
    pub place: usize,
    /// The clean query.
    pub clean: Query,
    /// The corrupt query.
    pub corrupt: Query,
}

/// At most `max` clean queries of a split, of the most hops that it has, each with a partner drawn uniformly from all that
/// the graph allows, and notes of what is left out.
///
/// # Errors
/// When the split has no chains of two hops, or no query in it has a partner.
pub(super) fn draw(
    population: &Population,
    data: &Dataset,
    corrupt: Corrupt,
    max: usize,
    seed: u64,
) -> Result<(Vec<Pair>, Vec<String>)> {
    let split = population.split;
    let hops = population.queries.iter().map(|query| query.hops()).max().unwrap_or(0);
    if hops < 2 {
        return Err(Error::input(format!(
            "split {split} has no chains of two hops or more to patch"
        )));
    }
    let all = population.queries.iter().copied().enumerate();
    let longest: Vec<(usize, &Query)> = all.filter(|(_, query)| query.hops() == hops).collect();
    let known = |(_, query): &(usize, &Query)| query.entity_after(1).is_some();
    let whole: Vec<(usize, &Query)> = longest.iter().copied().filter(known).collect();
    let mut notes = Vec::new();
    let mut note = |count: usize, reason: &str| {
        if count > 0 {
            notes.push(format!("split {split}: {count} queries left out, {reason}"));
        }
    };
    let shorter = population.queries.len() - longest.len();
    note(
        shorter,
        &format!("they have fewer than the {hops} hops that are patched"),
    );
    note(longest.len() - whole.len(), "their bridge is not known");
    let mut stream = Stream::new(seed, &format!("patching pairs {split} {}", corrupt.name()), 0);
    let sample = stream.sample(&whole, max);
    let mut pairs = Vec::new();
    for &(place, query) in &sample {
        let partners = partners(query, corrupt, &data.graph);
        if partners.is_empty() {
            continue;
        }
        let (corrupt, answer) = &partners[stream.below(partners.len())];
        pairs.push(Pair {
            place,
            clean: query.clone(),
            corrupt: Query::new(corrupt, *answer, &data.graph),
        });
    }
    let without = sample.len() - pairs.len();
    if pairs.is_empty() {
        return Err(Error::input(format!(
            "split {split}: no query has a partner that differs in its {} with another bridge and answer",
            corrupt.name()
        )));
    }
    note(without, "they have no corrupt partner");
    Ok((pairs, notes))
}

// Every query that differs from `query` as asked, with its answer; bridge and answer are others, or, where the second
// relation is interchanged, the answer alone.
fn partners(query: &Query, corrupt: Corrupt, graph: &Graph) -> Vec<(Vec<u32>, u32)> {
    let (head, relation1) = (query.tokens[0], query.tokens[1]);
    let bridge = query.entity_after(1);
    let candidate = |tokens: Vec<u32>| {
        let path = graph.walk(tokens[0], &tokens[1..]).ok()?;
        let answer = *path.last()?;
        let another_bridge = corrupt == Corrupt::Relation2 || Some(path[0]) != bridge;
        (another_bridge && answer != query.target).then_some((tokens, answer))
    };
    let with = |changes: &[(usize, u32)]| {
        let mut tokens = query.tokens.to_vec();
        for &(place, token) in changes {
            tokens[place] = token;
        }
        tokens
    };
    let facts = graph.facts().iter();
    match corrupt {
        Corrupt::Head => facts
            .filter(|(h, r)| *h != head && *r == relation1)
            .filter_map(|&(h, _)| candidate(with(&[(0, h)])))
            .collect(),
        Corrupt::Relation1 => facts
            .filter(|(h, r)| *h == head && *r != relation1)
            .filter_map(|&(_, r)| candidate(with(&[(1, r)])))
            .collect(),
        Corrupt::Prefix => facts
            .filter(|(h, r)| *h != head && *r != relation1)
            .filter_map(|&(h, r)| candidate(with(&[(0, h), (1, r)])))
            .collect(),
        Corrupt::Relation2 => facts
            .filter(|(h, r)| Some(*h) == bridge && *r != query.tokens[2])
            .filter_map(|&(_, r)| candidate(with(&[(2, r)])))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::population::{Group, Per};

    // 1 –10→ 2, 2 –10→ 3; 4 –10→ 5, 5 –10→ 6; 1 –11→ 5; 2 –11→ 6
    fn graph() -> Graph {
        let mut graph = Graph::default();
        for (h, r, t) in [(1, 10, 2), (2, 10, 3), (4, 10, 5), (5, 10, 6), (1, 11, 5), (2, 11, 6)] {
            graph.insert(h, r, t);
        }
        graph
    }

    #[test]
    fn partners_differ_where_asked_and_have_another_bridge_and_answer() {
        let graph = graph();
        let query = Query::new(&[1, 10, 10], 3, &graph);
        let of = |corrupt| partners(&query, corrupt, &graph);
        assert_eq!(of(Corrupt::Head), [(vec![4, 10, 10], 6)]);
        assert_eq!(of(Corrupt::Relation1), [(vec![1, 11, 10], 6)]);
        assert_eq!(of(Corrupt::Relation2), [(vec![1, 10, 11], 6)]);
        assert!(of(Corrupt::Prefix).is_empty());
    }

    #[test]
    fn queries_that_cannot_be_patched_are_counted_by_reason() {
        let graph = graph();
        let chain = |tokens: &[u32], target: u32| Query::new(tokens, target, &graph);
        // A chain with a partner that has another head, one without, two of unknown bridges, three facts.
        let whole = chain(&[1, 10, 10], 3);
        let alone = chain(&[1, 10, 11], 6);
        let unknown = [chain(&[7, 10, 10], 3), chain(&[8, 10, 10], 3)];
        let facts = [chain(&[1, 10], 2), chain(&[2, 10], 3), chain(&[1, 11], 5)];
        let rows = [&[whole.clone(), alone][..], &unknown, &facts].concat();
        let data = Dataset {
            vocab: crate::graph::Vocab::of_graph(9, 3),
            graph,
            splits: vec![("mixed".into(), rows)],
            hash: String::new(),
        };
        let split = "mixed".into();
        let group = Group {
            data: &data,
            checkpoints: Vec::new(),
            seed: 1,
        };
        let population = &group.populations(&split, Per::Split, &mut Vec::new()).unwrap()[0];
        let (pairs, notes) = draw(population, &data, Corrupt::Head, 100, 1).unwrap();
        let [pair] = pairs.as_slice() else { panic!("{pairs:?}") };
        assert_eq!((&pair.clean, &pair.corrupt.tokens[..]), (&whole, &[4, 10, 10][..]));
        assert_eq!(
            notes,
            [
                "split mixed: 3 queries left out, they have fewer than the 2 hops that are patched",
                "split mixed: 2 queries left out, their bridge is not known",
                "split mixed: 1 queries left out, they have no corrupt partner",
            ]
        );
    }
}
