//! All edits of one set of queries: at every layer and position.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use super::counterfactual::Counterfactual;
use super::directions::{Directions, FitSet};
use super::form::{Changed, EditForm};
use super::move_to::{MoveTo, unit};
use crate::error::Result;
use crate::graph::{Position, Target};
use crate::measure::checkpoint::LoadedCheckpoint;
use crate::measure::population::Population;
use crate::measure::states::States;
use crate::measure::{BATCH, minus, norm, rows_of};
use crate::model::{Branch, Budget, Edit, Point, Site, Write};
use crate::random::Stream;
use crate::train::{answers, top1};

/// Queries of one number of hops with their other bridges, for one checkpoint.
pub(super) struct Sweep<'a> {
    pub(super) population: Population<'a>,
    /// In the order of the population.
    pub(super) drawn: Vec<Counterfactual>,
    pub(super) checkpoint: &'a LoadedCheckpoint,
    pub(super) hook: Point,
    pub(super) label: Target,
    pub(super) positions: Vec<Position>,
    pub(super) budget: Budget,
    pub(super) forms: Vec<EditForm>,
    pub(super) seed: u64,
}

/// The answers to all queries, by vocabulary id.
pub(super) struct Outcomes {
    /// Without an edit.
    pub(super) base: Vec<u32>,
    /// Of the sources.
    pub(super) source: Vec<u32>,
    /// With each edit, `[position][form][site]`.
    pub(super) edited: Vec<Vec<Vec<Outcome>>>,
}

/// What one edit at one place makes of each query.
#[derive(Debug, Clone, Default)]
pub(super) struct Outcome {
    pub(super) top1: Vec<u32>,
    /// Change of the logit of the counterfactual answer.
    pub(super) counterfactual_logit: Vec<f64>,
    /// Change of the logit of the true answer.
    pub(super) original_logit: Vec<f64>,
    /// The distance that the edit, written once, moves the state by.
    pub(super) distance: Vec<f64>,
}

// The states of some queries at one position, `[site][query][d_model]`.
struct StatesAt {
    base: Vec<Vec<Vec<f32>>>,
    source: Vec<Vec<Vec<f32>>>,
}

impl Sweep<'_> {
    /// Makes every edit.
    ///
    /// # Errors
    /// When a direction cannot be fitted, or the device fails.
    pub(super) fn run(&self, fit: &FitSet) -> Result<Outcomes> {
        let model = &self.checkpoint.model;
        let sites = self.sites();
        let wanted = self.fitted_directions();
        let bridges: Vec<(usize, usize)> = (self.drawn.iter())
            .filter_map(|drawn| Some((fit.index(drawn.bridge)?, fit.index(drawn.other)?)))
            .collect();
        let bytes = fit.bytes(sites.len(), model.config().d_model, &wanted);
        let mut edited = Vec::with_capacity(self.positions.len());
        for positions in self.positions.chunks(self.budget.at_once(bytes)) {
            let directions = fit.directions(model, &sites, positions, self.budget.iterations, &wanted)?;
            let mut outcomes = vec![vec![vec![Outcome::default(); sites.len()]; self.forms.len()]; positions.len()];
            let at_once = self.queries_at_once(positions.len());
            for first in (0..bridges.len()).step_by(at_once) {
                let queries = first..bridges.len().min(first + at_once);
                self.edit(queries, positions, &directions, &bridges, &mut outcomes)?;
            }
            edited.extend(outcomes);
        }
        let iterations = self.budget.iterations;
        Ok(Outcomes {
            base: answers(
                model,
                self.population.queries.iter().map(|query| &*query.tokens),
                iterations,
            )?,
            source: answers(model, self.drawn.iter().map(|drawn| &*drawn.source), iterations)?,
            edited,
        })
    }

    /// The sites of the edited states, in the order of the pass.
    pub(super) fn sites(&self) -> Vec<Site> {
        Site::all(self.hook, self.budget.iterations, self.checkpoint.info.layers)
    }

    /// Hops of all queries.
    pub(super) fn hops(&self) -> usize {
        self.population.hops.unwrap_or_default()
    }

    fn column(&self, position: Position) -> usize {
        let hops = self.hops();
        position.column(hops, self.checkpoint.model.config().reads_apart(hops))
    }

    /// Whether an edit sets the state that the answer is read from to the source's.
    pub(super) fn is_by_construction(&self, form: EditForm, position: Position, site: Site) -> bool {
        form.direction == Changed::Whole
            && self.hook == Point::ResidPost
            && self.column(position) == self.column(Position::Readout)
            && site.layer() + 1 == self.checkpoint.info.layers
            && (form.clamped || site.iteration() + 1 == self.budget.iterations)
    }

    // The directions that are edited along, or that a placebo is as long as an edit along.
    fn fitted_directions(&self) -> Vec<Changed> {
        let used = self.forms.iter().map(|form| form.matched_to.unwrap_or(form.direction));
        let used: BTreeSet<Changed> = used.filter(|&of| of != Changed::Whole).collect();
        used.into_iter().collect()
    }

    // The queries whose states and branches are within the budget.
    fn queries_at_once(&self, positions: usize) -> usize {
        let config = self.checkpoint.model.config();
        let sites = self.sites().len();
        let states = 2 * sites * self.column(Position::Readout) * config.d_model;
        // Of each branch about the two vectors of a move and the writes at later iterations, and its logits.
        let writes = 3 + self.budget.iterations;
        let of_branch = writes * config.d_model + 2 * self.checkpoint.model.vocab();
        let branches = positions * self.forms.len() * sites * of_branch;
        self.budget.at_once((states + branches) * size_of::<f32>()).min(BATCH)
    }

    // Makes every edit of some queries at some positions.
    fn edit(
        &self,
        range: Range<usize>,
        positions: &[Position],
        directions: &[Vec<Directions>],
        bridges: &[(usize, usize)],
        outcomes: &mut [Vec<Vec<Outcome>>],
    ) -> Result<()> {
        let model = &self.checkpoint.model;
        let sites = self.sites();
        let recorded = |queries: &[&[u32]]| {
            let sites: BTreeSet<Site> = sites.iter().copied().collect();
            States::of(model, queries.iter().copied(), &sites, self.budget.iterations)
        };
        let queries: Vec<&[u32]> = self.population.queries[range.clone()]
            .iter()
            .map(|query| &*query.tokens)
            .collect();
        let sources: Vec<&[u32]> = self.drawn[range.clone()].iter().map(|drawn| &*drawn.source).collect();
        let (of_base, of_source) = (recorded(&queries)?, recorded(&sources)?);
        let random: Vec<Vec<f32>> = range.clone().map(|query| self.random_direction(query)).collect();
        let mut branches = Vec::new();
        let mut distances = Vec::new();
        for (&position, directions) in positions.iter().zip(directions) {
            let column = self.column(position);
            let by_site =
                |of: &States| -> Result<Vec<_>> { sites.iter().map(|&site| of.states(site, column, None)).collect() };
            let states = StatesAt {
                base: by_site(&of_base)?,
                source: by_site(&of_source)?,
            };
            for &form in &self.forms {
                let of_form = self.branches(form, column, (&states, directions), &bridges[range.clone()], &random);
                for (branch, distance) in of_form {
                    branches.push(branch);
                    distances.push(distance);
                }
            }
        }
        let found = model.intervene(&queries, &branches, self.budget)?;
        drop(branches);
        let (base, tops) = (rows_of(&found.base)?, top1(&found.edited)?);
        let edited = rows_of(&found.edited)?;
        let mut next = edited.iter().zip(tops).zip(distances);
        for outcome in outcomes.iter_mut().flatten().flatten() {
            for (query, ((edited, top1), distance)) in range.clone().zip(next.by_ref().take(queries.len())) {
                let base = &base[query - range.start];
                let change = |token: u32| f64::from(edited[token as usize] - base[token as usize]);
                outcome.top1.push(top1);
                outcome.counterfactual_logit.push(change(self.drawn[query].answer));
                outcome
                    .original_logit
                    .push(change(self.population.queries[query].target));
                outcome.distance.push(distance);
            }
        }
        Ok(())
    }

    // A branch of every query at every site, in the order of the sites, and how far the edit, written once, moves the state.
    fn branches(
        &self,
        form: EditForm,
        column: usize,
        (states, directions): (&StatesAt, &[Directions]),
        bridges: &[(usize, usize)],
        random: &[Vec<f32>],
    ) -> Vec<(Branch, f64)> {
        let sites = self.sites();
        let of_query = |(query, (&bridges, random)): (usize, (&(usize, usize), &Vec<f32>))| {
            let at_site = |(site, directions)| write(form, (states, directions, site), query, bridges, random);
            directions.iter().enumerate().map(at_site).collect()
        };
        let writes: Vec<Vec<(Write, f64)>> = bridges.iter().zip(random).enumerate().map(of_query).collect();
        let at_site = |site: usize| {
            let last = if form.clamped { sites.len() } else { site + 1 };
            let (sites, layers) = (&sites, self.checkpoint.info.layers);
            writes.iter().enumerate().map(move |(query, writes)| {
                let edit = |site: usize| Edit::new(sites[site], column, writes[site].0.clone());
                let edits = (site..last).step_by(layers).map(edit).collect();
                (Branch { query, edits }, writes[site].1)
            })
        };
        (0..sites.len()).flat_map(at_site).collect()
    }

    // Of length 1, and the same at every place.
    fn random_direction(&self, query: usize) -> Vec<f32> {
        let row = self.population.rows[query] as u64;
        let mut stream = Stream::new(self.seed, &format!("edit placebo {}", self.population.split), row);
        let width = self.checkpoint.model.config().d_model;
        unit(&(0..width).map(|_| stream.normal() as f32).collect::<Vec<f32>>())
    }
}

// What is written at a place, and how far it moves the state; bridges by their places in the fit set.
fn write(
    form: EditForm,
    (states, directions, site): (&StatesAt, &Directions, usize),
    query: usize,
    (bridge, other): (usize, usize),
    random: &[f32],
) -> (Write, f64) {
    let (base, source) = (&states.base[site][query], &states.source[site][query]);
    let edit = form.kind.and_then(|kind| {
        let geometry = directions.geometry(form.matched_to.unwrap_or(form.direction), bridge, other)?;
        let edit = MoveTo::new(kind, geometry, base);
        Some(match form.matched_to {
            None => edit,
            Some(_) => MoveTo::by(edit.distance(base), random.to_vec(), base),
        })
    });
    let Some(edit) = edit else {
        return (Write::Set(source.clone()), norm(&minus(source, base)));
    };
    let distance = edit.distance(base);
    (
        Write::Apply(Arc::new(move |state: &mut [f32]| edit.apply(state))),
        distance,
    )
}
