//! The main job, at its smallest, and what is done is not done again.

mod common;

use std::time::SystemTime;

use common::run;
use loopscope::checkpoint::RunLock;

#[test]
fn the_quick_preset_runs_to_its_end_and_then_has_nothing_left_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let first = run(at, &["reproduce", "--preset", "quick", "--out", "all"]).expect(0);
    assert!(
        first.out.contains("What `quick` found") && !first.out.contains("reproduced"),
        "{}",
        first.out
    );
    let runs = ["looped", "vanilla-same-flops", "vanilla-same-parameters"];
    for run in runs {
        for file in ["config.toml", "metrics.jsonl", "stages.json", "final.safetensors"] {
            assert!(
                at.join("all/checkpoints").join(run).join(file).is_file(),
                "{run}/{file}"
            );
        }
        for name in ["eval", "lens", "probe", "patch"] {
            for kind in ["csv", "json", "svg", "png"] {
                assert!(
                    at.join("all/figures")
                        .join(run)
                        .join(format!("{name}.{kind}"))
                        .is_file(),
                    "{run}/{name}.{kind}"
                );
            }
        }
    }
    let written = |path: &str| -> SystemTime { at.join(path).metadata().unwrap().modified().unwrap() };
    let watched = [
        "all/checkpoints/looped/final.safetensors",
        "all/figures/looped/lens.json",
        "all/figures/vanilla-same-flops/probe.png",
        "all/figures/compare.png",
    ];
    let before = watched.map(written);
    let second = run(at, &["reproduce", "--preset", "quick", "--out", "all"]).expect(0);
    assert_eq!(before, watched.map(written));
    let found = |out: &str| out.split("this sitting").next().unwrap().to_owned();
    assert_eq!(found(&first.out), found(&second.out));
    // The probe's baseline is read from the checkpoint of step 0; of another one it is measured again.
    let looped = at.join("all/checkpoints/looped");
    std::fs::copy(
        looped.join("final.safetensors"),
        looped.join("step-00000000.safetensors"),
    )
    .unwrap();
    run(at, &["reproduce", "--preset", "quick", "--out", "all"]).expect(0);
    let probe = std::fs::read_to_string(at.join("all/figures/looped/probe.json")).unwrap();
    let probe: serde_json::Value = serde_json::from_str(&probe).unwrap();
    let of_final = |row: &&serde_json::Value| row["checkpoint"] == "end of training";
    let mut rows = probe["rows"].as_array().unwrap().iter().filter(of_final).peekable();
    assert!(rows.peek().is_some());
    for row in rows {
        assert_eq!(row["step_0"], row["accuracy"], "{row}");
    }
    // Another seed is another experiment and does not fit this folder.
    run(at, &["reproduce", "--preset", "quick", "--out", "all", "--seed", "2"])
        .expect(2)
        .says(&["holds other data"]);
}

#[test]
fn the_depth_experiment_runs_to_its_end_and_then_has_nothing_left_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let arguments = ["reproduce", "--preset", "depth-quick", "--out", "all"];
    let first = run(at, &arguments).expect(0);
    assert!(first.out.contains("What `depth-quick` found"), "{}", first.out);
    for run in ["r2", "dynamic", "r2-shortcut"] {
        for name in ["eval", "margin", "halt", "lens", "probe", "reach", "patch"] {
            for kind in ["csv", "json", "svg", "png"] {
                let file = at.join("all/figures").join(run).join(format!("{name}.{kind}"));
                assert!(file.is_file(), "{run}/{name}.{kind}");
            }
        }
    }
    // Those of a data set, side by side.
    for name in [
        "extrapolate.png",
        "settle.png",
        "shortcut/extrapolate.png",
        "shortcut/settle.png",
    ] {
        assert!(at.join("all/figures").join(name).is_file(), "{name}");
    }
    let results = [
        "dynamic/halt.json",
        "extrapolate.json",
        "shortcut/extrapolate.json",
        "shortcut/settle.json",
    ];
    let written = || {
        results.map(|name| {
            at.join("all/figures")
                .join(name)
                .metadata()
                .unwrap()
                .modified()
                .unwrap()
        })
    };
    let before: [SystemTime; 4] = written();
    let second = run(at, &arguments).expect(0);
    let found = |out: &str| out.split("this sitting").next().unwrap().to_owned();
    assert_eq!((before, found(&first.out)), (written(), found(&second.out)));
    // A result that cannot be read is said to be so and measured again; one that other code made is measured again.
    let lens = at.join("all/figures/dynamic/lens.json");
    let whole = std::fs::read_to_string(&lens).unwrap();
    std::fs::write(&lens, &whole[..whole.len() / 2]).unwrap();
    run(at, &arguments).expect(0).says(&["lens.json", "measured again"]);
    assert_eq!(std::fs::read_to_string(&lens).unwrap(), whole);
    let of_before = whole.replacen("\"format\": ", "\"format\": 9", 1);
    std::fs::write(&lens, of_before).unwrap();
    run(at, &arguments).expect(0);
    assert_eq!(std::fs::read_to_string(&lens).unwrap(), whole);
    // While another process has it, nothing is made.
    let lock = RunLock::acquire(&at.join("all/checkpoints")).unwrap();
    run(at, &arguments)
        .expect(2)
        .says(&["all/checkpoints: process ", "works in it"]);
    drop(lock);
    // Runs of a curriculum side by side: compared at the deepest chains that both have learned, without an option that names them.
    let compared = run(
        at,
        &["compare", "all/checkpoints/r2", "all/checkpoints/dynamic", "--out", "c"],
    )
    .expect(0);
    assert!(compared.out.contains("dynamic"), "{}", compared.out);
    let lens = std::fs::read_to_string(at.join("c/compare-lens.csv")).unwrap();
    assert!(lens.lines().skip(1).all(|line| line.contains(",5hop_test,")), "{lens}");
}
