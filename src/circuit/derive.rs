//! Derives the truth about a circuit from runs of its program.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use rayon::prelude::*;

use super::features::{State, Subspace};
use super::interpret::Location;
use super::known::KnownGraph;
use super::program::Program;
use super::sought::Sought;
use super::truth::{Case, CircuitSite, FORMAT, FactLayer, Joint, SiteTruth, Truth};
use super::{Name, Settings, compile, programs};
use crate::graph::{Bridges, Dataset, Ids, Position, Query, Target, Token};
use crate::measure::Place;
use crate::model::{Point, Readout, Site};
use crate::random::Stream;

/// The most hops of queries that a truth covers. The sites of longer ones follow the same pattern, and are many.
const MAX_HOPS: usize = 16;

/// Queries of one number of hops that are sorted into cases, at most.
const MAX_QUERIES: usize = 512;

/// Queries that stand for their case: those whose tokens and bridges differ most, so that no token is taken for another.
const REPRESENTATIVES: usize = 6;

/// Representatives whose tokens are interchanged.
const INTERCHANGED: usize = 3;

/// Tokens that are tried in place of the one that a site holds.
const ALTERNATIVES: usize = 3;

/// Derives the truth about a program.
pub(super) fn truth(settings: &Settings, program: &Program, known: &KnownGraph, data: &Dataset) -> Truth {
    let fact_layers = match settings.name {
        Name::LateBridge => programs::fact_layers(known, settings.seed),
        _ => Vec::new(),
    };
    let name = |id: u32| data.vocab.tokens()[id as usize].clone();
    let facts = known.facts.iter().zip(&fact_layers);
    let layer_of: HashMap<(u32, u32), usize> = facts
        .clone()
        .map(|(fact, &layer)| ((fact.head, fact.relation), layer + 1))
        .collect();
    let groups = group(program, data, &layer_of);
    let cases = groups.into_par_iter().map(|(key, queries)| {
        let observer = Observer::new(program, known, &layer_of, queries[0].hops());
        observer.case(key, &queries)
    });
    Truth {
        format: FORMAT,
        circuit: settings.name.to_string(),
        mechanism: settings.name.about(),
        checkpoint_hash: String::new(),
        data_hash: data.hash.clone(),
        layers: program.layers.len(),
        iterations: program.iterations,
        heads: compile::heads(program),
        rotate: settings.rotate,
        noise: settings.noise,
        seed: settings.seed,
        fact_layers: facts
            .map(|(fact, &layer)| FactLayer {
                head: name(fact.head),
                relation: name(fact.relation),
                layer: layer + 1,
            })
            .collect(),
        cases: cases.collect(),
        limits: Vec::new(),
    }
}

// The hops of queries, whether they are answered right, and the layers of their facts.
type Key = (usize, bool, Vec<usize>);

// The queries of the data with known bridges by case, a sample where there are many.
fn group<'a>(
    program: &Program,
    data: &'a Dataset,
    layer_of: &HashMap<(u32, u32), usize>,
) -> Vec<(Key, Vec<&'a Query>)> {
    let mut distinct: HashSet<&Ids> = HashSet::new();
    let mut by_hops: BTreeMap<usize, Vec<&Query>> = BTreeMap::new();
    for query in data.splits.iter().flat_map(|(_, rows)| rows) {
        if query.hops() <= MAX_HOPS && matches!(query.bridges, Bridges::Known(_)) && distinct.insert(&query.tokens) {
            by_hops.entry(query.hops()).or_default().push(query);
        }
    }
    let mut groups: BTreeMap<Key, Vec<&Query>> = BTreeMap::new();
    for (hops, queries) in by_hops {
        for query in Stream::new(0, "queries of the truth", hops as u64).sample(&queries, MAX_QUERIES) {
            let right = program.top1(&query.tokens, program.iterations, &mut |_, _| ()) == Some(query.target);
            let facts = (1..=hops).filter_map(|hop| Token::Entity(hop).fact(query, hop));
            let layers = facts.filter_map(|fact| layer_of.get(&(fact[0], fact[1])).copied());
            groups.entry((hops, right, layers.collect())).or_default().push(query);
        }
    }
    groups.into_iter().collect()
}

// One query with its states at every location.
struct Observed<'a> {
    query: &'a Query,
    answer: Option<u32>,
    states: BTreeMap<Location, State>,
}

// Derives the truth about queries of one number of hops.
struct Observer<'a> {
    program: &'a Program,
    known: &'a KnownGraph<'a>,
    // The layer of each fact, where each is in one alone.
    layer_of: &'a HashMap<(u32, u32), usize>,
    hops: usize,
    positions: Vec<Position>,
}

impl<'a> Observer<'a> {
    fn new(program: &'a Program, known: &'a KnownGraph, layer_of: &'a HashMap<(u32, u32), usize>, hops: usize) -> Self {
        Self {
            program,
            known,
            layer_of,
            hops,
            positions: Position::of_chain(hops, program.readout == Readout::LastColumn),
        }
    }

    fn case(&self, (hops, right, fact_layers): Key, queries: &[&Query]) -> Case {
        let observed: Vec<Observed> = representatives(queries).into_iter().map(|q| self.observe(q)).collect();
        let found = self.found(&observed);
        let sites: Vec<SiteTruth> = found
            .iter()
            .filter_map(|found| {
                Some(SiteTruth {
                    target: found.of.target()?,
                    site: self.site(found.at),
                    visible: found.visible,
                    decodable: true,
                    used: found.used,
                })
            })
            .collect();
        Case {
            hops,
            right,
            fact_layers,
            queries: queries.len(),
            carriers: self.carriers(&found),
            joint: self.joint(&observed, &found),
            sites,
        }
    }

    fn observe<'q>(&self, query: &'q Query) -> Observed<'q> {
        let mut states = BTreeMap::new();
        let end = self
            .program
            .run(&query.tokens, self.program.iterations, &mut |at, state| {
                states.insert(at, state.clone());
            });
        Observed {
            query,
            answer: self.program.visible(&end),
            states,
        }
    }

    // The entities and relations of a query, with the names that they have in a chain of this length, and the answer given.
    fn sought(&self) -> Vec<Sought> {
        let entities = (0..=self.hops).map(|hop| match hop {
            0 => (Target::Head, Token::Entity(0)),
            _ => (Target::entity(hop, self.hops), Token::Entity(hop)),
        });
        let relations = (1..=self.hops).map(|place| (Target::Relation(place), Token::Relation(place)));
        let named = entities
            .chain(relations)
            .map(|(target, token)| Sought::Named(target, token));
        named.chain([Sought::WrongAnswer]).collect()
    }

    // The vocabulary id of what is sought in a query; `None` where the query lacks it.
    fn id(&self, sought: Sought, run: &Observed) -> Option<u32> {
        match sought {
            Sought::Named(_, token) => token.of(run.query),
            Sought::WrongAnswer => run
                .answer
                .filter(|id| *id != run.query.target && self.known.entities.contains(id)),
        }
    }

    // Every location that holds a token of the query, in every query at the same subspace.
    fn found(&self, observed: &[Observed]) -> Vec<Found> {
        let mut found = Vec::new();
        for of in self.sought() {
            let interchanges = self.interchanges(observed, of);
            for &at in observed[0].states.keys() {
                let holds = |run: &Observed| self.subspaces_with(&run.states[&at], self.id(of, run));
                let mut common = holds(&observed[0]);
                for run in &observed[1..] {
                    let others = holds(run);
                    common.retain(|subspace| others.contains(subspace));
                }
                if common.is_empty() {
                    continue;
                }
                let visible = |run: &Observed| self.program.visible(&run.states[&at]) == self.id(of, run);
                found.push(Found {
                    of,
                    at,
                    visible: observed.iter().all(visible),
                    used: self.decide(&interchanges, &[at]),
                });
            }
        }
        found.sort_by_key(|found| found.at);
        found
    }

    fn subspaces_with(&self, state: &State, token: Option<u32>) -> BTreeSet<Subspace> {
        let features = &self.program.features;
        state
            .iter()
            .filter(|&(feature, _)| token.is_some() && features.token(feature) == token)
            .map(|(feature, _)| features.subspace(feature))
            .collect()
    }

    // Interchanges of a token with others, in the first queries: within the case where there are any.
    fn interchanges<'q>(&self, observed: &'q [Observed<'q>], of: Sought) -> Vec<Interchange<'q>> {
        let all = |within_case: bool| {
            let mut interchanges = Vec::new();
            for run in observed.iter().take(INTERCHANGED) {
                if let Some(from) = self.id(of, run) {
                    let others = self.alternatives(run, of, from, within_case).into_iter();
                    interchanges.extend(others.map(|to| Interchange { run, from, to }));
                }
            }
            interchanges
        };
        let within_case = all(true);
        if within_case.is_empty() {
            all(false)
        } else {
            within_case
        }
    }

    // Whether most interchanges change the answer when they are made at all of these locations.
    fn decide(&self, interchanges: &[Interchange], locations: &[Location]) -> bool {
        let majority = interchanges.len() / 2 + 1;
        let (mut changed, mut unchanged) = (0, 0);
        for &Interchange { run, from, to } in interchanges {
            let hook = &mut |at, state: &mut State| {
                if locations.contains(&at) {
                    *state = state.interchange(from, to, &self.program.features);
                }
            };
            if self.program.top1(&run.query.tokens, self.program.iterations, hook) == run.answer {
                unchanged += 1;
            } else {
                changed += 1;
            }
            // The others cannot turn the majority.
            if changed == majority || unchanged + majority > interchanges.len() {
                break;
            }
        }
        changed == majority
    }

    // Tokens in whose place another answer is due: to the query with another head or relation the circuit gives another
    // answer, and from another bridge the rest of the chain leads elsewhere. `within_case`: the circuit knows the other query as
    // it knows this one. A query that is not answered calls for nothing (`memorizer` looks it up again in the next iteration, and
    // finds the tokens as they were); and the next fact is in the same layer, where each is in one.
    fn alternatives(&self, run: &Observed, of: Sought, current: u32, within_case: bool) -> Vec<u32> {
        let query = run.query;
        let changes_the_query = |index: usize, other: u32| {
            let mut tokens = query.tokens.clone();
            tokens[index] = other;
            let answer = self.program.top1(&tokens, self.program.iterations, &mut |_, _| ());
            let is_answered = answer.is_some_and(|id| self.known.entities.contains(&id));
            answer != run.answer && (is_answered || !within_case)
        };
        let is_in_same_layer = |other: u32| {
            let fact = |token: u32| match of {
                Sought::Named(_, Token::Entity(hop)) => Some((token, *query.tokens.get(hop + 1)?)),
                Sought::Named(_, Token::Relation(place)) => Some((Token::Entity(place - 1).of(query)?, token)),
                Sought::WrongAnswer => None,
            };
            let layer = |token: u32| fact(token).and_then(|fact| self.layer_of.get(&fact));
            layer(other) == layer(current)
        };
        let leads_elsewhere = |at: u32, relations: &[u32]| {
            let path = self.known.graph.walk(at, relations);
            path.is_ok_and(|path| path.last().copied().unwrap_or(at) != query.target)
        };
        let is_relation = matches!(of, Sought::Named(_, Token::Relation(_)));
        let candidates = if is_relation {
            &self.known.relations
        } else {
            &self.known.entities
        };
        let fits = |other: u32| match of {
            Sought::Named(_, Token::Entity(0)) => changes_the_query(0, other),
            Sought::Named(_, Token::Relation(place)) => changes_the_query(place, other),
            Sought::Named(_, Token::Entity(hop)) => leads_elsewhere(other, &query.tokens[hop + 1..]),
            Sought::WrongAnswer => true,
        };
        let fitting: Vec<u32> = candidates
            .iter()
            .copied()
            .filter(|&other| other != current && (!within_case || is_in_same_layer(other)) && fits(other))
            .collect();
        let step = fitting.len().div_ceil(ALTERNATIVES).max(1);
        fitting.into_iter().step_by(step).collect()
    }

    fn site(&self, at: Location) -> CircuitSite {
        let site = Site::new(at.point, at.iteration, at.layer);
        CircuitSite {
            point: at.point,
            position: self.positions[at.row],
            place: Place::of(site, self.program.layers.len()),
            head: at.head.map(|head| head + 1),
        }
    }

    fn carriers(&self, found: &[Found]) -> Vec<CircuitSite> {
        let used: BTreeSet<Location> = found.iter().filter(|found| found.used).map(|found| found.at).collect();
        let patterns = used.iter().filter(|at| at.point == Point::Z).map(|&at| Location {
            point: Point::AttnPattern,
            ..at
        });
        let all: BTreeSet<Location> = used.iter().copied().chain(patterns).collect();
        all.into_iter().map(|at| self.site(at)).collect()
    }

    // Pairs of residual states at different positions.
    fn joint(&self, observed: &[Observed], found: &[Found]) -> Vec<Joint> {
        let unused: Vec<&Found> = found
            .iter()
            .filter(|found| !found.used && found.at.point == Point::ResidPost)
            .collect();
        let mut joint = Vec::new();
        for (i, one) in unused.iter().enumerate() {
            let interchanges = self.interchanges(observed, one.of);
            let others = unused[i + 1..].iter();
            for other in others.filter(|other| other.of == one.of && other.at.row != one.at.row) {
                let sites = [one.at, other.at];
                if let Some(target) = one.of.target()
                    && self.decide(&interchanges, &sites)
                {
                    joint.push(Joint {
                        target,
                        sites: sites.map(|at| self.site(at)),
                    });
                }
            }
        }
        joint
    }
}

// One token in the place of another, in a run of a query.
#[derive(Clone, Copy)]
struct Interchange<'a> {
    run: &'a Observed<'a>,
    from: u32,
    to: u32,
}

// What is at a location in every query of a case.
struct Found {
    of: Sought,
    at: Location,
    visible: bool,
    used: bool,
}

// The queries with the most distinct entities and relations.
fn representatives<'a>(queries: &[&'a Query]) -> Vec<&'a Query> {
    let distinct = |query: &Query| {
        let entities = (0..=query.hops()).filter_map(|hop| Token::Entity(hop).of(query));
        let tokens: HashSet<u32> = entities.chain(query.tokens.iter().copied()).collect();
        tokens.len()
    };
    let mut sorted = queries.to_vec();
    sorted.sort_by_key(|query| std::cmp::Reverse(distinct(query)));
    sorted.truncate(REPRESENTATIVES);
    sorted
}
