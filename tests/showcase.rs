//! The showcase under `checkpoints/`: small enough to come with every clone, loadable, and with the numbers that it says.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::{run, shipped, text};
use serde_json::Value;

const RUNS: [&str; 3] = ["looped", "vanilla", "depth"];

// Near ties of this many logits can end otherwise where sums are rounded in another order. Logits of these models are below 50
// and the rounding of a forward pass in f32 is below 1e-4 of that.
const NEAR_TIE: f64 = 0.01;

fn showcase() -> PathBuf {
    shipped("checkpoints/showcase")
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

fn checkpoints(run: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    files(&showcase().join(run), &mut found);
    found.retain(|path| path.extension().is_some_and(|kind| kind == "safetensors"));
    found.sort();
    found
}

// What the header of a checkpoint says of it.
fn metadata(path: &Path) -> Value {
    let bytes = std::fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    serde_json::from_str(header["__metadata__"]["loopscope"].as_str().unwrap()).unwrap()
}

#[test]
fn the_showcase_is_below_five_megabytes() {
    let mut found = Vec::new();
    files(&showcase(), &mut found);
    let bytes: u64 = found.iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(bytes < 5_000_000, "{bytes} bytes");
}

#[test]
fn every_stage_of_the_showcase_answers_as_its_checkpoint_says() {
    let folder = tempfile::tempdir().unwrap();
    for name in RUNS {
        let at = showcase().join(name);
        run(
            folder.path(),
            &["margin", text(&at), "--rows", "--iterations", "8", "--out", name],
        )
        .expect(0);
        let mut rows = csv::Reader::from_path(folder.path().join(name).join("margin-rows.csv")).unwrap();
        let header = rows.headers().unwrap().clone();
        let column = |name: &str| header.iter().position(|title| title == name).unwrap();
        let [step, split, iteration, margin] = ["step", "split", "iteration", "margin"].map(column);
        // Of each step, split and iteration: rows, those answered right, those near a tie.
        let mut counts: BTreeMap<[String; 3], [usize; 3]> = BTreeMap::new();
        for row in rows.records() {
            let row = row.unwrap();
            let margin: f64 = row[margin].parse().unwrap();
            let key = [step, split, iteration].map(|column| row[column].to_owned());
            let counts = counts.entry(key).or_default();
            counts[0] += 1;
            counts[1] += usize::from(margin > 0.0);
            counts[2] += usize::from(margin.abs() < NEAR_TIE);
        }
        let mut compared = 0;
        for path in checkpoints(name) {
            let metadata = metadata(&path);
            let [step, iterations] = [&metadata["step"], &metadata["model"]["iterations"]].map(Value::to_string);
            for (split, accuracy) in metadata["accuracy"].as_object().unwrap() {
                let key = [step.clone(), split.clone(), iterations.clone()];
                // Rows that were sampled anew at each evaluation are not those of a split.
                let Some(&[n, right, near]) = counts.get(&key).filter(|_| split != "train") else {
                    continue;
                };
                let said = accuracy.as_f64().unwrap() * n as f64;
                assert!(
                    (right as f64 - said).abs() <= near as f64 + 1e-6,
                    "{}, {split}: {right} of {n}, the checkpoint says {said}",
                    path.display()
                );
                compared += 1;
            }
        }
        assert!(compared >= 2 * checkpoints(name).len(), "{name}: {compared}");
    }
}

#[test]
fn the_table_of_the_showcase_is_that_of_its_checkpoints() {
    let readme = std::fs::read_to_string(showcase().join("README.md")).unwrap();
    for name in RUNS {
        for path in checkpoints(name) {
            let metadata = metadata(&path);
            // A curriculum evaluates the depths that it has come to.
            let accuracy = |split: &str| match metadata["accuracy"][split].as_f64() {
                Some(share) => format!("{share:.3}"),
                None => "–".to_owned(),
            };
            let splits: &[&str] = if name == "depth" {
                &["2hop_test", "3hop_test", "4hop_test", "5hop_test"]
            } else {
                &["train", "test_inferred_iid", "test_inferred_ood"]
            };
            let cells: Vec<String> = splits.iter().map(|split| accuracy(split)).collect();
            let row = format!(
                "| `{name}/{}` | {} | {} |",
                path.file_name().unwrap().to_str().unwrap(),
                metadata["step"],
                cells.join(" | ")
            );
            assert!(readme.contains(&row), "checkpoints/showcase/README.md lacks\n{row}");
        }
    }
}
