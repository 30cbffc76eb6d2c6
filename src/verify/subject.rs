//! A model that methods are held against: its queries, the truth about its sites, and what it is designed to do.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::score::Judged;
use crate::checkpoint::{CheckpointPath, CheckpointRole};
use crate::circuit::{Case, Circuit, CircuitSite, Step, Truth};
use crate::error::{Error, Result};
use crate::graph::{Bridges, Dataset, Graph, Ids, Position, Query, Split, Token};
use crate::measure::{CheckpointSummary, Claim, Design, LoadedCheckpoint, Origin, Place, Setting, SiteScore};
use crate::model::{Model, ModelConfig, Point, Weights};
use crate::random::Stream;

/// Queries of each number of hops, at most.
const MAX_QUERIES: usize = 192;

/// The share of the queries of each number of hops that edits are tested on; they fit what they need on the others.
const HELD_OUT: f64 = 0.25;

/// Queries of a case, at least: fewer tell nothing of a method.
const MIN_QUERIES: usize = 12;

/// Steps by query; those of a model without a program are not known.
type Steps = HashMap<Ids, Vec<Step>>;

/// The queries that methods look at, with the truth about them.
pub(super) struct Queries {
    /// One split for each number of hops, all of whose queries are of one case.
    pub(super) data: Arc<Dataset>,
    /// For edits: the same splits with the held-out queries, and the others, with all facts, to fit on (`train`).
    pub(super) held_out: Arc<Dataset>,
    // The case of each number of hops.
    cases: BTreeMap<usize, Case>,
    steps: Steps,
    truth: Truth,
}

impl Queries {
    /// Those of the data that the truth speaks of: of each number of hops the case with the most queries that are answered
    /// right. `circuit`: the program, where it is known; else the truth must say that all queries of a number of hops are
    /// answered right, or they are `answered`.
    ///
    /// # Errors
    /// When no number of hops has enough of them.
    pub(super) fn of(
        truth: &Truth,
        data: &Dataset,
        circuit: Option<&Circuit>,
        answered: &(dyn Fn(&Query) -> Result<u32> + Sync),
    ) -> Result<Self> {
        let layers = fact_layers(truth, data)?;
        let mut of_hops: BTreeMap<usize, BTreeMap<Vec<usize>, Vec<Query>>> = BTreeMap::new();
        let mut seen = std::collections::HashSet::new();
        for query in data.splits.iter().flat_map(|(_, rows)| rows) {
            let is_chain = query.hops() >= 2 && matches!(query.bridges, Bridges::Known(_));
            if is_chain && seen.insert(query.tokens.clone()) {
                let key = layers_of(query, &layers);
                if truth.case(query.hops(), true, &key).is_none() {
                    continue;
                }
                let is_right = match circuit {
                    Some(circuit) => circuit.answer(&query.tokens, truth.iterations) == Some(query.target),
                    None => truth.case(query.hops(), false, &key).is_none() || answered(query)? == query.target,
                };
                if is_right {
                    let cases = of_hops.entry(query.hops()).or_default();
                    cases.entry(key).or_default().push(query.clone());
                }
            }
        }
        let mut cases = BTreeMap::new();
        let mut splits = vec![(Split::train(), facts(&data.graph))];
        for (hops, of_case) in of_hops {
            let Some((key, queries)) = of_case.into_iter().max_by_key(|(_, queries)| queries.len()) else {
                continue;
            };
            if queries.len() < MIN_QUERIES {
                continue;
            }
            let sample = Stream::new(1, "queries to verify", hops as u64).sample(&queries, MAX_QUERIES);
            cases.extend(truth.case(hops, true, &key).map(|case| (hops, case.clone())));
            splits.push((Split::depth_test(hops), sample));
            // Pairs are drawn from the facts of one case.
            if !layers.is_empty() {
                break;
            }
        }
        let Some(case) = cases.values().next() else {
            return Err(Error::input(format!(
                "the truth about {} has no case of 2 hops or more with {MIN_QUERIES} queries that are answered right",
                truth.circuit
            )));
        };
        let graph = if layers.is_empty() {
            data.graph.clone()
        } else {
            of_layers(&data.graph, &layers, &case.fact_layers)
        };
        let data = Dataset {
            vocab: data.vocab.clone(),
            graph,
            splits,
            hash: data.hash.clone(),
        };
        let held_out = held_out(&data);
        let all = data.splits[1..].par_iter().flat_map(|(_, rows)| rows);
        let trace = |query: &Query| {
            let steps = circuit.map(|circuit| circuit.trace(&query.tokens, 3 * truth.iterations));
            steps.map(|steps| (query.tokens.clone(), steps))
        };
        Ok(Self {
            steps: all.filter_map(trace).collect(),
            held_out: Arc::new(held_out),
            data: Arc::new(data),
            cases,
            truth: truth.clone(),
        })
    }

    // The tokens of a query that decide its answer, from the first one that is used to the end.
    fn decisive(&self, hops: usize) -> Option<usize> {
        let case = self.cases.get(&hops)?;
        let used = case
            .sites
            .iter()
            .filter(|row| row.used && row.site.point == Point::Embed);
        let first = used.map(|row| row.site.position.index(hops)).min()?;
        Some(hops + 1 - first)
    }
}

impl Design for Queries {
    fn queries(&self, split: &Split, hops: Option<usize>) -> Vec<&Query> {
        let rows = self.data.split(split).unwrap_or_default().iter();
        rows.filter(|query| hops.is_none_or(|hops| query.hops() == hops))
            .collect()
    }

    fn is_right(&self, query: &Query, iterations: usize) -> Option<bool> {
        if let Some(steps) = self.steps.get(&query.tokens) {
            return Some(steps.get(iterations.checked_sub(1)?)?.answer == Some(query.target));
        }
        // Those of a truth without a program are chosen by their answers where it knows of wrong ones.
        let all_right = !self
            .truth
            .cases
            .iter()
            .any(|case| case.hops == query.hops() && !case.right);
        (all_right && iterations == self.truth.iterations).then_some(true)
    }

    fn last_change(&self, query: &Query, max: usize) -> Option<usize> {
        let steps = self.steps.get(&query.tokens)?.get(..max)?;
        Some(steps.iter().rposition(|step| step.changes).map_or(0, |last| last + 1))
    }

    fn suffix(&self, hops: usize) -> Option<usize> {
        self.decisive(hops)
    }
}

// The first queries of each number of hops are held out, which are in random order; the others are to fit on.
fn held_out(data: &Dataset) -> Dataset {
    let mut train = Vec::new();
    let mut tests = Vec::new();
    for (split, rows) in &data.splits {
        let n = match split.depth() {
            Some(_) => (HELD_OUT * rows.len() as f64).ceil() as usize,
            None => 0,
        };
        train.extend_from_slice(&rows[n..]);
        if n > 0 {
            tests.push((split.clone(), rows[..n].to_vec()));
        }
    }
    Dataset {
        vocab: data.vocab.clone(),
        graph: data.graph.clone(),
        splits: std::iter::once((Split::train(), train)).chain(tests).collect(),
        hash: data.hash.clone(),
    }
}

// The layer of each fact by vocabulary ids.
fn fact_layers(truth: &Truth, data: &Dataset) -> Result<HashMap<(u32, u32), usize>> {
    let id = |token: &str| {
        data.vocab.id(token).ok_or_else(|| {
            Error::input(format!(
                "the truth names the token {token}, which the data does not have"
            ))
        })
    };
    let layers = truth.fact_layers.iter();
    layers
        .map(|fact| Ok(((id(&fact.head)?, id(&fact.relation)?), fact.layer)))
        .collect()
}

fn layers_of(query: &Query, layers: &HashMap<(u32, u32), usize>) -> Vec<usize> {
    let facts = (1..=query.hops()).filter_map(|hop| Token::Entity(hop).fact(query, hop));
    facts
        .filter_map(|fact| layers.get(&(fact[0], fact[1])).copied())
        .collect()
}

fn facts(graph: &Graph) -> Vec<Query> {
    let known = graph.facts().iter().filter_map(|&(head, relation)| {
        let tail = graph.tail(head, relation).ok()?;
        Some(Query::new(&[head, relation], tail, graph))
    });
    known.collect()
}

// The facts of a graph that are in one of these layers.
fn of_layers(graph: &Graph, layers: &HashMap<(u32, u32), usize>, chosen: &[usize]) -> Graph {
    let mut kept = Graph::default();
    for &(head, relation) in graph.facts() {
        let is_kept = layers
            .get(&(head, relation))
            .is_some_and(|layer| chosen.contains(layer));
        if let (true, Ok(tail)) = (is_kept, graph.tail(head, relation)) {
            kept.insert(head, relation, tail);
        }
    }
    kept
}

/// What a subject is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A circuit, of which the truth is known.
    Circuit,
    /// A model without the mechanism: nothing is to be found.
    Control,
}

/// A model that methods are held against.
pub(super) struct Subject {
    /// The circuit, or the kind of control.
    pub(super) name: String,
    /// Which of its variants.
    pub(super) variant: String,
    pub(super) kind: Kind,
    pub(super) checkpoint: LoadedCheckpoint,
    /// The same model with the held-out queries.
    pub(super) held_out: LoadedCheckpoint,
    pub(super) queries: Arc<Queries>,
}

impl Subject {
    /// Of the model with these weights.
    ///
    /// # Errors
    /// When the weights do not fit the config.
    pub(super) fn new(
        (name, variant): (&str, &str),
        kind: Kind,
        (config, weights): (&ModelConfig, &Weights),
        queries: &Arc<Queries>,
    ) -> Result<Self> {
        let model = || Model::new(config.clone(), queries.data.vocab.len(), weights);
        let (layers, iterations) = (config.layers, config.iterations);
        // Nothing is read from there.
        let nowhere: PathBuf = Path::new(name).join("verify");
        let info = CheckpointSummary {
            origin: Origin {
                run: name.to_owned(),
                checkpoint: variant.to_owned(),
                step: 0,
                checkpoint_hash: queries.truth.checkpoint_hash.clone(),
                data_hash: queries.data.hash.clone(),
            },
            role: CheckpointRole::Other,
            seed: None,
            seeds: None,
            layers,
            iterations,
            // `extrapolate` asks for a curriculum: as if it had ended at the shortest chains.
            learned_hops: queries.cases.keys().next().copied(),
            trained_on: None,
            members: Vec::new(),
        };
        let path = CheckpointPath {
            run: name.to_owned(),
            label: variant.to_owned(),
            role: CheckpointRole::Other,
            path: nowhere.clone(),
            folder: nowhere,
            alone: true,
            data: None,
        };
        let loaded = |data: &Arc<Dataset>| -> Result<LoadedCheckpoint> {
            Ok(LoadedCheckpoint {
                info: info.clone(),
                path: path.clone(),
                model: model()?,
                data: data.clone(),
            })
        };
        Ok(Self {
            name: name.to_owned(),
            variant: variant.to_owned(),
            kind,
            checkpoint: loaded(&queries.data)?,
            held_out: loaded(&queries.held_out)?,
            queries: queries.clone(),
        })
    }

    pub(super) fn setting(&self) -> Setting {
        let hops: Vec<usize> = self.queries.cases.keys().copied().collect();
        let config = self.checkpoint.model.config();
        Setting {
            reads_apart: hops.iter().any(|&hops| config.reads_apart(hops)),
            hops,
            iterations: self.checkpoint.info.iterations,
            layers: config.layers,
            heads: config.heads,
            answers_right: self.kind == Kind::Circuit,
        }
    }

    /// A score beside the truth; `None` where there is nothing to hold it against: a control depends on the tokens of its
    /// query too, and only what the chain leads to is lacking there.
    pub(super) fn judge(&self, score: SiteScore) -> Option<Judged> {
        let case = self.queries.cases.get(&score.hops)?;
        if self.kind == Kind::Control {
            let is_entity = |target: &crate::graph::Target| target.hop(score.hops).is_some_and(|hop| hop > 0);
            return score
                .targets
                .iter()
                .any(is_entity)
                .then_some(Judged { score, truth: false });
        }
        let reads_apart = self.checkpoint.model.config().reads_apart(score.hops);
        Some(Judged {
            truth: holds(case, &score, reads_apart),
            score,
        })
    }
}

// Whether a claim of a site is true.
fn holds(case: &Case, score: &SiteScore, reads_apart: bool) -> bool {
    let position = match score.position {
        Position::Readout if !reads_apart => Position::Relation(score.hops),
        position => position,
    };
    let (point, head) = match (score.point, score.head) {
        // All heads together are what attention writes.
        (Point::Z, None) => (Point::AttnOut, None),
        other => other,
    };
    let is_meant = |site: &CircuitSite| {
        let place: &Place = &site.place;
        (site.point, site.position, *place, site.head) == (point, position, score.place, head)
    };
    let is_so = |row: &crate::circuit::SiteTruth| match score.claim {
        Claim::Visible => row.visible,
        Claim::Decodable => row.decodable,
        Claim::Used | Claim::Counterfactual => row.used,
    };
    let rows = case.sites.iter().filter(|row| score.targets.contains(&row.target));
    let alone = rows.filter(|row| is_meant(&row.site)).any(is_so);
    let joint = case.joint.iter().filter(|joint| score.targets.contains(&joint.target));
    alone || (score.claim == Claim::Used && joint.flat_map(|joint| &joint.sites).any(is_meant))
}
