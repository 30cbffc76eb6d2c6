//! `loopscope verify --checkpoint`: someone else's circuit, and truths that do not fit it.

mod common;

use std::path::Path;

use common::{Ran, SMALL_DATA, json as read_json, prepared, run};
use serde_json::{Value, json};

fn circuit(at: &Path, name: &str) {
    let out = format!("{name}.safetensors");
    run(at, &["circuit", name, "--data", "data", "--out", &out]).expect(0);
}

fn verify(at: &Path, checkpoint: &str, data: &str, truth: &str) -> Ran {
    let arguments = [
        "--checkpoint",
        checkpoint,
        "--data",
        data,
        "--truth",
        truth,
        "--out",
        "out",
    ];
    run(at, &[&["verify"][..], &arguments].concat())
}

// The truth about hop-per-iteration with something changed, in `changed.json`.
fn with(at: &Path, change: impl FnOnce(&mut Value)) -> Ran {
    let mut truth: Value = read_json(&at.join("hop-per-iteration.truth.json"));
    change(&mut truth);
    std::fs::write(at.join("changed.json"), truth.to_string()).unwrap();
    verify(at, "hop-per-iteration.safetensors", "data", "changed.json")
}

#[test]
fn a_circuit_of_one_s_own_is_green_and_a_truth_that_is_not_so_is_red() {
    let folder = prepared();
    let at = folder.path();
    circuit(at, "hop-per-iteration");
    let ran = verify(
        at,
        "hop-per-iteration.safetensors",
        "data",
        "hop-per-iteration.truth.json",
    )
    .expect(0);
    for word in ["counterfactual", "untrained", "permuted", "limit"] {
        assert!(ran.out.contains(word), "{word}:\n{}", ran.out);
    }
    let written: Value = read_json(&at.join("out/verify.json"));
    assert!(written["cells"].as_array().unwrap().len() > 20);
    assert!(at.join("out/verify.csv").is_file());
    // Under a name of its own it states its limits itself, and without them what the lens cannot show is red.
    let limit = |method: &str| json!({ "method": method, "claim": "used", "reason": "what is written stays" });
    with(at, |truth| {
        truth["circuit"] = json!("my-circuit");
        truth["limits"] = json!([limit("lens"), limit("probe")]);
    })
    .expect(0);
    let without = with(at, |truth| truth["circuit"] = json!("my-circuit")).expect(1);
    assert!(without.out.contains("lens, used, my-circuit"), "{}", without.out);
    let wrong = with(at, |truth| {
        let cases = truth["cases"].as_array_mut().unwrap().iter_mut();
        for row in cases.flat_map(|case| case["sites"].as_array_mut().unwrap()) {
            let visible = row["visible"].as_bool().unwrap();
            row["visible"] = json!(!visible);
        }
    });
    let wrong = wrong.expect(1);
    assert!(
        wrong
            .out
            .contains("lens, visible, hop-per-iteration: not as it should be"),
        "{}",
        wrong.out
    );
}

#[test]
fn a_truth_that_does_not_fit_is_told_in_one_message() {
    let folder = prepared();
    let at = folder.path();
    for name in ["hop-per-iteration", "hidden-bridge"] {
        circuit(at, name);
    }
    let refused = |ran: Ran, parts: &[&str]| {
        let ran = ran.expect(2).says(parts);
        assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
        assert!(!at.join("out").exists());
    };
    let own = "hop-per-iteration.safetensors";
    refused(
        verify(at, own, "data", "hidden-bridge.truth.json"),
        &["hidden-bridge.truth.json", "does not fit the checkpoint", "iterations"],
    );
    refused(
        with(at, |truth| truth["layers"] = json!(7)),
        &["changed.json", "layers is 7 here, and 1 there"],
    );
    refused(
        with(at, |truth| truth["checkpoint_hash"] = json!("0123456789abcdef")),
        &["changed.json", "checkpoint_hash is 0123456789abcdef"],
    );
    refused(with(at, |truth| truth["format"] = json!(9)), &["format 9; allowed: 1"]);
    refused(
        with(at, |truth| truth["cases"][0]["sites"][0]["position"] = json!("r9")),
        &["changed.json", "a site that it lacks", "r9"],
    );
    refused(
        with(at, |truth| truth["cases"][0]["hops"] = json!(1_000_000_000_000_u64)),
        &["changed.json", "a case of 1000000000000 hops; allowed: 1 to 2"],
    );
    refused(
        with(at, |truth| truth["circuit"] = json!("untrained")),
        &["changed.json", "\"untrained\" is the name of a control"],
    );
    refused(
        with(at, |truth| truth["cases"] = json!([])),
        &["changed.json", "has no case of 2 hops"],
    );
    refused(
        with(at, |truth| truth["cases"] = json!("none")),
        &["changed.json", "bad JSON"],
    );
    let mut other = SMALL_DATA.map(str::to_owned);
    other[15..].clone_from_slice(&["other".to_owned(), "--seed=4".to_owned()]);
    run(at, &other.iter().map(String::as_str).collect::<Vec<_>>()).expect(0);
    refused(
        verify(at, own, "other", "hop-per-iteration.truth.json"),
        &["does not fit the data: data_hash"],
    );
    run(at, &["verify", "--checkpoint", own])
        .expect(2)
        .says(&["--data", "--truth"]);
    run(at, &["verify", "--short", "--checkpoint", own]).expect(2);
}
