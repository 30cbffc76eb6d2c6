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

/// Chains that directions are fitted on, at most.
const MAX_CHAINS: usize = 4000;

/// Trained chains by the entity after a hop.
pub(super) struct FitSet<'a> {
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
        let (held_out, fitted): (Vec<_>, Vec<_>) = kept.into_iter().partition(is_held_out);
        let sample = |chains: Vec<&(&'a Query, u32, Ids)>, purpose: &str, max: usize| {
            let chains: Vec<(&Query, u32)> = chains.iter().map(|(query, entity, _)| (*query, *entity)).collect();
            Stream::new(seed, &format!("edit {purpose} chains {hop}"), 0).sample(&chains, max)
        };
        let mut chains = sample(fitted, "fit", MAX_CHAINS - MAX_CHAINS / 5);
        let first_held_out = chains.len();
        chains.extend(sample(held_out, "held-out", MAX_CHAINS / 5));
        let entities: BTreeSet<u32> = chains.iter().map(|(_, entity)| *entity).collect();
        Ok(Self {
            chains,
            held_out: first_held_out,
            entities: entities.into_iter().collect(),
            is_apart,
        })
    }

    /// The place of an entity among those that are known.
    pub(super) fn index(&self, entity: u32) -> Option<usize> {
        self.entities.binary_search(&entity).ok()
    }

    /// About the bytes that the directions of one position take while they are fitted.
    pub(super) fn bytes(&self, sites: usize, d_model: usize, wanted: &[Changed]) -> usize {
        let vectors = self.chains.len() + self.entities.len() * (1 + wanted.len());
        sites * vectors * d_model * size_of::<f32>()
    }

    // The first of the chains with each causal prefix at a position, by index.
    fn prefixes(&self, position: Position, hops: usize) -> Vec<usize> {
        let mut known = HashSet::new();
        let is_new = |index: &usize| known.insert(&self.chains[*index].0.tokens[..=position.index(hops)]);
        (0..self.chains.len()).filter(is_new).collect()
    }

    /// The directions of all entities, `[position][site]`.
    ///
    /// # Errors
    /// When a probe cannot be fitted, or the device fails.
    pub(super) fn directions(
        &self,
        model: &Model,
        sites: &[Site],
        positions: &[Position],
        iterations: usize,
        wanted: &[Changed],
    ) -> Result<Vec<Vec<Directions>>> {
        let hops = self.chains.first().map_or(0, |(query, _)| query.hops());
        let direct = model.direct_logits()?;
        let prefixes: Vec<Vec<usize>> = (positions.iter())
            .map(|&position| self.prefixes(position, hops))
            .collect();
        let reads_apart = model.config().reads_apart(hops);
        let columns: Vec<usize> = (positions.iter())
            .map(|position| position.column(hops, reads_apart))
            .collect();
        let states = self.states(model, sites, &columns, &prefixes, iterations)?;
        let of_position = |(states, prefixes): (Vec<Vec<Vec<f32>>>, Vec<usize>)| {
            let labels: Vec<usize> = (prefixes.iter())
                .filter_map(|&chain| self.index(self.chains[chain].1))
                .collect();
            let held_out = prefixes.partition_point(|&chain| chain < self.held_out);
            let at_site = |states: &Vec<Vec<f32>>| self.at_site(states, &labels, held_out, &direct, wanted);
            states.par_iter().map(at_site).collect()
        };
        states.into_iter().zip(prefixes).map(of_position).collect()
    }

    // The states of the chains of each position's prefixes, `[position][site][prefix][d_model]`, all positions in one pass; a batch
    // at a time, since every column of it is recorded.
    fn states(
        &self,
        model: &Model,
        sites: &[Site],
        columns: &[usize],
        prefixes: &[Vec<usize>],
        iterations: usize,
    ) -> Result<Vec<Vec<Vec<Vec<f32>>>>> {
        let mut found = vec![vec![Vec::new(); sites.len()]; columns.len()];
        let all: BTreeSet<Site> = sites.iter().copied().collect();
        for (batch, chains) in self.chains.chunks(BATCH).enumerate() {
            let recorded = States::of(model, chains.iter().map(|(query, _)| &*query.tokens), &all, iterations)?;
            let first = batch * BATCH;
            for ((&column, prefixes), found) in columns.iter().zip(prefixes).zip(&mut found) {
                let of_batch = prefixes.partition_point(|&chain| chain < first)
                    ..prefixes.partition_point(|&chain| chain < first + chains.len());
                for (&site, found) in sites.iter().zip(found) {
                    let mut states = recorded.states(site, column, None)?;
                    let chosen = prefixes[of_batch.clone()].iter();
                    found.extend(chosen.map(|&chain| std::mem::take(&mut states[chain - first])));
                }
            }
        }
        Ok(found)
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
            mean_coordinate: dot(&self.averages[bridge], &units[bridge]),
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
