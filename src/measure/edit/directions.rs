//! The directions of entities at every place of the loop, fitted on trained chains.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use ndarray::Array2;
use rayon::prelude::*;

use super::Changed;
use super::move_to::{Geometry, unit};
use crate::error::{Error, Result};
use crate::graph::{Dataset, Ids, Position, Query, Split, Token};
use crate::measure::probe::directions;
use crate::measure::states::States;
use crate::measure::{BATCH, dot};
use crate::model::{DirectLogits, Model, Site};
use crate::random::Stream;

/// Causal prefixes that the directions of a place are fitted on, at most.
const MAX_PREFIXES: usize = 4000;

/// Trained chains by the entity after a hop.
pub(super) struct FitSet<'a> {
    hop: usize,
    seed: u64,
    /// The chains, each with its entity; those from `held_out` on are of facts of their own.
    pub(super) chains: Vec<(&'a Query, u32)>,
    pub(super) held_out: usize,
    /// The entities, in increasing order.
    pub(super) entities: Vec<u32>,
    /// Whether no fact that leads to the entity of a tested query leads to one of these.
    pub(super) is_apart: bool,
}

impl<'a> FitSet<'a> {
    /// The trained chains of as many hops as the tested ones, without those whose entity comes of the same fact as that of a
    /// tested one; all, where none would be left.
    ///
    /// # Errors
    /// When no chain of this length was trained.
    pub(super) fn new(data: &'a Dataset, tested: &[&Query], hop: usize, hops: usize, seed: u64) -> Result<Self> {
        let fact = |query: &Query| Token::Entity(hop).fact(query, hop);
        let all: Vec<(&Query, u32, Ids)> = data
            .split(Split::train())?
            .iter()
            .filter(|query| query.hops() == hops)
            .filter_map(|query| Some((query, query.entity_after(hop)?, fact(query)?)))
            .collect();
        if all.is_empty() {
            return Err(Error::input(format!(
                "the training split has no chains of {hops} hops with known bridges to fit directions on; --split names chains of \
                 trained lengths"
            )));
        }
        let of_tested: HashSet<Ids> = tested.iter().filter_map(|query| fact(query)).collect();
        let is_shared = |(_, _, fact): &&(&Query, u32, Ids)| of_tested.contains(fact);
        let is_apart = !all.iter().all(|chain| is_shared(&chain));
        let kept: Vec<&(&Query, u32, Ids)> = all.iter().filter(|chain| !is_apart || !is_shared(chain)).collect();
        let mut facts: Vec<&Ids> = kept
            .iter()
            .map(|(_, _, fact)| fact)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        Stream::new(seed, "edit held-out facts", 0).shuffle(&mut facts);
        let held_out: HashSet<&Ids> = facts.iter().take(facts.len() / 5).copied().collect();
        let is_held_out = |(_, _, fact): &&(&Query, u32, Ids)| held_out.contains(fact);
        let (held_out, fitted): (Vec<_>, Vec<_>) = kept.iter().copied().partition(is_held_out);
        let chains = fitted
            .iter()
            .chain(&held_out)
            .map(|(query, entity, _)| (*query, *entity));
        Ok(Self {
            hop,
            seed,
            chains: chains.collect(),
            held_out: fitted.len(),
            entities: kept
                .iter()
                .map(|(_, entity, _)| *entity)
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
            is_apart,
        })
    }

    /// The place of an entity among those that are known.
    pub(super) fn index(&self, entity: u32) -> Option<usize> {
        self.entities.binary_search(&entity).ok()
    }

    // The distinct causal prefixes at a position, each by a chain that has it, and the first that is held out.
    fn prefixes(&self, position: Position, hops: usize) -> (Vec<(&'a Query, u32)>, usize) {
        let last = position.index(hops);
        let distinct = |chains: &[(&'a Query, u32)], purpose: &str, max: usize| {
            let by_prefix: BTreeMap<&[u32], (&'a Query, u32)> = chains
                .iter()
                .map(|&(query, entity)| (&query.tokens[..=last], (query, entity)))
                .collect();
            let all: Vec<(&'a Query, u32)> = by_prefix.into_values().collect();
            Stream::new(self.seed, &format!("edit {purpose} {} {position}", self.hop), 0).sample(&all, max)
        };
        let (fitted, held_out) = self.chains.split_at(self.held_out);
        let mut found = distinct(fitted, "fit rows", MAX_PREFIXES - MAX_PREFIXES / 5);
        let first_held_out = found.len();
        found.extend(distinct(held_out, "held-out fit rows", MAX_PREFIXES / 5));
        (found, first_held_out)
    }

    /// The directions of all entities at each of the sites, of a state at `position`.
    ///
    /// # Errors
    /// When a probe cannot be fitted, or the device fails.
    pub(super) fn directions(
        &self,
        model: &Model,
        sites: &[Site],
        (position, hops): (Position, usize),
        iterations: usize,
        wanted: &[Changed],
    ) -> Result<Vec<Directions>> {
        let (chains, held_out) = self.prefixes(position, hops);
        let queries: Vec<&[u32]> = chains.iter().map(|(query, _)| &*query.tokens).collect();
        let labels: Vec<usize> = chains.iter().filter_map(|&(_, entity)| self.index(entity)).collect();
        let column = position.column(hops, model.config().reads_apart(hops));
        let states = states(model, &queries, sites, column, iterations)?;
        let direct = model.direct_logits()?;
        let at_site = |states: &Vec<Vec<f32>>| self.at_site(states, &labels, held_out, &direct, wanted);
        states.par_iter().map(at_site).collect()
    }

    fn at_site(
        &self,
        states: &[Vec<f32>],
        labels: &[usize],
        held_out: usize,
        direct: &DirectLogits,
        wanted: &[Changed],
    ) -> Result<Directions> {
        let width = states.first().map_or(0, Vec::len);
        let classes = self.entities.len();
        let mean = mean_of(states.iter(), width);
        let of_class = |class: usize| {
            let own = states.iter().zip(labels).filter(|(_, label)| **label == class);
            let own = mean_of(own.map(|(state, _)| state), width);
            own.iter().zip(&mean).map(|(own, all)| own - all).collect::<Vec<f32>>()
        };
        let averages: Vec<Vec<f32>> = (0..classes).map(of_class).collect();
        let mut units = BTreeMap::new();
        for &of in wanted {
            let vectors: Vec<Vec<f32>> = match of {
                Changed::Output => {
                    let row = |&entity: &u32| direct.direction(entity).iter().map(|&x| x as f32).collect();
                    self.entities.iter().map(row).collect()
                }
                Changed::Probe => {
                    let flat: Vec<f64> = states.iter().flatten().map(|&x| f64::from(x)).collect();
                    let x = Array2::from_shape_vec((states.len(), width), flat).map_err(Error::failed)?;
                    directions(x, labels.to_vec(), held_out, classes)?
                }
                Changed::Mean => averages.clone(),
                Changed::Whole | Changed::Random => continue,
            };
            units.insert(of, vectors.iter().map(|vector| unit(vector)).collect());
        }
        Ok(Directions { mean, averages, units })
    }
}

/// What is known of the states at one place.
pub(super) struct Directions {
    mean: Vec<f32>,
    // Of each entity: the mean of the states that have it, less that of all.
    averages: Vec<Vec<f32>>,
    // Of length 1.
    units: BTreeMap<Changed, Vec<Vec<f32>>>,
}

impl Directions {
    /// What an edit from one entity to another needs, both by their places in the fit set; `None` where `of` has no directions.
    pub(super) fn geometry(&self, of: Changed, bridge: usize, other: usize) -> Option<Geometry<'_>> {
        let units = self.units.get(&of)?;
        Some(Geometry {
            mean: &self.mean,
            bridge: &units[bridge],
            other: &units[other],
            usual: dot(&self.averages[bridge], &units[bridge]),
        })
    }
}

fn mean_of<'a>(states: impl Iterator<Item = &'a Vec<f32>>, width: usize) -> Vec<f32> {
    let (mut sum, mut count) = (vec![0.0_f64; width], 0_usize);
    for state in states {
        count += 1;
        for (sum, &x) in sum.iter_mut().zip(state) {
            *sum += f64::from(x);
        }
    }
    sum.iter().map(|x| (x / count.max(1) as f64) as f32).collect()
}

// The states of queries at a column, `[site][query][d_model]`; a batch at a time, since every column of it is held.
fn states(
    model: &Model,
    queries: &[&[u32]],
    sites: &[Site],
    column: usize,
    iterations: usize,
) -> Result<Vec<Vec<Vec<f32>>>> {
    let mut found = vec![Vec::with_capacity(queries.len()); sites.len()];
    let all: BTreeSet<Site> = sites.iter().copied().collect();
    for chunk in queries.chunks(BATCH) {
        let states = States::of(model, chunk.iter().copied(), &all, iterations)?;
        for (&site, found) in sites.iter().zip(&mut found) {
            found.extend(states.states(site, column, None)?);
        }
    }
    Ok(found)
}
