//! All edits of one set of queries: at every layer and position, and what comes of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::counterfactual::Counterfactual;
use super::directions::{Directions, FitSet};
use super::move_to::{MoveTo, unit};
use super::{Changed, EditKind, EditRow};
use crate::error::Result;
use crate::graph::{Position, Target};
use crate::measure::checkpoint::LoadedCheckpoint;
use crate::measure::largest::Largest;
use crate::measure::output::Output;
use crate::measure::place::Place;
use crate::measure::population::Population;
use crate::measure::query_rows::Asked;
use crate::measure::states::States;
use crate::measure::statistics::{Resamples, mean, share};
use crate::measure::{minus, norm, rows_of};
use crate::model::{Branch, Budget, Edit, Point, Site, Write};
use crate::random::Stream;
use crate::train::top1;

/// An edit, wherever it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EditForm {
    /// What of the state is changed.
    pub direction: Changed,
    /// What is done along the direction; absent where the whole state or a random direction is changed.
    pub kind: Option<EditKind>,
    /// Whether it is held through the later iterations.
    pub clamped: bool,
}

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

// What is known at one position: of the queries as they are, of those with the other bridge, and of directions; by site.
struct AtPosition {
    column: usize,
    base: Vec<Vec<Vec<f32>>>,   // [site][query][d_model]
    source: Vec<Vec<Vec<f32>>>, // [site][query][d_model]
    directions: Vec<Directions>,
}

// What one edit at one place makes of each query.
#[derive(Debug, Clone, Default)]
struct Outcome {
    top1: Vec<u32>,
    counterfactual_logit: Vec<f64>,
    original_logit: Vec<f64>,
    distance: Vec<f64>,
}

// A per-query row.
#[derive(Serialize)]
struct QueryEdit<'a> {
    label: Target,
    hook: Point,
    position: Position,
    #[serde(flatten)]
    place: Place,
    #[serde(flatten)]
    form: EditForm,
    other_bridge: &'a str,
    counterfactual_answer: &'a str,
    edited_answer: &'a str,
    // Changes by the edit.
    counterfactual_logit: f64,
    original_logit: f64,
    distance: f64,
}

impl Sweep<'_> {
    /// Makes every edit, and writes the rows.
    ///
    /// # Errors
    /// When a direction cannot be fitted, or the device fails.
    pub(super) fn run(&self, fit: &FitSet, out: &mut Output<EditRow>) -> Result<()> {
        let sites = Site::all(self.hook, self.budget.iterations, self.checkpoint.info.layers);
        let queries: Vec<&[u32]> = self.population.queries.iter().map(|query| &*query.tokens).collect();
        let recorded = |queries: &[&[u32]]| {
            let sites: BTreeSet<Site> = sites.iter().copied().collect();
            States::of(
                &self.checkpoint.model,
                queries.iter().copied(),
                &sites,
                self.budget.iterations,
            )
        };
        let of_source = recorded(&self.drawn.iter().map(|drawn| &*drawn.source).collect::<Vec<_>>())?;
        let of_base = recorded(&queries)?;
        let positions: Vec<AtPosition> = (self.positions.iter())
            .map(|&position| self.at_position(position, &sites, fit, [&of_base, &of_source]))
            .collect::<Result<_>>()?;
        let bridges: Vec<(usize, usize)> = (self.drawn.iter())
            .filter_map(|drawn| Some((fit.index(drawn.bridge)?, fit.index(drawn.other)?)))
            .collect();
        let answers = |of: &dyn Fn(usize) -> u32| -> Vec<u32> { (0..queries.len()).map(of).collect() };
        let original = answers(&|query| self.population.queries[query].target);
        let counterfactual = answers(&|query| self.drawn[query].answer);
        let mut base_answers = Vec::new();
        let mut outcomes = vec![vec![vec![Outcome::default(); sites.len()]; self.forms.len()]; positions.len()];
        for site in 0..sites.len() {
            let mut branches = Vec::new();
            let mut distances = Vec::new();
            for position in &positions {
                for form in &self.forms {
                    for (query, &bridges) in bridges.iter().enumerate() {
                        let edits = self.edits(*form, site, &sites, position, query, bridges);
                        distances.push(self.distance(*form, site, position, query, bridges));
                        branches.push(Branch { query, edits });
                    }
                }
            }
            let found = self.checkpoint.model.intervene(&queries, &branches, self.budget)?;
            base_answers = top1(&found.base)?;
            let base = rows_of(&found.base)?;
            let (edited, tops) = (rows_of(&found.edited)?, top1(&found.edited)?);
            let mut next = edited.iter().zip(tops).zip(distances);
            for outcome in outcomes.iter_mut().flatten().map(|by_site| &mut by_site[site]) {
                for (query, ((edited, top1), distance)) in next.by_ref().take(queries.len()).enumerate() {
                    let change = |token: u32| f64::from(edited[token as usize] - base[query][token as usize]);
                    outcome.top1.push(top1);
                    outcome.counterfactual_logit.push(change(counterfactual[query]));
                    outcome.original_logit.push(change(original[query]));
                    outcome.distance.push(distance);
                }
            }
        }
        let accuracies = [
            share(&agree(&base_answers, &original)),
            share(&agree(&top1(&of_source.logits)?, &counterfactual)),
        ];
        for (&position, outcomes) in self.positions.iter().zip(&outcomes) {
            let answers = Answers {
                original: &original,
                counterfactual: &counterfactual,
                base: &base_answers,
            };
            self.write(position, outcomes, &sites, answers, accuracies, out)?;
        }
        Ok(())
    }

    fn at_position(
        &self,
        position: Position,
        sites: &[Site],
        fit: &FitSet,
        [base, source]: [&States; 2],
    ) -> Result<AtPosition> {
        let (model, hops) = (&self.checkpoint.model, self.population.hops.unwrap_or_default());
        // The placebo is as long as something.
        let mut wanted: Vec<Changed> = self.fitted().iter().map(|(of, _)| *of).collect();
        if wanted.is_empty() {
            wanted.push(Changed::Mean);
        }
        let column = position.column(hops, model.config().reads_apart(hops));
        let by_site = |of: &States| -> Result<Vec<_>> {
            let states = sites.iter().map(|&site| of.states(site, column, None));
            states.collect()
        };
        Ok(AtPosition {
            column,
            base: by_site(base)?,
            source: by_site(source)?,
            directions: fit.directions(model, sites, (position, hops), self.budget.iterations, &wanted)?,
        })
    }

    // The edits along fitted directions.
    fn fitted(&self) -> Vec<(Changed, EditKind)> {
        let forms = self.forms.iter().filter(|form| !form.clamped);
        forms.filter_map(|form| Some((form.direction, form.kind?))).collect()
    }

    // The edits of a branch: at this site, and where it is clamped at the same layer of all later iterations.
    fn edits(
        &self,
        form: EditForm,
        site: usize,
        sites: &[Site],
        at: &AtPosition,
        query: usize,
        bridges: (usize, usize),
    ) -> Vec<Edit> {
        let last = if form.clamped { sites.len() } else { site + 1 };
        let held = (site..last).step_by(self.checkpoint.info.layers);
        held.map(|site| {
            let write = match self.move_to(form, site, at, query, bridges) {
                None => Write::Set(at.source[site][query].clone()),
                Some(edit) => Write::Apply(Arc::new(move |state: &mut [f32]| edit.apply(state))),
            };
            Edit::new(sites[site], at.column, write)
        })
        .collect()
    }

    // How a state is moved; `None` where it is swapped whole.
    fn move_to(
        &self,
        form: EditForm,
        site: usize,
        at: &AtPosition,
        query: usize,
        (bridge, other): (usize, usize),
    ) -> Option<MoveTo> {
        let base = &at.base[site][query];
        let along = |of: Changed, kind: EditKind| {
            let geometry = at.directions[site].geometry(of, bridge, other)?;
            Some(MoveTo::new(kind, geometry, base))
        };
        match (form.direction, form.kind) {
            (Changed::Whole, _) => None,
            (Changed::Random, _) | (_, None) => {
                let mut others = self.fitted();
                if others.is_empty() {
                    others.push((Changed::Mean, EditKind::Swap));
                }
                let distances = others
                    .iter()
                    .filter_map(|&(of, kind)| Some(along(of, kind)?.distance(base)));
                let furthest = distances.fold(0.0, f64::max);
                Some(MoveTo::by(furthest, self.random_direction(query, base.len()), base))
            }
            (of, Some(kind)) => along(of, kind),
        }
    }

    // The same at every place.
    fn random_direction(&self, query: usize, width: usize) -> Vec<f32> {
        let row = self.population.rows[query] as u64;
        let mut stream = Stream::new(self.seed, &format!("edit placebo {}", self.population.split), row);
        unit(&(0..width).map(|_| stream.normal() as f32).collect::<Vec<f32>>())
    }

    fn distance(&self, form: EditForm, site: usize, at: &AtPosition, query: usize, bridges: (usize, usize)) -> f64 {
        let base = &at.base[site][query];
        match self.move_to(form, site, at, query, bridges) {
            None => norm(&minus(&at.source[site][query], base)),
            Some(edit) => edit.distance(base),
        }
    }

    fn write(
        &self,
        position: Position,
        outcomes: &[Vec<Outcome>],
        sites: &[Site],
        answers: Answers,
        [base_accuracy, source_accuracy]: [f64; 2],
        out: &mut Output<EditRow>,
    ) -> Result<()> {
        let resamples = self.population.resamples();
        let redirected = |outcome: &Outcome| agree(&outcome.top1, answers.counterfactual);
        let window: Vec<bool> = outcomes[0]
            .iter()
            .map(|whole| share(&redirected(whole)) >= 0.5)
            .collect();
        for (index, (form, by_site)) in self.forms.iter().zip(outcomes).enumerate() {
            let line: Vec<Vec<bool>> = by_site.iter().map(redirected).collect();
            let largest = Largest::of_shares(&line, resamples);
            for (site, outcome) in by_site.iter().enumerate() {
                let place = Place::of(sites[site], self.checkpoint.info.layers);
                self.query_rows(position, place, *form, outcome, answers, out)?;
                let (low, high) = resamples.share(&line[site]);
                let original = agree(&outcome.top1, answers.original);
                let (original_low, original_high) = resamples.share(&original);
                let counterfactual_logit = resamples.mean(&outcome.counterfactual_logit);
                let original_logit = resamples.mean(&outcome.original_logit);
                // The form before a clamped one is the same edit, written once.
                let once = form.clamped.then(|| redirected(&outcomes[index - 1][site]));
                let gain = once.map(|once| gain(&once, &line[site], resamples));
                out.rows.push(EditRow {
                    origin: self.checkpoint.info.origin.clone(),
                    split: self.population.split.clone(),
                    hops: self.population.hops.unwrap_or_default(),
                    label: self.label,
                    hook: self.hook,
                    position,
                    place,
                    form: *form,
                    n: outcome.top1.len(),
                    counterfactual: share(&line[site]),
                    low,
                    high,
                    largest: largest[site],
                    original: share(&original),
                    original_low,
                    original_high,
                    counterfactual_logit: mean(outcome.counterfactual_logit.iter().copied()),
                    counterfactual_logit_low: counterfactual_logit.map(|(low, _)| low),
                    counterfactual_logit_high: counterfactual_logit.map(|(_, high)| high),
                    original_logit: mean(outcome.original_logit.iter().copied()),
                    original_logit_low: original_logit.map(|(low, _)| low),
                    original_logit_high: original_logit.map(|(_, high)| high),
                    clamp_gain: gain.map(|(gain, _)| gain),
                    clamp_gain_low: gain.and_then(|(_, interval)| Some(interval?.0)),
                    clamp_gain_high: gain.and_then(|(_, interval)| Some(interval?.1)),
                    distance: mean(outcome.distance.iter().copied()),
                    in_read_window: window[site],
                    base_accuracy,
                    source_accuracy,
                    interval: resamples.clustering(),
                });
            }
        }
        Ok(())
    }

    fn query_rows(
        &self,
        position: Position,
        place: Place,
        form: EditForm,
        outcome: &Outcome,
        answers: Answers,
        out: &mut Output<EditRow>,
    ) -> Result<()> {
        if !out.wants_queries() {
            return Ok(());
        }
        let tokens = self.checkpoint.data.vocab.tokens();
        for (query, drawn) in self.drawn.iter().enumerate() {
            let values = QueryEdit {
                label: self.label,
                hook: self.hook,
                position,
                place,
                form,
                other_bridge: &tokens[drawn.other as usize],
                counterfactual_answer: &tokens[drawn.answer as usize],
                edited_answer: &tokens[outcome.top1[query] as usize],
                counterfactual_logit: outcome.counterfactual_logit[query],
                original_logit: outcome.original_logit[query],
                distance: outcome.distance[query],
            };
            let asked = Asked::of(&self.population, query, answers.base[query]);
            out.query_row(self.checkpoint, &asked, &values)?;
        }
        Ok(())
    }
}

// The answers to each query: true, counterfactual, and the model's own without an edit.
#[derive(Clone, Copy)]
struct Answers<'a> {
    original: &'a [u32],
    counterfactual: &'a [u32],
    base: &'a [u32],
}

fn agree(found: &[u32], expected: &[u32]) -> Vec<bool> {
    found
        .iter()
        .zip(expected)
        .map(|(found, expected)| found == expected)
        .collect()
}

// The paired difference of two shares, with its interval.
fn gain(before: &[bool], after: &[bool], resamples: &Resamples) -> (f64, Option<(f64, f64)>) {
    let interval = resamples.max_difference(&[before.to_vec(), after.to_vec()], 0, 1..2);
    (
        share(after) - share(before),
        interval.map(|found| (found.low, found.high)),
    )
}
