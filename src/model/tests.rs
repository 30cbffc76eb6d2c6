//! The kernels against the composed model, shared prefixes against unshared ones, and hooks: each on every backend that the
//! machine has.

use candle_core::{DType, Device, Tensor, Var};

use super::config::tests::tiny;
use super::*;
use crate::kernels::on_every_backend;
use crate::random::Stream;

const VOCAB: usize = 11;

fn weights(config: &ModelConfig, seed: u64) -> Weights {
    // Larger than at the start of training, so that no term vanishes in the comparison.
    let mut index = 0;
    Weights::init(config, VOCAB, seed, &Device::Cpu)
        .unwrap()
        .map(|leaf| {
            index += 1;
            let mut stream = Stream::new(seed, "test noise", index);
            let count = leaf.tensor.elem_count();
            let noise: Vec<f32> = (0..count).map(|_| 0.3 * stream.normal() as f32).collect();
            Ok((&leaf.tensor + Tensor::from_vec(noise, leaf.tensor.shape(), &Device::Cpu)?)?)
        })
        .unwrap()
}

// A model of these weights as variables, leaf by leaf.
fn trainable(config: &ModelConfig, seed: u64, backend: Backend) -> (Model, Vec<(Leaf, Var)>) {
    let mut vars = Vec::new();
    let weights = weights(config, seed)
        .map(|leaf| {
            let var = Var::from_tensor(&leaf.tensor)?;
            vars.push((leaf.clone(), var.clone()));
            Ok(var.as_tensor().clone())
        })
        .unwrap();
    (Model::new(config.clone(), VOCAB, &weights).unwrap().on(backend), vars)
}

// A model of these weights that is not to be trained.
fn untrained(config: &ModelConfig, seed: u64, backend: Backend) -> Model {
    let weights = weights(config, seed);
    Model::new(config.clone(), VOCAB, &weights).unwrap().on(backend)
}

fn queries(seed: u64) -> Vec<Vec<u32>> {
    let mut stream = Stream::new(seed, "test queries", 0);
    (0..12)
        .map(|_| {
            let length = 2 + stream.below(3);
            (0..length)
                .map(|i| 1 + stream.below(if i == 0 { 2 } else { 4 }) as u32)
                .collect()
        })
        .collect()
}

// On a backend, or composed without one.
fn loss_and_gradients(
    config: &ModelConfig,
    seed: u64,
    sharing: Sharing,
    backend: Option<Backend>,
) -> Vec<(String, Tensor)> {
    let (model, vars) = trainable(config, seed, backend.unwrap_or_default());
    let model = if backend.is_none() { model.composed() } else { model };
    let queries = queries(seed);
    let rows = model.pack(queries.iter().map(Vec::as_slice), sharing).unwrap();
    let mut pass = Pass {
        gradients: true,
        ..Pass::default()
    };
    let logits = model.forward(&rows, config.iterations, &mut pass).unwrap();
    let targets: Vec<u32> = (0..queries.len()).map(|i| (i % VOCAB) as u32).collect();
    let loss = model.cross_entropy(&logits, &targets, 0.1).unwrap();
    let gradients = loss.backward().unwrap();
    let mut all = vec![("loss".to_owned(), loss)];
    for (leaf, var) in vars {
        let gradient = gradients.get(&var).expect("every weight has a gradient");
        let names = leaf.slots.iter().map(|slot| slot.name.clone());
        all.extend(names.zip(leaf.views(gradient).unwrap()));
    }
    all
}

/// The largest difference relative to the largest expected number.
fn relative_difference(got: &Tensor, expected: &Tensor) -> f32 {
    let numbers = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (got, expected) = (numbers(got), numbers(expected));
    assert_eq!(got.len(), expected.len());
    let scale = expected.iter().fold(1e-6_f32, |most, x| most.max(x.abs()));
    got.iter()
        .zip(&expected)
        .map(|(a, b)| (a - b).abs() / scale)
        .fold(0.0, f32::max)
}

fn assert_same(got: &[(String, Tensor)], expected: &[(String, Tensor)]) {
    for ((name, got), (_, expected)) in got.iter().zip(expected) {
        let difference = relative_difference(got, expected);
        assert!(difference < 1e-4, "{name} differs by {difference}");
    }
}

fn shapes() -> [ModelConfig; 6] {
    [
        tiny(),
        ModelConfig {
            layers: 1,
            iterations: 4,
            d_model: 36,
            heads: 3,
            positions: Positions::None,
            ..tiny()
        },
        ModelConfig {
            d_model: 64,
            positions: Positions::Sinusoidal,
            tied: false,
            ..tiny()
        },
        ModelConfig {
            readout: Readout::LastColumn,
            columns: Some(4),
            ..tiny()
        },
        ModelConfig {
            injection: true,
            ..tiny()
        },
        ModelConfig {
            layers: 1,
            injection: true,
            positions: Positions::None,
            ..tiny()
        },
    ]
}

#[test]
fn the_kernels_give_the_loss_and_gradients_of_the_composed_model() {
    let mut enters_by_distinct = Vec::new();
    for (seed, config) in shapes().iter().enumerate() {
        for sharing in [Sharing::Prefixes, Sharing::Nothing] {
            let queries = queries(seed as u64);
            let rows = Rows::pack(queries.iter().map(Vec::as_slice), config, VOCAB, sharing).unwrap();
            let distinct = rows.distinct_embeddings(config.positions != Positions::None);
            enters_by_distinct.push(distinct.is_some());
            let expected = loss_and_gradients(config, seed as u64, sharing, None);
            on_every_backend(|backend| {
                assert_same(
                    &loss_and_gradients(config, seed as u64, sharing, Some(backend)),
                    &expected,
                );
            });
        }
    }
    // Batches enter the loop both ways: row by row, and by their distinct embeddings.
    assert!(enters_by_distinct.contains(&true) && enters_by_distinct.contains(&false));
}

#[test]
fn shared_prefixes_give_the_loss_and_gradients_of_unshared_rows() {
    for (seed, config) in shapes().iter().enumerate() {
        on_every_backend(|backend| {
            let of = |sharing| loss_and_gradients(config, seed as u64, sharing, Some(backend));
            assert_same(&of(Sharing::Prefixes), &of(Sharing::Nothing));
        });
    }
}

// A batch of so many queries, which is cut into pieces: loss and gradients on so many threads, of the model that `change`
// makes.
fn on_threads(backend: Backend, threads: usize, count: usize, change: fn(Model) -> Model) -> Vec<Vec<f32>> {
    const HEADS: u32 = 9;
    let config = ModelConfig {
        d_model: 64,
        heads: 4,
        ..tiny()
    };
    let step = || {
        let mut stream = Stream::new(3, "test batch", 0);
        let mut token = |count: u32| 1 + stream.below(count as usize) as u32;
        let queries: Vec<[u32; 3]> = (0..count).map(|_| [token(HEADS), token(10), token(10)]).collect();
        let (model, vars) = trainable(&config, 4, backend);
        let model = change(model);
        let rows = model.pack(queries.iter().map(|q| &q[..]), Sharing::Nothing).unwrap();
        let mut pass = Pass {
            gradients: true,
            ..Pass::default()
        };
        let logits = model.forward(&rows, 3, &mut pass).unwrap();
        let targets: Vec<u32> = queries.iter().map(|query| query[0]).collect();
        let loss = model.cross_entropy(&logits, &targets, 0.1).unwrap();
        let gradients = loss.backward().unwrap();
        let all = vars.iter().map(|(_, var)| gradients.get(var).unwrap()).chain([&loss]);
        all.map(|x| x.flatten_all().unwrap().to_vec1().unwrap()).collect()
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(step)
}

#[test]
fn loss_and_gradients_do_not_depend_on_the_number_of_threads() {
    // Small pieces, whose gradients are one product, and large ones.
    for count in [100, 300] {
        on_every_backend(|backend| {
            let alone = on_threads(backend, 1, count, |model| model);
            assert_eq!(alone, on_threads(backend, 2, count, |model| model));
            assert_eq!(alone, on_threads(backend, 3, count, |model| model));
        });
    }
}

#[test]
fn operands_of_one_layer_at_a_time_give_the_bits_of_all_at_once() {
    on_every_backend(|backend| {
        let all_at_once = on_threads(backend, 2, 300, |model| model);
        assert_eq!(on_threads(backend, 1, 300, Model::one_layer_at_a_time), all_at_once);
        assert_eq!(on_threads(backend, 2, 300, Model::one_layer_at_a_time), all_at_once);
    });
}

#[test]
fn a_backward_pass_is_right_after_another_forward_pass_has_used_the_buffers() {
    on_every_backend(|backend| {
        let (model, vars) = trainable(&tiny(), 2, backend);
        let (_, block) = vars.iter().find(|(leaf, _)| leaf.name == "blocks").expect("one block");
        let pack = |tokens: &[u32]| model.pack([tokens], Sharing::Prefixes).unwrap();
        let loss = |rows: &Rows| {
            let mut pass = Pass {
                gradients: true,
                ..Pass::default()
            };
            model
                .cross_entropy(&model.forward(rows, 3, &mut pass).unwrap(), &[2], 0.0)
                .unwrap()
        };
        let gradient = |loss: &Tensor| loss.backward().unwrap().get(block).unwrap().clone();
        let expected = gradient(&loss(&pack(&[1, 5, 6])));
        let late = loss(&pack(&[1, 5, 6]));
        loss(&pack(&[2, 7]));
        assert_eq!(relative_difference(&gradient(&late), &expected), 0.0);
        // A backward pass uses the buffers too.
        assert_eq!(relative_difference(&gradient(&late), &expected), 0.0);
    });
}

#[test]
fn gradients_that_the_model_collects_are_those_that_candle_gives() {
    on_every_backend(|backend| {
        for tied in [true, false] {
            let (model, vars) = trainable(&ModelConfig { tied, ..tiny() }, 4, backend);
            let loss = |tokens: [&[u32]; 2]| {
                let rows = model.pack(tokens, Sharing::Prefixes).unwrap();
                let mut pass = Pass {
                    gradients: true,
                    ..Pass::default()
                };
                model
                    .cross_entropy(&model.forward(&rows, 3, &mut pass).unwrap(), &[2, 3], 0.0)
                    .unwrap()
            };
            let loss_of = |passes: usize| match passes {
                1 => loss([&[1, 5, 6], &[1, 5]]),
                _ => (loss([&[1, 5, 6], &[1, 5]]) + loss([&[2, 7], &[1, 8, 6]])).unwrap(),
            };
            let numbers = |gradients: &candle_core::backprop::GradStore| -> Vec<Vec<f32>> {
                let of = |(_, var): &(Leaf, Var)| gradients.get(var).unwrap().flatten_all().unwrap().to_vec1().unwrap();
                vars.iter().map(of).collect()
            };
            // Twice, since the second one finds a buffer in use; and for a loss of two passes, whose gradients add up.
            for passes in [1, 2, 2] {
                let expected = numbers(&loss_of(passes).backward().unwrap());
                let got = numbers(&model.backward(&loss_of(passes)).unwrap());
                for (got, expected) in got.iter().zip(&expected) {
                    let scale = expected.iter().fold(1e-6_f32, |most, x| most.max(x.abs()));
                    assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6 * scale));
                }
            }
        }
    });
}

fn forward(model: &Model, rows: &Rows, hooks: Hooks) -> (Tensor, Hooks) {
    let mut pass = Pass {
        hooks,
        ..Pass::default()
    };
    let logits = model.forward(rows, model.config().iterations, &mut pass).unwrap();
    (logits, pass.hooks)
}

#[test]
fn replacing_a_state_by_itself_changes_nothing_at_any_point() {
    on_every_backend(|backend| {
        use Point::{AttnOut, AttnPattern, Embed, Final, Logits, MlpOut, MlpPost, ResidMid, ResidPost, ResidPre, Z};
        let config = tiny();
        let model = untrained(&config, 5, backend);
        let queries = queries(5);
        let rows = model.pack(queries.iter().map(Vec::as_slice), Sharing::Nothing).unwrap();
        let (expected, _) = forward(&model, &rows, Hooks::none());
        for point in [
            Embed,
            ResidPre,
            AttnPattern,
            Z,
            AttnOut,
            ResidMid,
            MlpPost,
            MlpOut,
            ResidPost,
            Final,
            Logits,
        ] {
            for site in Site::all(point, config.iterations, config.layers) {
                let (_, hooks) = forward(&model, &rows, Hooks::none().record(site));
                let state = hooks.recorded(site).unwrap();
                let all = (0..state.dims()[0] as u32).collect();
                let (logits, _) = forward(&model, &rows, Hooks::none().replace(site, all, state));
                let difference = relative_difference(&logits, &expected);
                assert!(difference < 1e-5, "{site}: {difference}");
            }
        }
    });
}

#[test]
fn a_hook_is_addressed_by_its_iteration() {
    on_every_backend(|backend| {
        let config = tiny();
        let model = untrained(&config, 6, backend);
        let rows = model.pack([&[1_u32, 3, 4][..]], Sharing::Nothing).unwrap();
        let sites = Site::all(Point::ResidPost, config.iterations, config.layers);
        let hooks = sites.iter().fold(Hooks::none(), |hooks, &site| hooks.record(site));
        let (logits, hooks) = forward(&model, &rows, hooks);
        let states: Vec<Tensor> = sites.iter().map(|&site| hooks.recorded(site).unwrap()).collect();
        assert_eq!(states.len(), 6);
        for pair in states.windows(2) {
            assert!(
                relative_difference(&pair[0], &pair[1]) > 1e-3,
                "the turns of a layer differ"
            );
        }
        let lens = model.unembed(&states[5].narrow(0, 2, 1).unwrap()).unwrap();
        assert!(
            relative_difference(&lens, &logits) < 1e-5,
            "the lens at the last layer is the output"
        );
    });
}

#[test]
fn only_the_rows_that_are_asked_for_are_kept_and_replaced() {
    on_every_backend(|backend| {
        let config = tiny();
        let model = untrained(&config, 7, backend);
        let rows = model.pack([&[1_u32, 3, 4][..], &[2, 3, 4]], Sharing::Nothing).unwrap();
        let site = Site::new(Point::ResidPost, 0, 1);
        let (clean, hooks) = forward(&model, &rows, Hooks::none().record_rows(site, vec![1]));
        let kept = hooks.recorded(site).unwrap();
        assert_eq!(kept.dims(), [1, 8]);
        let (patched, _) = forward(&model, &rows, Hooks::none().replace(site, vec![4], kept));
        let row = |x: &Tensor, i| x.narrow(0, i, 1).unwrap();
        assert!(relative_difference(&row(&patched, 0), &row(&clean, 0)) == 0.0);
        assert!(relative_difference(&row(&patched, 1), &row(&clean, 1)) > 1e-3);
    });
}

#[test]
fn a_replacement_in_a_batch_with_shared_rows_or_of_a_wrong_shape_is_refused() {
    on_every_backend(|backend| {
        let config = tiny();
        let model = untrained(&config, 8, backend);
        let value = |d| Tensor::zeros((1, d), DType::F32, &Device::Cpu).unwrap();
        let refused = |sharing, d| {
            let rows = model.pack([&[1_u32, 3][..]], sharing).unwrap();
            let mut pass = Pass {
                hooks: Hooks::none().replace(Site::embed(), vec![0], value(d)),
                ..Pass::default()
            };
            model.forward(&rows, 1, &mut pass).unwrap_err().to_string()
        };
        assert!(refused(Sharing::Prefixes, 8).contains("share rows"));
        assert!(refused(Sharing::Nothing, 7).contains("[1, 8] is needed"));
    });
}

#[test]
fn dropout_follows_its_stream_and_is_off_without_one() {
    on_every_backend(|backend| {
        let config = ModelConfig { dropout: 0.3, ..tiny() };
        let model = untrained(&config, 9, backend);
        let rows = model.pack([&[1_u32, 3, 4][..]], Sharing::Nothing).unwrap();
        let run = |seed: Option<u64>| {
            let mut pass = Pass {
                hooks: Hooks::none(),
                dropout: seed.map(|seed| Stream::new(seed, "dropout", 0)),
                gradients: false,
            };
            model.forward(&rows, 3, &mut pass).unwrap()
        };
        assert_eq!(relative_difference(&run(Some(1)), &run(Some(1))), 0.0);
        assert!(relative_difference(&run(Some(1)), &run(Some(2))) > 1e-3);
        assert_eq!(relative_difference(&run(None), &run(None)), 0.0);
    });
}

#[test]
fn packed_weights_of_one_backend_are_never_met_by_another() {
    // A model that has run on each backend and goes on with others, its weights changed meanwhile.
    let logits = |model: &Model| {
        let rows = model
            .pack([&[1_u32, 3, 4][..], &[1, 3], &[2, 5, 6]], Sharing::Prefixes)
            .unwrap();
        model.forward(&rows, 3, &mut Pass::default()).unwrap()
    };
    let loss = |model: &Model| {
        let rows = model.pack([&[1_u32, 3, 4][..]], Sharing::Prefixes).unwrap();
        let mut pass = Pass {
            gradients: true,
            ..Pass::default()
        };
        let logits = model.forward(&rows, 3, &mut pass).unwrap();
        model.cross_entropy(&logits, &[2], 0.0).unwrap()
    };
    for before in Backend::available() {
        on_every_backend(|backend| {
            let (mut used, vars) = trainable(&tiny(), 3, before);
            logits(&used);
            loss(&used).backward().unwrap();
            for (_, var) in &vars {
                var.set(&(var.as_tensor() * 0.5).unwrap()).unwrap();
            }
            used = used.on(backend);
            let fresh = || {
                let (fresh, new_vars) = trainable(&tiny(), 3, backend);
                for ((_, new), (_, old)) in new_vars.iter().zip(&vars) {
                    new.set(old.as_tensor()).unwrap();
                }
                (fresh, new_vars)
            };
            assert_eq!(
                relative_difference(&logits(&used), &logits(&fresh().0)),
                0.0,
                "{before}, then {backend}"
            );
            let (model, new_vars) = fresh();
            let (got, expected) = (loss(&used).backward().unwrap(), loss(&model).backward().unwrap());
            for ((_, old), (_, new)) in vars.iter().zip(&new_vars) {
                let (got, expected) = (got.get(old).unwrap(), expected.get(new).unwrap());
                assert_eq!(relative_difference(got, expected), 0.0, "{before}, then {backend}");
            }
        });
    }
}
