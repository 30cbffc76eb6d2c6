//! What truths say of sites, held against the models: the output matrix at a site, a linear map fitted to its states, and
//! its state put into another query.

use std::collections::{BTreeSet, HashSet};

use linfa_linalg::cholesky::SolveC;
use ndarray::{Array1, Array2};

use super::bench::{Bench, all_chains, each_case};
use super::*;
use crate::graph::{Bridges, Position, Target, Token};
use crate::model::{Hooks, Point, Site};

// Calls `test` with every site that a circuit has a state at, by position and head.
fn each_site(bench: &Bench, mut test: impl FnMut(Site, Position, Option<usize>)) {
    for site in bench.sites(&Point::OF_TOKENS) {
        let heads: Vec<Option<usize>> = match site.point() {
            Point::Z => (0..bench.model.config().heads).map(Some).collect(),
            _ => vec![None],
        };
        for position in bench.positions() {
            for &head in &heads {
                test(site, position, head);
            }
        }
    }
}

#[test]
fn the_program_foretells_every_patched_answer() {
    each_case(|circuit, bench| {
        let pairs = bench.pairs();
        if pairs.is_empty() {
            return;
        }
        each_site(bench, |site, position, head| {
            let answers = bench.patched(&pairs, &[(site, position, head)]);
            for (&pair, answer) in pairs.iter().zip(answers) {
                let foretold = bench.by_program(circuit, pair, (site, position, head));
                // Of a tie nothing is foretold.
                if foretold.is_some() {
                    assert_eq!(
                        foretold,
                        Some(answer),
                        "{}, {site}, {position}, head {head:?}: {:?} into {:?}",
                        circuit.truth.circuit,
                        pair.1.tokens,
                        pair.0.tokens
                    );
                }
            }
        });
    });
}

#[test]
fn states_change_the_answer_exactly_where_they_are_used() {
    each_case(|circuit, bench| {
        let pairs = bench.pairs();
        // Where facts are spread over layers, those of the other query may be in a layer that is off the path.
        if pairs.is_empty() || !circuit.truth.fact_layers.is_empty() {
            return;
        }
        each_site(bench, |site, position, head| {
            let used = bench.carries(site, position, head.map(|h| h + 1));
            let changes = bench.changes(&pairs, &[(site, position, head)]);
            let share = changes.iter().filter(|&&changed| changed).count() as f64 / changes.len() as f64;
            let says = format!(
                "{}, {} hops (right: {}), {site}, {position}, head {head:?}: {share} of {}",
                circuit.truth.circuit,
                bench.case.hops,
                bench.case.right,
                pairs.len()
            );
            // In a small graph many chains lead to the old answer all the same, and a whole state of a query without a right
            // answer may be as good as that of another.
            if !used {
                assert_eq!(share, 0.0, "not used, but: {says}");
            } else if bench.case.right {
                assert!(share > 0.2, "used, but: {says}");
            }
        });
    });
}

#[test]
fn the_output_matrix_reads_a_token_exactly_where_it_is_visible() {
    each_case(|circuit, bench| {
        let queries = &bench.queries;
        let sites = bench.sites(&[Point::Embed, Point::ResidMid, Point::ResidPost]);
        let (states, _) = bench.record(queries, &sites, Hooks::none());
        let rows = bench.rows(queries);
        for (site, states) in states {
            let logits: Vec<Vec<f32>> = bench.model.unembed(&states).unwrap().to_vec2().unwrap();
            for position in bench.positions() {
                let top1: Vec<u32> = (0..queries.len())
                    .map(|i| argmax(&logits[rows.row_at(i, position) as usize]))
                    .collect();
                for (target, token) in targets(bench.case.hops) {
                    let is_read = queries
                        .iter()
                        .zip(&top1)
                        .all(|(query, &id)| token.of(query) == Some(id));
                    let row = bench.truth(site, position, None).find(|row| row.target == target);
                    let visible = row.is_some_and(|row| row.visible);
                    // Few queries may agree by chance.
                    if visible || queries.len() > 10 {
                        assert_eq!(
                            is_read, visible,
                            "{}, {} hops, {site}, {position}, {target}",
                            circuit.truth.circuit, bench.case.hops
                        );
                    }
                }
            }
        }
    });
}

fn targets(hops: usize) -> Vec<(Target, Token)> {
    let entities = (1..=hops).map(|hop| (Target::entity(hop, hops), Token::Entity(hop)));
    let relations = (1..=hops).map(|place| (Target::Relation(place), Token::Relation(place)));
    [(Target::Head, Token::Entity(0))]
        .into_iter()
        .chain(entities)
        .chain(relations)
        .collect()
}

// The accuracy of a ridge regression onto one-hot tokens, on queries with other first facts than it was fitted on.
fn linear_accuracy(states: &[Vec<f32>], tokens: &[u32], facts: &[(u32, u32)]) -> f64 {
    const PENALTY: f64 = 1e-3;
    let order: Vec<(u32, u32)> = facts.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    let is_train = |i: usize| !order.binary_search(&facts[i]).unwrap().is_multiple_of(3);
    let train: Vec<usize> = (0..tokens.len()).filter(|&i| is_train(i)).collect();
    let classes: Vec<u32> = train
        .iter()
        .map(|&i| tokens[i])
        .collect::<HashSet<_>>()
        .into_iter()
        .collect();
    let d = states[0].len() + 1;
    let input = |i: usize| -> Array1<f64> { states[i].iter().map(|&x| f64::from(x)).chain([1.0]).collect() };
    let (mut gram, mut products) = (
        Array2::<f64>::eye(d) * PENALTY,
        Array2::<f64>::zeros((d, classes.len())),
    );
    for &i in &train {
        let x = input(i);
        for (j, mut row) in gram.outer_iter_mut().enumerate() {
            row.scaled_add(x[j], &x);
        }
        let class = classes.iter().position(|&class| class == tokens[i]).unwrap();
        products.column_mut(class).scaled_add(1.0, &x);
    }
    let weights = gram.solvec(&products).unwrap();
    let test: Vec<usize> = (0..tokens.len())
        .filter(|&i| !is_train(i) && classes.contains(&tokens[i]))
        .collect();
    let right = test.iter().filter(|&&i| {
        let scores = input(i).dot(&weights);
        let best = (0..classes.len())
            .max_by(|&a, &b| scores[a].total_cmp(&scores[b]))
            .unwrap();
        classes[best] == tokens[i]
    });
    right.count() as f64 / test.len() as f64
}

#[test]
fn a_linear_map_finds_the_bridge_where_it_is_decodable() {
    for (name, decodable) in [
        (Name::HopPerIteration, true),
        (Name::HiddenBridge, true),
        (Name::DecoyBridge, true),
        (Name::Memorizer, false),
    ] {
        let data = all_chains(3);
        let circuit = build(&Settings::of(name), &data);
        let benches = Bench::all(&circuit, &data);
        let bench = benches
            .iter()
            .find(|b| (b.case.hops, b.case.right) == (2, true))
            .unwrap();
        let queries = &bench.queries;
        let facts: Vec<(u32, u32)> = queries.iter().map(|q| (q.tokens[0], q.tokens[1])).collect();
        let bridges: Vec<u32> = queries.iter().map(|q| q.entity_after(1).unwrap()).collect();
        assert!(queries.iter().all(|q| matches!(q.bridges, Bridges::Known(_))));
        let sites = bench.sites(&[Point::ResidMid, Point::ResidPost]);
        let (states, _) = bench.record(queries, &sites, Hooks::none());
        let rows = bench.rows(queries);
        let mut listed = 0;
        for (site, states) in states {
            let states: Vec<Vec<f32>> = states.to_vec2().unwrap();
            for position in bench.positions() {
                let of_query = |i: usize| states[rows.row_at(i, position) as usize].clone();
                let accuracy = linear_accuracy(&(0..queries.len()).map(of_query).collect::<Vec<_>>(), &bridges, &facts);
                let row = bench
                    .truth(site, position, None)
                    .find(|row| row.target == Target::Bridge);
                listed += usize::from(row.is_some());
                if row.is_some() {
                    assert!(accuracy > 0.95, "{name}, {site}, {position}: {accuracy}");
                } else if !decodable {
                    assert!(accuracy < 0.6, "{name}, {site}, {position}: {accuracy}");
                }
            }
        }
        assert_eq!(listed > 0, decodable, "{name}");
    }
}

// (visible, decodable, used) of the bridge of right 2-hop queries anywhere in residual states after a layer.
fn bridge(name: Name) -> (bool, bool, bool) {
    let data = all_chains(1);
    let circuit = build(&Settings::of(name), &data);
    let layers: &[usize] = if name == Name::LateBridge { &[1, 2] } else { &[] };
    let case = circuit.truth.case(2, true, layers).unwrap();
    let rows = case
        .sites
        .iter()
        .filter(|row| row.target == Target::Bridge && matches!(row.site.point, Point::ResidPost | Point::ResidMid));
    rows.fold((false, false, false), |(v, d, u), row| {
        (v || row.visible, d || row.decodable, u || row.used)
    })
}

#[test]
fn each_mechanism_shows_the_bridge_as_its_name_says() {
    assert_eq!(bridge(Name::HopPerIteration), (true, true, true));
    assert_eq!(bridge(Name::TwoIterationsPerHop), (true, true, true));
    assert_eq!(bridge(Name::LateBridge), (true, true, true));
    assert_eq!(bridge(Name::HiddenBridge), (false, true, true));
    assert_eq!(bridge(Name::DecoyBridge), (true, true, false));
    assert_eq!(bridge(Name::Memorizer), (false, false, false));
    // Where the copies have come together, all of them are interchanged.
    assert_eq!(bridge(Name::Backup), (false, true, true));
}

#[test]
fn one_copy_of_the_backup_changes_nothing_and_two_change_the_answer() {
    let data = all_chains(1);
    let circuit = build(&Settings::of(Name::Backup), &data);
    let benches = Bench::all(&circuit, &data);
    let bench = benches.iter().find(|bench| bench.case.hops == 2).unwrap();
    // The same second relation, so that the copies alone decide.
    let pairs: Vec<(&Query, &Query)> = bench
        .queries
        .iter()
        .filter_map(|&query| {
            let fits = |other: &&&Query| {
                other.tokens[2] == query.tokens[2]
                    && other.target != query.target
                    && other.entity_after(1) != query.entity_after(1)
            };
            Some((query, *bench.queries.iter().find(fits)?))
        })
        .take(20)
        .collect();
    assert!(pairs.len() > 10);
    let site = Site::new(Point::ResidPost, 0, 0);
    let copies = [Position::Relation(1), Position::Relation(2), Position::Readout];
    let at = |positions: &[Position]| -> Vec<_> { positions.iter().map(|&p| (site, p, None)).collect() };
    for copy in copies {
        assert!(
            bench.changes(&pairs, &at(&[copy])).iter().all(|changed| !changed),
            "{copy}"
        );
    }
    for (i, &one) in copies.iter().enumerate() {
        for &other in &copies[i + 1..] {
            assert!(bench.changes(&pairs, &at(&[one, other])).iter().all(|&changed| changed));
        }
    }
    let joint: Vec<_> = bench
        .case
        .joint
        .iter()
        .map(|joint| (joint.target, joint.sites[0].position))
        .collect();
    assert_eq!(bench.case.joint.len(), 3, "{joint:?}");
}

#[test]
fn a_memorizer_uses_what_it_gathers_though_most_chains_are_not_trained() {
    let data = crate::graph::Chains {
        entities: 12,
        relations: 3,
        hops: 3,
        train_rows: 60,
        test_rows: 40,
        seed: 3,
        tails: crate::graph::Tails::Permutation,
    };
    let data = data.generate().unwrap();
    let truth = Circuit::build(&Settings::of(Name::Memorizer), &data).unwrap().truth;
    let case = truth.case(3, true, &[]).unwrap();
    let is_used = |point: Point, iteration: usize| {
        case.sites.iter().any(|row| {
            let site = &row.site;
            row.used
                && row.target == Target::Head
                && (site.point, site.position, site.place.iteration) == (point, Position::Readout, iteration)
        })
    };
    // The first lookup finds the answer that is kept.
    assert!(is_used(Point::ResidMid, 1) && is_used(Point::AttnOut, 1));
    assert!(!is_used(Point::ResidMid, 2));
}
