//! Each analysis on a tiny model whose answer is known.
//!
//! The world: every relation r_j leads to the entity e_j, whatever the head. The model: blocks that do nothing (their
//! output projections are zero) and embeddings in which r_j points at e_j. So at r1 the lens must read the bridge, at r2
//! the target, from the embedding on; nothing of the head or of the first relation reaches r2.

#[path = "../common/mod.rs"]
mod common;
mod interventions;

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use common::{run, shipped, text};
use loopscope::checkpoint::{Checkpoint, CheckpointInfo};
use loopscope::graph::{Dataset, Vocab};
use loopscope::model::{Activation, Init, ModelConfig, Positions, Readout, Weights};
use serde_json::Value;

const ENTITIES: usize = 6;
const RELATIONS: usize = 6;
const D_MODEL: usize = 8;

fn config() -> ModelConfig {
    ModelConfig {
        layers: 1,
        iterations: 3,
        d_model: D_MODEL,
        heads: 2,
        positions: Positions::None,
        max_positions: 5,
        init: Init::ZERO,
        injection: false,
        activation: Activation::GeluTanh,
        embedding_std: 1.0,
        dropout: 0.0,
        tied: true,
        readout: Readout::LastToken,
        columns: None,
    }
}

fn write_data(folder: &Path) {
    std::fs::create_dir(folder).unwrap();
    let row = |head: usize, relations: &[usize], kind: Option<&str>| {
        let input: String = relations
            .iter()
            .fold(format!("<e_{head}>"), |text, r| text + &format!("<r_{r}>"));
        let answer = relations[relations.len() - 1];
        let kind = kind.map_or(String::new(), |kind| format!(",\"type\":\"{kind}\""));
        format!("{{\"input_text\":\"{input}\",\"target_text\":\"{input}<e_{answer}></a>\"{kind}}}")
    };
    let (mut train, mut test) = (Vec::new(), Vec::new());
    for head in 0..ENTITIES {
        for first in 0..RELATIONS {
            train.push(row(head, &[first], None));
            for second in 0..RELATIONS {
                match (head + first + second) % 3 {
                    0 => test.push(row(head, &[first, second], Some("test_inferred_iid"))),
                    _ => train.push(row(head, &[first, second], None)),
                }
            }
        }
    }
    let list = |rows: &[String]| format!("[{}]", rows.join(","));
    let vocab = Vocab::of_graph(ENTITIES, RELATIONS);
    let tokens: Vec<String> = vocab.tokens()[1..].iter().map(|token| format!("{token:?}")).collect();
    std::fs::write(folder.join("train.json"), list(&train)).unwrap();
    std::fs::write(folder.join("test.json"), list(&test)).unwrap();
    std::fs::write(folder.join("vocab.json"), list(&tokens)).unwrap();
}

fn write_model(path: &Path) {
    let vocab = Vocab::of_graph(ENTITIES, RELATIONS);
    // Entity j lies on axis j; relation j lies there too, but shorter, so that it points at e_j.
    let mut embedding = vec![0.0_f32; vocab.len() * D_MODEL];
    for j in 0..ENTITIES {
        embedding[(1 + j) * D_MODEL + j] = 4.0;
        embedding[(1 + ENTITIES + j) * D_MODEL + j] = 1.0;
    }
    let weights = Weights::init(&config(), vocab.len(), 1, &Device::Cpu)
        .unwrap()
        .map(|leaf| match leaf.name.as_str() {
            "token_embedding.weight" => Ok(Tensor::from_vec(embedding.clone(), leaf.tensor.shape(), &Device::Cpu)?),
            _ => Ok(leaf.tensor.clone()),
        })
        .unwrap();
    let info = CheckpointInfo::of_model(config(), vocab.len(), Some(vocab.tokens().to_vec()));
    Checkpoint::write(path, &info, &weights).unwrap();
}

/// Runs an analysis in a folder with the model and the data; gives the rows of its JSON.
fn rows(name: &str, arguments: &[&str]) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(&at.join("data"));
    write_model(&at.join("m.safetensors"));
    run(
        at,
        &[
            &[name][..],
            arguments,
            &["m.safetensors", "--data", "data", "--out", "out"],
        ]
        .concat(),
    )
    .expect(0);
    for kind in ["csv", "svg", "png"] {
        let bytes = std::fs::read(at.join("out").join(format!("{name}.{kind}"))).unwrap();
        assert!(bytes.len() > 200, "{name}.{kind}");
    }
    let report: Value =
        serde_json::from_slice(&std::fs::read(at.join("out").join(format!("{name}.json"))).unwrap()).unwrap();
    assert_eq!(report["checkpoints"][0]["checkpoint_hash"].as_str().unwrap().len(), 16);
    report["rows"].as_array().unwrap().clone()
}

#[test]
fn eval_is_right_at_every_iteration() {
    let rows = rows("eval", &["--split", "test_inferred_iid", "--iterations", "1..5"]);
    assert_eq!(rows.len(), 5);
    for row in rows {
        assert_eq!(row["accuracy"], 1.0);
        assert_eq!(row["n"], 72);
    }
}

#[test]
fn the_lens_reads_each_entity_where_its_relation_stands() {
    let rows = rows("lens", &["--split", "test_inferred_iid"]);
    // Three readings at the embedding and three effective layers.
    assert_eq!(rows.len(), 12);
    for row in &rows {
        let expected = match (row["label"].as_str().unwrap(), row["position"].as_str().unwrap()) {
            ("bridge", "r1") | ("target", "r2") => 1.0,
            // At r2 the lens reads e_r2, which is the bridge for one chain in six.
            ("bridge", "r2") => 12.0 / 72.0,
            other => panic!("{other:?}"),
        };
        assert!((row["top1"].as_f64().unwrap() - expected).abs() < 1e-9, "{row}");
        if expected == 1.0 {
            assert_eq!(row["mrr"], 1.0);
        }
    }
}

#[test]
fn what_a_position_attends_to_adds_up_to_one() {
    let rows = rows("attention", &["--split", "test_inferred_iid"]);
    // 3 effective layers, 2 heads, and 1 + 2 + 3 keys from the head entity, r1 and r2.
    assert_eq!(rows.len(), 3 * 2 * 6);
    let mut sums: HashMap<String, f64> = HashMap::new();
    for row in &rows {
        assert_eq!(row["n"], 72);
        let pattern = format!(
            "{} {} {}",
            row["effective_layer"], row["attention_head"], row["position"]
        );
        *sums.entry(pattern).or_default() += row["attention"].as_f64().unwrap();
    }
    assert_eq!(sums.len(), 3 * 2 * 3);
    for (pattern, sum) in sums {
        assert!((sum - 1.0).abs() < 1e-5, "{pattern}: {sum}");
    }
}

#[test]
fn logits_are_attributed_to_what_wrote_them() {
    let rows = rows("attribute", &["--split", "test_inferred_iid"]);
    for label in ["target", "bridge"] {
        let of_label: Vec<&Value> = rows.iter().filter(|row| row["label"] == label).collect();
        let contribution = |component: &str| -> f64 {
            let of_component = of_label.iter().filter(|row| row["component"] == component);
            of_component.map(|row| row["contribution"].as_f64().unwrap()).sum()
        };
        let logit = of_label[0]["logit"].as_f64().unwrap();
        // The block writes nothing: the embedding at the readout is all there is.
        assert!((contribution("embedding") - logit).abs() < 1e-5, "{label}: {logit}");
        for component in ["head", "attention-bias", "mlp", "final-bias"] {
            assert!(contribution(component).abs() < 1e-6, "{label}: {component}");
        }
    }
}

#[test]
fn probes_find_what_is_there_and_nothing_else() {
    let [bridge, head] = ["bridge-at-r1", "head-everywhere"].map(|name| shipped("probes").join(format!("{name}.toml")));
    let folder = tempfile::tempdir().unwrap();
    // The shipped specs also name the OOD split, which this world lacks.
    let here = |spec: &Path| {
        let content = std::fs::read_to_string(spec)
            .unwrap()
            .replace(", \"test_inferred_ood\"", "");
        let path = folder.path().join(spec.file_name().unwrap());
        std::fs::write(&path, content).unwrap();
        path
    };
    let (bridge, head) = (here(&bridge), here(&head));
    for row in rows("probe", &[text(&bridge), text(&head)]) {
        assert_eq!(row["converged"], true);
        assert_eq!(
            (&row["classifier"], &row["split_by"]),
            (&"logistic".into(), &"facts".into())
        );
        // There is no run folder, so there is no checkpoint of step 0.
        assert_eq!(row["step_0"], Value::Null);
        let number = |key: &str| row[key].as_f64().unwrap();
        let at = (row["probe"].as_str().unwrap(), row["position"].as_str().unwrap());
        match at {
            ("bridge-at-r1", "r1") => {
                assert_eq!((number("accuracy"), number("embeddings")), (1.0, 1.0), "{row}");
                assert_eq!(number("validation"), 1.0, "{row}");
                assert!(number("control") < 0.7 && number("shuffled") < 0.7, "{row}");
            }
            // No head reaches r1 or r2, but the embeddings of the prefix hold it.
            ("head-everywhere", "r1" | "r2") => {
                assert!(number("accuracy") < 0.5, "{row}");
                assert_eq!(number("embeddings"), 1.0, "{row}");
                assert!(number("untrained") < 0.5, "{row}");
            }
            _ => panic!("no test is possible at {at:?}"),
        }
    }
}

#[test]
fn patching_finds_the_one_position_that_matters() {
    let rows = rows("patch", &["--split", "test_inferred_iid", "--corrupt", "relation2"]);
    // Two self-checks, and three positions at three effective layers.
    assert_eq!(rows.len(), 11);
    for row in &rows {
        let recovery = row["recovery"].as_f64().unwrap();
        let (expected, flips) = match (row["hook"].as_str(), row["position"].as_str()) {
            (Some("embed"), None) | (Some("resid_post"), Some("r2")) => (1.0, 1.0),
            (None, None) | (Some("resid_post"), Some("head" | "r1")) => (0.0, 0.0),
            other => panic!("{other:?}"),
        };
        assert!((recovery - expected).abs() < 1e-6, "{row}");
        assert_eq!(row["flips"], flips, "{row}");
        assert_eq!(
            (&row["clean_accuracy"], &row["corrupt_accuracy"]),
            (&Value::from(1.0), &Value::from(1.0))
        );
    }
}

#[test]
fn a_transplant_brings_the_same_from_and_to_every_iteration_of_a_block_that_does_nothing() {
    let rows = rows(
        "transplant",
        &["--split", "test_inferred_iid", "--corrupt", "relation2"],
    );
    // All positions and each of three, four states of the source, three iterations of the base.
    assert_eq!(rows.len(), 4 * 4 * 3);
    for row in &rows {
        let expected = match row["position"].as_str() {
            None | Some("r2") => 1.0,
            Some("head" | "r1") => 0.0,
            other => panic!("{other:?}"),
        };
        assert!((row["recovery"].as_f64().unwrap() - expected).abs() < 1e-6, "{row}");
        assert_eq!(row["flips"], expected, "{row}");
        let left = 4 - row["base_iteration"].as_u64().unwrap();
        assert_eq!(row["iterations_left"], left, "{row}");
        // No cell differs from another: there is nothing to explain.
        assert_eq!(row["by_source_and_left"], Value::Null, "{row}");
    }
}

#[test]
fn the_cone_of_a_block_that_does_nothing_has_one_position() {
    let rows = rows(
        "cone",
        &["--split", "test_inferred_iid", "--put", "query", "--before", "1,3"],
    );
    // Two iterations and three positions to put it in at; three positions at the embedding and three effective layers.
    assert_eq!(rows.len(), 6 * 12);
    for row in &rows {
        let put_in = row["before"].as_u64().unwrap() - 1;
        let is_there = row["put_at"] == row["position"];
        let is_reached = is_there && row["effective_layer"].as_u64().unwrap() >= put_in;
        assert_eq!(row["relative"].as_f64().unwrap() > 0.0, is_reached, "{row}");
        assert_eq!(row["arrived"], if is_reached { 1.0 } else { 0.0 }, "{row}");
        let arrival = if is_there { Value::from(put_in) } else { Value::Null };
        assert_eq!(row["arrival"], arrival, "{row}");
        // The answer is read off r2 alone.
        let changed = if row["put_at"] == "r2" { 1.0 } else { 0.0 };
        assert_eq!(row["answers_changed"], changed, "{row}");
        assert_eq!(row["speed"], Value::Null, "{row}");
    }
}

#[test]
fn activations_of_a_split_are_those_of_its_rows() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(&at.join("data"));
    write_model(&at.join("m.safetensors"));
    let hooks = "embed,resid_pre,attn_pattern,z,attn_out,resid_mid,mlp_post,mlp_out,resid_post,final,logits";
    let arguments = [
        "activations",
        "m.safetensors",
        "--data",
        "data",
        "--split",
        "train",
        "--hooks",
        hooks,
        "--out",
        "a.safetensors",
    ];
    run(at, &arguments).expect(0);
    let (tensors, _) = loopscope::checkpoint::read_tensors(&at.join("a.safetensors")).unwrap();
    let rows = 36 + 144;
    let shape = |name: &str| tensors[name].dims().to_vec();
    assert_eq!(shape("tokens"), [rows, 3]);
    labels_are_those_of_the_rows(&at.join("a.safetensors"), &at.join("data"));
    assert_eq!(shape("embed"), [rows, 3, D_MODEL]);
    assert_eq!(shape("resid_post"), [4, rows, 3, D_MODEL]);
    assert_eq!(shape("attn_pattern"), [3, rows, 2, 3, 3]);
    assert_eq!(shape("z"), [3, rows, 3, 2, 4]);
    assert_eq!(shape("mlp_post"), [3, rows, 3, 4 * D_MODEL]);
    assert_eq!(shape("final"), [3, rows, 3, D_MODEL]);
    assert_eq!(shape("logits"), [3, rows, 3, 1 + ENTITIES + RELATIONS + 6]);
    for name in ["resid_pre", "attn_out", "resid_mid", "mlp_out"] {
        assert_eq!(shape(name), [3, rows, 3, D_MODEL], "{name}");
    }
}

// Every label of every row is what the data says, and the file says what it means.
fn labels_are_those_of_the_rows(file: &Path, data: &Path) {
    let (tensors, info) = loopscope::checkpoint::read_tensors(file).unwrap();
    let data = Dataset::read(data).unwrap();
    let queries = data.split("train").unwrap();
    let column = |name: &str| tensors[name].to_vec1::<i64>().unwrap();
    let by_hop = |name: &str| tensors[name].to_vec2::<i64>().unwrap();
    let known = |id: Option<u32>| id.map_or(-1, i64::from);
    let (hops, head, target, answer) = (column("hops"), column("head"), column("target"), column("answer"));
    let (entities, relations) = (by_hop("entities"), by_hop("relations"));
    for (i, query) in queries.iter().enumerate() {
        assert_eq!((column("split")[i], column("row")[i]), (0, i as i64));
        assert_eq!((hops[i], head[i]), (query.hops() as i64, i64::from(query.tokens[0])));
        assert_eq!(
            (target[i], answer[i]),
            (i64::from(query.target), i64::from(query.target))
        );
        assert_eq!(column("readout")[i], query.hops() as i64);
        let of_hop = |hop: usize| (query.hops() >= hop).then(|| query.entity_after(hop)).flatten();
        assert_eq!(entities[i], [known(of_hop(1)), known(of_hop(2))]);
        assert_eq!(
            relations[i],
            [known(query.tokens.get(1).copied()), known(query.tokens.get(2).copied())]
        );
    }
    let info: Value = serde_json::from_str(&info.unwrap()).unwrap();
    assert_eq!(info["splits"], serde_json::json!(["train"]));
    assert_eq!(info["vocab"].as_array().unwrap().len(), data.vocab.len());
    assert_eq!(info["axes"]["z"][4], "d_head");
    for (name, tensor) in &tensors {
        assert_eq!(info["axes"][name].as_array().unwrap().len(), tensor.rank(), "{name}");
    }
}
