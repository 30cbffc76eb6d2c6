//! Every reader, held to two properties on random inputs: what is written is read back the same, and what is damaged is
//! read or refused by an error that names it, never by a panic.
//!
//! The cases are the same in every run, so that a failure is there again when one looks.

mod common;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use candle_core::Device;
use clap::Parser;
use common::shipped;
use loopscope::checkpoint::{
    Checkpoint, ImportSettings, RunPath, RunRecord, StagesFile, find_checkpoints, import, read_tensors,
};
use loopscope::cli::Cli;
use loopscope::graph::{Dataset, PAD, Position, Split, TRAIN, VALID, Vocab};
use loopscope::measure::{Criterion, ProbeSpec, Rule};
use loopscope::model::{Activation, Init, ModelConfig, Positions, Readout};
use loopscope::train::{
    Curriculum, Decay, Dynamic, Evaluation, Interval, LoopConfig, OptimizerConfig, Reached, RunConfig, Stage,
    StageOutcome,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::RngSeed;

/// The same cases in every run, and as many.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(14),
        failure_persistence: None,
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    }
}

/// One kind of damage at one place of a file.
#[derive(Debug, Clone)]
enum Damage {
    Flip(Index, u8),
    Overwrite(Index, Vec<u8>),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Truncate(Index),
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        // A place of a file that may be empty by now.
        let place = |index: &Index, bytes: &[u8]| index.index(bytes.len() + 1);
        match self {
            Self::Flip(index, bit) => {
                let place = place(index, bytes);
                if let Some(byte) = bytes.get_mut(place) {
                    *byte ^= 1 << (bit % 8);
                }
            }
            Self::Overwrite(index, new) => {
                let place = place(index, bytes);
                let end = bytes.len().min(place + new.len());
                bytes[place..end].copy_from_slice(&new[..end - place]);
            }
            Self::Insert(index, new) => {
                let place = place(index, bytes);
                bytes.splice(place..place, new.iter().copied());
            }
            Self::Remove(index, count) => {
                let place = place(index, bytes);
                let end = bytes.len().min(place + count);
                bytes.drain(place..end);
            }
            Self::Truncate(index) => bytes.truncate(place(index, bytes)),
        }
    }
}

fn damages() -> impl Strategy<Value = Vec<Damage>> {
    let index = any::<Index>;
    // Digits and signs make other numbers, and other numbers make other sizes.
    let bytes = || {
        prop_oneof![
            vec(any::<u8>(), 1..9),
            "[-0-9e.\"{}\\[\\],:=\n]{1,6}".prop_map(String::into_bytes)
        ]
    };
    let one = prop_oneof![
        4 => (index(), any::<u8>()).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        4 => (index(), bytes()).prop_map(|(at, new)| Damage::Overwrite(at, new)),
        2 => (index(), bytes()).prop_map(|(at, new)| Damage::Insert(at, new)),
        2 => (index(), 1_usize..40).prop_map(|(at, count)| Damage::Remove(at, count)),
        1 => index().prop_map(Damage::Truncate),
    ];
    vec(one, 1..4)
}

fn damaged(bytes: &[u8], damages: &[Damage]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for damage in damages {
        damage.apply(&mut bytes);
    }
    bytes
}

/// An error of bad input that names the file.
fn names<T>(read: loopscope::Result<T>, path: &Path) -> Result<(), TestCaseError> {
    if let Err(error) = read {
        let text = error.to_string();
        prop_assert_eq!(error.exit_code(), 2, "{}", text);
        prop_assert!(text.contains(path.to_str().expect("UTF-8")), "{}", text);
    }
    Ok(())
}

fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

// ---- data sets

/// The JSON files of a data set, as anyone might write them.
#[derive(Debug, Clone)]
struct Files {
    train: String,
    test: String,
    valid: Option<String>,
    vocab: String,
}

impl Files {
    fn write(&self, folder: &Path) {
        write(folder, "train.json", &self.train);
        write(folder, "test.json", &self.test);
        write(folder, "vocab.json", &self.vocab);
        if let Some(valid) = &self.valid {
            write(folder, "valid.json", valid);
        }
    }
}

/// Rows of chains over five entities and three relations, each perhaps of a type, some without the closing tag.
fn rows(types: impl Strategy<Value = Option<String>>) -> impl Strategy<Value = String> {
    let row = (0_u32..5, vec(0_u32..3, 1..5), 0_u32..5, any::<bool>(), types);
    vec(row, 0..12).prop_map(|rows| {
        let items = rows.into_iter().map(|(head, relations, target, closed, kind)| {
            let relations: Vec<String> = relations.iter().map(|r| format!("<r_{r}>")).collect();
            let input = format!("<e_{head}>{}", relations.concat());
            let end = if closed { "</a>" } else { "" };
            let mut item =
                serde_json::json!({ "target_text": format!("{input}<e_{target}>{end}"), "input_text": input });
            if let Some(kind) = kind {
                item["type"] = kind.into();
            }
            item
        });
        items.collect::<serde_json::Value>().to_string()
    })
}

fn files() -> impl Strategy<Value = Files> {
    let kind = prop_oneof![
        "[a-z_]{1,12}",
        any::<String>(),
        (2_usize..5).prop_map(|hops| format!("{hops}hop_test"))
    ];
    let kind = kind.prop_filter("of another file", |kind| kind != TRAIN && kind != VALID);
    let extra = vec(any::<String>().prop_map(|text| format!("<x {text}>")), 0..3);
    let types = option::of(kind);
    (
        rows(option::of("[a-z]{1,5}")),
        rows(types),
        option::of(rows(Just(None))),
        extra,
        any::<bool>(),
    )
        .prop_map(|(train, test, valid, mut extra, pad)| {
            extra.sort_unstable();
            extra.dedup();
            let pad = pad.then(|| "<pad>".to_owned());
            let tokens = pad
                .into_iter()
                .chain((0..5).map(|i| format!("<e_{i}>")))
                .chain(extra)
                .chain((0..3).map(|i| format!("<r_{i}>")));
            Files {
                train,
                test,
                valid,
                vocab: tokens.collect::<serde_json::Value>().to_string(),
            }
        })
}

proptest! {
    // Few: every file that is written is synced to the disk.
    #![proptest_config(cases(16))]

    #[test]
    fn a_data_set_that_is_written_is_read_back_the_same(files in files()) {
        let folder = tempfile::tempdir().unwrap();
        files.write(folder.path());
        let data = Dataset::read(folder.path()).unwrap();
        let copy = folder.path().join("copy");
        data.write(&copy, &"settings").unwrap();
        let back = Dataset::read(&copy).unwrap();
        prop_assert_eq!(&back.splits, &data.splits);
        prop_assert_eq!(&back.vocab, &data.vocab);
        prop_assert_eq!(back.graph.facts(), data.graph.facts());
        // Written a second time it is the same to the byte.
        let again = folder.path().join("again");
        back.write(&again, &"settings").unwrap();
        prop_assert_eq!(Dataset::read(&again).unwrap().hash, back.hash);
    }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn a_damaged_data_set_is_refused_by_name(files in files(), which in 0_usize..4, damages in damages()) {
        let folder = tempfile::tempdir().unwrap();
        files.write(folder.path());
        let path = folder.path().join(["train.json", "test.json", "vocab.json", "valid.json"][which]);
        let whole = std::fs::read(&path).unwrap_or_else(|_| b"[]".to_vec());
        std::fs::write(&path, damaged(&whole, &damages)).unwrap();
        names(Dataset::read(folder.path()), folder.path())?;
    }

    #[test]
    fn tokens_are_encoded_as_their_places(
        texts in vec("[^<>]{0,6}", 1..20),
        picked in vec(any::<Index>(), 0..10),
        stray in any::<String>(),
    ) {
        let mut tokens: Vec<String> = texts.iter().map(|text| format!("<{text}>")).collect();
        tokens.sort_unstable();
        tokens.dedup();
        tokens.retain(|token| token != "<pad>");
        let vocab = Vocab::from_tokens(tokens).unwrap();
        prop_assert_eq!(vocab.id("<pad>"), Some(PAD));
        let ids: Vec<u32> = picked.iter().map(|index| index.index(vocab.len()) as u32).collect();
        let text: String = ids.iter().map(|&id| vocab.tokens()[id as usize].as_str()).collect();
        prop_assert_eq!(vocab.encode(&text), Ok(ids));
        if let Err(token) = vocab.encode(&stray) {
            prop_assert!(stray.contains(&token) && vocab.id(&token).is_none());
        }
    }
}

// ---- configs

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

fn stage() -> impl Strategy<Value = Stage> {
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
    let counts = (1..=i64::MAX as u64, option::of(2_usize..100), 1_u32..);
    (counts, 0.0..=1.0, 0.001..10.0, any::<bool>()).prop_map(
        |((stage_steps, deepest, hold), accuracy, lr_factor, reset_optimizer)| Curriculum {
            accuracy,
            stage_steps,
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
                model,
                optimizer,
                train,
                curriculum,
                stages,
            }
        },
    )
}

/// Values that nobody means.
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
        let path = write(folder.path(), "run.toml", common::SMALL_RUN);
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

// ---- probe specs, rules, positions, iterations

fn spec() -> impl Strategy<Value = String> {
    let number = prop_oneof![1_usize..6, any::<usize>().prop_map(|n| n >> 1)];
    let label = prop_oneof![
        select(vec!["head", "bridge", "target", "entity"]).prop_map(str::to_owned),
        ("bridge|relation", number.clone()).prop_map(|(prefix, n)| format!("{prefix}{n}")),
    ];
    let position = prop_oneof![
        select(vec!["head".to_owned(), "readout".to_owned()]),
        number.clone().prop_map(|n| format!("r{n}"))
    ];
    let list = option::of(vec(number.clone(), 0..3));
    let share = prop_oneof![0.01..0.99, select(vec![0.0, 1.0, f64::NAN, f64::INFINITY])];
    (
        label,
        number,
        vec(position, 0..3),
        (list.clone(), list),
        (share, option::of(-1.0..10.0)),
        vec("[a-z_]{1,8}", 0..3),
    )
        .prop_map(
            |(label, hops, positions, (iterations, layers), (held_out, penalty), test): (
                _,
                _,
                _,
                _,
                (f64, Option<f64>),
                _,
            )| {
                let mut table = toml::Table::new();
                table.insert("name".into(), "x".into());
                table.insert("title".into(), "X".into());
                table.insert("label".into(), label.into());
                table.insert("hops".into(), (hops as i64).into());
                table.insert("positions".into(), positions.into());
                table.insert("held_out".into(), held_out.into());
                table.insert("test".into(), test.into());
                if let Some(penalty) = penalty {
                    table.insert("penalty".into(), penalty.into());
                }
                for (key, list) in [("iterations", iterations), ("layers", layers)] {
                    if let Some(list) = list {
                        let list: Vec<i64> = list.into_iter().map(|n| n as i64).collect();
                        table.insert(key.into(), list.into());
                    }
                }
                table.to_string()
            },
        )
}

proptest! {
    #![proptest_config(cases(1024))]

    #[test]
    fn a_probe_spec_is_read_back_the_same_or_refused_in_a_few_lines(text in spec()) {
        match ProbeSpec::parse(&text) {
            Ok(spec) => {
                let written = toml::to_string(&spec).unwrap();
                prop_assert_eq!(ProbeSpec::parse(&written).unwrap(), spec);
            }
            Err(error) => {
                let reason = error.to_string();
                prop_assert_eq!(error.exit_code(), 2);
                prop_assert!(reason.len() < 1000 + text.len(), "{}", reason);
            }
        }
    }

    #[test]
    fn a_damaged_probe_spec_is_refused_by_name(damages in damages()) {
        let folder = tempfile::tempdir().unwrap();
        let whole = std::fs::read(shipped("probes/bridge-at-r2.toml")).unwrap();
        let path = write(folder.path(), "x.toml", damaged(&whole, &damages));
        names(ProbeSpec::read(&path), &path)?;
    }

    #[test]
    fn a_rule_is_read_as_it_is_written(
        parts in vec((select(Criterion::ALL.to_vec()), prop::num::f64::POSITIVE), 1..4),
        stray in "[a-z+=0-9.e -]{0,16}|\\PC{0,8}",
    ) {
        let finite = |&(_, x): &(Criterion, f64)| x.is_finite() && x > 0.0;
        let parts: Vec<_> = parts.into_iter().filter(finite).collect();
        let text = |&(criterion, threshold): &(Criterion, f64)| match criterion {
            Criterion::Oracle => criterion.name().to_owned(),
            _ => format!("{}={threshold}", criterion.name()),
        };
        let whole = parts.iter().map(text).collect::<Vec<_>>().join("+");
        if !parts.is_empty() {
            let rule: Rule = whole.parse().unwrap();
            prop_assert_eq!(rule.to_string(), whole);
            prop_assert_eq!(rule.criteria().len(), parts.len());
        }
        match stray.parse::<Rule>() {
            Ok(rule) => prop_assert_eq!(rule.to_string().parse::<Rule>(), Ok(rule)),
            Err(reason) => prop_assert!(reason.contains("allowed"), "{}", reason),
        }
    }

    #[test]
    fn a_position_is_read_as_it_is_written(index in any::<usize>(), stray in "r?[0-9+ ]{0,25}|\\PC{0,8}") {
        let position = Position::of_index(index);
        prop_assert_eq!(position.to_string().parse(), Ok(position));
        match stray.parse::<Position>() {
            Ok(position) => prop_assert_eq!(position.to_string(), stray),
            Err(reason) => prop_assert!(reason.contains("allowed"), "{}", reason),
        }
    }

    #[test]
    fn command_lines_are_taken_or_refused(
        command in select(vec!["eval", "lens", "patch", "probe", "train", "import", "compare", "activations", "margin"]),
        words in vec("--[a-z]{1,10}|--iterations=[0-9,.]{0,8}|--set=[a-z.=0-9]{0,9}|\\PC{0,6}", 0..4),
    ) {
        // Nothing is run: a name that is not there is told later.
        let _ = Cli::try_parse_from(["loopscope", command].into_iter().chain(words.iter().map(String::as_str)));
    }
}

// ---- run folders

fn number() -> impl Strategy<Value = f64> {
    any::<f64>().prop_map(|x| if x.is_finite() { x } else { 0.5 })
}

fn accuracies() -> impl Strategy<Value = std::collections::BTreeMap<Split, f64>> {
    btree_map(any::<String>().prop_map(Split::from), 0.0..=1.0, 0..3)
}

fn evaluation() -> impl Strategy<Value = Evaluation> {
    (
        any::<u64>(),
        (number(), number(), number()),
        (option::of(number()), option::of(number())),
        accuracies(),
    )
        .prop_map(
            |(step, (epoch, seconds, lr), (loss, gradient_norm), accuracy)| Evaluation {
                step,
                epoch,
                seconds,
                loss,
                lr,
                gradient_norm,
                accuracy,
            },
        )
}

fn stages_file() -> impl Strategy<Value = StagesFile> {
    let reached = (
        any::<(u64, Option<u64>, Option<usize>)>(),
        number(),
        number(),
        accuracies(),
    )
        .prop_map(|((step, since_step, rows), epoch, seconds, accuracy)| Reached {
            step,
            since_step,
            epoch,
            seconds,
            accuracy,
            rows,
        });
    let outcome = (stage(), option::of(reached)).prop_map(|(stage, reached)| StageOutcome { stage, reached });
    (any::<(u64, bool, String)>(), number(), vec(outcome, 0..3)).prop_map(
        |((step, finished, data_hash), seconds, stages)| StagesFile {
            step,
            seconds,
            finished,
            data_hash,
            stages,
        },
    )
}

fn write_run(folder: &Path, stages: &StagesFile, metrics: &[Evaluation]) {
    write(folder, "config.toml", common::SMALL_RUN);
    write(folder, "stages.json", serde_json::to_string(stages).unwrap());
    let lines: Vec<String> = metrics
        .iter()
        .map(|line| serde_json::to_string(line).unwrap())
        .collect();
    write(folder, "metrics.jsonl", lines.join("\n"));
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn what_a_run_tells_is_read_back_the_same(stages in stages_file(), metrics in vec(evaluation(), 0..4)) {
        let folder = tempfile::tempdir().unwrap();
        write_run(folder.path(), &stages, &metrics);
        let record = RunRecord::read(folder.path()).unwrap();
        prop_assert_eq!(record.stages, stages);
        prop_assert_eq!(record.metrics, metrics);
    }

    #[test]
    fn a_damaged_run_is_refused_by_name(
        stages in stages_file(),
        metrics in vec(evaluation(), 0..4),
        which in 0_usize..3,
        damages in damages(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        write_run(folder.path(), &stages, &metrics);
        write(folder.path(), "final.safetensors", "");
        let name = ["config.toml", "stages.json", "metrics.jsonl"][which];
        let path = folder.path().join(name);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, damaged(&whole, &damages)).unwrap();
        names(RunRecord::read(folder.path()), &path)?;
        let target = RunPath { name: None, path: folder.path().to_owned() };
        names(find_checkpoints(&[target]), &path)?;
    }
}

// ---- checkpoints

const SETTINGS: ImportSettings = ImportSettings {
    heads: 4,
    iterations: 4,
    readout: Readout::LastToken,
    columns: None,
    sinusoidal: false,
    vocab: None,
};

/// Other people's checkpoint, and ours of it.
static WEIGHTS: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    let pickle = shipped("tests/reference/learned/checkpoint.pt");
    let (info, weights) = import(&pickle, &SETTINGS).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    Checkpoint::write(&path, &info, &weights).unwrap();
    [std::fs::read(pickle).unwrap(), std::fs::read(path).unwrap()]
});

proptest! {
    #![proptest_config(cases(384))]

    #[test]
    fn a_damaged_checkpoint_is_refused_by_name(head in any::<bool>(), damages in damages()) {
        let folder = tempfile::tempdir().unwrap();
        let whole = &WEIGHTS[1];
        // The header is a small part of the file, and the most of what can be wrong.
        let header = if head { whole.len().min(6000) } else { whole.len() };
        let mut bytes = damaged(&whole[..header], &damages);
        bytes.extend(&whole[header..]);
        let path = write(folder.path(), "x.safetensors", &bytes);
        names(read_tensors(&path), &path)?;
        let read = Checkpoint::read(&path, &Device::Cpu);
        if let Ok(checkpoint) = &read {
            prop_assert!(bytes == *whole || checkpoint.model().is_ok());
        }
        names(read, &path)?;
    }

    #[test]
    fn a_damaged_pickle_is_refused_by_name(head in any::<bool>(), damages in damages()) {
        let folder = tempfile::tempdir().unwrap();
        let whole = &WEIGHTS[0];
        // The pickle stands first in the zip.
        let pickle = if head { whole.len().min(3300) } else { whole.len() };
        let mut bytes = damaged(&whole[..pickle], &damages);
        bytes.extend(&whole[pickle..]);
        let path = write(folder.path(), "x.pt", &bytes);
        names(import(&path, &SETTINGS), &path)?;
    }
}
