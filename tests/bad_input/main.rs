//! Bad input: one clear message that names the file, key or value, exit code 2, nothing harmed, never a panic.

#[path = "../common/mod.rs"]
mod common;
mod damage;
mod import;
mod output;

use std::path::Path;

use common::{SMALL_DATA, SMALL_RUN, prepared, run, run_with, shipped};
use loopscope::graph::Dataset;

use import::{replaced, with_pickle};

fn write(folder: &Path, name: &str, content: &str) {
    std::fs::write(folder.join(name), content).unwrap();
}

#[test]
fn configs() {
    let folder = prepared();
    let at = folder.path();
    let refused = |content: &str, parts: &[&str]| {
        write(at, "bad.toml", content);
        run(at, &["train", "bad.toml", "--out", "r"]).expect(2).says(parts);
        assert!(!at.join("r").exists(), "nothing is left behind");
    };
    refused(
        &SMALL_RUN.replace("heads = 2", "heads = 3"),
        &["bad.toml", "model.heads = 3", "1, 2, 4, 8, 16"],
    );
    refused(&SMALL_RUN.replace("heads", "head"), &["bad.toml", "head"]);
    refused(
        &SMALL_RUN.replace("\"data\"", "\"nowhere\""),
        &["nowhere", "no such folder"],
    );
    refused(
        &SMALL_RUN.replace("max_positions = 3", "max_positions = 2"),
        &["position 2", "max_positions"],
    );
    refused(
        &SMALL_RUN.replace("steps = 60", "steps = 0"),
        &["train.steps = 0", "1 or more"],
    );
    refused(
        &format!("{SMALL_RUN}\n[[stages]]\nname = 'x'\nsplit = 'nope'\naccuracy = 0.5"),
        &["nope", "test_inferred_ood"],
    );
    refused("data = [", &["bad.toml"]);
    // A split that the data lacks, named by a stage that the user never wrote.
    run(
        at,
        &[
            "data",
            "depth",
            "--entities",
            "9",
            "--relations",
            "3",
            "--hops",
            "3",
            "--train-rows",
            "40",
            "--test-rows",
            "9",
            "--out",
            "chains",
        ],
    )
    .expect(0);
    let on_chains = SMALL_RUN
        .replace("\"data\"", "\"chains\"")
        .replace("max_positions = 3", "max_positions = 4");
    refused(
        &on_chains,
        &[
            "test_inferred_iid",
            "2hop_test, 3hop_test",
            "no [[stages]]",
            "[curriculum]",
            "stage_steps",
        ],
    );
    run(at, &["train", "missing.toml"])
        .expect(2)
        .says(&["missing.toml", "no such file"]);
    run(at, &["train", "run.toml", "--out", "r", "--set", "train.batchh=3"])
        .expect(2)
        .says(&["train.batchh=3"]);
    run(at, &["train", "run.toml", "--out", "r", "--device", "tpu"])
        .expect(2)
        .says(&["cuda:N"]);
    run(at, &["train", "data", "--out", "r"])
        .expect(2)
        .says(&["is a folder"]);
}

#[test]
fn data() {
    let folder = prepared();
    let at = folder.path();
    let before = std::fs::read(at.join("data/train.json")).unwrap();
    run(at, &["data", "systematic", "--out", "data"])
        .expect(2)
        .says(&["data", "not empty"]);
    assert_eq!(before, std::fs::read(at.join("data/train.json")).unwrap());
    run(at, &["data", "systematic", "--out", "d", "--out-degree", "300"])
        .expect(2)
        .says(&["out-degree is 300", "200"]);
    run(at, &["data", "systematic", "--out", "d", "--ood-share", "2"])
        .expect(2)
        .says(&["ood-share is 2"]);
    let mut many = SMALL_DATA;
    (many[13], many[15]) = ("400", "many");
    let ran = run(at, &many)
        .expect(0)
        .says(&["phi = 400", "training chains", "all of them"]);
    let rows = Dataset::read(&at.join("many")).unwrap().split("train").unwrap().len();
    let chains = format!("{}", rows - 60);
    assert!(ran.err.contains(&chains), "{} of {chains}", ran.err);
    run(
        at,
        &[
            "data",
            "systematic",
            "--out",
            "d",
            "--entities",
            "999999",
            "--out-degree",
            "200",
        ],
    )
    .expect(2)
    .says(&["chains"]);
    let train = String::from_utf8(before).unwrap();
    write(at, "data/train.json", &train.replacen("<e_0>", "<e_99>", 1));
    run(at, &["train", "run.toml", "--out", "r"])
        .expect(2)
        .says(&["train.json", "row 1", "<e_99>"]);
    write(at, "data/train.json", &train[..train.len() / 2]);
    run(at, &["train", "run.toml", "--out", "r"])
        .expect(2)
        .says(&["train.json", "bad JSON"]);
    std::fs::remove_file(at.join("data/train.json")).unwrap();
    run(at, &["train", "run.toml", "--out", "r"])
        .expect(2)
        .says(&["train.json", "no such file"]);
    assert!(!at.join("d").exists() && !at.join("r").exists());
}

#[test]
fn checkpoints() {
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "r"]).expect(0);
    let whole = std::fs::read(at.join("r/final.safetensors")).unwrap();
    for length in [0, 7, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(at.join("cut.safetensors"), &whole[..length]).unwrap();
        run(at, &["lens", "cut.safetensors", "--data", "data"])
            .expect(2)
            .says(&["cut.safetensors", "truncated or corrupted"]);
    }
    run(at, &["lens", "nowhere"])
        .expect(2)
        .says(&["nowhere", "no such file or folder"]);
    run(at, &["lens", "data"])
        .expect(2)
        .says(&["data", "is not a run folder"]);
    run(at, &["lens", "r", "--split", "trian"])
        .expect(2)
        .says(&["trian", "test_inferred_iid"]);
    run(at, &["patch", "r", "--split", "id_atomic"])
        .expect(2)
        .says(&["id_atomic", "two hops"]);
    run(at, &["patch", "r", "--hook", "logits"])
        .expect(2)
        .says(&["logits", "points of a layer"]);
    run(at, &["patch", "r", "--memory", "0"])
        .expect(2)
        .says(&["--memory", "1MiB or more"]);
    run(at, &["transplant", "r", "--split", "id_atomic"])
        .expect(2)
        .says(&["id_atomic", "two hops"]);
    run(at, &["transplant", "r", "--iterations", "0"])
        .expect(2)
        .says(&["0", "1 to 4096"]);
    run(at, &["cone", "r", "--before", "1..9"])
        .expect(2)
        .says(&["--before 3", "allowed: 1 to 2"]);
    run(at, &["cone", "r", "--position", "head,r3"])
        .expect(2)
        .says(&["--position r3", "allowed: head, r1, r2"]);
    run(at, &["cone", "r", "--threshold", "0"])
        .expect(2)
        .says(&["--threshold", "numbers above 0"]);
    run(at, &["path", "r", "--from", "2.1.1", "--to", "1.1.mlp"])
        .expect(2)
        .says(&["--from 2.1.1 --to 1.1.mlp", "reads before the sender writes"]);
    run(at, &["path", "r", "--to", "3.1.mlp"])
        .expect(2)
        .says(&["--to 3.1.mlp", "iteration 3", "1 to 2"]);
    run(at, &["path", "r", "--from", "mlp"])
        .expect(2)
        .says(&["mlp", "ITERATION.LAYER.HEAD"]);
    run(at, &["path", "r", "--to", "logits+2.1.mlp"])
        .expect(2)
        .says(&["logits+2.1.mlp", "allowed: logits alone"]);
    run(at, &["ablate", "r", "--position", "r3"])
        .expect(2)
        .says(&["--position r3", "allowed: head, r1, r2, readout"]);
    run(at, &["eval", "r", "--iterations", "0"])
        .expect(2)
        .says(&["0", "1 to 4096"]);
    run(at, &["compare", "r/final.safetensors"])
        .expect(2)
        .says(&["run folders"]);
    run(at, &["compare", "r", "r"])
        .expect(2)
        .says(&["r/", "is named twice"]);
    run(
        at,
        &[
            "activations",
            "r/final.safetensors",
            "--data",
            "data",
            "--split",
            "x",
            "--out",
            "a",
        ],
    )
    .expect(2)
    .says(&["`x`"]);
    run(
        at,
        &[
            "activations",
            "r/final.safetensors",
            "--tokens",
            "r/final.safetensors",
            "--out",
            "a",
        ],
    )
    .expect(2)
    .says(&["no tensor named tokens"]);
}

#[test]
fn looks_of_figures() {
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "r"]).expect(0);
    for (flag, value, allowed) in [
        ("--width", "5.5", "5.5in, 14cm"),
        ("--width", "1mm", "2in to 40in"),
        ("--format", "svg,jpeg", "svg, png, pdf"),
        ("--style", "poster", "screen, paper"),
    ] {
        run(at, &["eval", "r", "--out", "f", flag, value])
            .expect(2)
            .says(&[flag, allowed]);
    }
    assert!(!at.join("f").exists());
}

#[test]
fn probe_specs() {
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "r"]).expect(0);
    let spec = |label: &str, position: &str| {
        let content = format!(
            "name = 'x'\ntitle = 'X'\nlabel = '{label}'\npositions = ['{position}']\ntest = ['test_inferred_iid', 'train']"
        );
        write(at, "x.toml", &content);
        run(at, &["probe", "x.toml", "r", "--out", "f"])
    };
    spec("bridge", "r1").expect(0);
    spec("brigde", "r1")
        .expect(2)
        .says(&["x.toml", "brigde", "allowed: head, bridge"]);
    spec("bridge", "r9").expect(2).says(&["r9", "head, r1, r2"]);
    spec("target", "r1").expect(2).says(&["cannot know the target"]);
    spec("head", "head").expect(2).says(&["cannot be tested at head"]);
    let with = |line: &str| {
        let content = "name = 'x'\ntitle = 'X'\nlabel = 'bridge'\npositions = ['r1']\ntest = ['train']\n";
        write(at, "y.toml", &format!("{content}{line}"));
        run(at, &["probe", "y.toml", "r", "--out", "f"])
    };
    with("split = 'queries'")
        .expect(2)
        .says(&["y.toml", "`facts`, `both-facts`, `prefixes`"]);
    with("classifier = 'mlp'")
        .expect(2)
        .says(&["y.toml", "`logistic`, `discriminant`, `ridge`"]);
    with("control = 'shuffled-labels'")
        .expect(2)
        .says(&["y.toml", "control"]);
    // The run's checkpoint of step 0 is a baseline.
    let initial = at.join("r/step-00000000.safetensors");
    let bytes = std::fs::read(&initial).unwrap();
    std::fs::write(&initial, &bytes[..bytes.len() / 2]).unwrap();
    with("").expect(2).says(&["step-00000000.safetensors"]);
    run(at, &["probe", "r"]).expect(2).says(&["no probe spec named"]);
    run(at, &["probe", "x.toml"]).expect(2).says(&["no checkpoint named"]);
}

#[test]
fn interventions() {
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "r"]).expect(0);
    let refused = |arguments: &[&str], parts: &[&str]| {
        let ran = run(at, &[arguments, &["r/final.safetensors", "--out", "f"]].concat()).expect(2);
        assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
        ran.says(parts);
        assert!(!at.join("f").exists(), "nothing is left behind");
    };
    refused(
        &["edit", "--label", "head"],
        &["label head", "chains of 2 hops", "bridge, target"],
    );
    refused(&["edit", "--label", "bridge2"], &["label bridge2", "bridge, target"]);
    refused(
        &["edit", "--position", "head"],
        &["position head", "allowed: r1, r2, readout"],
    );
    refused(
        &["edit", "--position", "r3"],
        &["position r3", "allowed: r1, r2, readout"],
    );
    refused(
        &["edit", "--hook", "z"],
        &["hook z", "resid_pre, resid_mid, resid_post"],
    );
    refused(&["edit", "--split", "nope"], &["nope", "test_inferred_iid"]);
    refused(
        &["routing", "--position", "r3"],
        &["position r3", "allowed: head, r1, r2, readout"],
    );
    for arguments in [
        &["edit", "--direction", "whole"][..],
        &["edit", "--kind", "add"],
        &["edit", "--label", "bridges"],
        &["routing", "--position", "x1"],
    ] {
        let ran = run(at, &[arguments, &["r/final.safetensors"]].concat()).expect(2);
        ran.says(&[arguments[2]]);
    }
}

#[test]
fn errors_are_sentences_even_where_stack_traces_are_asked_for() {
    let folder = prepared();
    let at = folder.path();
    let pickle = std::fs::read(shipped("tests/reference/learned/checkpoint.pt")).unwrap();
    // An operation that no pickle has, and a storage that is not there.
    let unknown = with_pickle(&pickle, |bytes| [&bytes[..2], &[0xff], &bytes[2..]].concat());
    let text = |text: &str| [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    let dangling = with_pickle(&pickle, |bytes| replaced(&bytes, &text("2"), &text("9999")));
    for (name, bytes) in [
        ("unknown.pt", unknown),
        ("dangling.pt", dangling),
        ("cut.pt", pickle[..pickle.len() / 2].to_vec()),
    ] {
        std::fs::write(at.join(name), bytes).unwrap();
        let arguments = ["import", name, "--heads", "4", "--out", "x.safetensors"];
        let ran = run_with(at, &arguments, &[("RUST_BACKTRACE", "1")])
            .expect(2)
            .says(&[name]);
        assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
        assert!(
            !ran.err.contains("stack backtrace") && !ran.err.contains("0: "),
            "{}",
            ran.err
        );
    }
}
