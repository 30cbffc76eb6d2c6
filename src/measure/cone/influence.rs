//! The change of every state of the residual stream by what is put in at one of them.

use crate::error::{Error, Result};
use crate::graph::{Position, Query};
use crate::measure::place::residual_stream;
use crate::measure::population::Population;
use crate::measure::statistics::{Interval, Resamples, mean};
use crate::measure::{BATCH, minus, norm, rows_of};
use crate::model::{Branch, Budget, Cut, Edit, Model, Write};
use crate::random::Stream;
use crate::train::top1;

use super::{Cone, Put};

/// Where something is put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Source {
    /// The iteration that it is put in before, from 1.
    pub(super) before: usize,
    /// The index of the position.
    pub(super) column: usize,
}

/// The changes by what is put in at each source.
pub(super) struct Influence {
    pub(super) sources: Vec<Source>,
    /// Of each query as it is.
    pub(super) answers: Vec<u32>,
    /// `[source][query]`
    pub(super) answers_after: Vec<Vec<u32>>,
    // ‖Δ‖: [source][effective layer][column][query].
    changes: Vec<Vec<Vec<Vec<f64>>>>,
    // ‖x‖: [effective layer][column][query].
    norms: Vec<Vec<Vec<f64>>>,
    // The root of the mean squared distance between two queries: [effective layer][column].
    distances: Vec<Vec<f64>>,
}

// A mean change, with its 95 % interval.
type Change = (f64, Option<Interval>);

// The states of queries as they are: [effective layer][column][query][d_model].
type States = Vec<Vec<Vec<Vec<f32>>>>;

impl Influence {
    /// That of what `cone` puts in at each of `sources`.
    pub(super) fn of(
        cone: &Cone,
        model: &Model,
        population: &Population,
        sources: &[Source],
        budget: Budget,
    ) -> Result<Self> {
        let sweep = Sweep::new(model, population, sources.len(), budget);
        let (answers, states) = sweep.unchanged(population)?;
        let put: Vec<Vec<Vec<f32>>> = sources
            .iter()
            .map(|&source| {
                put_in(
                    cone,
                    population,
                    source,
                    &states[sweep.effective_layer(source)][source.column],
                )
            })
            .collect::<Result<_>>()?;
        let mut found = Self {
            sources: sources.to_vec(),
            answers,
            answers_after: vec![Vec::new(); sources.len()],
            changes: vec![vec![vec![Vec::new(); sweep.columns]; sweep.effective_layers + 1]; sources.len()],
            norms: over_states(&states, |states| states.iter().map(|state| norm(state)).collect()),
            distances: over_states(&states, distance),
        };
        let all: Vec<usize> = (0..population.queries.len()).collect();
        for chunk in all.chunks(sweep.at_once) {
            let queries: Vec<&[u32]> = chunk.iter().map(|&query| &*population.queries[query].tokens).collect();
            let of_source = |(source, put): (&Source, &Vec<Vec<f32>>)| {
                let site = sweep.places[sweep.effective_layer(*source) * sweep.columns].site;
                let branch = |(query, &of_all): (usize, &usize)| Branch {
                    query,
                    edits: vec![Edit::new(site, source.column, Write::Set(put[of_all].clone()))],
                };
                chunk.iter().enumerate().map(branch).collect::<Vec<_>>()
            };
            let branches: Vec<Branch> = sources.iter().zip(&put).flat_map(of_source).collect();
            let run = model.intervene_recording(&queries, &branches, &sweep.places, budget)?;
            for (after, answers) in found
                .answers_after
                .iter_mut()
                .zip(top1(&run.edited)?.chunks(chunk.len()))
            {
                after.extend(answers);
            }
            for (place, changed) in run.recorded.iter().enumerate() {
                let (layer, column) = (place / sweep.columns, place % sweep.columns);
                let before = &states[layer][column];
                for (source, changed) in rows_of(changed)?.chunks(chunk.len()).enumerate() {
                    let change = changed
                        .iter()
                        .zip(chunk)
                        .map(|(after, &query)| norm(&minus(after, &before[query])));
                    found.changes[source][layer][column].extend(change);
                }
            }
        }
        Ok(found)
    }

    /// ‖Δ‖ over the distance between two queries, by effective layer and query, at a column; `None` where there is none.
    pub(super) fn changes_at(&self, source: usize, column: usize) -> Vec<Option<Vec<f64>>> {
        let layers = self.changes[source].iter().zip(&self.distances);
        let of_layer = |(changes, distances): (&Vec<Vec<f64>>, &Vec<f64>)| {
            let distance = distances[column];
            (distance > 0.0).then(|| changes[column].iter().map(|change| change / distance).collect())
        };
        layers.map(of_layer).collect()
    }

    /// Mean ‖Δ‖ over the distance between two queries, where there is one, and over the mean norm.
    pub(super) fn change(
        &self,
        source: usize,
        layer: usize,
        column: usize,
        resamples: &Resamples,
    ) -> (Option<Change>, Change) {
        let (changes, norms) = (&self.changes[source][layer][column], &self.norms[layer][column]);
        let distance = self.distances[layer][column];
        let change = mean(changes.iter().copied());
        let of_distance = (distance > 0.0).then(|| {
            let interval = resamples.mean(changes);
            let over = |(low, high): Interval| (low / distance, high / distance);
            (change / distance, interval.map(over))
        });
        let relative = change / mean(norms.iter().copied());
        (of_distance, (relative, resamples.ratio(changes, norms)))
    }
}

// The runs of one population, and what is recorded of them.
struct Sweep<'a> {
    model: &'a Model,
    budget: Budget,
    effective_layers: usize,
    columns: usize,
    // Every column after every effective layer, the columns of one layer together.
    places: Vec<Cut>,
    // Queries of one call.
    at_once: usize,
}

impl<'a> Sweep<'a> {
    fn new(model: &'a Model, population: &Population, sources: usize, budget: Budget) -> Self {
        let config = model.config();
        let effective_layers = budget.iterations * config.layers;
        let hops = population.hops.unwrap_or_default();
        let columns = Position::of_chain(hops, config.reads_apart(hops)).len();
        let place = |layer| {
            let site = residual_stream(layer, config.layers);
            (0..columns).map(move |column| Cut { site, column })
        };
        let places: Vec<Cut> = (0..=effective_layers).flat_map(place).collect();
        let of_query = places.len() * sources * config.d_model * size_of::<f32>();
        Self {
            model,
            budget,
            effective_layers,
            columns,
            at_once: budget.at_once(of_query).min(BATCH),
            places,
        }
    }

    // Layers that are done when a source is put in.
    fn effective_layer(&self, source: Source) -> usize {
        (source.before - 1) * self.effective_layers / self.budget.iterations
    }

    // The answers to the queries as they are, and their states.
    fn unchanged(&self, population: &Population) -> Result<(Vec<u32>, States)> {
        let mut answers = Vec::new();
        let mut states = vec![vec![Vec::new(); self.columns]; self.effective_layers + 1];
        for chunk in population.queries.chunks(BATCH) {
            let queries: Vec<&[u32]> = chunk.iter().map(|query| &*query.tokens).collect();
            let branch = |query| Branch {
                query,
                edits: Vec::new(),
            };
            let branches: Vec<Branch> = (0..chunk.len()).map(branch).collect();
            let run = self
                .model
                .intervene_recording(&queries, &branches, &self.places, self.budget)?;
            answers.extend(top1(&run.edited)?);
            for (place, recorded) in run.recorded.iter().enumerate() {
                states[place / self.columns][place % self.columns].extend(rows_of(recorded)?);
            }
        }
        Ok((answers, states))
    }
}

fn over_states<T>(states: &States, of: impl Fn(&[Vec<f32>]) -> T) -> Vec<Vec<T>> {
    let of_layer = |columns: &Vec<Vec<Vec<f32>>>| columns.iter().map(|states| of(states)).collect();
    states.iter().map(of_layer).collect()
}

// The variance of each dimension over queries.
fn variances(states: &[Vec<f32>]) -> Vec<f64> {
    let width = states.first().map_or(0, Vec::len);
    let of_dimension = |i: usize| {
        let values = || states.iter().map(|state| f64::from(state[i]));
        let average = mean(values());
        let squares: f64 = values().map(|x| (x - average).powi(2)).sum();
        squares / (states.len().max(2) - 1) as f64
    };
    (0..width).map(of_dimension).collect()
}

// The root of the mean squared distance between two queries: twice the variance, in all dimensions together.
fn distance(states: &[Vec<f32>]) -> f64 {
    (2.0 * variances(states).iter().sum::<f64>()).sqrt()
}

// What is put in at a source in the place of each query's state.
fn put_in(cone: &Cone, population: &Population, source: Source, states: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
    let purpose = format!("cone {} {} {}", cone.put.name(), population.split, source.column);
    let hops = population.hops.unwrap_or_default();
    match cone.put {
        Put::Noise => {
            let mut stream = Stream::new(cone.sampling.seed, &format!("{purpose} {}", source.before), hops as u64);
            if states.len() < 2 {
                return Err(Error::input(format!(
                    "split {}: noise is as large as queries differ, and there is 1; allowed: --queries of 2 or more",
                    population.split
                )));
            }
            // Two independent queries differ by twice the variance.
            let deviations: Vec<f64> = variances(states)
                .iter()
                .map(|variance| (2.0 * variance).sqrt())
                .collect();
            let mut noisy = |state: &Vec<f32>| {
                let dimensions = state.iter().zip(&deviations);
                dimensions
                    .map(|(x, deviation)| x + (deviation * stream.normal()) as f32)
                    .collect()
            };
            Ok(states.iter().map(&mut noisy).collect())
        }
        Put::Query => {
            // Of a query the same one whatever the iteration.
            let mut stream = Stream::new(cone.sampling.seed, &purpose, hops as u64);
            // A readout column of its own has the last token's change.
            let index = source.column.min(hops);
            let mut another = |query: &&Query| {
                let differs = |other: &usize| population.queries[*other].tokens[index] != query.tokens[index];
                let others: Vec<usize> = (0..states.len()).filter(differs).collect();
                if others.is_empty() {
                    return Err(Error::input(format!(
                        "split {}: no two of the {} queries that are looked at differ in the token at {}",
                        population.split,
                        states.len(),
                        Position::of_index(index)
                    )));
                }
                Ok(states[others[stream.below(others.len())]].clone())
            };
            population.queries.iter().map(&mut another).collect()
        }
    }
}
