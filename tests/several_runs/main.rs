//! Several runs in one result: whose each row is, on which data, and where results go.

#[path = "../common/mod.rs"]
mod common;
mod notes;

use std::collections::BTreeSet;
use std::path::Path;

use common::{SMALL_DATA, SMALL_RUN, prepared, run};
use serde_json::Value;

// Two runs in folders of the same name, on data of their own with the same vocabulary.
fn two_runs() -> tempfile::TempDir {
    let folder = prepared();
    let at = folder.path();
    let mut other = SMALL_DATA;
    other[15] = "other";
    other[16] = "--seed=4";
    run(at, &other).expect(0);
    std::fs::write(at.join("other.toml"), SMALL_RUN.replace("\"data\"", "\"other\"")).unwrap();
    run(at, &["train", "run.toml", "--out", "A/looped"]).expect(0);
    run(at, &["train", "other.toml", "--out", "B/looped"]).expect(0);
    folder
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn rows(path: &Path) -> Vec<Value> {
    json(path)["rows"].as_array().unwrap().clone()
}

fn distinct(rows: &[Value], keys: &[&str]) -> BTreeSet<String> {
    rows.iter()
        .map(|row| {
            keys.iter()
                .map(|key| row[key].to_string())
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect()
}

const FINALS: [&str; 2] = ["A/looped/final.safetensors", "B/looped/final.safetensors"];

#[test]
fn rows_of_runs_whose_folders_share_a_name_are_told_apart_everywhere() {
    let folder = two_runs();
    let at = folder.path();
    for (name, arguments) in [
        ("lens", &["lens"][..]),
        ("eval", &["eval"]),
        ("margin", &["margin", "--iterations", "3"]),
        ("settle", &["settle", "--iterations", "3"]),
        ("reach", &["reach", "--queries", "5", "--split", "test_inferred_iid"]),
        ("halt", &["halt", "--rules", "argmax=2", "--iterations", "4"]),
        ("patch", &["patch", "--pairs", "5"]),
        ("transplant", &["transplant", "--pairs", "5"]),
        ("cone", &["cone", "--queries", "5"]),
    ] {
        let ran = run(at, &[arguments, &FINALS, &["--out", "f"]].concat()).expect(0);
        for run in ["A/looped", "B/looped"] {
            assert!(ran.out.contains(run), "{name}: the table lacks {run}:\n{}", ran.out);
        }
        let rows = rows(&at.join(format!("f/{name}.json")));
        let runs = distinct(&rows, &["run"]);
        assert_eq!(
            runs,
            BTreeSet::from(["\"A/looped\"".to_owned(), "\"B/looped\"".to_owned()]),
            "{name}"
        );
        assert_eq!(
            distinct(&rows, &["run", "checkpoint_hash", "data_hash"]).len(),
            2,
            "{name}"
        );
        assert_eq!(distinct(&rows, &["checkpoint_hash"]).len(), 2, "{name}");
        let csv = std::fs::read_to_string(at.join(format!("f/{name}.csv"))).unwrap();
        assert!(
            csv.starts_with("run,checkpoint,step,checkpoint_hash,data_hash,"),
            "{name}: {csv}"
        );
        assert_eq!(csv.lines().count(), rows.len() + 1, "{name}");
        let figure = std::fs::read_to_string(at.join(format!("f/{name}.svg"))).unwrap();
        assert!(figure.contains("A/looped") && figure.contains("B/looped"), "{name}");
    }
}

#[test]
fn each_run_is_looked_at_on_its_own_data_and_the_figure_says_that_they_differ() {
    let folder = two_runs();
    let at = folder.path();
    let hash = |run: &str| {
        let stages = json(&at.join(run).join("stages.json"));
        stages["data_hash"].as_str().unwrap().to_owned()
    };
    run(at, &["compare", "A/looped", "B/looped", "--pairs", "5", "--out", "f"]).expect(0);
    for file in ["compare-lens", "compare-patch"] {
        for row in rows(&at.join(format!("f/{file}.json"))) {
            assert_eq!(row["data_hash"], hash(row["run"].as_str().unwrap()), "{file}");
        }
    }
    let figure = std::fs::read_to_string(at.join("f/compare.svg")).unwrap();
    assert!(
        figure.contains("data DIFFERS"),
        "the figure does not say that the data differ"
    );
    // Together and each alone give the same rows.
    run(at, &[&["lens"], &FINALS[..], &["--out", "both"]].concat()).expect(0);
    let both = rows(&at.join("both/lens.json"));
    for (target, name) in FINALS.iter().zip(["A/looped", "B/looped"]) {
        run(at, &["lens", target, "--out", "alone"]).expect(0);
        let strip = |mut row: Value| {
            row.as_object_mut().unwrap().remove("run");
            row
        };
        let alone: Vec<Value> = rows(&at.join("alone/lens.json")).into_iter().map(strip).collect();
        let of_run: Vec<Value> = both
            .iter()
            .filter(|row| row["run"] == name)
            .cloned()
            .map(strip)
            .collect();
        assert_eq!(alone, of_run);
    }
    // On data that the user names, all are looked at there.
    run(
        at,
        &[&["lens"], &FINALS[..], &["--data", "data", "--out", "f"]].concat(),
    )
    .expect(0)
    .says(&["B/looped final was trained on data"]);
    let report = json(&at.join("f/lens.json"));
    assert_eq!(distinct(&rows(&at.join("f/lens.json")), &["data_hash"]).len(), 1);
    assert_eq!(report["checkpoints"][1]["trained_on"], hash("B/looped"));
    let notes = report["notes"].to_string();
    let note = format!("B/looped final was trained on data {}", hash("B/looped"));
    assert!(
        notes.contains(&note) && !notes.contains("A/looped final was"),
        "{notes}"
    );
    let figure = std::fs::read_to_string(at.join("f/lens.svg")).unwrap();
    assert!(
        figure.contains("TRAINED"),
        "the figure does not say that the data are others"
    );
}

#[test]
fn results_of_different_runs_go_into_different_folders() {
    let folder = two_runs();
    let at = folder.path();
    let place = |arguments: &[&str]| -> String {
        let ran = run(at, arguments).expect(0);
        let line = ran.out.lines().last().unwrap();
        line.split("/eval.").next().unwrap().to_owned()
    };
    let places = [
        place(&["eval", FINALS[0]]),
        place(&["eval", FINALS[1]]),
        place(&["eval", "A/looped/step-00000000.safetensors"]),
        place(&["eval", FINALS[0], FINALS[1]]),
    ];
    assert_eq!(places[0], "figures/elsewhere/A/looped/final");
    assert_eq!(places.iter().collect::<BTreeSet<_>>().len(), places.len(), "{places:?}");
    for place in places {
        assert!(at.join(place).join("eval.csv").is_file());
    }
}

#[test]
fn a_run_may_be_given_a_name() {
    let folder = two_runs();
    let at = folder.path();
    let ran = run(
        at,
        &["compare", "mine=A/looped", "B/looped", "--pairs", "5", "--out", "f"],
    )
    .expect(0);
    assert!(ran.out.contains("mine") && ran.out.contains("looped"), "{}", ran.out);
    let names = distinct(&rows(&at.join("f/compare-lens.json")), &["run"]);
    assert_eq!(names, BTreeSet::from(["\"looped\"".to_owned(), "\"mine\"".to_owned()]));
    run(at, &["compare", "x=A/looped", "x=B/looped"])
        .expect(2)
        .says(&["two of the runs are called x", "NAME=PATH"]);
}

#[test]
fn splits_are_named_in_every_row_and_line_and_may_be_written_with_blanks() {
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "r"]).expect(0);
    let splits = "test_inferred_iid, test_inferred_ood";
    for (name, arguments) in [
        ("margin", &["margin", "--iterations", "3"][..]),
        ("settle", &["settle", "--iterations", "3"]),
        ("reach", &["reach", "--queries", "5"]),
        ("halt", &["halt", "--rules", "argmax=2", "--iterations", "4"]),
    ] {
        let target = ["r/final.safetensors", "--split", splits, "--out", "f"];
        let ran = run(at, &[arguments, &target].concat()).expect(0);
        for split in ["test_inferred_iid", "test_inferred_ood"] {
            assert!(ran.out.contains(split), "{name}: the table lacks {split}:\n{}", ran.out);
        }
        let figure = std::fs::read_to_string(at.join(format!("f/{name}.svg"))).unwrap();
        assert!(
            figure.contains("ID test") && figure.contains("OOD test"),
            "{name}: no line says its split"
        );
    }
}

#[test]
fn a_halting_rule_that_is_named_twice_counts_once() {
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "r"]).expect(0);
    let halt = |rules: &str| {
        let target = ["halt", "r/final.safetensors", "--iterations", "4", "--out", "f"];
        run(at, &[&target[..], &["--sweep", "--rules", rules]].concat()).expect(0);
        std::fs::read_to_string(at.join("f/halt.csv")).unwrap()
    };
    assert!(halt("argmax=2,oracle,argmax=2.0,oracle") == halt("argmax=2,oracle"));
}

#[test]
fn a_split_counts_once_and_an_empty_name_is_refused() {
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "r"]).expect(0);
    let eval = |split: &str| run(at, &["eval", "r/final.safetensors", "--split", split, "--out", "f"]);
    eval("test_inferred_iid,test_inferred_iid ").expect(0);
    assert_eq!(rows(&at.join("f/eval.json")).len(), 1);
    for split in ["test_inferred_iid,", "", ","] {
        eval(split).expect(2).says(&["--split has an empty name"]);
    }
}

#[test]
fn runs_without_a_split_in_common_are_refused_with_the_splits_of_each() {
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "a"]).expect(0);
    let test = std::fs::read_to_string(at.join("data/test.json")).unwrap();
    let mut items: Vec<Value> = serde_json::from_str(&test).unwrap();
    for item in &mut items {
        item["type"] = "elsewhere".into();
    }
    std::fs::create_dir(at.join("other")).unwrap();
    for name in ["train.json", "valid.json", "vocab.json"] {
        std::fs::copy(at.join("data").join(name), at.join("other").join(name)).unwrap();
    }
    std::fs::write(at.join("other/test.json"), serde_json::to_string(&items).unwrap()).unwrap();
    let other = SMALL_RUN.replace("data = \"data\"", "data = \"other\"\nstages = []");
    std::fs::write(at.join("other.toml"), other).unwrap();
    run(at, &["train", "other.toml", "--out", "b"]).expect(0);
    let hash = |run: &str| {
        json(&at.join(run).join("stages.json"))["data_hash"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let targets = ["eval", "a/final.safetensors", "b/final.safetensors", "--out", "f"];
    let of_b = format!("data {} of b: ", hash("b"));
    run(at, &targets).expect(2).says(&[
        "all runs share",
        "--split could name: train, valid (",
        &format!("data {} of a: ", hash("a")),
        &of_b,
        "elsewhere",
    ]);
    run(at, &[&targets[..], &["--split", "test_inferred_iid"]].concat())
        .expect(2)
        .says(&[&of_b, "no split named `test_inferred_iid`"]);
}

#[test]
fn models_that_answer_at_a_padding_column_are_looked_at_there() {
    let folder = prepared();
    let at = folder.path();
    let set = [
        "model.readout=last-column",
        "model.columns=4",
        "model.max_positions=4",
        "train.steps=600",
    ];
    run(at, &[&["train", "run.toml", "--out", "r", "--set"], &set[..]].concat()).expect(0);
    let target = ["r/final.safetensors", "--split", "train_inferred", "--out", "f"];
    run(at, &[&["lens"], &target[..]].concat()).expect(0);
    let lens = rows(&at.join("f/lens.json"));
    let at_readout = |label: &str| -> Vec<f64> {
        let fits = |row: &&Value| row["position"] == "readout" && row["label"] == label;
        lens.iter()
            .filter(fits)
            .map(|row| row["top1"].as_f64().unwrap())
            .collect()
    };
    run(at, &[&["eval"], &target[..]].concat()).expect(0);
    let accuracy = rows(&at.join("f/eval.json"))[0]["accuracy"].as_f64().unwrap();
    // What the lens reads there at the end is the answer.
    assert_eq!(at_readout("target").last(), Some(&accuracy));
    assert_eq!(at_readout("bridge").len(), 3);
    run(at, &[&["patch"], &target[..]].concat()).expect(0);
    let patch = rows(&at.join("f/patch.json"));
    let last = patch.iter().filter(|row| row["effective_layer"] == 2);
    for row in last {
        // After the last layer only the state at the readout is still read.
        let expected = if row["position"] == "readout" { 1.0 } else { 0.0 };
        assert!((row["recovery"].as_f64().unwrap() - expected).abs() < 1e-6, "{row}");
    }
    let spec = "name = 'x'\ntitle = 'X'\nlabel = 'target'\npositions = ['readout']\ntest = ['train']";
    std::fs::write(at.join("x.toml"), spec).unwrap();
    run(at, &["probe", "x.toml", "r/final.safetensors", "--out", "f"]).expect(0);
    assert!(
        rows(&at.join("f/probe.json"))
            .iter()
            .all(|row| row["position"] == "readout")
    );
}

#[test]
fn activations_of_a_run_are_those_of_its_last_checkpoint_on_its_own_data() {
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "r"]).expect(0);
    let of = |target: &str, out: &str| {
        run(
            at,
            &["activations", target, "--split", "test_inferred_iid", "--out", out],
        )
        .expect(0);
        std::fs::read(at.join(out)).unwrap()
    };
    assert!(of("r", "a.safetensors") == of("r/final.safetensors", "b.safetensors"));
}
