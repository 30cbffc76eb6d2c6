//! Configs and overrides.

use loopscope::model::{Activation, Init, ModelConfig, Positions, Readout};
use loopscope::train::{Curriculum, Decay, Dynamic, Interval, LoopConfig, OptimizerConfig, RunConfig, Stage};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::common::SMALL_RUN;
use super::{cases, damaged, damages, names, write};

fn model() -> impl Strategy<Value = ModelConfig> {
    let init = prop_oneof![
        Just("\"zero\"".to_owned()),
        Just("\"gaussian\"".to_owned()),
        (0.0..10.0).prop_map(|scale: f64| scale.to_string())
    ];
    let init = init.prop_map(|text| serde_json::from_str::<Init>(&text).unwrap());
    let positions = select(vec![Positions::Learned, Positions::Sinusoidal, Positions::None]);
    let sizes = (1_usize..=1024, 1_usize..=4096, 1_usize..64, 1_usize..16, 1_usize..1000);
    let activation = select(vec![Activation::GeluTanh, Activation::Relu]);
    let switches = (any::<bool>(), any::<bool>(), option::of(1_usize..100), activation);
    (sizes, positions, init, 0.0..1.0, 1e-9..10.0, switches).prop_map(
        |((layers, iterations, head_dim, heads, max_positions), positions, init, dropout, embedding_std, switches)| {
            let (injection, tied, columns, activation) = switches;
            ModelConfig {
                layers,
                iterations,
                // Even, as sinusoidal positions ask for.
                d_model: 2 * head_dim * heads,
                heads,
                positions,
                max_positions,
                init,
                injection,
                activation,
                embedding_std,
                dropout,
                tied,
                readout: if columns.is_some() {
                    Readout::LastColumn
                } else {
                    Readout::LastToken
                },
                columns,
            }
        },
    )
}

fn interval() -> impl Strategy<Value = Interval> {
    prop_oneof![
        (1..=i64::MAX as u64).prop_map(Interval::Steps),
        prop::num::f64::POSITIVE.prop_filter_map("finite", |x| x.is_finite().then_some(Interval::Epochs(x))),
    ]
}

pub fn stage() -> impl Strategy<Value = Stage> {
    ("[A-Za-z0-9_-]{1,12}", any::<String>(), 0.0..=1.0, 1_u32..).prop_map(|(name, split, accuracy, hold)| Stage {
        name,
        split: split.into(),
        accuracy,
        hold,
    })
}

fn optimizer() -> impl Strategy<Value = OptimizerConfig> {
    let rates = (1e-12..10.0, 0.0..1.0, 0.0..1.0, 1e-12..1.0, 0.0..=1.0);
    let steps = (0..=i64::MAX as u64, 0..=i64::MAX as u64);
    (rates, steps, 0.0..10.0, 0.0..10.0, any::<bool>()).prop_map(
        |((lr, beta1, beta2, epsilon, final_lr), (warmup, cooldown), weight_decay, clip, all)| OptimizerConfig {
            lr,
            betas: [beta1, beta2],
            epsilon,
            weight_decay,
            decay: if all { Decay::All } else { Decay::Matrices },
            warmup,
            cooldown,
            final_lr,
            clip,
        },
    )
}

fn training() -> impl Strategy<Value = LoopConfig> {
    let counts = (1..=i64::MAX as u64, 1..=i64::MAX as usize, 1..=i64::MAX as usize);
    let numbers = (0.0..1.0, 1.001..100.0, 0.0..1e9);
    (counts, numbers, interval(), interval(), any::<bool>()).prop_map(
        |(
            (steps, batch, train_sample),
            (label_smoothing, checkpoint_growth, save_every_seconds),
            every,
            early,
            share,
        )| {
            LoopConfig {
                batch,
                label_smoothing,
                share_prefixes: share,
                evaluate_every: every,
                evaluate_early: early,
                train_sample,
                checkpoint_growth,
                save_every_seconds,
                ..LoopConfig::of_steps(steps)
            }
        },
    )
}

fn curriculum() -> impl Strategy<Value = Curriculum> {
    let steps = 1..=i64::MAX as u64;
    let counts = (steps.clone(), option::of(steps), option::of(2_usize..100), 1_u32..);
    (counts, 0.0..=1.0, 0.001..10.0, any::<bool>()).prop_map(
        |((stage_steps, later_stage_steps, deepest, hold), accuracy, lr_factor, reset_optimizer)| Curriculum {
            accuracy,
            stage_steps,
            later_stage_steps,
            deepest,
            reset_optimizer,
            lr_factor,
            hold,
        },
    )
}

/// Any config that is allowed.
fn config() -> impl Strategy<Value = RunConfig> {
    let dynamic = option::of((0.001..500.0, 0_usize..50, 0_usize..50));
    let plan = prop_oneof![
        vec(stage(), 0..4).prop_map(|stages| (stages, None)),
        curriculum().prop_map(|curriculum| (Vec::new(), Some(curriculum)))
    ];
    (model(), optimizer(), training(), dynamic, plan, 0..=i64::MAX as u64).prop_map(
        |(model, mut optimizer, mut train, dynamic, (stages, curriculum), seed)| {
            // Those that training draws include those at which it is judged.
            train.dynamic = dynamic.map(|(lambda, below, above)| Dynamic {
                lambda,
                min: model.iterations.saturating_sub(below).max(1),
                max: (model.iterations + above).min(4096),
            });
            if curriculum.is_some() {
                optimizer.cooldown = 0;
            }
            RunConfig {
                data: "data".into(),
                seed,
                init_seed: None,
                order_seed: None,
                model,
                optimizer,
                train,
                curriculum,
                stages,
            }
        },
    )
}

/// Values at the edges of their types, and of other types than a setting has.
fn odd_value() -> impl Strategy<Value = toml::Value> {
    use toml::Value;
    let integers = vec![i64::MIN, -1, 0, 1, 2, 7, 1 << 20, 1 << 32, 1_000_000_000_000, i64::MAX];
    let floats = vec![
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        -0.0,
        -1.0,
        0.5,
        1.0,
        1e308,
        5e-324,
    ];
    prop_oneof![
        select(integers).prop_map(Value::Integer),
        any::<i64>().prop_map(Value::Integer),
        select(floats).prop_map(Value::Float),
        any::<f64>().prop_map(Value::Float),
        any::<bool>().prop_map(Value::Boolean),
        select(vec![
            "",
            "../x",
            "zero",
            "none",
            "last-column",
            "0 epochs",
            "inf epochs",
            "1e999 epochs",
            "-1"
        ])
        .prop_map(|text| Value::String(text.to_owned())),
        any::<String>().prop_map(Value::String),
        Just(Value::Array(Vec::new())),
        Just(Value::Table(toml::Table::new())),
        Just(Value::Datetime("1979-05-27T07:32:00Z".parse().unwrap())),
    ]
}

/// The paths of all values of a document that hold no others.
fn leaves(value: &toml::Value, path: &str, found: &mut Vec<String>) {
    let inside = |key: &dyn std::fmt::Display| {
        if path.is_empty() {
            key.to_string()
        } else {
            format!("{path}.{key}")
        }
    };
    match value {
        toml::Value::Table(table) => table.iter().for_each(|(key, value)| leaves(value, &inside(key), found)),
        toml::Value::Array(items) if items.iter().any(toml::Value::is_table) => {
            items
                .iter()
                .enumerate()
                .for_each(|(i, value)| leaves(value, &inside(&i), found));
        }
        _ => found.push(path.to_owned()),
    }
}

fn at<'a>(root: &'a mut toml::Value, path: &str) -> &'a mut toml::Value {
    path.split('.').fold(root, |value, part| match value {
        toml::Value::Array(items) => &mut items[part.parse::<usize>().unwrap()],
        value => &mut value[part],
    })
}

proptest! {
    #![proptest_config(cases(384))]

    #[test]
    fn a_config_that_is_written_is_read_back_the_same(config in config()) {
        let folder = tempfile::tempdir().unwrap();
        config.check().unwrap();
        let path = write(folder.path(), "run.toml", toml::to_string(&config).unwrap());
        let back = RunConfig::read(&path, &[]).unwrap();
        prop_assert_eq!(&back.data, &folder.path().join("data"));
        let expected = RunConfig { data: back.data.clone(), ..config };
        prop_assert_eq!(back, expected);
    }

    #[test]
    fn an_odd_value_in_a_config_is_refused_by_its_key(config in config(), place in any::<Index>(), value in odd_value()) {
        let folder = tempfile::tempdir().unwrap();
        let mut root = toml::Value::try_from(&config).unwrap();
        let mut keys = Vec::new();
        leaves(&root, "", &mut keys);
        let key = &keys[place.index(keys.len())];
        *at(&mut root, key) = value.clone();
        let path = write(folder.path(), "run.toml", toml::to_string(&root).unwrap());
        let last = key.rsplit('.').next().unwrap();
        match RunConfig::read(&path, &[]) {
            Ok(read) => {
                prop_assert!(read.check().is_ok());
                prop_assert!(toml::to_string(&read).is_ok());
                prop_assert!(read.model.effective_layers() > 0);
            }
            Err(error) => {
                let text = error.to_string();
                prop_assert_eq!(error.exit_code(), 2, "{}", text);
                prop_assert!(text.contains("run.toml") && text.contains(last), "{}: {}", key, text);
            }
        }
        // The same by an override, of values that fit on a command line.
        let whole = write(folder.path(), "whole.toml", toml::to_string(&config).unwrap());
        let text = match &value {
            toml::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        if let Err(error) = RunConfig::read(&whole, &[format!("{key}={text}")]) {
            let text = error.to_string();
            prop_assert_eq!(error.exit_code(), 2, "{}", text);
            prop_assert!(text.contains(last), "{}: {}", key, text);
        }
    }

    #[test]
    fn a_damaged_config_is_refused_by_name(config in config(), damages in damages()) {
        let folder = tempfile::tempdir().unwrap();
        let text = toml::to_string(&config).unwrap();
        let path = write(folder.path(), "run.toml", damaged(text.as_bytes(), &damages));
        names(RunConfig::read(&path, &[]), &path)?;
    }

    #[test]
    fn an_override_of_any_text_is_refused_by_its_text(setting in "[a-z0-9_.=\" ]{0,20}|\\PC{0,12}") {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), "run.toml", SMALL_RUN);
        if let Err(error) = RunConfig::read(&path, std::slice::from_ref(&setting)) {
            let text = error.to_string();
            prop_assert_eq!(error.exit_code(), 2, "{}", text);
            prop_assert!(text.contains(&setting) || text.contains("run.toml"), "{}", text);
        }
    }

    #[test]
    fn an_interval_is_read_as_it_is_written(interval in interval(), epoch in 1_u64..) {
        let text = serde_json::to_string(&interval).unwrap();
        prop_assert_eq!(serde_json::from_str::<Interval>(&text).unwrap(), interval);
        prop_assert!(interval.steps(epoch) >= 1);
    }
}
