//! The kernels against the composed model, and shared prefixes against unshared rows.

use super::*;

// The loss and all gradients by the kernels on a backend, or composed without one.
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
    // Both ways into the loop occur: row by row, and by distinct embeddings.
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

#[test]
fn a_model_that_the_kernels_do_not_support_runs_composed() {
    let config = ModelConfig {
        activation: Activation::Relu,
        ..tiny()
    };
    let queries = queries(1);
    let logits = |config: &ModelConfig, change: fn(Model) -> Model| {
        let model = change(untrained(config, 1, Backend::default()));
        let rows = model
            .pack(queries.iter().map(Vec::as_slice), Sharing::Prefixes)
            .unwrap();
        model.forward(&rows, 3, &mut Pass::default()).unwrap()
    };
    let relu = logits(&config, |model| model);
    assert_eq!(relative_difference(&relu, &logits(&config, Model::composed)), 0.0);
    assert!(relative_difference(&relu, &logits(&tiny(), |model| model)) > 1e-2);
}
