//! Queries of which each uses several facts, and answers to them with known effects of these facts.

use super::super::mean;
use crate::graph::{Chains, Query, Split, Systematic, Tails};
use crate::random::Stream;

/// The 211 OOD chains of two hops of the preset `laptop`, made of 98 facts.
pub(super) fn ood() -> Vec<Query> {
    Systematic::laptop()
        .generate()
        .unwrap()
        .split("test_inferred_ood")
        .unwrap()
        .to_vec()
}

/// 500 chains of `hops` hops over the 500 facts of the preset `depth-laptop`.
pub(super) fn depth(hops: usize) -> Vec<Query> {
    let settings = Chains {
        entities: 50,
        relations: 10,
        hops,
        train_rows: 10,
        test_rows: 500,
        seed: 1,
        tails: Tails::Permutation,
    };
    settings
        .generate()
        .unwrap()
        .split(Split::depth_test(hops))
        .unwrap()
        .to_vec()
}

/// Which effects the facts of a chain have on whether it is answered right.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Effects {
    /// Each fact has one, whichever its hop.
    Shared,
    /// Each fact has another at every hop.
    ByHop,
    /// Only first facts have one.
    First,
}

impl Effects {
    pub(super) const ALL: [Self; 3] = [Self::Shared, Self::ByHop, Self::First];
}

/// A population of answers: the logit of a right one is a constant plus the effects of a chain's facts.
pub(super) struct Simulation {
    // The facts of every chain.
    pub(super) facts: Vec<Vec<usize>>,
    pub(super) count: usize,
    effects: Effects,
    /// Standard deviation of the sum of a chain's effects, in logits.
    strength: f64,
    /// Mean over all facts that could have been.
    pub(super) accuracy: f64,
}

impl Simulation {
    pub(super) fn new(queries: &[Query], effects: Effects, strength: f64, accuracy: f64) -> Self {
        let mut known: Vec<(u32, u32)> = Vec::new();
        let mut facts_of = |query: &Query| -> Vec<usize> {
            let mut at = query.tokens[0];
            (1..=query.hops())
                .map(|hop| {
                    let fact = (at, query.tokens[hop]);
                    at = query.entity_after(hop).unwrap();
                    known.iter().position(|&other| other == fact).unwrap_or_else(|| {
                        known.push(fact);
                        known.len() - 1
                    })
                })
                .collect()
        };
        let facts: Vec<Vec<usize>> = queries.iter().map(&mut facts_of).collect();
        Self {
            facts,
            count: known.len(),
            effects,
            strength,
            accuracy,
        }
    }

    // The constant at which the mean over a normal sum of effects is the accuracy.
    pub(super) fn constant(&self) -> f64 {
        let mean_at = |constant: f64| {
            let grid = (-600..=600).map(|i| f64::from(i) / 100.0);
            let (sum, weights) = grid.fold((0.0, 0.0), |(sum, weights), z| {
                let weight = libm::exp(-z * z / 2.0);
                (sum + weight * logistic(constant + self.strength * z), weights + weight)
            });
            sum / weights
        };
        let (mut low, mut high) = (-60.0, 60.0);
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            if mean_at(middle) < self.accuracy {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    }

    // The sum of the effects of each chain's facts, drawn anew.
    pub(super) fn sums(&self, stream: &mut Stream) -> Vec<f64> {
        let hops = self.facts[0].len();
        let (tables, used) = match self.effects {
            Effects::Shared => (1, hops),
            Effects::ByHop => (hops, hops),
            Effects::First => (1, 1),
        };
        let scale = self.strength / (used as f64).sqrt();
        let effects: Vec<Vec<f64>> = (0..tables)
            .map(|_| (0..self.count).map(|_| scale * stream.normal()).collect())
            .collect();
        let sum = |facts: &Vec<usize>| {
            let by_hop = facts[..used].iter().enumerate();
            by_hop.map(|(hop, &fact)| effects[hop.min(tables - 1)][fact]).sum()
        };
        self.facts.iter().map(sum).collect()
    }

    pub(super) fn answers(&self, constant: f64, stream: &mut Stream) -> Vec<bool> {
        let sums = self.sums(stream);
        sums.into_iter()
            .map(|sum| stream.uniform() < logistic(constant + sum))
            .collect()
    }
}

/// Facts that decide alone: each is known or not, and a chain is right if and only if all of its first `used` are known.
pub(super) struct AllOrNothing {
    facts: Vec<Vec<usize>>,
    count: usize,
    /// The probability that a fact is known.
    pub(super) known: f64,
}

impl AllOrNothing {
    /// A chain of `used` different facts is right with this probability.
    pub(super) fn new(queries: &[Query], used: usize, right: f64) -> Self {
        let Simulation { facts, count, .. } = Simulation::new(queries, Effects::Shared, 0.0, right);
        Self {
            facts: facts.iter().map(|facts| facts[..used].to_vec()).collect(),
            count,
            known: libm::pow(right, 1.0 / used as f64),
        }
    }

    /// Instead of facts, what `unit` gives for each chain decides.
    pub(super) fn by(queries: &[Query], unit: impl Fn(&Query) -> u32, right: f64) -> Self {
        let facts: Vec<Vec<usize>> = queries.iter().map(|query| vec![unit(query) as usize]).collect();
        let count = facts.iter().flatten().max().map_or(0, |last| last + 1);
        let known = right;
        Self { facts, count, known }
    }

    // The share of right answers over all draws, where each fact is known with this probability: a fact may be used twice.
    pub(super) fn accuracy(&self, known: f64) -> f64 {
        mean(self.facts.iter().map(|facts| {
            let mut different = facts.clone();
            different.sort_unstable();
            different.dedup();
            known.powi(different.len() as i32)
        }))
    }

    pub(super) fn answers(&self, known: &[bool]) -> Vec<bool> {
        self.facts
            .iter()
            .map(|facts| facts.iter().all(|&fact| known[fact]))
            .collect()
    }

    pub(super) fn draw(&self, known: f64, stream: &mut Stream) -> Vec<bool> {
        (0..self.count).map(|_| stream.uniform() < known).collect()
    }
}

pub(super) fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-x))
}
