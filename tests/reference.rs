//! The forward pass against PyTorch: two models in the published layout, through `import` and `activations`.

mod common;

use candle_core::Tensor;
use common::{run, shipped, text};
use loopscope::checkpoint::read_tensors;

fn largest_difference(got: &Tensor, expected: &Tensor) -> f32 {
    assert_eq!(got.dims(), expected.dims());
    let difference = (got - expected).unwrap().abs().unwrap();
    difference.flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
}

fn reproduces(folder: &str, weights: &str, heads: &str) {
    let reference = shipped("tests/reference").join(folder);
    let scratch = tempfile::tempdir().unwrap();
    let (weights, vocab) = (reference.join(weights), reference.join("vocab.json"));
    let arguments = [
        "import",
        text(&weights),
        "--heads",
        heads,
        "--iterations",
        "6",
        "--vocab",
        text(&vocab),
        "--out",
        "m.safetensors",
    ];
    run(scratch.path(), &arguments).expect(0);
    let expected = reference.join("expected.safetensors");
    let arguments = [
        "activations",
        "m.safetensors",
        "--tokens",
        text(&expected),
        "--hooks",
        "resid_post,logits,attn_pattern,embed",
        "--iterations",
        "6",
        "--out",
        "a.safetensors",
    ];
    run(scratch.path(), &arguments).expect(0);
    let (got, _) = read_tensors(&scratch.path().join("a.safetensors")).unwrap();
    let (expected, _) = read_tensors(&expected).unwrap();
    for name in ["resid_post", "logits"] {
        let difference = largest_difference(&got[name], &expected[name]);
        assert!(difference <= 1e-4, "{folder} {name}: {difference}");
    }
    assert_eq!(
        largest_difference(&got["embed"], &got["resid_post"].get(0).unwrap()),
        0.0
    );
    // Attention probabilities add up to 1, no position attends to a later one or to padding.
    let pattern = got["attn_pattern"].get(0).unwrap();
    let tokens = got["tokens"].to_vec2::<i64>().unwrap();
    for (query, tokens) in tokens.iter().enumerate() {
        for head in pattern.get(query).unwrap().to_vec3::<f32>().unwrap() {
            for (position, row) in head.iter().enumerate() {
                assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
                assert!(
                    row.iter()
                        .enumerate()
                        .all(|(key, &p)| p == 0.0 || (key <= position && tokens[key] != 0))
                );
            }
        }
    }
}

#[test]
fn learned_positions_from_a_pickle() {
    reproduces("learned", "checkpoint.pt", "4");
}

#[test]
fn learned_positions_from_safetensors() {
    reproduces("learned", "weights.safetensors", "4");
}

#[test]
fn no_positions_from_a_pickle() {
    reproduces("nope", "checkpoint.pt", "3");
}

#[test]
fn no_positions_from_safetensors() {
    reproduces("nope", "weights.safetensors", "3");
}
