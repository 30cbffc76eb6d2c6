//! A mistyped name is answered with the nearest one that there is: of splits, config keys, presets, hook points, probe labels and
//! run folders.

mod common;

use common::{prepared, run};

#[test]
fn a_mistyped_name_is_answered_with_the_nearest_one() {
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "checkpoints/mine/looped"]).expect(0);
    let spec = "name = 'x'\ntitle = 'X'\nlabel = 'brigde'\npositions = ['r1']\ntest = ['train']";
    std::fs::write(at.join("x.toml"), spec).unwrap();
    let run_folder = "checkpoints/mine/looped";
    let cases: [(&[&str], &str); 13] = [
        (&["lens", run_folder, "--split", "trian"], "did you mean train?"),
        (
            &["train", "run.toml", "--out", "r", "--set", "train.batchh=3"],
            "did you mean batch?",
        ),
        (
            &["train", "run.toml", "--out", "r", "--set", "optimiser.lr=3"],
            "did you mean optimizer?",
        ),
        (&["reproduce", "--preset", "labtop"], "did you mean laptop?"),
        (
            &["reproduce", "--print-preset", "depth-quik"],
            "did you mean depth-quick?",
        ),
        (
            &["patch", run_folder, "--sites", "resid_pots:r1@1.1"],
            "did you mean resid_post?",
        ),
        (&["patch", run_folder, "--hook", "resid_pots"], "'resid_post'"),
        (&["probe", "x.toml", run_folder], "did you mean bridge?"),
        (
            &["lens", "checkpoints/mine/loopd"],
            "did you mean checkpoints/mine/looped?",
        ),
        (&["train", "runn.toml"], "did you mean run.toml?"),
        (&["reproduce", "--preset", "clams"], "did you mean claims?"),
        (&["reproduce", "--print-preset", "clams"], "did you mean claims?"),
        (
            &["report", run_folder, "--results", "checkpoint"],
            "did you mean checkpoints?",
        ),
    ];
    for (arguments, suggestion) in cases {
        run(at, arguments).expect(2).says(&[suggestion]);
    }
    run(at, &["lens", "checkpoints/mine"])
        .expect(2)
        .says(&["is not a run folder", "runs in it: checkpoints/mine/looped"]);
    // The points of a sweep are one folder deeper.
    run(at, &["lens", "checkpoints"])
        .expect(2)
        .says(&["is not a run folder", "runs in it: checkpoints/mine/looped"]);
    std::fs::rename(at.join("data"), at.join("moved")).unwrap();
    run(at, &["lens", run_folder])
        .expect(2)
        .says(&["data of looped", "--data DIR"]);
    run(at, &["lens", run_folder, "--data", "moved", "--out", "f"]).expect(0);
    assert!(!at.join("r").exists(), "nothing is left behind");
}
