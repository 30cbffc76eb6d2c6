//! What circuits answer.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;
use crate::graph::{Split, TokenKind};
use crate::kernels::on_every_backend;

/// What a circuit is meant to answer after `iterations` iterations, by walking the graph; `None` where it is meant not to
/// answer. This knows nothing of programs or weights.
struct Rule<'a> {
    name: Name,
    data: &'a Dataset,
    suffix: usize,
    trained: Vec<&'a [u32]>,
    layers: HashMap<(u32, u32), usize>,
}

impl<'a> Rule<'a> {
    fn of(circuit: &Circuit, settings: &Settings, data: &'a Dataset) -> Self {
        let id = |token: &str| data.vocab.id(token).unwrap();
        let layers = circuit.truth.fact_layers.iter();
        Self {
            name: settings.name,
            data,
            suffix: settings.suffix,
            trained: data
                .split(Split::train())
                .unwrap()
                .iter()
                .map(|q| q.tokens.as_slice())
                .collect(),
            layers: layers
                .map(|fact| ((id(&fact.head), id(&fact.relation)), fact.layer))
                .collect(),
        }
    }

    fn answer(&self, query: &Query, iterations: usize) -> Option<u32> {
        let walk = || {
            self.data
                .graph
                .walk(query.tokens[0], &query.tokens[1..])
                .ok()?
                .last()
                .copied()
        };
        let after = |needed: usize| if iterations >= needed { walk() } else { None };
        match self.name {
            Name::HopPerIteration => after(query.hops()),
            Name::TwoIterationsPerHop => after(2 * query.hops()),
            Name::HiddenBridge => after(query.hops() + 1),
            Name::DecoyBridge => walk(),
            Name::Backup => after(2),
            Name::Memorizer => self.trained.contains(&query.tokens.as_slice()).then(walk)?,
            Name::SuffixReader => self.most_frequent_end(&query.tokens),
            Name::LateBridge => {
                let mut path = vec![query.tokens[0]];
                path.extend(self.data.graph.walk(query.tokens[0], &query.tokens[1..]).ok()?);
                let layers = path.iter().zip(&query.tokens[1..]).map(|(&e, &r)| self.layers[&(e, r)]);
                layers.is_sorted_by(|a, b| a < b).then(walk)?
            }
        }
    }

    fn most_frequent_end(&self, tokens: &[u32]) -> Option<u32> {
        let suffix = &tokens[1.max(tokens.len().saturating_sub(self.suffix))..];
        let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
        for head in 0..self.data.vocab.len() as u32 {
            if let Ok(path) = self.data.graph.walk(head, suffix) {
                *counts.entry(*path.last()?).or_default() += 1;
            }
        }
        let max = counts.values().max()?;
        counts.iter().find(|(_, count)| *count == max).map(|(&end, _)| end)
    }
}

/// Checks every query of the data after every number of iterations from 1 to 3 × that of the circuit; gives the number that it
/// answers right after its own.
#[track_caller]
fn check(settings: &Settings, data: &Dataset, backend: Backend) -> usize {
    let circuit = build(settings, data);
    let own = circuit.info.model.iterations;
    // Of a vanilla transformer the rule holds for one iteration alone.
    let max_iterations = if settings.name == Name::LateBridge { 1 } else { 3 * own };
    check_at(&circuit, settings, data, backend, 1..=max_iterations)
}

/// As [`check`], after these numbers of iterations.
#[track_caller]
fn check_at(
    circuit: &Circuit,
    settings: &Settings,
    data: &Dataset,
    backend: Backend,
    iterations: impl IntoIterator<Item = usize>,
) -> usize {
    let (model, rule) = (on(circuit, backend), Rule::of(circuit, settings, data));
    let queries = queries(data);
    let own = circuit.info.model.iterations;
    let mut right = 0;
    for iterations in iterations {
        for (query, top1) in queries.iter().zip(answers(&model, &queries, iterations)) {
            let says = format!("{settings:?}, {:?} at {iterations} iterations", query.tokens);
            assert_eq!(circuit.answer(&query.tokens, iterations), Some(top1), "{says}");
            match rule.answer(query, iterations) {
                Some(target) => assert_eq!(top1, target, "{says}"),
                None => assert_ne!(data.vocab.kind(top1), TokenKind::Entity, "{says}"),
            }
            right += usize::from(iterations == own && top1 == query.target);
        }
    }
    right
}

#[test]
fn every_circuit_answers_as_designed_at_every_number_of_iterations() {
    for &name in Name::all() {
        for seed in 1..=3 {
            let data = systematic(seed);
            let total = queries(&data).len();
            for rotate in [None, Some(seed)] {
                let settings = Settings {
                    rotate,
                    ..Settings::of(name)
                };
                let right = check(&settings, &data, Backend::default());
                match name {
                    Name::Memorizer | Name::SuffixReader | Name::LateBridge => assert!(0 < right && right < total),
                    _ => assert_eq!(right, total, "{name}"),
                }
            }
        }
    }
}

#[test]
fn circuits_of_many_hops_answer_as_designed() {
    let mut settings: Vec<Settings> = Name::all().iter().map(|&name| Settings::of(name)).collect();
    settings.retain(|settings| settings.name != Name::Backup);
    settings.push(Settings {
        suffix: 3,
        ..Settings::of(Name::SuffixReader)
    });
    for tails in [Tails::Permutation, Tails::Random] {
        let data = chains(4, tails, 5);
        for settings in &settings {
            check(settings, &data, Backend::default());
        }
    }
}

#[test]
fn twelve_hops_are_right_at_twelve_iterations_and_at_thirty_six() {
    let data = chains(12, Tails::Permutation, 2);
    let settings = Settings {
        rotate: Some(4),
        ..Settings::of(Name::HopPerIteration)
    };
    let circuit = build(&settings, &data);
    let right = check_at(
        &circuit,
        &settings,
        &data,
        Backend::default(),
        [1, 5, 11, 12, 13, 24, 36],
    );
    assert_eq!(right, queries(&data).len());
}

#[test]
fn answers_do_not_depend_on_the_backend() {
    let data = systematic(4);
    on_every_backend(|backend| {
        for &name in Name::all() {
            let settings = Settings {
                rotate: Some(3),
                ..Settings::of(name)
            };
            check(&settings, &data, backend);
        }
    });
}

#[test]
fn rotation_does_not_change_the_logits() {
    let data = systematic(2);
    let queries = queries(&data);
    for &name in Name::all() {
        let plain = Settings::of(name);
        let of = |settings: &Settings| {
            let circuit = build(settings, &data);
            let logits = logits(&model(&circuit), &queries, circuit.info.model.iterations).concat();
            (logits, circuit.weights.get("token_embedding.weight").unwrap())
        };
        let (logits, embedding) = of(&plain);
        let range = logits.iter().copied().fold(0.0, f32::max) - logits.iter().copied().fold(0.0, f32::min);
        for seed in [1, 2] {
            let (rotated, rotated_embedding) = of(&Settings {
                rotate: Some(seed),
                ..plain.clone()
            });
            let error = logits
                .iter()
                .zip(&rotated)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max);
            assert!(error < 1e-3 * range, "{name}: {error} of {range}");
            // It is another model: about half of the squared norm of the embedding moves.
            let moved = (&embedding - rotated_embedding)
                .unwrap()
                .sqr()
                .unwrap()
                .sum_all()
                .unwrap();
            let squares = embedding.sqr().unwrap().sum_all().unwrap();
            assert!(moved.to_scalar::<f32>().unwrap() > 0.5 * squares.to_scalar::<f32>().unwrap());
        }
    }
}

// The share of queries that are answered as without noise.
fn agreement(settings: &Settings, data: &Dataset) -> f64 {
    let circuit = build(settings, data);
    let (queries, iterations) = (queries(data), circuit.info.model.iterations);
    let top1 = answers(&model(&circuit), &queries, iterations);
    let same = queries
        .iter()
        .zip(top1)
        .filter(|(q, top1)| circuit.answer(&q.tokens, iterations) == Some(*top1));
    same.count() as f64 / queries.len() as f64
}

#[test]
fn a_hundredth_of_noise_changes_no_more_than_one_answer_in_a_hundred() {
    for &name in Name::all() {
        for seed in 1..=3 {
            let settings = Settings {
                noise: 0.01,
                rotate: Some(seed),
                seed,
                ..Settings::of(name)
            };
            let share = agreement(&settings, &systematic(seed));
            assert!(share >= 0.99, "{name}: {share}");
        }
    }
    let twelve = Settings {
        noise: 0.01,
        ..Settings::of(Name::HopPerIteration)
    };
    let share = agreement(&twelve, &chains(12, Tails::Permutation, 1));
    assert!(share >= 0.99, "12 hops: {share}");
    // Noise as large as the weights destroys a circuit.
    let loud = Settings {
        noise: 1.0,
        ..Settings::of(Name::HopPerIteration)
    };
    assert!(agreement(&loud, &systematic(1)) < 0.5);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_small_graph_is_answered_as_designed(
        which in 0..Name::all().len(),
        entities in 2..12_usize,
        relations in 1..5_usize,
        out_degree in 1..5_usize,
        seed in 0..1000_u64,
        rotate in proptest::option::of(0..1000_u64),
    ) {
        let settings = Systematic {
            entities,
            relations,
            out_degree: out_degree.min(relations),
            ood_share: 0.2,
            held_out: 0.2,
            phi: 4.0,
            test_rows: 50,
            seed,
        };
        let circuit = Settings { rotate, seed, ..Settings::of(Name::all()[which]) };
        let data = settings.generate().unwrap();
        // Without a chain of two hops that is trained on or tested there is nothing to walk.
        prop_assume!(data.longest_row() == 3);
        check(&circuit, &data, Backend::default());
    }
}
