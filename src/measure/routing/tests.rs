//! Patterns and values of an untrained model, put together anew.

use candle_core::{Device, Tensor};

use super::mix::{Gathered, gather};
use super::sweep::{edit, patches};
use super::*;
use crate::measure::rows_of;
use crate::measure::tests::{sampling, untrained_checkpoint};
use crate::model::{Branch, Edit, Hooks, Model, ModelConfig, Pass, Point, Sharing, Weights, Write};

const COLUMN: usize = 3;
const ITERATIONS: usize = 4;

// Chains of three hops.
fn queries(checkpoint: &LoadedCheckpoint, first: usize) -> Vec<Vec<u32>> {
    let queries = checkpoint.data.split("3hop_test").unwrap();
    queries[first..first + 6]
        .iter()
        .map(|query| query.tokens.to_vec())
        .collect()
}

fn slices(queries: &[Vec<u32>]) -> Vec<&[u32]> {
    queries.iter().map(Vec::as_slice).collect()
}

// z as the model records it: [query][d_model].
fn z(model: &Model, queries: &[&[u32]], site: Site) -> Vec<Vec<f32>> {
    let rows = model.pack(queries.iter().copied(), Sharing::Nothing).unwrap();
    let site = Site::new(Point::Z, site.iteration(), site.layer());
    let read = (0..queries.len()).map(|query| rows.of_query(query)[COLUMN]).collect();
    let mut pass = Pass {
        hooks: Hooks::none().record_rows(site, read),
        ..Pass::default()
    };
    model.forward(&rows, ITERATIONS, &mut pass).unwrap();
    rows_of(&pass.hooks.recorded(site).unwrap().reshape((queries.len(), ())).unwrap()).unwrap()
}

fn is_near(a: &[Vec<f32>], b: &[Vec<f32>]) -> bool {
    let scale = b.iter().flatten().fold(1e-6_f32, |max, x| max.max(x.abs()));
    a.iter()
        .flatten()
        .zip(b.iter().flatten())
        .all(|(a, b)| (a - b).abs() < 1e-5 * scale)
}

fn patch(carried: Carried, from_iteration: usize, attention_head: Option<usize>) -> AttentionPatch {
    AttentionPatch {
        carried,
        donor: Donor::Source,
        from_iteration,
        attention_head,
        crossed: false,
    }
}

// The logits of the base queries, each with an edit.
fn edited(model: &Model, base: &[&[u32]], edit: impl Fn(usize) -> Edit) -> Vec<Vec<f32>> {
    let branch = |query| Branch {
        query,
        edits: vec![edit(query)],
    };
    let branches: Vec<Branch> = (0..base.len()).map(branch).collect();
    rows_of(&model.intervene(base, &branches, ITERATIONS).unwrap().edited).unwrap()
}

#[test]
fn pattern_and_values_together_are_what_patching_z_is() {
    for injection in [false, true] {
        let checkpoint = untrained_checkpoint(injection);
        let model = &checkpoint.model;
        let (source, base) = (queries(&checkpoint, 0), queries(&checkpoint, 6));
        let (source, base) = (slices(&source), slices(&base));
        let of_source = gather(model, &source, COLUMN, ITERATIONS).unwrap();
        let of_base = gather(model, &base, COLUMN, ITERATIONS).unwrap();
        for site in Site::all(Point::AttnPattern, ITERATIONS, 2) {
            let z = z(model, &source, site);
            let side_by_side = |of: &Gathered| -> Vec<f32> {
                (0..2)
                    .flat_map(|head| Gathered::z(of.pattern(site, head), of.values(site, head)))
                    .collect()
            };
            let mixed: Vec<Vec<f32>> = of_source.iter().map(side_by_side).collect();
            assert!(is_near(&mixed, &z), "{site}: {mixed:?}, not {z:?}");
            let own = site.iteration() + 1;
            let both = edited(model, &base, |query| {
                edit(
                    patch(Carried::Both, own, None),
                    site,
                    COLUMN,
                    [&of_base[query], &of_source[query]],
                )
            });
            let patched = edited(model, &base, |query| Edit {
                site: Site::new(Point::Z, site.iteration(), site.layer()),
                column: COLUMN,
                head: None,
                write: Write::Set(z[query].clone()),
            });
            assert!(is_near(&both, &patched), "{site}");
            // A pattern that is put in is as if z were made of it and of the base's values.
            for head in [None, Some(2)] {
                let routing = edited(model, &base, |query| {
                    edit(
                        patch(Carried::Routing, own, head),
                        site,
                        COLUMN,
                        [&of_base[query], &of_source[query]],
                    )
                });
                let swapped = edited(model, &base, |query| {
                    edit(
                        patch(Carried::Content, own, head),
                        site,
                        COLUMN,
                        [&of_source[query], &of_base[query]],
                    )
                });
                assert!(is_near(&routing, &swapped), "{site}");
            }
        }
    }
}

#[test]
fn what_a_query_has_of_its_own_at_a_place_changes_nothing_there_and_another_iterations_does() {
    let checkpoint = untrained_checkpoint(false);
    let model = &checkpoint.model;
    let base = queries(&checkpoint, 0);
    let base = slices(&base);
    let of_base = gather(model, &base, COLUMN, ITERATIONS).unwrap();
    let plain = rows_of(&model.intervene(&base, &[], ITERATIONS).unwrap().base).unwrap();
    let site = Site::new(Point::AttnPattern, 2, 1);
    let found = |carried, head, from_iteration| {
        edited(model, &base, |query| {
            let patch = patch(carried, from_iteration, head);
            edit(patch, site, COLUMN, [&of_base[query], &of_base[query]])
        })
    };
    for head in [None, Some(1), Some(2)] {
        for carried in Carried::ALL {
            assert!(is_near(&found(carried, head, 3), &plain), "{carried:?} {head:?}");
        }
        for from_iteration in [1, 2, 4] {
            for carried in [Carried::Content, Carried::Both] {
                assert!(
                    !is_near(&found(carried, head, from_iteration), &plain),
                    "{head:?} {from_iteration}"
                );
            }
        }
    }
    // One of the heads looks at the same in every iteration.
    assert!(!is_near(&found(Carried::Routing, None, 1), &plain));
}

#[test]
fn every_iteration_and_head_has_its_controls() {
    let checkpoint = untrained_checkpoint(false);
    let patches = [Donor::Source, Donor::Own].map(|donor| patches(&checkpoint, ITERATIONS, donor));
    // Eight places; of the source four iterations and of the query itself three others, all heads or either; of the source at the
    // same iteration crossed too; each with pattern, values and both.
    assert_eq!(patches.each_ref().map(Vec::len), [8 * 3 * (4 * 3 + 3), 8 * 3 * 3 * 3]);
    let patches = patches.concat();
    for (index, (patch, site)) in patches.iter().enumerate() {
        assert!(!patches[..index].contains(&(*patch, *site)), "{patch:?}");
        let is_same = patch.from_iteration == site.iteration() + 1;
        assert!(!is_same || patch.donor == Donor::Source);
        assert!(is_same || !patch.crossed);
    }
}

#[test]
fn crossed_heads_get_what_the_next_head_has() {
    let checkpoint = untrained_checkpoint(false);
    let (source, base) = (queries(&checkpoint, 0), queries(&checkpoint, 6));
    let gathered = |queries: &[Vec<u32>]| gather(&checkpoint.model, &slices(queries), COLUMN, ITERATIONS).unwrap();
    let (of_source, of_base) = (gathered(&source), gathered(&base));
    let site = Site::new(Point::AttnPattern, 1, 1);
    let both = edit(
        AttentionPatch {
            crossed: true,
            ..patch(Carried::Both, 2, None)
        },
        site,
        COLUMN,
        [&of_base[0], &of_source[0]],
    );
    let z = |head| Gathered::z(of_source[0].pattern(site, head), of_source[0].values(site, head));
    let Write::Set(numbers) = both.write else {
        panic!("numbers are set")
    };
    assert_eq!(numbers, [z(1), z(0)].concat());
}

fn settings(direction: Direction) -> Routing {
    let sampling = sampling(
        Split::depth_test(3),
        12,
        crate::measure::Iterations::exactly(ITERATIONS),
    );
    Routing {
        pairing: Pairing {
            splits: sampling.splits,
            corrupt: Corrupt::Prefix,
            direction,
            pairs: sampling.queries,
            correct_only: false,
            iterations: sampling.iterations,
            seed: sampling.seed,
        },
        position: Position::Readout,
    }
}

#[test]
fn between_iterations_it_is_the_clean_query_that_is_patched_whichever_way_states_go() {
    let of_direction = |direction| {
        let report = settings(direction).run(&[untrained_checkpoint(false)]).unwrap();
        let own = report.rows.into_iter().filter(|row| row.patch.donor == Donor::Own);
        own.collect::<Vec<RoutingRow>>()
    };
    let (denoise, noise) = (of_direction(Direction::Denoise), of_direction(Direction::Noise));
    assert_eq!(denoise.len(), 8 * 3 * 3 * 3);
    for (denoise, noise) in denoise.iter().zip(&noise) {
        assert_eq!(
            (denoise.patch, denoise.place, denoise.keeps),
            (noise.patch, noise.place, noise.keeps)
        );
        assert_eq!(
            (denoise.direction, denoise.base_accuracy),
            (Direction::Noise, denoise.effect.clean_accuracy)
        );
        assert!(
            (denoise.effect.kl - noise.effect.kl).abs() < 1e-4,
            "{denoise:?}\n{noise:?}"
        );
    }
}

#[test]
fn a_smaller_budget_gives_the_same_numbers() {
    let checkpoint = [untrained_checkpoint(false)];
    let of_budget = |max_bytes| {
        let extras = crate::measure::Extras {
            max_bytes,
            ..crate::measure::Extras::default()
        };
        let measured = settings(Direction::Denoise).run_with(extras, &checkpoint).unwrap();
        measured.report.rows
    };
    let (all, few) = (of_budget(1 << 30), of_budget(1));
    assert_eq!(all.len(), few.len());
    for (a, b) in all.iter().zip(&few) {
        assert_eq!(
            (a.patch, a.place, a.keeps, a.effect.flips),
            (b.patch, b.place, b.keeps, b.effect.flips)
        );
        assert!((a.effect.kl - b.effect.kl).abs() < 1e-4, "{a:?}\n{b:?}");
    }
}

// A model of one layer that answers with the token it looks at: r_2 looks at the head, r_3 at r_0 or r_1. Tokens: 0 pads, three
// entities, four relations. What is looked at lies on axes 0 to 7, by token; 8: is an entity; 9: is r_0 or r_1.
fn model_that_looks() -> Model {
    let text = r#"{"layers":1,"iterations":1,"d_model":16,"heads":2,"positions":"none","init":12.0,"embedding_std":1.0,
        "injection":false}"#;
    let config: ModelConfig = serde_json::from_str(text).unwrap();
    let look = |head: usize| {
        [
            (6, head, 50.0),
            (7, head + 1, 50.0),
            (8, 16 + head, 1.0),
            (9, 17 + head, 1.0),
        ]
    };
    // Row, column and value of what is not zero; queries, keys and values stand side by side, each of two heads of width 8.
    let entries = |name: &str| -> Vec<(usize, usize, f32)> {
        let tokens = 1..8;
        match name {
            "token_embedding.weight" => (tokens.map(|token| (token, token, 1.0)))
                .chain((1..4).map(|entity| (entity, 8, 1.0)))
                .chain([(4, 9, 1.0), (5, 9, 1.0)])
                .collect(),
            "blocks.0.attn.c_attn.weight" => (tokens.map(|token| (token, 32 + token, 1.0)))
                .chain([0, 8].into_iter().flat_map(look))
                .collect(),
            "blocks.0.attn.c_proj.weight" => tokens.map(|token| (token, token, 20.0)).collect(),
            _ => Vec::new(),
        }
    };
    let weights = Weights::gather(&config, 8, |name| {
        let slot = config.slots(8).into_iter().find(|slot| slot.name == name).unwrap();
        let is_norm = name.contains("ln_") && name.ends_with("weight");
        let mut values = vec![if is_norm { 1.0_f32 } else { 0.0 }; slot.count()];
        for (row, column, value) in entries(name) {
            values[row * slot.shape[1] + column] = value;
        }
        Ok(Some(Tensor::from_vec(values, slot.shape.as_slice(), &Device::Cpu)?))
    });
    Model::new(config, 8, &weights.unwrap()).unwrap()
}

#[test]
fn pattern_and_values_each_predict_an_answer_of_their_own() {
    let model = model_that_looks();
    let column = 2;
    // (e_0, r_0, r_2) is answered with its head, (e_1, r_1, r_3) with its first relation.
    let (base, source): (&[u32], &[u32]) = (&[1, 4, 6], &[2, 5, 7]);
    let gathered = |query| gather(&model, &[query], column, 1).unwrap().remove(0);
    let [of_base, of_source] = [base, source].map(gathered);
    let site = Site::new(Point::AttnPattern, 0, 0);
    let answer = |query: &[u32], patch: Option<AttentionPatch>| {
        let edits = patch.map(|patch| edit(patch, site, column, [&of_base, &of_source]));
        let branch = Branch {
            query: 0,
            edits: edits.into_iter().collect(),
        };
        crate::train::top1(&model.intervene(&[query], &[branch], 1).unwrap().edited).unwrap()[0]
    };
    assert_eq!((answer(base, None), answer(source, None)), (1, 5));
    let found = Carried::ALL.map(|carried| answer(base, Some(patch(carried, 1, None))));
    // It looks where the source looks: at the base's first relation. It gets what the source has: at the head.
    assert_eq!(found, [4, 2, 5]);
}
