//! A circuit with the queries of one case of its truth, and interventions on both sides: in the model and in its program.

use std::collections::BTreeMap;

use super::super::features::State;
use super::super::interpret::Location;
use super::*;
use crate::graph::{Position, Token};
use crate::measure::Place;
use crate::model::{Hooks, Point, Rows, Site};

/// A graph of 30 facts, and all its chains of 2 hops.
pub(super) fn all_chains(seed: u64) -> Dataset {
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
pub(super) struct Bench<'a> {
    pub(super) model: Model,
    pub(super) iterations: usize,
    pub(super) case: &'a Case,
    pub(super) queries: Vec<&'a Query>,
}

impl<'a> Bench<'a> {
    pub(super) fn all(circuit: &'a Circuit, data: &'a Dataset) -> Vec<Self> {
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

    pub(super) fn positions(&self) -> Vec<Position> {
        Position::of_chain(self.case.hops, self.model.config().reads_apart(self.case.hops))
    }

    pub(super) fn sites(&self, points: &[Point]) -> Vec<Site> {
        let layers = self.model.config().layers;
        points
            .iter()
            .flat_map(|&point| Site::all(point, self.iterations, layers))
            .collect()
    }

    pub(super) fn rows(&self, queries: &[&Query]) -> Rows {
        let tokens = queries.iter().map(|query| query.tokens.as_slice());
        self.model.pack(tokens, Sharing::Nothing).unwrap()
    }

    // The states of queries at these sites, and what is answered.
    pub(super) fn record(
        &self,
        queries: &[&Query],
        sites: &[Site],
        hooks: Hooks,
    ) -> (BTreeMap<Site, Tensor>, Vec<u32>) {
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
    pub(super) fn truth(
        &self,
        site: Site,
        position: Position,
        head: Option<usize>,
    ) -> impl Iterator<Item = &SiteTruth> {
        let place = Place::of(site, self.model.config().layers);
        self.case.sites.iter().filter(move |row| {
            (row.site.point, row.site.position, row.site.place, row.site.head) == (site.point(), position, place, head)
        })
    }

    // Whether a site is listed as one that decides the answer.
    pub(super) fn carries(&self, site: Site, position: Position, head: Option<usize>) -> bool {
        let place = Place::of(site, self.model.config().layers);
        let wanted = (site.point(), position, place, head);
        let listed = self.case.carriers.iter();
        listed
            .map(|site| (site.point, site.position, site.place, site.head))
            .any(|at| at == wanted)
    }

    // A query that differs in every token, bridge and answer from the one with this index.
    pub(super) fn partner(&self, index: usize) -> Option<&'a Query> {
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
    pub(super) fn changes(&self, pairs: &[(&Query, &Query)], at: &[(Site, Position, Option<usize>)]) -> Vec<bool> {
        let clean: Vec<&Query> = pairs.iter().map(|pair| pair.0).collect();
        let (_, answers) = self.record(&clean, &[], Hooks::none());
        answers
            .iter()
            .zip(self.patched(pairs, at))
            .map(|(&a, b)| a != b)
            .collect()
    }

    // What each clean query is answered once the state of its partner stands at these sites.
    pub(super) fn patched(&self, pairs: &[(&Query, &Query)], at: &[(Site, Position, Option<usize>)]) -> Vec<u32> {
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
    pub(super) fn by_program(
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

    pub(super) fn pairs(&self) -> Vec<(&'a Query, &'a Query)> {
        let all = self.queries.iter().enumerate();
        all.filter_map(|(i, &query)| Some((query, self.partner(i)?)))
            .take(24)
            .collect()
    }
}

// Every circuit on two graphs, one of them rotated.
pub(super) fn each_case(test: impl Fn(&Circuit, &Bench)) {
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
