//! Fit and test sets that share neither a causal prefix of the probed position nor a fact that yields the label.
//!
//! In a causal model the state at r1 depends on (h, r1) alone: queries that differ only later have the very same state
//! there, so a split that merely keeps queries apart tests a probe on what it was fitted on. Each causal prefix counts
//! once, and stands on one side only.
//!
//! At r2 the prefixes (h, r1, r2) of one (h, r1) differ, but all have the bridge that the fact (h, r1) yields: a probe that
//! reads h and r1 and has memorised the fact finds a bridge that the model need not have computed. So the facts are split
//! ([`SplitBy::Facts`]), and prefixes follow their fact.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::spec::{Label, ProbeSpec, SplitBy};
use crate::error::{Error, Result};
use crate::graph::{Bridges, Dataset, Ids, Position, Query};
use crate::random::Stream;

/// A causal prefix with a query that has it, the label, and what yields the label.
#[derive(Debug, Clone)]
pub(super) struct Sample<'a> {
    pub(super) query: &'a Query,
    pub(super) label: u32,
    /// The fact, or the causal prefix where no fact yields the label ([`Label::fact`]).
    pub(super) fact: Ids,
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
pub(super) struct Split<'a> {
    /// The fit set; those from `inner` on are held out where a penalty or a layer is chosen.
    pub(super) fit: Vec<Sample<'a>>,
    pub(super) inner: usize,
    /// By test split.
    pub(super) test: Vec<(String, Vec<Sample<'a>>)>,
    /// The labels that the fit set knows, in order.
    pub(super) classes: Vec<u32>,
    pub(super) notes: Vec<String>,
}

impl Split<'_> {
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
pub(super) fn split<'a>(spec: &ProbeSpec, position: Position, data: &'a Dataset, seed: u64) -> Result<Split<'a>> {
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
        facts: fit.iter().map(|sample| &*sample.fact).collect(),
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
    Ok(Split {
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
    facts: HashSet<&'a [u32]>,
    classes: &'a [u32],
}

// A probe at one of its positions.
struct At<'s> {
    spec: &'s ProbeSpec,
    position: Position,
    // The index of the last token of the causal prefix.
    last: usize,
    label: Label,
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

    // What is kept apart: the fact or the causal prefix.
    fn unit<'s>(&self, sample: &'s Sample) -> &'s [u32] {
        match self.spec.split {
            SplitBy::Facts => &sample.fact,
            SplitBy::Prefixes => self.prefix(sample),
        }
    }

    // The rows of the units that are not held out, with the place from which those of their last fifth begin.
    fn fit_set<'a>(&self, data: &'a Dataset, notes: &mut Vec<String>) -> Result<(Vec<Sample<'a>>, usize)> {
        let spec = self.spec;
        let prefixes = self.prefixes(data.split(&spec.fit)?, notes)?;
        let mut units: Vec<&[u32]> = prefixes
            .iter()
            .map(|sample| self.unit(sample))
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
                    SplitBy::Facts => "facts",
                    SplitBy::Prefixes => "rows",
                }
            )));
        }
        let inner: HashSet<&[u32]> = units.drain(..kept - (kept / 5).max(1)).collect();
        let validation: HashSet<&[u32]> = units.drain(..kept - inner.len()).collect();
        let rows = |units: &HashSet<&[u32]>, purpose: &str, cap: usize| {
            let all: Vec<Sample> = prefixes
                .iter()
                .filter(|sample| units.contains(self.unit(sample)))
                .cloned()
                .collect();
            self.stream(purpose).sample(&all, cap)
        };
        // What is held out stays out of the fit set even where the cap leaves room.
        let mut fit = rows(&inner, "fit rows", spec.most_prefixes - spec.most_prefixes / 5);
        let first_held_out = fit.len();
        fit.extend(rows(&validation, "held-out fit rows", spec.most_prefixes / 5));
        Ok((fit, first_held_out))
    }

    // The rows of a split that share nothing with the fit set but their label.
    fn test_set<'a>(
        &self,
        name: &str,
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
        let fact_fitted = |sample: &Sample| spec.split == SplitBy::Facts && fitted.facts.contains(&*sample.fact);
        let (of_prefix, others): (Vec<Sample>, Vec<Sample>) = of_split
            .into_iter()
            .partition(|sample| fitted.prefixes.contains(self.prefix(sample)));
        let (of_fact, mut apart): (Vec<Sample>, Vec<Sample>) = others.into_iter().partition(fact_fitted);
        // Of the fit split itself the larger part is always fitted on.
        if name != spec.fit {
            note(of_prefix.len(), before, "the fit set has them");
            note(
                of_fact.len(),
                before,
                "the fit set has the fact that yields their label, in other prefixes",
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
        Ok(self.stream(name).sample(&apart, spec.most_prefixes))
    }

    // The distinct causal prefixes of the rows, in token order.
    fn prefixes<'a>(&self, rows: &'a [Query], notes: &mut Vec<String>) -> Result<Vec<Sample<'a>>> {
        let spec = self.spec;
        let mut found: BTreeMap<&[u32], Sample> = BTreeMap::new();
        let mut unknown = 0;
        for query in rows.iter().filter(|query| query.hops() == spec.hops) {
            let (Some(label), Some(fact)) = (self.label.of(query), self.label.fact(query, self.last)) else {
                unknown += 1;
                continue;
            };
            let sample = Sample { query, label, fact };
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
mod tests {
    use super::*;
    use crate::graph::Position::{self, Head, Readout};
    use crate::graph::Systematic;

    const R1: Position = Position::Relation(1);
    const R2: Position = Position::Relation(2);

    fn data() -> Dataset {
        let settings = Systematic {
            entities: 20,
            relations: 10,
            out_degree: 10,
            ood_share: 0.1,
            held_out: 0.05,
            phi: 5.0,
            test_rows: 500,
            seed: 2,
        };
        settings.generate().unwrap()
    }

    fn spec(label: &str, position: &str, split: SplitBy) -> ProbeSpec {
        let spec: ProbeSpec = toml::from_str(&format!(
            "name = 'x'\ntitle = 'X'\nlabel = '{label}'\npositions = ['{position}']\n\
             test = ['train', 'test_inferred_iid', 'test_inferred_ood']"
        ))
        .unwrap();
        ProbeSpec { split, ..spec }
    }

    fn facts<'s>(samples: &'s [Sample]) -> HashSet<&'s [u32]> {
        samples.iter().map(|sample| &*sample.fact).collect()
    }

    fn prefixes<'s>(samples: &[Sample<'s>], last: usize) -> HashSet<&'s [u32]> {
        samples.iter().map(|s| &s.query.tokens[..=last]).collect()
    }

    #[test]
    fn fit_and_test_sets_share_no_causal_prefix_and_by_default_no_fact_that_yields_the_label() {
        let data = data();
        for seed in 1..6 {
            for (label, position) in [
                ("bridge", R1),
                ("bridge", R2),
                ("target", R2),
                ("head", R2),
                ("relation2", R2),
                ("target", Readout),
            ] {
                for by in [SplitBy::Facts, SplitBy::Prefixes] {
                    let last = position.index(2);
                    let spec = spec(label, &position.to_string(), by);
                    let split = split(&spec, position, &data, seed).unwrap();
                    let (inner, held_out) = split.fit.split_at(split.inner);
                    let fitted = prefixes(&split.fit, last);
                    assert_eq!(fitted.len(), split.fit.len(), "each prefix counts once");
                    let apart = |a: &[Sample], b: &[Sample], what: &str| {
                        assert!(!a.is_empty() && !b.is_empty(), "{label} at {position}, {what}");
                        assert!(prefixes(a, last).is_disjoint(&prefixes(b, last)), "{what}");
                        assert!(
                            by == SplitBy::Prefixes || facts(a).is_disjoint(&facts(b)),
                            "{label} at {position}, {what}"
                        );
                    };
                    apart(inner, held_out, "held-out fit rows");
                    for (name, samples) in &split.test {
                        assert_eq!(prefixes(samples, last).len(), samples.len(), "each prefix counts once");
                        apart(&split.fit, samples, name);
                    }
                }
            }
        }
    }

    #[test]
    fn with_prefixes_apart_alone_the_facts_of_the_bridge_are_in_both_sets() {
        let data = data();
        let split = split(&spec("bridge", "r2", SplitBy::Prefixes), R2, &data, 1).unwrap();
        let (name, samples) = &split.test[1];
        assert_eq!(name, "test_inferred_iid");
        assert!(!facts(&split.fit).is_disjoint(&facts(samples)));
    }

    #[test]
    fn rows_whose_fact_is_fitted_are_left_out_of_the_test_with_a_note() {
        let data = data();
        let split = split(&spec("bridge", "r2", SplitBy::Facts), R2, &data, 1).unwrap();
        let left_out = |split: &str| format!("split {split}: ");
        let says = |text: &str| split.notes.iter().filter(|note| note.contains(text)).count();
        assert_eq!(says(&left_out("test_inferred_iid")), 1, "{:?}", split.notes);
        assert!(
            split
                .notes
                .iter()
                .any(|note| note.contains("the fit set has the fact that yields their label"))
        );
        // No OOD fact is in a chain of the training split.
        assert_eq!(says(&left_out("test_inferred_ood")), 0, "{:?}", split.notes);
        // Of the split that is fitted on, most rows are left out, which needs no note.
        assert_eq!(says(&left_out("train")), 0, "{:?}", split.notes);
    }

    #[test]
    fn rows_with_an_unknown_or_unfitted_label_are_left_out_of_the_test_with_a_note() {
        let mut data = data();
        let bridge = |query: &Query| query.entity_after(1);
        let rows = data.split("test_inferred_ood").unwrap().to_vec();
        let unfitted = bridge(&rows[0]);
        let (of_unfitted, others): (Vec<Query>, Vec<Query>) =
            rows.into_iter().partition(|query| bridge(query) == unfitted);
        let mut unknown = others[0].clone();
        unknown.bridges = Bridges::Unknown;
        let (n, all) = (of_unfitted.len(), of_unfitted.len() + others.len());
        let mixed = [of_unfitted.clone(), others, vec![unknown]].concat();
        for (name, rows) in &mut data.splits {
            if name == "train" {
                rows.retain(|query| query.hops() == 2 && bridge(query) != unfitted);
            }
        }
        data.splits.push(("mixed".to_owned(), mixed));
        data.splits.push(("unfitted".to_owned(), of_unfitted));
        let spec = ProbeSpec {
            test: vec!["mixed".to_owned(), "unfitted".to_owned()],
            ..spec("bridge", "r2", SplitBy::Facts)
        };
        let split = split(&spec, R2, &data, 1).unwrap();
        let unknown = "probe x: 1 rows left out, their bridge or the fact that yields it is not known";
        let unfitted = |split: &str, of: usize| {
            format!("probe x at r2, split {split}: {n} of {of} prefixes left out, the fit set never has their label")
        };
        let expected = [
            unknown.to_owned(),
            unfitted("mixed", all),
            unfitted("unfitted", n),
            "probe x at r2, split unfitted: nothing is left to test on".to_owned(),
        ];
        assert_eq!(split.notes, expected);
        assert_eq!((split.test[0].1.len(), split.test[1].1.len()), (all - n, 0));
    }

    #[test]
    fn fit_and_test_sets_have_at_most_the_prefixes_that_the_spec_allows() {
        let data = data();
        let spec = ProbeSpec {
            most_prefixes: 40,
            ..spec("bridge", "r2", SplitBy::Facts)
        };
        let split = split(&spec, R2, &data, 1).unwrap();
        assert_eq!((split.inner, split.fit.len()), (32, 40));
        assert_eq!(split.test[0].1.len(), 40);
    }

    #[test]
    fn a_causal_prefix_has_the_bridges_before_its_last_entity() {
        let query = Query {
            tokens: Ids::from_slice(&[1, 10, 11, 12]),
            target: 4,
            bridges: Bridges::Known(Ids::from_slice(&[2, 3])),
        };
        let fact = Ids::new();
        let sample = Sample {
            query: &query,
            label: 0,
            fact,
        };
        let up_to = |last: usize| sample.up_to(last);
        let expected = |last: usize, target: u32, bridges: &[u32]| Query {
            tokens: Ids::from_slice(&query.tokens[..=last]),
            target,
            bridges: Bridges::Known(Ids::from_slice(bridges)),
        };
        assert_eq!(up_to(1), expected(1, 2, &[]));
        assert_eq!(up_to(2), expected(2, 3, &[2]));
        assert_eq!(up_to(3), query);
    }

    // A label that no fact yields, and one whose fact is its prefix: what is shared is the prefix.
    #[test]
    fn rows_whose_prefix_is_fitted_are_left_out_of_the_test_with_a_note() {
        let data = data();
        for (label, position) in [("head", Head), ("relation1", R1), ("bridge", R1)] {
            let spec = spec(label, &position.to_string(), SplitBy::Facts);
            let at = At {
                spec: &spec,
                position,
                last: position.index(2),
                label: spec.label(position).unwrap(),
                seed: 1,
            };
            let mut notes = Vec::new();
            let (fit, _) = at.fit_set(&data, &mut notes).unwrap();
            let classes: Vec<u32> = (0..data.vocab.len() as u32).collect();
            let fitted = Fitted {
                prefixes: fit.iter().map(|sample| at.prefix(sample)).collect(),
                facts: fit.iter().map(|sample| &*sample.fact).collect(),
                classes: &classes,
            };
            let name = "test_inferred_iid";
            let of_split = at.prefixes(data.split(name).unwrap(), &mut notes).unwrap();
            let apart = at.test_set(name, &fitted, &data, &mut notes).unwrap();
            let left_out = of_split.len() - apart.len();
            let note = format!(
                "{left_out} of {} prefixes left out, the fit set has them",
                of_split.len()
            );
            assert!(
                left_out > 0 && notes.iter().any(|n| n.contains(&note)),
                "{label}: {notes:?}"
            );
            assert!(
                !notes.iter().any(|note| note.contains("the fact that yields")),
                "{notes:?}"
            );
        }
    }

    #[test]
    fn a_probe_that_cannot_be_tested_is_refused_with_the_reason() {
        let data = data();
        let text = split(&spec("head", "head", SplitBy::Facts), Head, &data, 1)
            .err()
            .unwrap()
            .to_string();
        assert!(text.contains("cannot be tested at head"), "{text}");
        let text = split(&spec("target", "r1", SplitBy::Facts), R1, &data, 1)
            .err()
            .unwrap()
            .to_string();
        assert!(text.contains("cannot know the target"), "{text}");
        let longer = ProbeSpec {
            hops: 3,
            ..spec("bridge1", "r2", SplitBy::Facts)
        };
        let text = split(&longer, R2, &data, 1).err().unwrap().to_string();
        assert!(
            text.contains("`train` has 0 3-hop facts with a known label, too few"),
            "{text}"
        );
    }
}
