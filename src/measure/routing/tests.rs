//! Patterns and values of an untrained model, put together anew.

use candle_core::{Device, Tensor};

use super::*;
use crate::measure::rows_of;
use crate::measure::tests::untrained_checkpoint;
use crate::model::{Hooks, Model, ModelConfig, Pass, Sharing, Weights};

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

fn put(carried: Carried, from_iteration: usize, head: Option<usize>) -> Given {
    Given {
        carried,
        giver: Giver::Source,
        from_iteration,
        attention_head: head,
        from_attention_head: head,
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
                    put(Carried::Both, own, None),
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
                        put(Carried::Routing, own, head),
                        site,
                        COLUMN,
                        [&of_base[query], &of_source[query]],
                    )
                });
                let swapped = edited(model, &base, |query| {
                    edit(
                        put(Carried::Content, own, head),
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
            let put = put(carried, from_iteration, head);
            edit(put, site, COLUMN, [&of_base[query], &of_base[query]])
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
    let puts = puts(&checkpoint, ITERATIONS);
    // Eight places; of the source four iterations and of the base three others, all heads or either; either head from the other
    // one at the same iteration; each with pattern, values and both.
    assert_eq!(puts.len(), 8 * 3 * (7 * 3 + 2));
    for (index, (put, site)) in puts.iter().enumerate() {
        assert!(!puts[..index].contains(&(*put, *site)), "{put:?}");
        let is_own = put.from_iteration == site.iteration() + 1;
        assert!(!is_own || put.giver == Giver::Source);
        assert!(is_own || put.attention_head == put.from_attention_head);
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
    let answer = |query: &[u32], put: Option<Given>| {
        let edits = put.map(|put| edit(put, site, column, [&of_base, &of_source]));
        let branch = Branch {
            query: 0,
            edits: edits.into_iter().collect(),
        };
        crate::train::top1(&model.intervene(&[query], &[branch], 1).unwrap().edited).unwrap()[0]
    };
    assert_eq!((answer(base, None), answer(source, None)), (1, 5));
    let found = Carried::ALL.map(|carried| answer(base, Some(put(carried, 1, None))));
    // It looks where the source looks: at the base's first relation. It gets what the source has: at the head.
    assert_eq!(found, [4, 2, 5]);
}
