//! `loopscope circuit`: what it writes, and what it refuses.

mod common;

use std::path::Path;

use common::{json, prepared, run, text};
use loopscope::circuit::{Name, Truth, truth_path};
use serde_json::Value;
use sha2::{Digest, Sha256};

fn circuit(folder: &Path, arguments: &[&str]) -> common::Ran {
    run(
        folder,
        &[
            &["circuit"][..],
            arguments,
            &["--data", "data", "--out", "c.safetensors"],
        ]
        .concat(),
    )
}

fn accuracy(folder: &Path, split: &str) -> f64 {
    let arguments = [
        "eval",
        "c.safetensors",
        "--data",
        "data",
        "--split",
        split,
        "--out",
        "out",
    ];
    run(folder, &arguments).expect(0);
    let report: Value = json(&folder.join("out/eval.json"));
    report["rows"][0]["accuracy"].as_f64().unwrap()
}

#[test]
fn a_written_circuit_is_an_ordinary_checkpoint_beside_its_truth() {
    let folder = prepared();
    let at = folder.path();
    for &name in Name::all() {
        let name = name.to_string();
        let said = circuit(at, &[&name, "--rotate", "5"]).expect(0).out;
        for wrong in [" 1 layers", " 1 hops", " 1 heads", " 1 iterations"] {
            assert!(!said.contains(wrong), "{said}");
        }
        let truth: Truth = json(&truth_path(&at.join("c.safetensors")));
        assert_eq!((truth.circuit.as_str(), truth.rotate), (name.as_str(), Some(5)));
        let checkpoint = std::fs::read(at.join("c.safetensors")).unwrap();
        let hash = format!("{:x}", Sha256::digest(&checkpoint));
        assert_eq!(truth.checkpoint_hash, hash[..16]);
        // The share of queries that the truth calls right is the one that is answered right.
        for (split, hops) in [("ood_atomic", 1), ("test_inferred_iid", 2), ("test_inferred_ood", 2)] {
            let cases = truth.cases.iter().filter(|case| case.hops == hops);
            let all_right = cases.clone().all(|case| case.right);
            let accuracy = accuracy(at, split);
            match name.as_str() {
                "memorizer" if hops == 2 => assert_eq!(accuracy, 0.0, "{split}"),
                "memorizer" => assert_eq!(accuracy, 1.0, "{split}"),
                _ if all_right => assert_eq!(accuracy, 1.0, "{name} {split}"),
                "suffix-reader" | "late-bridge" => assert!(accuracy < 1.0, "{name} {split}"),
                _ => panic!("{name} is wrong"),
            }
        }
    }
}

#[test]
fn every_analysis_runs_on_a_circuit_and_the_lens_sees_what_it_should() {
    let folder = prepared();
    let at = folder.path();
    // The highest share of queries whose bridge the lens reads at any layer.
    let lens = |name: &str| -> f64 {
        circuit(at, &[name]).expect(0);
        let arguments = ["--data", "data", "--split", "train_inferred", "--out", "out"];
        run(at, &[&["lens", "c.safetensors"][..], &arguments].concat()).expect(0);
        run(at, &[&["patch", "c.safetensors"][..], &arguments].concat()).expect(0);
        let report: Value = json(&at.join("out/lens.json"));
        let rows = report["rows"].as_array().unwrap().iter();
        let of_bridge = rows.filter(|row| row["label"] == "bridge" && row["position"] == "r1");
        of_bridge.map(|row| row["top1"].as_f64().unwrap()).fold(0.0, f64::max)
    };
    assert_eq!(lens("hop-per-iteration"), 1.0);
    assert_eq!(lens("decoy-bridge"), 1.0);
    assert_eq!(lens("hidden-bridge"), 0.0);
    assert_eq!(lens("memorizer"), 0.0);
}

#[test]
fn the_list_names_every_circuit() {
    let folder = tempfile::tempdir().unwrap();
    let out = run(folder.path(), &["circuit", "--list"]).expect(0).out;
    for name in Name::all() {
        assert!(
            out.contains(&format!("{name} ")) && out.contains(&name.about()),
            "{out}"
        );
    }
    // A line each, below the headings.
    assert_eq!(out.lines().count(), 1 + Name::all().len());
}

#[test]
fn the_same_seeds_write_the_same_files_and_others_do_not() {
    let folder = prepared();
    let at = folder.path();
    let bytes = |arguments: &[&str]| {
        circuit(at, &[&["late-bridge"][..], arguments].concat()).expect(0);
        let read = |path: &Path| std::fs::read(path).unwrap();
        (read(&at.join("c.safetensors")), read(&at.join("c.truth.json")))
    };
    let first = bytes(&["--rotate", "1", "--noise", "0.01", "--seed", "3"]);
    assert!(first == bytes(&["--rotate", "1", "--noise", "0.01", "--seed", "3"]));
    for other in [
        &["--rotate", "2", "--noise", "0.01", "--seed", "3"][..],
        &["--rotate", "1", "--noise", "0.01", "--seed", "4"],
        &["--rotate", "1", "--noise", "0.02", "--seed", "3"],
        &["--rotate", "1", "--seed", "3"],
    ] {
        let (weights, truth) = bytes(other);
        assert!(weights != first.0 && truth != first.1, "{other:?}");
    }
}

#[test]
fn a_requested_width_is_kept_or_refused_with_the_least_one() {
    let folder = prepared();
    let at = folder.path();
    let wide = |width: &str| circuit(at, &["hop-per-iteration", "--d-model", width]);
    // 60 facts and 13 values to take out are 146 units, 4 for each of d_model, which 2 heads must divide.
    let allowed = ["multiples of 2", "from 38 to 2048"];
    wide("36").expect(2).says(&allowed).says(&["--d-model 36"]);
    wide("39").expect(2).says(&allowed);
    wide("2050").expect(2).says(&allowed);
    for width in ["38", "200"] {
        assert!(wide(width).expect(0).out.contains(&format!("d_model {width},")));
    }
}

#[test]
fn bad_input_is_one_clear_message_and_no_file() {
    let folder = prepared();
    let at = folder.path();
    circuit(at, &["two-hop"])
        .expect(2)
        .says(&["two-hop", "hop-per-iteration", "late-bridge"]);
    run(at, &["circuit"]).expect(2);
    run(
        at,
        &["circuit", "backup", "--data", "nowhere", "--out", "c.safetensors"],
    )
    .expect(2)
    .says(&["nowhere: no such folder"]);
    for noise in ["-1", "1.5", "nan", "inf"] {
        circuit(at, &["backup", &format!("--noise={noise}")])
            .expect(2)
            .says(&["--noise", "allowed: 0 to 1"]);
    }
    for suffix in ["0", "3"] {
        circuit(at, &["suffix-reader", "--suffix", suffix])
            .expect(2)
            .says(&["--suffix", "allowed: 1 to 2"]);
    }
    // Data of another kind.
    let mut depth = vec!["data", "depth", "--entities", "30", "--relations", "6", "--hops", "6"];
    depth.extend(["--train-rows", "500", "--test-rows", "10", "--out", "depth"]);
    run(at, &depth).expect(0);
    let on_depth = |name: &str| run(at, &["circuit", name, "--data", "depth", "--out", "c.safetensors"]);
    on_depth("backup").expect(2).says(&["1 and 2 hops", "has 6"]);
    on_depth("decoy-bridge")
        .expect(2)
        .says(&["d_model = ", "at most 2048", "smaller"]);
    // Data without facts.
    let no_facts = at.join("data/train.json");
    std::fs::write(&no_facts, "[]").unwrap();
    circuit(at, &["hop-per-iteration"]).expect(2).says(&["no known facts"]);
    assert!(!at.join("c.safetensors").exists() && !at.join("c.truth.json").exists());
    assert_eq!(text(&truth_path(Path::new("a/b.c"))), "a/b.c.truth.json");
}

#[test]
fn attention_sees_the_previous_token_head_of_a_circuit() {
    let folder = prepared();
    let at = folder.path();
    circuit(at, &["hop-per-iteration"]).expect(0);
    let arguments = ["--data", "data", "--split", "train_inferred", "--out", "out"];
    run(at, &[&["attention", "c.safetensors"][..], &arguments].concat()).expect(0);
    let report: Value = json(&at.join("out/attention.json"));
    let rows = report["rows"].as_array().unwrap();
    // The first head of every iteration looks at the position before.
    let of_head = rows.iter().filter(|row| row["attention_head"] == 1);
    let mut seen = 0;
    for row in of_head {
        let attention = row["attention"].as_f64().unwrap();
        match (row["position"].as_str().unwrap(), row["key_position"].as_str().unwrap()) {
            ("r1", "head") | ("r2", "r1") => {
                assert!(attention > 0.99, "{row}");
                seen += 1;
            }
            ("r1" | "r2", _) => assert!(attention < 0.01, "{row}"),
            _ => {}
        }
    }
    assert!(seen >= 2 * 2, "{seen}");
}

#[test]
fn patching_prints_a_matrix_and_keeps_a_row_a_state_in_its_files() {
    let folder = prepared();
    let at = folder.path();
    circuit(at, &["hop-per-iteration"]).expect(0);
    let arguments = [
        "patch",
        "c.safetensors",
        "--data",
        "data",
        "--split",
        "train_inferred",
        "--out",
        "out",
    ];
    let printed = run(at, &arguments).expect(0).out;
    let report: Value = json(&at.join("out/patch.json"));
    let rows = report["rows"].as_array().unwrap();
    let layers = rows
        .iter()
        .filter_map(|row| row["effective_layer"].as_u64())
        .max()
        .unwrap();
    let numbers: Vec<String> = (1..=layers).map(|layer| layer.to_string()).collect();
    let lines: Vec<Vec<&str>> = printed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(
        lines
            .iter()
            .any(|line| line.ends_with(&numbers.iter().map(String::as_str).collect::<Vec<_>>())),
        "{printed}"
    );
    for position in ["head", "r1", "r2"] {
        let of_position: Vec<_> = lines.iter().filter(|line| line[..].starts_with(&[position])).collect();
        assert_eq!(of_position.len(), 1, "{printed}");
        assert_eq!(of_position[0].len() as u64, 1 + layers, "{printed}");
    }
    // Every state and the two self-checks.
    let csv = std::fs::read_to_string(at.join("out/patch.csv")).unwrap();
    let in_json = run(at, &[&["--json"], &arguments[..]].concat()).expect(0).out;
    let expected = 3 * layers as usize + 2;
    assert_eq!(
        (rows.len(), csv.lines().count() - 1, in_json.lines().count()),
        (expected, expected, expected)
    );
}

#[test]
fn a_readout_of_its_own_attends_to_the_chain_and_not_to_itself() {
    let folder = prepared();
    let at = folder.path();
    circuit(at, &["hidden-bridge"]).expect(0);
    let arguments = ["--data", "data", "--split", "train_inferred", "--out", "out"];
    run(at, &[&["attention", "c.safetensors"][..], &arguments].concat()).expect(0);
    let report: Value = json(&at.join("out/attention.json"));
    let rows = report["rows"].as_array().unwrap();
    let of_first: Vec<&Value> = rows
        .iter()
        .filter(|row| row["position"] == "readout" && row["effective_layer"] == 1 && row["attention_head"] == 1)
        .collect();
    let keys: Vec<&str> = of_first
        .iter()
        .map(|row| row["key_position"].as_str().unwrap())
        .collect();
    assert_eq!(keys, ["head", "r1", "r2"]);
    let sum: f64 = of_first.iter().map(|row| row["attention"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{sum}");
}
