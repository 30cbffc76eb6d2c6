//! Runs ablations: the states that replace others are recorded, and each ablation is a branch of every query.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::Tensor;

use super::{Ablated, AblatedAt, Replacement};
use crate::error::Result;
use crate::graph::{Position, Query};
use crate::measure::checkpoint::LoadedCheckpoint;
use crate::measure::place::Place;
use crate::measure::population::Population;
use crate::measure::states::States;
use crate::measure::{BATCH, rows_of};
use crate::model::{Branch, Budget, Edit, Model, Point, Site, Write, log_softmax};
use crate::train::top1;

/// The answer to every query, and the probability of its target.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Outcome {
    pub(super) answers: Vec<u32>,
    pub(super) right: Vec<bool>,
    /// Of the target, in nats.
    pub(super) log_probability: Vec<f64>,
}

/// The ablations of one model.
pub(super) struct Sweep<'a> {
    model: &'a Model,
    budget: Budget,
    // Each with its columns.
    ablations: Vec<(AblatedAt, Vec<usize>)>,
    // One past the last column of a query.
    width: usize,
}

// States by site and column, one for every query.
type Numbers = BTreeMap<(Site, usize), Vec<Vec<f32>>>;

// What takes the place of outputs of heads and MLPs, `[d_model]` each, the heads side by side.
enum Replaced {
    Zero(Vec<f32>),
    // The same for every query.
    Mean(BTreeMap<(Site, usize), Vec<f32>>),
    Resampled(Numbers),
}

impl Replaced {
    fn of(&self, site: Site, column: usize, query: usize) -> &[f32] {
        match self {
            Self::Zero(zeros) => zeros,
            Self::Mean(means) => &means[&(site, column)],
            Self::Resampled(numbers) => &numbers[&(site, column)][query],
        }
    }
}

impl<'a> Sweep<'a> {
    /// Every head and MLP at every place and at every iteration, and every iteration skipped and repeated, at each of `positions`;
    /// where it is the same whichever iteration it is, once.
    pub(super) fn of(
        checkpoint: &'a LoadedCheckpoint,
        positions: &[(Option<Position>, Vec<usize>)],
        budget: impl Into<Budget>,
    ) -> Self {
        let budget = budget.into();
        let iterations = budget.iterations;
        let layers = checkpoint.info.layers;
        let config = checkpoint.model.config();
        let (heads, injection) = (config.heads, config.injection);
        let mut ablations = Vec::new();
        for (position, columns) in positions {
            let mut of_position = Vec::new();
            let at = |ablated, attention_head, place: Option<Place>, layer| AblatedAt {
                ablated,
                attention_head,
                layer,
                iteration: place.map(|place| place.iteration),
                effective_layer: place.map(|place| place.effective_layer),
                position: *position,
            };
            let components = |place: Option<Place>, layer: usize| {
                let heads = (1..=heads).map(move |head| at(Ablated::Head, Some(head), place, Some(layer)));
                heads.chain([at(Ablated::Mlp, None, place, Some(layer))])
            };
            for site in Site::all(Point::ResidPost, iterations, layers) {
                let place = Place::of(site, layers);
                of_position.extend(components(Some(place), place.layer));
            }
            if iterations > 1 {
                of_position.extend((1..=layers).flat_map(|layer| components(None, layer)));
            }
            let ends = Site::all(Point::ResidPost, iterations, layers).into_iter();
            let ends = ends.filter(|site| site.layer() + 1 == layers);
            let ends: Vec<Option<Place>> = ends.map(|site| Some(Place::of(site, layers))).collect();
            for ablated in [Ablated::SkippedIteration, Ablated::RepeatedIteration] {
                let is_any = position.is_none() && (ablated == Ablated::RepeatedIteration || !injection);
                let places = if is_any { &[None][..] } else { &ends };
                of_position.extend(places.iter().map(|&place| at(ablated, None, place, None)));
            }
            ablations.extend(of_position.into_iter().map(|at| (at, columns.clone())));
        }
        Self {
            model: &checkpoint.model,
            budget,
            width: positions
                .iter()
                .flat_map(|(_, columns)| columns)
                .max()
                .map_or(0, |last| last + 1),
            ablations,
        }
    }

    /// What is ablated, in the order of the outcomes of [`Sweep::run`].
    pub(super) fn ablations(&self) -> impl Iterator<Item = AblatedAt> {
        self.ablations.iter().map(|(at, _)| *at)
    }

    /// The outcome of a population without ablation, and with each; `partners`: for each query the one whose outputs a resampled
    /// head or MLP has.
    pub(super) fn run(
        &self,
        population: &Population,
        replacement: Replacement,
        partners: &[usize],
    ) -> Result<(Outcome, Vec<Outcome>)> {
        let queries = &population.queries;
        let mut replaced = match replacement {
            Replacement::Mean => Replaced::Mean(self.means(queries)?),
            Replacement::Zero | Replacement::Resample => Replaced::Zero(vec![0.0; self.model.config().d_model]),
        };
        let (mut before, mut after) = (Outcome::default(), vec![Outcome::default(); self.ablations.len()]);
        let states = self.budget.iterations * self.width * self.model.config().d_model;
        let of_query = self.ablations.len() * (states + self.model.vocab()) * size_of::<f32>();
        let at_once = self.budget.at_once(of_query).min(BATCH);
        for (chunk, partners) in queries.chunks(at_once).zip(partners.chunks(at_once)) {
            if replacement == Replacement::Resample {
                let partners: Vec<&Query> = partners.iter().map(|&partner| queries[partner]).collect();
                replaced = Replaced::Resampled(self.record(&partners, &self.outputs(), self.budget.iterations)?);
            }
            // One iteration more than is asked for, which a repeated one may be.
            let ends = self.record(chunk, &self.ends(), self.budget.iterations + 1)?;
            let mut branches = Vec::new();
            for (at, columns) in &self.ablations {
                branches.extend((0..chunk.len()).map(|query| Branch {
                    query,
                    edits: self.edits(at, columns, query, &replaced, &ends),
                }));
            }
            let tokens: Vec<&[u32]> = chunk.iter().map(|query| &*query.tokens).collect();
            let found = self.model.intervene(&tokens, &branches, self.budget)?;
            before.extend(chunk, &found.base)?;
            for (ablation, after) in after.iter_mut().enumerate() {
                after.extend(chunk, &found.edited.narrow(0, ablation * chunk.len(), chunk.len())?)?;
            }
        }
        Ok((before, after))
    }

    // The edits of one ablation of a query.
    fn edits(&self, at: &AblatedAt, columns: &[usize], query: usize, replaced: &Replaced, ends: &Numbers) -> Vec<Edit> {
        let all = 0..self.budget.iterations;
        let iterations = match at.iteration {
            Some(iteration) => iteration - 1..iteration,
            None if at.layer.is_some() => all,
            // Any iteration is as good as another; after the last there is nothing left to compute.
            None => all.end - 1..all.end,
        };
        let (head, d_head) = (at.attention_head.map(|head| head - 1), self.d_head());
        let edit = |iteration: usize, column: usize| {
            let (point, layer) = match at.ablated {
                Ablated::Head => (Point::Z, at.layer),
                Ablated::Mlp => (Point::MlpOut, at.layer),
                Ablated::SkippedIteration | Ablated::RepeatedIteration => (Point::ResidPost, None),
            };
            let site = Site::new(point, iteration, layer.unwrap_or(self.model.config().layers) - 1);
            let state = match at.ablated {
                Ablated::SkippedIteration => &ends[&(self.end_of(iteration), column)][query],
                Ablated::RepeatedIteration => &ends[&(self.end_of(iteration + 2), column)][query],
                Ablated::Head | Ablated::Mlp => replaced.of(site, column, query),
            };
            let numbers = head.map_or(state, |head| &state[head * d_head..][..d_head]);
            Edit {
                head,
                ..Edit::new(site, column, Write::Set(numbers.to_vec()))
            }
        };
        iterations
            .flat_map(|iteration| columns.iter().map(move |&column| (iteration, column)))
            .map(|(iteration, column)| edit(iteration, column))
            .collect()
    }

    fn d_head(&self) -> usize {
        let config = self.model.config();
        config.d_model / config.heads
    }

    // The stream after `count` iterations.
    fn end_of(&self, count: usize) -> Site {
        match count {
            0 => Site::embed(),
            _ => Site::new(Point::ResidPost, count - 1, self.model.config().layers - 1),
        }
    }

    // The stream after every number of iterations, up to one more than is asked for.
    fn ends(&self) -> BTreeSet<Site> {
        (0..=self.budget.iterations + 1)
            .map(|count| self.end_of(count))
            .collect()
    }

    // The outputs of all heads and MLPs.
    fn outputs(&self) -> BTreeSet<Site> {
        let all = |point| Site::all(point, self.budget.iterations, self.model.config().layers);
        [Point::Z, Point::MlpOut].into_iter().flat_map(all).collect()
    }

    fn record(&self, queries: &[&Query], sites: &BTreeSet<Site>, iterations: usize) -> Result<Numbers> {
        let tokens = queries.iter().map(|query| &*query.tokens);
        let states = States::of(self.model, tokens, sites, iterations)?;
        let at = |site| (0..self.width).map(move |column| (site, column));
        let keys = sites.iter().copied().flat_map(at);
        keys.map(|(site, column)| Ok(((site, column), states.states(site, column, None)?)))
            .collect()
    }

    fn means(&self, queries: &[&Query]) -> Result<BTreeMap<(Site, usize), Vec<f32>>> {
        let mut sums: BTreeMap<(Site, usize), Vec<f64>> = BTreeMap::new();
        for chunk in queries.chunks(BATCH) {
            for (key, states) in self.record(chunk, &self.outputs(), self.budget.iterations)? {
                let sum = sums
                    .entry(key)
                    .or_insert_with(|| vec![0.0; self.model.config().d_model]);
                for state in &states {
                    for (sum, x) in sum.iter_mut().zip(state) {
                        *sum += f64::from(*x);
                    }
                }
            }
        }
        let mean = |sum: f64| (sum / queries.len() as f64) as f32;
        let means = |(key, sums): (_, Vec<f64>)| (key, sums.into_iter().map(mean).collect());
        Ok(sums.into_iter().map(means).collect())
    }
}

impl Outcome {
    // Adds the next queries by their logits, `[queries, vocab]`.
    fn extend(&mut self, queries: &[&Query], logits: &Tensor) -> Result<()> {
        let answers = top1(logits)?;
        let of_tokens = rows_of(&log_softmax(logits)?)?;
        for ((query, answer), of_tokens) in queries.iter().zip(&answers).zip(of_tokens) {
            self.right.push(*answer == query.target);
            self.log_probability.push(f64::from(of_tokens[query.target as usize]));
        }
        self.answers.extend(answers);
        Ok(())
    }
}
