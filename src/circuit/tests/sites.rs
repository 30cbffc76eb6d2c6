//! What truths say of sites, held against the models: the output matrix at a site, a linear map fitted to its states, and
//! its state put into another query.

use std::collections::{BTreeMap, HashSet};

use linfa_linalg::cholesky::SolveC;
use ndarray::{Array1, Array2};

use super::features::State;
use super::interpret::Location;
use super::*;
use crate::graph::{Bridges, Position, Target, Token};
use crate::measure::Place;
use crate::model::{Hooks, Point, Rows, Site};

const POINTS: [Point; 7] = [
    Point::Embed,
    Point::ResidPre,
    Point::Z,
    Point::AttnOut,
    Point::ResidMid,
    Point::MlpOut,
    Point::ResidPost,
];

/// A graph of 30 facts, and all its chains of 2 hops.
fn all_chains(seed: u64) -> Dataset {
    let settings = Systematic {
        entities: 6,
        relations: 5,
        out_degree: 5,
        ood_share: 0.0,
        held_out: 0.1,
        phi: 100.0,
        test_rows: 1000,
        seed,
    };
    settings.generate().unwrap()
}

/// A circuit with the queries of one case.
struct Bench<'a> {
    model: Model,
    iterations: usize,
    case: &'a Case,
    queries: Vec<&'a Query>,
}

impl<'a> Bench<'a> {
    fn all(circuit: &'a Circuit, data: &'a Dataset) -> Vec<Self> {
        let layers: BTreeMap<(&str, &str), usize> = circuit
            .truth
            .fact_layers
            .iter()
            .map(|fact| ((fact.head.as_str(), fact.relation.as_str()), fact.layer))
            .collect();
        let name = |id: u32| data.vocab.tokens()[id as usize].as_str();
        let iterations = circuit.info.model.iterations;
        let mut cases: Vec<Self> = Vec::new();
        for case in &circuit.truth.cases {
            cases.push(Self {
                model: model(circuit),
                iterations,
                case,
                queries: Vec::new(),
            });
        }
        for query in queries(data) {
            let facts = (1..=query.hops()).map(|hop| Token::Entity(hop).fact(query, hop).unwrap());
            let layers: Vec<usize> = facts
                .filter_map(|fact| layers.get(&(name(fact[0]), name(fact[1]))).copied())
                .collect();
            let right = circuit.answer(&query.tokens, iterations) == Some(query.target);
            let case = circuit.truth.case(query.hops(), right, &layers).unwrap();
            let bench = cases.iter_mut().find(|bench| std::ptr::eq(bench.case, case)).unwrap();
            bench.queries.push(query);
        }
        for bench in &cases {
            assert_eq!(bench.case.queries, bench.queries.len());
        }
        cases
    }

    fn positions(&self) -> Vec<Position> {
        Position::of_chain(self.case.hops, self.model.config().reads_apart(self.case.hops))
    }

    fn sites(&self, points: &[Point]) -> Vec<Site> {
        let layers = self.model.config().layers;
        points
            .iter()
            .flat_map(|&point| Site::all(point, self.iterations, layers))
            .collect()
    }

    fn rows(&self, queries: &[&Query]) -> Rows {
        let tokens = queries.iter().map(|query| query.tokens.as_slice());
        self.model.pack(tokens, Sharing::Nothing).unwrap()
    }

    // The states of queries at these sites, and what is answered.
    fn record(&self, queries: &[&Query], sites: &[Site], hooks: Hooks) -> (BTreeMap<Site, Tensor>, Vec<u32>) {
        let hooks = sites.iter().fold(hooks, |hooks, &site| hooks.record(site));
        let mut pass = Pass {
            hooks,
            ..Pass::default()
        };
        let logits = self
            .model
            .forward(&self.rows(queries), self.iterations, &mut pass)
            .unwrap();
        let states = sites.iter().map(|&site| (site, pass.hooks.recorded(site).unwrap()));
        let logits: Vec<Vec<f32>> = logits.to_vec2().unwrap();
        (states.collect(), logits.iter().map(|l| argmax(l)).collect())
    }

    // The rows of the truth for a site.
    fn truth(&self, site: Site, position: Position, head: Option<usize>) -> impl Iterator<Item = &SiteTruth> {
        let place = Place::of(site, self.model.config().layers);
        self.case.sites.iter().filter(move |row| {
            (row.site.point, row.site.position, row.site.place, row.site.head) == (site.point(), position, place, head)
        })
    }

    // Whether a site is listed as one that decides the answer.
    fn carries(&self, site: Site, position: Position, head: Option<usize>) -> bool {
        let place = Place::of(site, self.model.config().layers);
        let wanted = (site.point(), position, place, head);
        let listed = self.case.carriers.iter();
        listed
            .map(|site| (site.point, site.position, site.place, site.head))
            .any(|at| at == wanted)
    }

    // A query that differs in every token, bridge and answer from the one with this index.
    fn partner(&self, index: usize) -> Option<&'a Query> {
        let query = self.queries[index];
        let differs = |other: &&&Query| {
            let tokens = query.tokens.iter().zip(&other.tokens);
            let entities = (1..=query.hops()).map(|hop| (query.entity_after(hop), other.entity_after(hop)));
            tokens.clone().all(|(a, b)| a != b) && entities.into_iter().all(|(a, b)| a != b)
        };
        // Each begins to look elsewhere, so that they do not all have the same one.
        let (before, after) = self.queries.split_at(index);
        after.iter().chain(before).find(differs).copied()
    }

    // Whether each clean query is answered otherwise once the state of its partner stands at these sites.
    fn changes(&self, pairs: &[(&Query, &Query)], at: &[(Site, Position, Option<usize>)]) -> Vec<bool> {
        let clean: Vec<&Query> = pairs.iter().map(|pair| pair.0).collect();
        let (_, answers) = self.record(&clean, &[], Hooks::none());
        answers
            .iter()
            .zip(self.patched(pairs, at))
            .map(|(&a, b)| a != b)
            .collect()
    }

    // What each clean query is answered once the state of its partner stands at these sites.
    fn patched(&self, pairs: &[(&Query, &Query)], at: &[(Site, Position, Option<usize>)]) -> Vec<u32> {
        let (clean, other): (Vec<&Query>, Vec<&Query>) = pairs.iter().copied().unzip();
        let sites: Vec<Site> = at.iter().map(|&(site, ..)| site).collect();
        let (of_clean, _) = self.record(&clean, &sites, Hooks::none());
        let (of_other, _) = self.record(&other, &sites, Hooks::none());
        let packed = self.rows(&clean);
        let mut hooks = Hooks::none();
        for &(site, position, head) in at {
            let rows: Vec<u32> = (0..pairs.len()).map(|i| packed.row_at(i, position)).collect();
            let index = Tensor::new(rows.as_slice(), self.model.device()).unwrap();
            let rows_of = |states: &Tensor| states.index_select(&index, 0).unwrap();
            let mut values = rows_of(&of_other[&site]);
            if let Some(head) = head {
                // [rows, heads, d_head]: one head of the other query, the rest of the clean one.
                let parts: Vec<Tensor> = (0..self.model.config().heads)
                    .map(|h| {
                        let of = if h == head { &of_other[&site] } else { &of_clean[&site] };
                        rows_of(of).narrow(1, h, 1).unwrap()
                    })
                    .collect();
                values = Tensor::cat(&parts, 1).unwrap();
            }
            hooks = hooks.replace(site, rows, values);
        }
        self.record(&clean, &[], hooks).1
    }

    // What the program answers to a query once the state of its partner stands at a site.
    fn by_program(
        &self,
        circuit: &Circuit,
        (clean, other): (&Query, &Query),
        (site, position, head): (Site, Position, Option<usize>),
    ) -> Option<u32> {
        let row = self.positions().iter().position(|&p| p == position).unwrap();
        let is_there = |at: Location| {
            let found = (at.point, at.iteration, at.layer, at.row, at.head);
            found == (site.point(), site.iteration(), site.layer(), row, head)
        };
        let mut there = State::default();
        let program = &circuit.program;
        program.run(&other.tokens, self.iterations, &mut |at, state| {
            if is_there(at) {
                there = state.clone();
            }
        });
        program.top1(&clean.tokens, self.iterations, &mut |at, state| {
            if is_there(at) {
                state.clone_from(&there);
            }
        })
    }

    fn pairs(&self) -> Vec<(&'a Query, &'a Query)> {
        let all = self.queries.iter().enumerate();
        all.filter_map(|(i, &query)| Some((query, self.partner(i)?)))
            .take(24)
            .collect()
    }
}

// Every circuit on two graphs, one of them rotated.
fn each_case(test: impl Fn(&Circuit, &Bench)) {
    for &name in Name::all() {
        for (seed, rotate) in [(1, None), (2, Some(7))] {
            let settings = Settings {
                rotate,
                seed,
                ..Settings::of(name)
            };
            let data = all_chains(seed);
            let circuit = build(&settings, &data);
            for bench in Bench::all(&circuit, &data) {
                test(&circuit, &bench);
            }
        }
    }
}

// Calls `test` with every site that a circuit has a state at, by position and head.
fn each_site(bench: &Bench, mut test: impl FnMut(Site, Position, Option<usize>)) {
    for site in bench.sites(&POINTS) {
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
    let order: Vec<(u32, u32)> = facts
        .iter()
        .copied()
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect();
    let is_train = |i: usize| order.binary_search(&facts[i]).unwrap() % 3 != 0;
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
