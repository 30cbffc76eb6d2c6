//! The programs in `examples/` run, and their interventions do what they must in any model.
#![allow(
    clippy::duplicate_mod,
    reason = "each example is a program of its own, with the same training"
)]

#[path = "../examples/hook_of_your_own.rs"]
mod hook_of_your_own;
#[path = "../examples/patching_sweep.rs"]
mod patching_sweep;
#[path = "../examples/probe_of_your_own.rs"]
mod probe_of_your_own;
#[path = "../examples/tiny/mod.rs"]
mod tiny;

use loopscope::graph::Position;
use loopscope::model::{Point, Site};

#[test]
fn the_mean_of_one_query_is_its_own_state_and_changes_nothing() {
    hook_of_your_own::main().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = tiny::train(folder.path()).unwrap();
    let chains = hook_of_your_own::chains(checkpoint.data.split("train").unwrap());
    let accuracy = |n: usize, ablated| hook_of_your_own::accuracy(&checkpoint.model, &chains[..n], 2, ablated).unwrap();
    assert!(accuracy(chains.len(), None) > 0.5);
    for iteration in 0..2 {
        let site = Site::new(Point::MlpOut, iteration, 0);
        assert_eq!(accuracy(1, Some(site)), accuracy(1, None));
        assert!(accuracy(chains.len(), Some(site)) < accuracy(chains.len(), None));
    }
}

#[test]
fn a_probe_has_a_row_for_each_effective_layer_and_its_token_is_in_the_prefix() {
    probe_of_your_own::main().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let rows = probe_of_your_own::probe(folder.path()).unwrap();
    let layers: Vec<usize> = rows.iter().map(|row| row.place.effective_layer).collect();
    assert_eq!(layers, [1, 2]);
    // The first relation is a token of the prefix whose embeddings are the baseline.
    assert!(rows.iter().all(|row| row.embeddings > 0.9), "{rows:?}");
}

#[test]
fn the_answer_returns_with_the_embedding_and_with_the_last_state_at_the_readout_alone() {
    patching_sweep::main().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = tiny::train(folder.path()).unwrap();
    let sweep = patching_sweep::Sweep::new(&checkpoint).unwrap();
    let recovery = |site, positions: &[Position]| sweep.recovery(site, positions).unwrap();
    let [head, r1, r2] = [Position::Head, Position::Relation(1), Position::Relation(2)];
    let last = Site::new(Point::ResidPost, 1, 0);
    assert!((recovery(Site::embed(), &[head, r1, r2]) - 1.0).abs() < 1e-3);
    assert!((recovery(last, &[r2]) - 1.0).abs() < 1e-3);
    assert!(recovery(last, &[head, r1]).abs() < 1e-3);
}
