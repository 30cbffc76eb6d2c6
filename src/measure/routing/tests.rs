//! Patterns and values of an untrained model, put together anew.

use super::*;
use crate::measure::rows_of;
use crate::measure::tests::untrained_checkpoint;
use crate::model::{Hooks, Model, Pass, Sharing};

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

fn put(carried: Carried, from_iteration: usize, head: Option<usize>) -> Put {
    Put {
        carried,
        giver: Giver::Source,
        from_iteration,
        head,
        from_head: head,
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
        assert!(is_own || put.head == put.from_head);
    }
}
