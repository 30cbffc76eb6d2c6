//! Hooks that edit, and gradients at hooked states.

use clap::ValueEnum;

use super::*;

const SITE_TOLERANCE: f32 = 1e-5;

fn all_sites(config: &ModelConfig) -> Vec<Site> {
    let points = Point::value_variants().iter();
    points
        .flat_map(|&point| Site::all(point, config.iterations, config.layers))
        .collect()
}

// The model by kernels and by candle's operations.
fn both(config: &ModelConfig, seed: u64, backend: Backend) -> [Model; 2] {
    [
        untrained(config, seed, backend),
        untrained(config, seed, backend).composed(),
    ]
}

// What an edit of `row` (and of `head`) must make of a recorded state: 0.5 × itself + 0.1, in each number that belongs to an ancestor.
fn edited(state: &Tensor, site: Site, rows: &Rows, row: usize, head: Option<usize>) -> Tensor {
    let mut numbers: Vec<f32> = state.flatten_all().unwrap().to_vec1().unwrap();
    let width = numbers.len() / state.dims()[0];
    let of_head = width / state.dims()[1];
    for (i, number) in numbers[row * width..][..width].iter_mut().enumerate() {
        let is_of_head = head.is_none_or(|head| head == i / of_head);
        let is_padding = site.point() == Point::AttnPattern && i % of_head >= rows.ancestors(row).len();
        if is_of_head && !is_padding {
            *number = 0.5 * *number + 0.1;
        }
    }
    Tensor::from_vec(numbers, state.shape(), &Device::Cpu).unwrap()
}

fn halve(state: &mut [f32]) {
    for x in state {
        *x = 0.5 * *x + 0.1;
    }
}

#[test]
fn an_edit_is_the_replacement_by_what_it_computes_at_every_point() {
    on_every_backend(|backend| {
        let config = tiny();
        for model in both(&config, 5, backend) {
            let queries = queries(5);
            let rows = model.pack(queries.iter().map(Vec::as_slice), Sharing::Nothing).unwrap();
            for site in all_sites(&config) {
                let (_, hooks) = forward(&model, &rows, Hooks::none().record(site));
                let state = hooks.recorded(site).unwrap();
                let heads = if site.point().has_heads() {
                    vec![None, Some(1)]
                } else {
                    vec![None]
                };
                for head in heads {
                    let wanted = edited(&state, site, &rows, 2, head);
                    let all: Vec<u32> = (0..state.dims()[0] as u32).collect();
                    let (expected, _) = forward(&model, &rows, Hooks::none().replace(site, all, wanted.clone()));
                    let hooks = match head {
                        None => Hooks::none().edit(site, vec![2], halve),
                        Some(head) => Hooks::none().edit_head(site, vec![2], head, halve),
                    };
                    let (found, hooks) = forward(&model, &rows, hooks.record(site));
                    let difference = relative_difference(&found, &expected);
                    assert!(difference < SITE_TOLERANCE, "{site}, head {head:?}: {difference}");
                    let recorded = hooks.recorded(site).unwrap();
                    assert!(
                        relative_difference(&recorded, &wanted) < SITE_TOLERANCE,
                        "{site}: the edited state is recorded"
                    );
                }
            }
        }
    });
}

#[test]
fn changes_of_a_site_are_made_in_the_order_in_which_they_are_given() {
    on_every_backend(|backend| {
        let config = tiny();
        for model in both(&config, 6, backend) {
            let rows = model.pack([&[1_u32, 3, 4][..], &[2, 3]], Sharing::Nothing).unwrap();
            for site in [Site::new(Point::ResidMid, 1, 0), Site::embed()] {
                let ones = Tensor::ones((1, config.d_model), DType::F32, &Device::Cpu).unwrap();
                let hooks = Hooks::none()
                    .edit(site, vec![1, 4], |state| state.fill(7.0))
                    .replace(site, vec![1], ones)
                    .edit(site, vec![1], |state| state.iter_mut().for_each(|x| *x += 2.0))
                    .edit(site, vec![1], |state| state.iter_mut().for_each(|x| *x *= 10.0))
                    .record_rows(site, vec![1, 4]);
                let (_, hooks) = forward(&model, &rows, hooks);
                let recorded: Vec<Vec<f32>> = hooks.recorded(site).unwrap().to_vec2().unwrap();
                assert!(recorded[0].iter().all(|&x| x == 30.0) && recorded[1].iter().all(|&x| x == 7.0));
            }
        }
    });
}

#[test]
fn a_head_is_silenced_at_every_iteration_in_one_pass() {
    on_every_backend(|backend| {
        let config = tiny();
        let model = untrained(&config, 7, backend);
        let rows = model.pack([&[1_u32, 3, 4][..], &[2, 3]], Sharing::Nothing).unwrap();
        let sites = Site::all(Point::Z, config.iterations, config.layers);
        let all = || (0..rows.len() as u32).collect::<Vec<_>>();
        let at_once = |model: &Model| {
            let silence = |hooks: Hooks, &site: &Site| hooks.edit_head(site, all(), 1, |z| z.fill(0.0)).record(site);
            forward(model, &rows, sites.iter().fold(Hooks::none(), silence))
        };
        let (found, hooks) = at_once(&model);
        // One site after the other, each replaced by what the pass before recorded there, with zeros for the head.
        let mut expected = Hooks::none();
        for (count, &site) in sites.iter().enumerate() {
            let mut until = Hooks::none().record(site);
            for &before in &sites[..count] {
                until = until.replace(before, all(), hooks.recorded(before).unwrap());
            }
            let z = forward(&model, &rows, until).1.recorded(site).unwrap();
            let kept = z.narrow(1, 0, 1).unwrap();
            let silent = Tensor::cat(&[&kept, &kept.zeros_like().unwrap()], 1).unwrap();
            assert!(relative_difference(&hooks.recorded(site).unwrap(), &silent) < SITE_TOLERANCE);
            expected = expected.replace(site, all(), silent);
        }
        assert!(relative_difference(&found, &forward(&model, &rows, expected).0) < SITE_TOLERANCE);
        assert!(relative_difference(&found, &at_once(&untrained(&config, 7, backend).composed()).0) < SITE_TOLERANCE);
    });
}

#[test]
fn an_edit_that_does_not_fit_is_refused() {
    on_every_backend(|backend| {
        let config = tiny();
        for model in both(&config, 8, backend) {
            let rows = model.pack([&[1_u32, 3][..]], Sharing::Nothing).unwrap();
            let refused = |hooks| {
                forward_within(&model, &rows, 1, hooks)
                    .map(|_| ())
                    .unwrap_err()
                    .to_string()
            };
            let z = Site::new(Point::Z, 0, 0);
            let mid = Site::new(Point::ResidMid, 0, 0);
            let row = refused(Hooks::none().edit(z, vec![2], halve));
            assert!(row.contains("names row 2 of 2"), "{row}");
            let head = refused(Hooks::none().edit_head(z, vec![0], config.heads, halve));
            assert!(head.contains("allowed: 0 to 1"), "{head}");
            let none = refused(Hooks::none().edit_head(mid, vec![0], 0, halve));
            assert!(none.contains("only z and attn_pattern have heads"), "{none}");
            let shared = model.pack([&[1_u32, 3][..]], Sharing::Prefixes).unwrap();
            let hooks = Hooks::none().edit(mid, vec![0], halve);
            assert!(forward_within(&model, &shared, 1, hooks).is_err());
        }
    });
}

// A model in double precision, whose derivatives can be told from rounding.
fn precise(config: &ModelConfig, seed: u64) -> Model {
    let weights = weights(config, seed).to_dtype(DType::F64).unwrap();
    Model::new(config.clone(), VOCAB, &weights).unwrap()
}

// The sum over queries of one logit of each, squared: not linear in the logits.
fn loss(logits: &Tensor) -> Tensor {
    let weights: Vec<f64> = (0..logits.elem_count()).map(|i| ((i * 7) % 5) as f64 - 2.0).collect();
    let weights = Tensor::from_vec(weights, logits.shape(), &Device::Cpu).unwrap();
    let weights = weights.to_dtype(logits.dtype()).unwrap();
    (logits.sqr().unwrap() * weights).unwrap().sum_all().unwrap()
}

fn number(x: &Tensor) -> f64 {
    x.to_dtype(DType::F64).unwrap().to_scalar().unwrap()
}

#[test]
fn gradients_at_every_point_are_finite_differences_and_the_first_order_estimate_converges() {
    for injection in [false, true] {
        let config = ModelConfig { injection, ..tiny() };
        let model = precise(&config, 9);
        let rows = model.pack([&[1_u32, 3, 4][..], &[2, 3]], Sharing::Nothing).unwrap();
        let sites = all_sites(&config);
        let hooks = sites
            .iter()
            .fold(Hooks::none(), |hooks, &site| hooks.record_with_gradient(site));
        let (logits, hooks) = model
            .gradients(&rows, config.iterations, hooks, |logits| Ok(loss(logits)))
            .unwrap();
        let (plain, _) = forward(&model, &rows, Hooks::none());
        let at_start = number(&loss(&plain));
        assert!((number(&loss(&logits)) - at_start).abs() < 1e-12);
        for &site in &sites {
            let (state, gradient) = (hooks.recorded(site).unwrap(), hooks.gradient(site).unwrap());
            assert_eq!(state.dims(), gradient.dims());
            // A direction of its own for each number; padding of a pattern, which is zero, stays as it is.
            let mut stream = Stream::new(9, "direction", 0);
            let numbers: Vec<f64> = state.flatten_all().unwrap().to_vec1().unwrap();
            let is_pattern = site.point() == Point::AttnPattern;
            let direction: Vec<f64> = numbers
                .iter()
                .map(|&x| if is_pattern && x == 0.0 { 0.0 } else { stream.normal() })
                .collect();
            let direction = Tensor::from_vec(direction, state.shape(), &Device::Cpu).unwrap();
            let all: Vec<u32> = (0..state.dims()[0] as u32).collect();
            let moved = |step: f64| {
                let values = (&state + (&direction * step).unwrap()).unwrap();
                number(&loss(
                    &forward(&model, &rows, Hooks::none().replace(site, all.clone(), values)).0,
                ))
            };
            let slope = number(&(&gradient * &direction).unwrap().sum_all().unwrap());
            let step = 1e-5;
            let difference = (moved(step) - moved(-step)) / (2.0 * step);
            let scale = slope.abs().max(1e-3);
            assert!(
                (slope - difference).abs() < 1e-5 * scale,
                "{site}: {slope}, {difference}"
            );
            let error = |step: f64| (moved(step) - at_start - step * slope).abs();
            // Its error falls with the square of the step.
            let (large, small) = (error(1e-2), error(1e-3));
            assert!(small <= large / 30.0 + 1e-10, "{site}: {large}, {small}");
        }
        // What the last layer adds at a column that is not read changes no logit; padding has no gradient.
        let last = Site::new(Point::ResidPost, config.iterations - 1, config.layers - 1);
        let unread: Vec<f64> = hooks.gradient(last).unwrap().get(0).unwrap().to_vec1().unwrap();
        assert!(unread.iter().all(|&x| x == 0.0));
        let pattern = hooks.gradient(Site::new(Point::AttnPattern, 0, 0)).unwrap();
        let of_head: Vec<f64> = pattern.get(0).unwrap().get(0).unwrap().to_vec1().unwrap();
        assert!(of_head[0] != 0.0 && of_head[1..].iter().all(|&x| x == 0.0));
    }
}

#[test]
fn gradients_of_the_kernels_model_are_those_in_double_precision() {
    on_every_backend(|backend| {
        let config = tiny();
        let (model, precise) = (untrained(&config, 9, backend), precise(&config, 9));
        let rows = model.pack([&[1_u32, 3, 4][..], &[2, 3]], Sharing::Nothing).unwrap();
        for site in [
            Site::new(Point::Z, 1, 0),
            Site::new(Point::ResidPost, 0, 1),
            Site::embed(),
        ] {
            let of = |model: &Model| {
                let hooks = Hooks::none().record_with_gradient(site);
                let result = model.gradients(&rows, config.iterations, hooks, |logits| Ok(loss(logits)));
                result.unwrap().1.gradient(site).unwrap().to_dtype(DType::F32).unwrap()
            };
            assert!(relative_difference(&of(&model), &of(&precise)) < 1e-4, "{site}");
        }
    });
}

#[test]
fn a_gradient_at_a_site_that_the_pass_does_not_reach_is_refused() {
    let config = tiny();
    let model = untrained(&config, 1, Backend::default());
    let rows = model.pack([&[1_u32, 3][..]], Sharing::Nothing).unwrap();
    let site = Site::new(Point::ResidPost, 1, 0);
    let hooks = Hooks::none().record_with_gradient(site);
    let error = model
        .gradients(&rows, 1, hooks, |logits| Ok(loss(logits)))
        .map(|_| ())
        .unwrap_err();
    assert!(error.to_string().contains("does not reach"), "{error}");
}
