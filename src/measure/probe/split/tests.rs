use super::*;
use crate::graph::Position::{self, Head, Readout};
use crate::graph::Systematic;

const R1: Position = Position::Relation(1);
const R2: Position = Position::Relation(2);

/// Data of the systematic task, small enough to probe in a test.
pub(crate) fn data() -> Dataset {
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
                let partition = partition(&spec, position, &data, seed).unwrap();
                let (inner, held_out) = partition.fit.split_at(partition.inner);
                let fitted = prefixes(&partition.fit, last);
                assert_eq!(fitted.len(), partition.fit.len(), "each prefix counts once");
                let apart = |a: &[Sample], b: &[Sample], what: &str| {
                    assert!(!a.is_empty() && !b.is_empty(), "{label} at {position}, {what}");
                    assert!(prefixes(a, last).is_disjoint(&prefixes(b, last)), "{what}");
                    assert!(
                        by == SplitBy::Prefixes || facts(a).is_disjoint(&facts(b)),
                        "{label} at {position}, {what}"
                    );
                };
                apart(inner, held_out, "held-out fit rows");
                for (name, samples) in &partition.test {
                    assert_eq!(prefixes(samples, last).len(), samples.len(), "each prefix counts once");
                    apart(&partition.fit, samples, name.name());
                }
            }
        }
    }
}

#[test]
fn with_both_facts_apart_no_test_prefix_has_a_fact_of_the_fit_set_on_either_side_of_the_label() {
    let data = data();
    let both = |samples: &[Sample]| -> HashSet<Ids> {
        let facts = samples.iter().flat_map(|sample| {
            let tokens = &sample.query.tokens;
            let next = Ids::from_slice(&[sample.label, tokens[2]]);
            [Ids::from_slice(&tokens[..2]), next]
        });
        facts.collect()
    };
    let of = |by| {
        let partition = partition(&spec("bridge", "r2", by), R2, &data, 1).unwrap();
        let (fit, tests) = (both(&partition.fit), partition.test.iter());
        let apart = tests.map(|(_, samples)| (samples.len(), both(samples).is_disjoint(&fit)));
        apart.collect::<Vec<_>>()
    };
    assert!(of(SplitBy::BothFacts).iter().all(|&(n, apart)| n > 0 && apart));
    assert!(of(SplitBy::Facts).iter().any(|&(_, apart)| !apart));
    // At r1 nothing leads on from the bridge yet.
    let at_r1 = |by| {
        let found = partition(&spec("bridge", "r1", by), R1, &data, 1).unwrap();
        found.fit.iter().map(|sample| sample.row).collect::<Vec<_>>()
    };
    assert_eq!(at_r1(SplitBy::BothFacts), at_r1(SplitBy::Facts));
}

#[test]
fn with_prefixes_apart_alone_the_facts_of_the_bridge_are_in_both_sets() {
    let data = data();
    let partition = partition(&spec("bridge", "r2", SplitBy::Prefixes), R2, &data, 1).unwrap();
    let (name, samples) = &partition.test[1];
    assert_eq!(*name, Split::in_distribution());
    assert!(!facts(&partition.fit).is_disjoint(&facts(samples)));
}

#[test]
fn rows_whose_fact_is_fitted_are_left_out_of_the_test_with_a_note() {
    let data = data();
    let partition = partition(&spec("bridge", "r2", SplitBy::Facts), R2, &data, 1).unwrap();
    let left_out = |split: &str| format!("split {split}: ");
    let says = |text: &str| partition.notes.iter().filter(|note| note.contains(text)).count();
    assert_eq!(says(&left_out("test_inferred_iid")), 1, "{:?}", partition.notes);
    assert!(
        partition
            .notes
            .iter()
            .any(|note| note.contains("the fit set has the fact that yields their label"))
    );
    // No OOD fact is in a chain of the training split.
    assert_eq!(says(&left_out("test_inferred_ood")), 0, "{:?}", partition.notes);
    // Of the split that is fitted on, most rows are left out, which needs no note.
    assert_eq!(says(&left_out("train")), 0, "{:?}", partition.notes);
}

#[test]
fn rows_with_an_unknown_or_unfitted_label_are_left_out_of_the_test_with_a_note() {
    let mut data = data();
    let bridge = |query: &Query| query.entity_after(1);
    let rows = data.split("test_inferred_ood").unwrap().to_vec();
    let unfitted = bridge(&rows[0]);
    let (of_unfitted, others): (Vec<Query>, Vec<Query>) = rows.into_iter().partition(|query| bridge(query) == unfitted);
    let mut unknown = others[0].clone();
    unknown.bridges = Bridges::Unknown;
    let (n, all) = (of_unfitted.len(), of_unfitted.len() + others.len());
    let mixed = [of_unfitted.clone(), others, vec![unknown]].concat();
    for (name, rows) in &mut data.splits {
        if name.name() == "train" {
            rows.retain(|query| query.hops() == 2 && bridge(query) != unfitted);
        }
    }
    data.splits.push(("mixed".into(), mixed));
    data.splits.push(("unfitted".into(), of_unfitted));
    let spec = ProbeSpec {
        test: vec!["mixed".into(), "unfitted".into()],
        ..spec("bridge", "r2", SplitBy::Facts)
    };
    let partition = partition(&spec, R2, &data, 1).unwrap();
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
    assert_eq!(partition.notes, expected);
    assert_eq!((partition.test[0].1.len(), partition.test[1].1.len()), (all - n, 0));
}

#[test]
fn fit_and_test_sets_have_at_most_the_prefixes_that_the_spec_allows() {
    let data = data();
    let spec = ProbeSpec {
        max_prefixes: 40,
        ..spec("bridge", "r2", SplitBy::Facts)
    };
    let partition = partition(&spec, R2, &data, 1).unwrap();
    assert_eq!((partition.inner, partition.fit.len()), (32, 40));
    assert_eq!(partition.test[0].1.len(), 40);
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
        row: 0,
        query: &query,
        label: 0,
        fact,
        next: None,
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
        let name = Split::in_distribution();
        let of_split = at.prefixes(data.split(&name).unwrap(), &mut notes).unwrap();
        let apart = at.test_set(&name, &fitted, &data, &mut notes).unwrap();
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
    let text = partition(&spec("head", "head", SplitBy::Facts), Head, &data, 1)
        .err()
        .unwrap()
        .to_string();
    assert!(text.contains("cannot be tested at head"), "{text}");
    let text = partition(&spec("target", "r1", SplitBy::Facts), R1, &data, 1)
        .err()
        .unwrap()
        .to_string();
    assert!(text.contains("cannot know the target"), "{text}");
    let longer = ProbeSpec {
        hops: 3,
        ..spec("bridge1", "r2", SplitBy::Facts)
    };
    let text = partition(&longer, R2, &data, 1).err().unwrap().to_string();
    assert!(
        text.contains("`train` has 0 3-hop facts with a known label, too few"),
        "{text}"
    );
}
