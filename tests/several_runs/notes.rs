//! The notes of an analysis: what it left out, what it could not decide, and what is not a result.

use candle_core::{Device, Tensor};
use loopscope::checkpoint::Checkpoint;
use serde_json::Value;

use super::common::{command, prepared, run};
use super::{json, rows};

#[test]
fn patching_says_why_recovery_is_not_defined() {
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "r"]).expect(0);
    let target = [
        "patch",
        "r/final.safetensors",
        "--split",
        "test_inferred_iid",
        "--out",
        "f",
    ];
    run(at, &[&target[..], &["--pairs", "1"]].concat()).expect(0).says(&[
        "r final, split test_inferred_iid: the gap between clean and corrupt is not above 0",
        "cannot be told of n = 1); recovery is not defined",
    ]);
    let report = json(&at.join("f/patch.json"));
    assert!(
        report["notes"].to_string().contains("recovery is not defined"),
        "{report}"
    );
    assert!(
        rows(&at.join("f/patch.json"))
            .iter()
            .all(|row| row["recovery"].is_null())
    );
}

#[test]
fn probe_says_what_its_intervals_count_for_and_minds_no_closed_pipe() {
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "r"]).expect(0);
    let spec = "name = 'x'\ntitle = 'X'\nlabel = 'target'\npositions = ['r2']\ntest = ['train']";
    std::fs::write(at.join("x.toml"), spec).unwrap();
    let arguments = ["probe", "x.toml", "r/final.safetensors", "--out", "f"];
    let ran = run(at, &arguments).expect(0);
    assert!(ran.out.contains("95 % intervals ("), "{}", ran.out);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command(at, &arguments).stdout(writer).output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn what_is_left_out_is_said() {
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "r"]).expect(0);
    // All test rows in one split: facts beside chains, and one chain whose bridge is not known.
    let test = std::fs::read_to_string(at.join("data/test.json")).unwrap();
    let mut items: Vec<Value> = serde_json::from_str(&test).unwrap();
    for item in &mut items {
        item["type"] = "mixed".into();
    }
    // That chain leads elsewhere than its facts.
    let chain = items
        .iter_mut()
        .find(|item| item["input_text"].as_str().unwrap().matches("<r_").count() == 2)
        .unwrap();
    let input = chain["input_text"].as_str().unwrap().to_owned();
    let elsewhere = (0..2).map(|entity| format!("{input}<e_{entity}></a>"));
    let target = elsewhere
        .into_iter()
        .find(|target| chain["target_text"] != target.as_str());
    chain["target_text"] = target.unwrap().into();
    std::fs::create_dir(at.join("mixed")).unwrap();
    for name in ["train.json", "vocab.json"] {
        std::fs::copy(at.join("data").join(name), at.join("mixed").join(name)).unwrap();
    }
    std::fs::write(at.join("mixed/test.json"), serde_json::to_string(&items).unwrap()).unwrap();
    std::fs::write(at.join("mixed/valid.json"), "[]").unwrap();
    run(at, &["patch", "r/final.safetensors", "--data", "mixed", "--out", "f"])
        .expect(0)
        .says(&[
            "split mixed",
            "queries left out, they have fewer than the 2 hops",
            "1 queries left out, their bridge is not known",
        ]);
    run(at, &["lens", "r/final.safetensors", "--data", "mixed", "--out", "f"])
        .expect(0)
        .says(&["split mixed: 1 rows of 2 hops left out, their bridge is not known"]);
    run(
        at,
        &[
            "eval",
            "r/final.safetensors",
            "--data",
            "mixed",
            "--split",
            "valid",
            "--out",
            "f",
        ],
    )
    .expect(0)
    .says(&["split valid has no rows"]);
}

#[test]
fn a_model_whose_logits_are_not_numbers_is_a_failure_not_a_perfect_score() {
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "r"]).expect(0);
    let checkpoint = Checkpoint::read(&at.join("r/final.safetensors"), &Device::Cpu).unwrap();
    let broken = checkpoint
        .weights
        .map(|leaf| {
            let shape = leaf.tensor.shape();
            let values = vec![f32::NAN; shape.elem_count()];
            match leaf.name.as_str() {
                "token_embedding.weight" => Ok(Tensor::from_vec(values, shape, &Device::Cpu)?),
                _ => Ok(leaf.tensor.clone()),
            }
        })
        .unwrap();
    Checkpoint::write(&at.join("nan.safetensors"), &checkpoint.info, &broken).unwrap();
    for method in ["lens", "eval", "patch", "margin"] {
        run(at, &[method, "nan.safetensors", "--data", "data", "--out", "f"])
            .expect(1)
            .says(&["nan", "NaN", method]);
    }
    assert!(!at.join("f").exists());
}
