//! Fit and test sets that share no causal prefix of the probed position.
//!
//! In a causal model the state at r1 depends on (h, r1) alone: queries that differ only later have the very same state
//! there, so a split that merely keeps queries apart tests a probe on what it was fitted on. The unit here is therefore
//! the causal prefix: each counts once, and stands on one side only.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::spec::{Label, ProbeSpec};
use crate::error::{Error, Result};
use crate::graph::{Dataset, Position, Query};
use crate::random::Stream;

/// A causal prefix with a query that has it and the label.
#[derive(Debug, Clone)]
pub(super) struct Sample<'a> {
    pub(super) query: &'a Query,
    pub(super) label: u32,
}

/// The samples of one probe at one position.
pub(super) struct Split<'a> {
    pub(super) fit: Vec<Sample<'a>>,
    /// By test split.
    pub(super) test: Vec<(String, Vec<Sample<'a>>)>,
    /// The labels that the fit set knows, in order.
    pub(super) classes: Vec<u32>,
    pub(super) notes: Vec<String>,
}

/// Splits the data for `spec` at `position`.
///
/// # Errors
/// When a split does not exist, the label is not a function of the causal prefix, or no test is left whose label the
/// fit set knows; the message says why.
pub(super) fn split<'a>(spec: &ProbeSpec, position: Position, data: &'a Dataset, seed: u64) -> Result<Split<'a>> {
    let label = spec.label(position)?;
    let last = position.index(spec.hops);
    let purpose = |what: &str| Stream::new(seed, &format!("probe {} {position} {what}", spec.name), 0);
    let mut notes = Vec::new();
    let mut prefixes = prefixes(spec, position, label, data.split(&spec.fit)?, &mut notes)?;
    if prefixes.is_empty() {
        return Err(Error::input(format!(
            "probe {}: split `{}` has no {}-hop rows with a known label",
            spec.name, spec.fit, spec.hops
        )));
    }
    purpose("held out").shuffle(&mut prefixes);
    let kept = ((1.0 - spec.held_out) * prefixes.len() as f64).round() as usize;
    // What is held out stays out of the fit set even where the cap leaves room.
    let fit: Vec<Sample> = prefixes.into_iter().take(kept.min(spec.most_prefixes)).collect();
    let fitted: HashSet<&[u32]> = fit.iter().map(|sample| &sample.query.tokens[..=last]).collect();
    let classes: Vec<u32> = fit
        .iter()
        .map(|sample| sample.label)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let mut test = Vec::new();
    for name in &spec.test {
        let all = self::prefixes(spec, position, label, data.split(name)?, &mut notes)?;
        let mut apart: Vec<Sample> = all
            .into_iter()
            .filter(|sample| !fitted.contains(&sample.query.tokens[..=last]))
            .collect();
        let before = apart.len();
        apart.retain(|sample| classes.binary_search(&sample.label).is_ok());
        if before > apart.len() {
            notes.push(format!(
                "probe {} at {}, split {name}: {} of {before} prefixes left out, the fit set never has their label",
                spec.name,
                position,
                before - apart.len()
            ));
        }
        let apart = purpose(name).sample(&apart, spec.most_prefixes);
        test.push((name.clone(), apart));
    }
    if test.iter().all(|(_, samples)| samples.is_empty()) {
        return Err(Error::input(format!(
            "probe {} cannot be tested at {}: no test prefix apart from the fit set has a label that the fit set knows \
             (there a state depends on {} token{} alone)",
            spec.name,
            position,
            last + 1,
            if last == 0 { "" } else { "s" }
        )));
    }
    Ok(Split {
        fit,
        test,
        classes,
        notes,
    })
}

// The distinct causal prefixes of the rows, in token order.
fn prefixes<'a>(
    spec: &ProbeSpec,
    position: Position,
    label: Label,
    rows: &'a [Query],
    notes: &mut Vec<String>,
) -> Result<Vec<Sample<'a>>> {
    let last = position.index(spec.hops);
    let mut found: BTreeMap<&[u32], Sample> = BTreeMap::new();
    let mut unknown = 0;
    for query in rows.iter().filter(|query| query.hops() == spec.hops) {
        let Some(label) = label.of(query) else {
            unknown += 1;
            continue;
        };
        let sample = found.entry(&query.tokens[..=last]).or_insert(Sample { query, label });
        if sample.label != label {
            return Err(Error::input(format!(
                "probe {}: at {} a state of a causal model cannot know the {}: rows with the same tokens up to there \
                 differ in it",
                spec.name, position, spec.label
            )));
        }
    }
    if unknown > 0 {
        notes.push(format!(
            "probe {}: {unknown} rows left out, their {} is not known",
            spec.name, spec.label
        ));
    }
    Ok(found.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Systematic;

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

    fn spec(label: &str, position: Position) -> ProbeSpec {
        toml::from_str(&format!(
            "name = 'x'\ntitle = 'X'\nlabel = '{label}'\npositions = ['{position}']\n\
             test = ['train', 'test_inferred_iid', 'test_inferred_ood']"
        ))
        .unwrap()
    }

    #[test]
    fn fit_and_test_sets_share_no_causal_prefix() {
        let data = data();
        for last in [1, 2] {
            let position = Position::Relation(last);
            let split = split(&spec("bridge", position), position, &data, 1).unwrap();
            let fitted: HashSet<&[u32]> = split.fit.iter().map(|s| &s.query.tokens[..=last]).collect();
            assert_eq!(fitted.len(), split.fit.len(), "each prefix counts once");
            for (name, samples) in &split.test {
                assert!(!samples.is_empty(), "{name}");
                let tested: HashSet<&[u32]> = samples.iter().map(|s| &s.query.tokens[..=last]).collect();
                assert_eq!(tested.len(), samples.len(), "each prefix counts once");
                assert!(tested.is_disjoint(&fitted), "{name}");
            }
        }
    }

    #[test]
    fn a_probe_that_cannot_be_tested_is_refused_with_the_reason() {
        let data = data();
        let text = split(&spec("head", Position::Head), Position::Head, &data, 1)
            .err()
            .unwrap()
            .to_string();
        assert!(text.contains("cannot be tested at head"), "{text}");
        let r1 = Position::Relation(1);
        let text = split(&spec("target", r1), r1, &data, 1).err().unwrap().to_string();
        assert!(text.contains("cannot know the target"), "{text}");
    }
}
