//! The per-query rows of every method (`--rows`): whose they are, and that their means are the numbers of the table.

mod common;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use common::{prepared, run, shipped, text};
use serde_json::Value;

type QueryRow = HashMap<String, String>;

fn query_rows(path: &Path) -> Vec<QueryRow> {
    let mut table = csv::Reader::from_path(path).unwrap();
    table.deserialize().map(Result::unwrap).collect()
}

fn report(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

// As CSV has it.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What a method's table says in `number`, per group of `keys`, beside the mean of `value` over the group's queries.
fn means_agree(at: &Path, method: &str, keys: &[&str], number: &str, value: impl Fn(&QueryRow) -> f64) {
    let mut groups: BTreeMap<Vec<String>, Vec<f64>> = BTreeMap::new();
    for row in query_rows(&at.join(format!("f/{method}-rows.csv"))) {
        let key = keys.iter().map(|key| row[*key].clone()).collect();
        groups.entry(key).or_default().push(value(&row));
    }
    let rows = report(&at.join(format!("f/{method}.json")));
    let rows = rows["rows"].as_array().unwrap();
    assert!(!rows.is_empty());
    for row in rows {
        let key: Vec<String> = keys.iter().map(|key| cell(&row[*key])).collect();
        let values = &groups[&key];
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let expected = row[number].as_f64().unwrap();
        assert_eq!(row["n"].as_u64().unwrap() as usize, values.len(), "{method} {key:?}");
        assert!(
            (mean - expected).abs() < 1e-9,
            "{method} {key:?}: {mean}, not {expected}"
        );
    }
}

fn is(row: &QueryRow, column: &str) -> f64 {
    f64::from(u8::from(row[column] == "true"))
}

fn number(row: &QueryRow, column: &str) -> f64 {
    row[column].parse().unwrap()
}

const PLACE: [&str; 2] = ["split", "effective_layer"];

// A small run, with these analyses of its last checkpoint in `f`.
fn analysed(analyses: &[&[&str]]) -> tempfile::TempDir {
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "r"]).expect(0);
    for arguments in analyses {
        let target = ["r/final.safetensors", "--rows", "--out", "f"];
        run(at, &[arguments, &target[..]].concat()).expect(0);
    }
    folder
}

#[test]
fn the_numbers_of_what_is_read_off_are_means_of_its_query_rows() {
    let spec = shipped("probes").join("head-everywhere.toml");
    let folder = analysed(&[
        &["eval", "--iterations", "1..3"],
        &["margin", "--iterations", "3"],
        &["settle", "--iterations", "3"],
        &["halt", "--rules", "argmax=2,oracle", "--iterations", "4"],
        &["reach", "--queries", "9", "--split", "test_inferred_iid"],
        &["lens"],
        &["probe", spec.to_str().unwrap()],
        &["attribute", "--queries", "9"],
    ]);
    let at = folder.path();
    let by_iteration = ["split", "hops", "iteration"];
    means_agree(at, "eval", &["split", "iterations"], "accuracy", |row| is(row, "right"));
    means_agree(at, "margin", &by_iteration, "margin", |row| number(row, "margin"));
    means_agree(at, "settle", &by_iteration, "moved", |row| number(row, "moved"));
    means_agree(at, "settle", &by_iteration, "accuracy", |row| is(row, "right"));
    let by_rule = ["split", "hops", "rule"];
    means_agree(at, "halt", &by_rule, "accuracy", |row| is(row, "right"));
    means_agree(at, "halt", &by_rule, "mean", |row| number(row, "iterations"));
    let by_exchange = ["split", "hops", "interchange", "position"];
    let changes = |row: &QueryRow| f64::from(u8::from(row["answer_after"] != row["answer"]));
    means_agree(at, "reach", &by_exchange, "changed", changes);
    let by_reading = [&PLACE[..], &["hops", "label", "position"]].concat();
    let is_first = |row: &QueryRow| f64::from(u8::from(row["rank"] == "1"));
    means_agree(at, "lens", &by_reading, "top1", is_first);
    means_agree(at, "lens", &by_reading, "probability", |row| number(row, "probability"));
    let by_probe = [&PLACE[..], &["probe", "position"]].concat();
    means_agree(at, "probe", &by_probe, "accuracy", |row| is(row, "decoded_right"));
    let by_component = [
        &PLACE[..],
        &["hops", "logit_of", "label", "component", "attention_head"],
    ]
    .concat();
    means_agree(at, "attribute", &by_component, "contribution", |row| {
        number(row, "contribution")
    });
    means_agree(at, "attribute", &by_component, "logit", |row| number(row, "logit"));
}

#[test]
fn the_numbers_of_interventions_are_means_of_their_query_rows() {
    let ablate = "ablate --queries 9 --position head,r2 --split test_inferred_iid";
    let folder = analysed(&[
        &["patch", "--pairs", "9"],
        &["transplant", "--pairs", "9"],
        &["cone", "--queries", "9"],
        &[
            "path",
            "--pairs",
            "9",
            "--to",
            "logits,2.1.1.v+2.1.2.v",
            "--each-destination",
        ],
        &ablate.split(' ').collect::<Vec<_>>(),
        &["edit", "--queries", "9", "--clamp"],
        &["routing", "--pairs", "9"],
    ]);
    let at = folder.path();
    let by_site = [&PLACE[..], &["hook", "position"]].concat();
    means_agree(at, "patch", &by_site, "gap", |row| {
        number(row, "clean_difference") - number(row, "corrupt_difference")
    });
    let by_transplant = ["split", "source_iteration", "base_iteration", "position"];
    means_agree(at, "transplant", &by_transplant, "probability", |row| {
        number(row, "patched_probability")
    });
    let by_source = ["split", "hops", "before", "put_at", "position"];
    means_agree(at, "cone", &by_source, "answers_changed", |row| {
        f64::from(u8::from(row["answer_after"] != row["answer"]))
    });
    let by_path = [
        "split",
        "sender_component",
        "sender_attention_head",
        "sender_effective_layer",
        "receiver",
        "source_position",
        "destination_position",
    ];
    means_agree(at, "path", &by_path, "probability", |row| {
        number(row, "patched_probability")
    });
    let by_ablation = [&PLACE[..], &["hops", "ablated", "attention_head", "layer", "position"]].concat();
    means_agree(at, "ablate", &by_ablation, "accuracy", |row| is(row, "ablated_right"));
    means_agree(at, "ablate", &by_ablation, "drop", |row| number(row, "drop"));
    let by_edit = [&PLACE[..], &["position", "direction", "kind", "matched_to", "clamped"]].concat();
    let is_redirected = |row: &QueryRow| f64::from(u8::from(row["edited_answer"] == row["counterfactual_answer"]));
    means_agree(at, "edit", &by_edit, "counterfactual", is_redirected);
    means_agree(at, "edit", &by_edit, "original_logit", |row| {
        number(row, "original_logit")
    });
    let by_put = [
        &PLACE[..],
        &["carried", "donor", "from_iteration", "attention_head", "crossed"],
    ]
    .concat();
    means_agree(at, "routing", &by_put, "keeps", |row| is(row, "keeps"));
    means_agree(at, "routing", &by_put, "rank", |row| number(row, "patched_rank"));
}

#[test]
fn a_query_row_says_whose_it_is_and_which_query_it_is_of() {
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "r"]).expect(0);
    let arguments = [
        "eval",
        "r/final.safetensors",
        "--split",
        "test_inferred_iid",
        "--rows",
        "--out",
        "f",
    ];
    run(at, &arguments).expect(0);
    let rows = query_rows(&at.join("f/eval-rows.csv"));
    let report = report(&at.join("f/eval.json"));
    let data = loopscope::graph::Dataset::read(&at.join("data")).unwrap();
    let queries = data.split("test_inferred_iid").unwrap();
    assert_eq!(rows.len(), queries.len());
    let name = |id: u32| data.vocab.tokens()[id as usize].clone();
    for (i, (row, query)) in rows.iter().zip(queries).enumerate() {
        assert_eq!(row["row"], i.to_string());
        assert_eq!(
            row["checkpoint_hash"],
            report["checkpoints"][0]["checkpoint_hash"].as_str().unwrap()
        );
        assert_eq!(
            row["query"],
            query.tokens.iter().map(|&id| name(id)).collect::<String>()
        );
        let entities = [&row["head"], &row["entity1"], &row["entity2"], &row["target"]];
        let expected = [
            query.tokens[0],
            query.entity_after(1).unwrap(),
            query.target,
            query.target,
        ]
        .map(name);
        assert_eq!(entities.map(String::clone), expected);
        assert_eq!(row["right"] == "true", row["answer"] == row["target"]);
    }
    // What was left open is filled in, and the file says what made it.
    assert_eq!(report["settings"]["iterations"], serde_json::json!([2]));
    assert_eq!(report["command"][1], "eval");
    assert!(report["build"].as_str().unwrap().contains("matrix products by"));
}

#[test]
fn directions_that_are_kept_decode_what_the_probe_did() {
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "r"]).expect(0);
    let spec = shipped("probes").join("bridge-at-r2.toml");
    let probe = [
        "probe",
        text(&spec),
        "r/final.safetensors",
        "--rows",
        "--keep-fitted",
        "--out",
        "f",
    ];
    run(at, &probe).expect(0);
    let kept = at.join("r/fitted/final/probe-bridge-at-r2-r2.safetensors");
    let (kept, info) = loopscope::checkpoint::read_tensors(&kept).unwrap();
    let info: Value = serde_json::from_str(&info.unwrap()).unwrap();
    assert_eq!(info["places"][1]["effective_layer"], 2);
    let split = ["--split", "train", "--out", "a.safetensors"];
    run(at, &[&["activations", "r"][..], &split].concat()).expect(0);
    let (activations, _) = loopscope::checkpoint::read_tensors(&at.join("a.safetensors")).unwrap();
    // [effective layer][row][position][d_model]; the embedding comes first.
    let states = activations["resid_post"].get(2).unwrap().to_vec3::<f32>().unwrap();
    let weight = kept["weight"].get(1).unwrap().to_vec2::<f32>().unwrap();
    let bias = kept["bias"].get(1).unwrap().to_vec1::<f32>().unwrap();
    let labels = kept["labels"].to_vec1::<i64>().unwrap();
    let data = loopscope::graph::Dataset::read(&at.join("data")).unwrap();
    let decode = |row: usize| {
        let state = &states[row][2];
        let score = |label: usize| -> f32 {
            let products = state.iter().zip(&weight).map(|(x, weights)| x * weights[label]);
            products.sum::<f32>() + bias[label]
        };
        let best = (0..labels.len())
            .max_by(|&a, &b| score(a).total_cmp(&score(b)))
            .unwrap();
        data.vocab.tokens()[labels[best] as usize].clone()
    };
    let rows = query_rows(&at.join("f/probe-rows.csv"));
    let of_split = rows
        .iter()
        .filter(|row| row["split"] == "train" && row["effective_layer"] == "2");
    let mut compared = 0;
    for row in of_split {
        assert_eq!(decode(row["row"].parse().unwrap()), row["decoded"]);
        compared += 1;
    }
    assert!(compared > 20, "{compared}");
    run(at, &["lens", "r", "--keep-fitted", "--out", "f"])
        .expect(0)
        .says(&["lens fits nothing"]);
}
