//! Buffers, threads and packed weights do not change the results.

use super::*;

// The loss and gradients on `threads` threads of a batch of `count` queries, which is cut into chunks, for the model
// that `change` makes.
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
    // Small chunks, several of which are one GEMM, and large ones.
    for count in [100, 300] {
        on_every_backend(|backend| {
            let alone = on_threads(backend, 1, count, |model| model);
            assert_eq!(alone, on_threads(backend, 2, count, |model| model));
            assert_eq!(alone, on_threads(backend, 3, count, |model| model));
        });
    }
}

#[test]
fn packing_one_layer_at_a_time_gives_the_bits_of_all_at_once() {
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
            // Twice, because the second time the buffers exist; and for a loss of two passes, whose gradients are
            // summed.
            for passes in [1, 2, 2] {
                let expected = numbers(&loss_of(passes).backward().unwrap());
                let got = numbers(&model.backward(&loss_of(passes)).unwrap());
                for (got, expected) in got.iter().zip(&expected) {
                    let scale = expected.iter().fold(1e-6_f32, |max, x| max.max(x.abs()));
                    assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6 * scale));
                }
            }
        }
    });
}

#[test]
fn packed_weights_of_one_backend_are_never_used_by_another() {
    // A model runs on one backend, its weights change, and it continues on another one.
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
