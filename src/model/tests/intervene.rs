//! Branches of edited queries: as one batch, they are what whole passes with hooks say.

use std::sync::Arc;

use clap::ValueEnum;

use super::*;

const TOLERANCE: f32 = 1e-5;

fn configs() -> [ModelConfig; 4] {
    let last_column = ModelConfig {
        readout: Readout::LastColumn,
        columns: Some(5),
        ..tiny()
    };
    let injection = ModelConfig {
        injection: true,
        ..tiny()
    };
    let one_layer = ModelConfig {
        layers: 1,
        positions: Positions::None,
        ..tiny()
    };
    [tiny(), last_column, injection, one_layer]
}

fn states_of_loop(config: &ModelConfig) -> Vec<Site> {
    let points = Point::value_variants().iter();
    let states = points.filter(|point| point.in_block() || **point == Point::Embed);
    states
        .flat_map(|&point| Site::all(point, config.iterations, config.layers))
        .collect()
}

fn slices(queries: &[Vec<u32>]) -> Vec<&[u32]> {
    queries.iter().map(Vec::as_slice).collect()
}

// The number of columns of each query, and of the ancestors of each.
fn ancestors(model: &Model, queries: &[Vec<u32>]) -> Vec<Vec<usize>> {
    let rows = model.pack(slices(queries), Sharing::Nothing).unwrap();
    let of_query = |query| {
        rows.of_query(query)
            .iter()
            .map(|&row| rows.ancestors(row as usize).len())
    };
    (0..queries.len()).map(|query| of_query(query).collect()).collect()
}

// Either numbers or a function.
fn write(config: &ModelConfig, site: Site, head: Option<usize>, ancestors: usize, stream: &mut Stream) -> Write {
    let whole = match site.point() {
        Point::AttnPattern => config.heads * ancestors,
        Point::MlpPost => 4 * config.d_model,
        _ => config.d_model,
    };
    let width = if head.is_some() { whole / config.heads } else { whole };
    if stream.below(2) == 0 {
        Write::Set((0..width).map(|_| stream.normal() as f32).collect())
    } else {
        let (scale, shift) = (stream.uniform() as f32, stream.normal() as f32);
        Write::Apply(Arc::new(move |state: &mut [f32]| {
            assert_eq!(state.len(), width, "the width of a state");
            for x in state {
                *x = scale * *x + shift;
            }
        }))
    }
}

fn assert_same(found: &Intervened, expected: &Intervened, branches: &[Branch], places: &[Cut]) {
    assert!(relative_difference(&found.base, &expected.base) < TOLERANCE);
    let row = |x: &Tensor, index| x.get(index).unwrap();
    for (index, branch) in branches.iter().enumerate() {
        let difference = relative_difference(&row(&found.edited, index), &row(&expected.edited, index));
        assert!(difference < TOLERANCE, "{branch:?}: {difference}");
    }
    for (place, (found, expected)) in places.iter().zip(found.recorded.iter().zip(&expected.recorded)) {
        assert_eq!(found.dims(), expected.dims(), "{place:?}");
        let difference = relative_difference(found, expected);
        assert!(difference < TOLERANCE, "{place:?}: {difference}");
    }
}

// The share of branches whose logits are not those of their query.
fn changed(found: &Intervened, branches: &[Branch]) -> f64 {
    let row = |x: &Tensor, index| x.get(index).unwrap();
    let is_changed = |&(index, branch): &(usize, &Branch)| {
        relative_difference(&row(&found.edited, index), &row(&found.base, branch.query)) > 1e-3
    };
    branches.iter().enumerate().filter(is_changed).count() as f64 / branches.len() as f64
}

#[test]
fn an_edit_at_any_point_column_and_head_is_what_a_whole_pass_says() {
    on_every_backend(|backend| {
        for config in configs() {
            let model = untrained(&config, 11, backend);
            let queries = queries(11)[..3].to_vec();
            let mut stream = Stream::new(11, "writes", 0);
            let mut branches = Vec::new();
            for (query, columns) in ancestors(&model, &queries).iter().enumerate() {
                for (column, &ancestors) in columns.iter().enumerate() {
                    for site in states_of_loop(&config) {
                        let heads = if site.point().has_heads() {
                            vec![None, Some(1)]
                        } else {
                            vec![None]
                        };
                        branches.extend(heads.into_iter().map(|head| {
                            let write = write(&config, site, head, ancestors, &mut stream);
                            let edits = vec![Edit {
                                site,
                                column,
                                head,
                                write,
                            }];
                            Branch { query, edits }
                        }));
                    }
                }
            }
            let found = model
                .intervene(&slices(&queries), &branches, config.iterations)
                .unwrap();
            let reference = untrained(&config, 11, backend).composed();
            let expected = reference
                .intervene(&slices(&queries), &branches, config.iterations)
                .unwrap();
            assert_same(&found, &expected, &branches, &[]);
            assert!(changed(&found, &branches) > 0.5);
            assert!(found.row_layers < expected.row_layers / 2);
        }
    });
}

// Branches with up to six edits anywhere, some of them at the same place.
fn random_branches(config: &ModelConfig, of_queries: &[Vec<usize>], stream: &mut Stream) -> Vec<Branch> {
    let sites = states_of_loop(config);
    let mut branches = Vec::new();
    for _ in 0..60 {
        let query = stream.below(of_queries.len());
        let mut edits: Vec<Edit> = Vec::new();
        for _ in 0..stream.below(7) {
            let (site, column) = match edits.last() {
                Some(edit) if stream.below(4) == 0 => (edit.site, edit.column),
                _ => (sites[stream.below(sites.len())], stream.below(of_queries[query].len())),
            };
            let head = (site.point().has_heads() && stream.below(2) == 0).then(|| stream.below(config.heads));
            let write = write(config, site, head, of_queries[query][column], stream);
            edits.push(Edit {
                site,
                column,
                head,
                write,
            });
        }
        branches.push(Branch { query, edits });
    }
    branches
}

#[test]
fn joint_edits_and_what_arrives_of_them_are_what_a_whole_pass_says() {
    on_every_backend(|backend| {
        for (seed, config) in configs().into_iter().enumerate() {
            let model = untrained(&config, 12, backend);
            let mut stream = Stream::new(seed as u64, "branches", 0);
            let queries = queries(12);
            let branches = random_branches(&config, &ancestors(&model, &queries), &mut stream);
            // The first two columns, which every query has.
            let places: Vec<Cut> = states_of_loop(&config)
                .into_iter()
                .flat_map(|site| (0..2).map(move |column| Cut { site, column }))
                .collect();
            let reference = untrained(&config, 12, backend).composed();
            for places in [&[][..], &places[..], &places[..9]] {
                let run = |model: &Model| {
                    let queries = slices(&queries);
                    model
                        .intervene_recording(&queries, &branches, places, config.iterations)
                        .unwrap()
                };
                assert_same(&run(&model), &run(&reference), &branches, places);
            }
        }
    });
}

#[test]
fn a_write_is_clamped_through_the_remaining_iterations() {
    on_every_backend(|backend| {
        let config = tiny();
        let model = untrained(&config, 13, backend);
        let queries = [vec![1_u32, 3, 4], vec![2, 3]];
        let rows = model.pack(slices(&queries), Sharing::Nothing).unwrap();
        let push = |state: &mut [f32]| state[0] += 3.0;
        let site = |iteration| Site::new(Point::ResidPost, iteration, 0);
        for first in 0..config.iterations {
            let clamped = first..config.iterations;
            let edit = |iteration| Edit::new(site(iteration), 1, Write::Apply(Arc::new(push)));
            let branch = |query| Branch {
                query,
                edits: clamped.clone().map(edit).collect(),
            };
            let found = model
                .intervene(&slices(&queries), &[branch(0), branch(1)], config.iterations)
                .unwrap();
            let both = vec![rows.of_query(0)[1], rows.of_query(1)[1]];
            let hooks = clamped.fold(Hooks::none(), |hooks, iteration| {
                hooks.edit(site(iteration), both.clone(), push)
            });
            let (expected, _) = forward(&model, &rows, hooks);
            assert!(relative_difference(&found.edited, &expected) < TOLERANCE);
            assert!(relative_difference(&found.edited, &found.base) > 1e-3);
        }
    });
}

#[test]
fn setting_the_states_of_another_query_is_an_interchange() {
    on_every_backend(|backend| {
        let config = tiny();
        let model = untrained(&config, 14, backend);
        let [source, base] = [[1_u32, 3, 4], [2, 5, 4]];
        let places: Vec<Cut> = states_of_loop(&config)
            .into_iter()
            .flat_map(|site| (0..3).map(move |column| Cut { site, column }))
            .collect();
        let as_it_is = [Branch {
            query: 0,
            edits: Vec::new(),
        }];
        let of_source = model
            .intervene_recording(&[&source], &as_it_is, &places, config.iterations)
            .unwrap();
        assert_eq!(relative_difference(&of_source.edited, &of_source.base), 0.0);
        let branch = |(place, state): (&Cut, &Tensor)| {
            let numbers: Vec<f32> = state.flatten_all().unwrap().to_vec1().unwrap();
            // Of a pattern, the part of the column's own ancestors.
            let is_used = |i: usize| place.site.point() != Point::AttnPattern || i % 3 <= place.column;
            let used = numbers.iter().enumerate().filter(|&(i, _)| is_used(i)).map(|(_, &x)| x);
            Branch {
                query: 0,
                edits: vec![Edit::new(place.site, place.column, Write::Set(used.collect()))],
            }
        };
        let branches: Vec<Branch> = places.iter().zip(&of_source.recorded).map(branch).collect();
        let found = model.intervene(&[&base], &branches, config.iterations).unwrap();
        let expected = model
            .interchange(&[[&source, &base]], &places, config.iterations)
            .unwrap();
        for (index, patched) in expected.patched.iter().enumerate() {
            let difference = relative_difference(&found.edited.get(index).unwrap(), patched);
            assert!(difference < TOLERANCE, "{:?}: {difference}", places[index]);
        }
    });
}

#[test]
fn parts_that_fit_a_small_memory_give_the_same_results() {
    on_every_backend(|backend| {
        let config = tiny();
        let queries = queries(15);
        for model in [
            untrained(&config, 15, backend),
            untrained(&config, 15, backend).composed(),
        ] {
            let branches = random_branches(
                &config,
                &ancestors(&model, &queries),
                &mut Stream::new(15, "branches", 0),
            );
            let places = [Cut {
                site: Site::new(Point::AttnPattern, 1, 0),
                column: 1,
            }];
            let run = |max_bytes| {
                let budget = Budget {
                    iterations: config.iterations,
                    max_bytes,
                };
                model
                    .intervene_recording(&slices(&queries), &branches, &places, budget)
                    .unwrap()
            };
            let whole = run(Budget::DEFAULT_MAX_BYTES);
            for max_bytes in [0, 100_000] {
                let parts = run(max_bytes);
                assert_same(&parts, &whole, &branches, &places);
                assert!(parts.row_layers >= whole.row_layers);
            }
        }
    });
}

#[test]
fn branches_may_be_none() {
    let config = tiny();
    let place = Cut {
        site: Site::embed(),
        column: 0,
    };
    for model in [
        untrained(&config, 1, Backend::default()),
        untrained(&config, 1, Backend::default()).composed(),
    ] {
        let found = model.intervene_recording(&[&[1, 3]], &[], &[place], 2).unwrap();
        assert_eq!(found.base.dims(), [1, VOCAB]);
        assert_eq!(found.edited.dims(), [0, VOCAB]);
        assert_eq!(found.recorded[0].dims(), [0, config.d_model]);
    }
}

#[test]
fn an_edit_or_a_place_that_does_not_fit_is_refused() {
    let config = tiny();
    let model = untrained(&config, 1, Backend::default());
    let refused = |query, edit: Edit| {
        let branch = Branch {
            query,
            edits: vec![edit],
        };
        let result = model.intervene(&[&[1, 3, 4], &[2, 3]], &[branch], config.iterations);
        let error = result.map(|_| ()).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        error.to_string()
    };
    let zeros = |width| Write::Set(vec![0.0; width]);
    let post = Site::new(Point::ResidPost, 0, 1);
    let pattern = Site::new(Point::AttnPattern, 0, 1);
    let edit = |site, column, write| Edit::new(site, column, write);
    for (site, text) in [
        (Site::new(Point::Logits, 0, 0), "logits at iteration 0 is not a state"),
        (
            Site::new(Point::ResidPost, config.iterations, 0),
            "allowed: iterations 0 to 2 and layers 0 to 1",
        ),
        (
            Site::new(Point::ResidPost, 0, config.layers),
            "allowed: iterations 0 to 2 and layers 0 to 1",
        ),
    ] {
        let error = refused(0, edit(site, 0, zeros(8)));
        assert!(error.contains(text), "{error}");
    }
    let column = refused(1, edit(post, 2, zeros(8)));
    assert!(column.contains("column 2 is outside a query of 2 columns"), "{column}");
    let query = refused(2, edit(post, 0, zeros(8)));
    assert!(query.contains("allowed: 0 to 1"), "{query}");
    let width = refused(0, edit(post, 0, zeros(7)));
    assert!(width.contains("7 numbers; 8 are needed"), "{width}");
    let ancestors = refused(0, edit(pattern, 1, zeros(6)));
    assert!(ancestors.contains("6 numbers; 4 are needed"), "{ancestors}");
    let of_head = |site, head| Edit {
        head: Some(head),
        ..edit(site, 1, zeros(2))
    };
    let head = refused(0, of_head(pattern, 2));
    assert!(head.contains("head 2") && head.contains("allowed: 0 to 1"), "{head}");
    let no_heads = refused(0, of_head(post, 0));
    assert!(no_heads.contains("only z and attn_pattern have heads"), "{no_heads}");
    let branch = Branch {
        query: 1,
        edits: Vec::new(),
    };
    let place = Cut { site: post, column: 2 };
    let place = model.intervene_recording(&[&[1, 3, 4], &[2, 3]], &[branch], &[place], 3);
    assert!(place.is_err());
    assert!(model.intervene(&[], &[], 3).is_err());
    assert!(model.intervene(&[&[1, 3]], &[], 0).is_err());
}
