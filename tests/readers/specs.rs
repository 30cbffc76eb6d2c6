//! Probe specs, halting rules, positions and command lines.

use clap::Parser;
use loopscope::cli::Cli;
use loopscope::graph::Position;
use loopscope::measure::{Criterion, ProbeSpec, Rule};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::common::shipped;
use super::{cases, damaged, damages, names, write};

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
        // Nothing is run: a name that does not exist is refused later.
        let _ = Cli::try_parse_from(["loopscope", command].into_iter().chain(words.iter().map(String::as_str)));
    }
}
