//! Chains of many hops: the curriculum, more iterations than in training, halting, and what looks inside.

#[path = "../common/mod.rs"]
mod common;
mod curriculum;

use std::path::Path;

use candle_core::Device;
use common::run;
use loopscope::checkpoint::Checkpoint;
use loopscope::graph::Dataset;
use loopscope::model::{Pass, Rows, Sharing};
use serde_json::Value;

const DATA: [&str; 14] = [
    "data",
    "depth",
    "--entities",
    "10",
    "--relations",
    "4",
    "--hops",
    "5",
    "--train-rows",
    "100",
    "--test-rows",
    "30",
    "--out",
    "data",
];

// So easy to pass that every evaluation ends a stage.
const RUN: &str = r#"
data = "data"
[model]
layers = 2
iterations = 3
d_model = 16
heads = 2
positions = "none"
injection = true
init = 0.5
[optimizer]
lr = 3e-3
warmup = 10
[train]
steps = 1000
batch = 32
evaluate_every = 20
evaluate_early = 20
save_every_seconds = 0
dynamic = { lambda = 2.0, min = 1, max = 4 }
[curriculum]
accuracy = 0.0
stage_steps = 50
"#;

fn prepared() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &DATA).expect(0);
    std::fs::write(folder.path().join("run.toml"), RUN).unwrap();
    folder
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn one_pass_of_many_iterations_reads_what_runs_of_every_length_would() {
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "r"]).expect(0);
    let of = |iterations: &str| {
        run(
            at,
            &["eval", "r/final.safetensors", "--iterations", iterations, "--out", "f"],
        )
        .expect(0);
        let mut rows = json(&at.join("f/eval.json"))["rows"].as_array().unwrap().clone();
        // What a row says of itself, and not of the other iterations that it is compared with.
        let compares = |key: &str| {
            ["is_max", "max_", "fall", "gain"]
                .iter()
                .any(|start| key.starts_with(start))
        };
        for row in &mut rows {
            row.as_object_mut().unwrap().retain(|key, _| !compares(key));
        }
        rows
    };
    let mut apart: Vec<Value> = (1..=7).flat_map(|i| of(&i.to_string())).collect();
    let mut together = of("1..7");
    let key = |row: &Value| (row["split"].to_string(), row["iterations"].as_u64());
    apart.sort_by_key(key);
    together.sort_by_key(key);
    assert_eq!(apart, together);
    assert_eq!(together.len(), 7 * 5);
}

#[test]
fn chains_of_many_lengths_in_one_batch_answer_as_padded_ones_do() {
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "r"]).expect(0);
    let data = Dataset::read(&at.join("data")).unwrap();
    let checkpoint = Checkpoint::read(&at.join("r/final.safetensors"), &Device::Cpu).unwrap();
    let model = checkpoint.model().unwrap();
    let queries: Vec<&[u32]> = data.splits[1..]
        .iter()
        .flat_map(|(_, rows)| rows.iter().map(|query| &*query.tokens))
        .collect();
    let packed = model.pack(queries.iter().copied(), Sharing::Prefixes).unwrap();
    let columns = queries.iter().map(|tokens| tokens.len()).max().unwrap();
    let padded: Vec<Vec<u32>> = queries
        .iter()
        .map(|tokens| {
            let mut row = tokens.to_vec();
            row.resize(columns, 0);
            row
        })
        .collect();
    let rectangle = Rows::rectangle(&padded, model.config(), model.vocab()).unwrap();
    assert!(
        packed.len() * 2 < rectangle.len(),
        "packing saves the padding and the common prefixes"
    );
    let logits = |rows: &Rows| {
        model
            .forward(rows, 5, &mut Pass::default())
            .unwrap()
            .to_vec2::<f32>()
            .unwrap()
    };
    let (got, all) = (logits(&packed), logits(&rectangle));
    for (query, tokens) in queries.iter().enumerate() {
        let expected = &all[query * columns + tokens.len() - 1];
        for (a, b) in got[query].iter().zip(expected) {
            assert!((a - b).abs() < 1e-4, "query {query}: {a}, not {b}");
        }
    }
}

#[test]
fn every_analysis_of_depth_leaves_its_table_and_figure() {
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "r"]).expect(0);
    for (name, arguments) in [
        ("margin", &["margin", "r", "--iterations", "6"][..]),
        ("settle", &["settle", "r", "--iterations", "6"]),
        ("reach", &["reach", "r", "--queries", "10"]),
        ("extrapolate", &["extrapolate", "r", "--iterations", "6"]),
        ("lens", &["lens", "r/final.safetensors"]),
        (
            "halt",
            &[
                "halt",
                "r",
                "--iterations",
                "6",
                "--rules",
                "kl+entropy,argmax=2,oracle",
                "--sweep",
            ],
        ),
        ("eval", &["eval", "r", "--iterations", "1..6"]),
    ] {
        run(at, &[arguments, &["--out", "f"]].concat()).expect(0);
        for kind in ["csv", "json", "svg", "png"] {
            assert!(at.join("f").join(format!("{name}.{kind}")).is_file(), "{name}.{kind}");
        }
    }
    for name in ["margin", "eval", "lens"] {
        each_line_has_one_maximum(&json(&at.join(format!("f/{name}.json"))));
    }
    let report = json(&at.join("f/halt.json"));
    let work = |rule: &str| -> f64 {
        let rows = report["rows"].as_array().unwrap().iter();
        let of_rule = rows.filter(|row| row["rule"] == rule && row["swept"] == false);
        of_rule.map(|row| row["work"].as_f64().unwrap()).fold(0.0, f64::max)
    };
    assert!(work("argmax=2") <= 1.0 && work("argmax=2") > 0.0);
}

// Each line of a result has one maximum, whose interval holds it; chains are clustered by their facts, and facts by nothing.
fn each_line_has_one_maximum(report: &Value) {
    let rows = report["rows"].as_array().unwrap();
    let line = |row: &Value| {
        let keys = ["checkpoint", "step", "split", "hops", "label", "position"];
        keys.map(|key| row[key].to_string()).join(" ")
    };
    for row in rows {
        let value = |row: &Value| {
            let values = ["margin", "accuracy", "top1"].iter().find_map(|key| row[*key].as_f64());
            values.unwrap()
        };
        let of_line: Vec<&Value> = rows.iter().filter(|other| line(other) == line(row)).collect();
        let maxima: Vec<&&Value> = of_line.iter().filter(|row| row["is_max"] == true).collect();
        assert_eq!(maxima.len(), 1, "{}", line(row));
        let max = maxima[0];
        let largest = of_line.iter().map(|row| value(row)).fold(f64::MIN, f64::max);
        assert_eq!(value(max), largest);
        let (low, high) = (max["max_low"].as_f64().unwrap(), max["max_high"].as_f64().unwrap());
        assert!(low <= largest + 1e-9 && largest <= high + 1e-9, "{max}");
        let clustering = if row["split"] == "atomic_facts" {
            "independent"
        } else {
            "facts"
        };
        assert_eq!(row["interval"], clustering, "{row}");
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name_and_nothing_is_written() {
    let folder = prepared();
    let at = folder.path();
    let train = |set: &str| run(at, &["train", "run.toml", "--out", "r", "--set", set]).expect(2);
    train("curriculum.deepest=9").says(&["a curriculum to 9 hops", "5hop_test"]);
    train("curriculum.stage_steps=0").says(&["curriculum.stage_steps = 0"]);
    train("train.dynamic.min=9").says(&["train.dynamic.min = 9", "1 to train.dynamic.max = 4"]);
    train("model.iterations=7").says(&["model.iterations = 7", "1 to 4"]);
    train("optimizer.cooldown=5").says(&["optimizer.cooldown = 5"]);
    train("model.init=half").says(&["gaussian"]);
    assert!(!at.join("r").exists());
    run(
        at,
        &["data", "shortcut", "--entities", "3", "--relations", "2", "--out", "d"],
    )
    .expect(2)
    .says(&["only 12 chains of 2 hops"]);
    assert!(!at.join("d").exists());
    run(at, &["train", "run.toml", "--out", "r"]).expect(0);
    run(at, &["halt", "r", "--rules", "kll"])
        .expect(2)
        .says(&["no criterion `kll`", "latent-difference"]);
    run(at, &["reach", "r", "--tolerance", "2"])
        .expect(2)
        .says(&["--tolerance <TOLERANCE>", "allowed: 0 to 1"]);
    let plain = RUN.split("[curriculum]").next().unwrap().to_owned()
        + "[[stages]]\nname = \"a\"\nsplit = \"2hop_test\"\naccuracy = 0.0\n";
    std::fs::write(at.join("plain.toml"), plain).unwrap();
    run(at, &["train", "plain.toml", "--out", "p", "--set", "train.steps=20"]).expect(0);
    run(at, &["extrapolate", "p"]).expect(2).says(&["of a curriculum"]);
}
