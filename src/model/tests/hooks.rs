//! Hooks and dropout.

use clap::ValueEnum;

use super::*;

#[test]
fn replacing_a_state_by_itself_changes_nothing_at_any_point() {
    on_every_backend(|backend| {
        let config = tiny();
        let model = untrained(&config, 5, backend);
        let queries = queries(5);
        let rows = model.pack(queries.iter().map(Vec::as_slice), Sharing::Nothing).unwrap();
        let (expected, _) = forward(&model, &rows, Hooks::none());
        for &point in Point::value_variants() {
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
                "the states of two effective layers differ"
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
