//! Fit and test sets that share neither a causal prefix of the probed position nor a fact that yields the label.
//!
//! In a causal model the state at r1 depends on (h, r1) alone: queries that differ only later have the very same state
//! there, so a split that merely keeps queries apart tests a probe on what it was fitted on. Each causal prefix counts
//! once, and stands on one side only.
//!
//! At r2 the prefixes (h, r1, r2) of one (h, r1) differ, but all have the bridge that the fact (h, r1) yields: a probe that
//! reads h and r1 and has memorized the fact finds a bridge that the model need not have computed. So the facts are split
//! ([`SplitBy::Facts`]), and prefixes follow their fact.
//!
//! What comes after an entity tells of it too: where the target is known, few bridges lead to it by r2. So the facts that lead
//! on from the label can be kept apart as well ([`SplitBy::BothFacts`]).

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::spec::{ProbeSpec, SplitBy};
use crate::error::{Error, Result};
use crate::graph::{Bridges, Dataset, Ids, Position, Query, Split, Token};
use crate::random::Stream;

/// A causal prefix with a query that has it, the label, and what yields the label.
#[derive(Debug, Clone)]
pub(super) struct Sample<'a> {
    /// The place of the query in its split.
    pub(super) row: usize,
    pub(super) query: &'a Query,
    pub(super) label: u32,
    /// The fact, or the causal prefix where no fact yields the label ([`Token::fact`]).
    pub(super) fact: Ids,
    /// The fact that leads on from the label, where the causal prefix has one.
    pub(super) next: Option<Ids>,
}

impl Sample<'_> {
    /// The part of the query up to the token with index `last`, with the facts that a state there can depend on.
    pub(super) fn up_to(&self, last: usize) -> Query {
        let bridges = match &self.query.bridges {
            Bridges::Known(bridges) => Bridges::Known(bridges.iter().take(last.saturating_sub(1)).copied().collect()),
            unknown => unknown.clone(),
        };
        Query {
            tokens: Ids::from_slice(&self.query.tokens[..=last]),
            target: self.query.entity_after(last).unwrap_or(self.query.target),
            bridges,
        }
    }
}

/// The samples of one probe at one position.
pub(super) struct Partition<'a> {
    /// The fit set; those from `inner` on are held out where a penalty or a layer is chosen.
    pub(super) fit: Vec<Sample<'a>>,
    pub(super) inner: usize,
    /// By test split.
    pub(super) test: Vec<(Split, Vec<Sample<'a>>)>,
    /// The labels that the fit set knows, in order.
    pub(super) classes: Vec<u32>,
    pub(super) notes: Vec<String>,
}

impl Partition<'_> {
    /// The labels of `samples` as places in `classes`; the fit set and all tests have no other labels.
    pub(super) fn labels(&self, samples: &[Sample]) -> Vec<usize> {
        samples
            .iter()
            .filter_map(|sample| self.classes.binary_search(&sample.label).ok())
            .collect()
    }
}

/// Splits the data for `spec` at `position`.
///
/// # Errors
/// When a split does not exist, the label is not a function of the causal prefix, the fit set is too small, or no test is
/// left whose label the fit set knows; the message says why.
pub(super) fn partition<'a>(
    spec: &ProbeSpec,
    position: Position,
    data: &'a Dataset,
    seed: u64,
) -> Result<Partition<'a>> {
    let at = At {
        spec,
        position,
        last: position.index(spec.hops),
        label: spec.label(position)?,
        seed,
    };
    let mut notes = Vec::new();
    let (fit, inner) = at.fit_set(data, &mut notes)?;
    let classes: Vec<u32> = fit
        .iter()
        .map(|sample| sample.label)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let fitted = Fitted {
        prefixes: fit.iter().map(|sample| at.prefix(sample)).collect(),
        facts: fit.iter().flat_map(|sample| at.units(sample)).collect(),
        classes: &classes,
    };
    let mut test = Vec::new();
    for name in &spec.test {
        test.push((name.clone(), at.test_set(name, &fitted, data, &mut notes)?));
    }
    if test.iter().all(|(_, samples)| samples.is_empty()) {
        return Err(Error::input(format!(
            "probe {} cannot be tested at {}: no test row apart from the fit set has a label that the fit set knows \
             (there a state depends on {} token{} alone)",
            spec.name,
            position,
            at.last + 1,
            if at.last == 0 { "" } else { "s" }
        )));
    }
    Ok(Partition {
        fit,
        inner,
        test,
        classes,
        notes,
    })
}

// What a fit set holds.
struct Fitted<'a> {
    prefixes: HashSet<&'a [u32]>,
    // What is kept apart beside causal prefixes.
    facts: HashSet<&'a [u32]>,
    classes: &'a [u32],
}

// A probe at one of its positions.
struct At<'s> {
    spec: &'s ProbeSpec,
    position: Position,
    // The index of the last token of the causal prefix.
    last: usize,
    label: Token,
    seed: u64,
}

impl At<'_> {
    fn stream(&self, purpose: &str) -> Stream {
        let purpose = format!("probe {} {} {purpose}", self.spec.name, self.position);
        Stream::new(self.seed, &purpose, 0)
    }

    fn prefix<'a>(&self, sample: &Sample<'a>) -> &'a [u32] {
        &sample.query.tokens[..=self.last]
    }

    // What is kept apart: facts or the causal prefix, first that which yields the label.
    fn units<'s>(&self, sample: &'s Sample) -> impl Iterator<Item = &'s [u32]> + use<'s> {
        let (first, next): (&[u32], Option<&[u32]>) = match self.spec.split {
            SplitBy::Facts => (&sample.fact, None),
            SplitBy::BothFacts => (&sample.fact, sample.next.as_deref()),
            SplitBy::Prefixes => (self.prefix(sample), None),
        };
        std::iter::once(first).chain(next)
    }

    // The rows of the units that are not held out, with the place from which those of their last fifth begin: of the facts that
    // yield the label, where several are kept apart.
    fn fit_set<'a>(&self, data: &'a Dataset, notes: &mut Vec<String>) -> Result<(Vec<Sample<'a>>, usize)> {
        let spec = self.spec;
        let prefixes = self.prefixes(data.split(&spec.fit)?, notes)?;
        let mut units: Vec<&[u32]> = prefixes
            .iter()
            .flat_map(|sample| self.units(sample))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        self.stream("held out").shuffle(&mut units);
        let kept = ((1.0 - spec.held_out) * units.len() as f64).round() as usize;
        if kept < 2 {
            return Err(Error::input(format!(
                "probe {}: split `{}` has {} {}-hop {} with a known label, too few to fit on",
                spec.name,
                spec.fit,
                units.len(),
                spec.hops,
                match spec.split {
                    SplitBy::Facts | SplitBy::BothFacts => "facts",
                    SplitBy::Prefixes => "rows",
                }
            )));
        }
        let held_out: HashSet<&[u32]> = units.drain(kept..).collect();
        let inner: HashSet<&[u32]> = units.drain(..kept - (kept / 5).max(1)).collect();
        let validation: HashSet<&[u32]> = units.into_iter().collect();
        let rows = |units: &HashSet<&[u32]>, purpose: &str, cap: usize| {
            let all: Vec<Sample> = prefixes
                .iter()
                .filter(|sample| self.units(sample).next().is_some_and(|unit| units.contains(unit)))
                .filter(|sample| self.units(sample).all(|unit| !held_out.contains(unit)))
                .cloned()
                .collect();
            self.stream(purpose).sample(&all, cap)
        };
        // What is held out stays out of the fit set even where the cap leaves room.
        let mut fit = rows(&inner, "fit rows", spec.max_prefixes - spec.max_prefixes / 5);
        let first_held_out = fit.len();
        fit.extend(rows(&validation, "held-out fit rows", spec.max_prefixes / 5));
        Ok((fit, first_held_out))
    }

    // The fact that leads on from the label, where a state at the position can depend on it.
    fn next_fact(&self, query: &Query) -> Option<Ids> {
        match self.label {
            Token::Entity(hop) if hop < self.last => Token::Entity(hop + 1).fact(query, self.last),
            _ => None,
        }
    }

    // The rows of a split that share nothing with the fit set but their label.
    fn test_set<'a>(
        &self,
        name: &Split,
        fitted: &Fitted,
        data: &'a Dataset,
        notes: &mut Vec<String>,
    ) -> Result<Vec<Sample<'a>>> {
        let spec = self.spec;
        let of_split = self.prefixes(data.split(name)?, notes)?;
        let mut note = |left_out: usize, of: usize, why: &str| {
            if left_out > 0 {
                notes.push(format!(
                    "probe {} at {}, split {name}: {left_out} of {of} prefixes left out, {why}",
                    spec.name, self.position
                ));
            }
        };
        let before = of_split.len();
        let keeps_facts_apart = spec.split != SplitBy::Prefixes;
        let fact_fitted =
            |sample: &Sample| keeps_facts_apart && self.units(sample).any(|fact| fitted.facts.contains(fact));
        let (of_prefix, others): (Vec<Sample>, Vec<Sample>) = of_split
            .into_iter()
            .partition(|sample| fitted.prefixes.contains(self.prefix(sample)));
        let (of_fact, mut apart): (Vec<Sample>, Vec<Sample>) = others.into_iter().partition(fact_fitted);
        // Of the fit split itself the larger part is always fitted on.
        if *name != spec.fit {
            note(of_prefix.len(), before, "the fit set has them");
            note(
                of_fact.len(),
                before,
                match spec.split {
                    SplitBy::BothFacts => "the fit set has a fact that yields their label or leads on from it",
                    _ => "the fit set has the fact that yields their label, in other prefixes",
                },
            );
        }
        let before = apart.len();
        apart.retain(|sample| fitted.classes.binary_search(&sample.label).is_ok());
        note(before - apart.len(), before, "the fit set never has their label");
        if apart.is_empty() {
            notes.push(format!(
                "probe {} at {}, split {name}: nothing is left to test on",
                spec.name, self.position
            ));
        }
        Ok(self.stream(name.name()).sample(&apart, spec.max_prefixes))
    }

    // The distinct causal prefixes of the rows, in token order.
    fn prefixes<'a>(&self, rows: &'a [Query], notes: &mut Vec<String>) -> Result<Vec<Sample<'a>>> {
        let spec = self.spec;
        let mut found: BTreeMap<&[u32], Sample> = BTreeMap::new();
        let mut unknown = 0;
        for (row, query) in rows.iter().enumerate().filter(|(_, query)| query.hops() == spec.hops) {
            let (Some(label), Some(fact)) = (self.label.of(query), self.label.fact(query, self.last)) else {
                unknown += 1;
                continue;
            };
            let sample = Sample {
                row,
                query,
                label,
                fact,
                next: self.next_fact(query),
            };
            let known = found
                .entry(&query.tokens[..=self.last])
                .or_insert_with(|| sample.clone());
            if (known.label, &known.fact) != (label, &sample.fact) {
                return Err(Error::input(format!(
                    "probe {}: at {} a state of a causal model cannot know the {}: rows with the same tokens up to there \
                     differ in it, or in the fact that yields it",
                    spec.name, self.position, spec.label
                )));
            }
        }
        if unknown > 0 {
            notes.push(format!(
                "probe {}: {unknown} rows left out, their {} or the fact that yields it is not known",
                spec.name, spec.label
            ));
        }
        Ok(found.into_values().collect())
    }
}

#[cfg(test)]
pub(super) mod tests;
