//! `--estimate`: what runs will cost, told before any is trained, beside what they then are.

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{SMALL_RUN, prepared, run};
use loopscope::Device;
use loopscope::experiment::{Estimate, Estimator, Preset, ShippedPreset};
use loopscope::graph::{Dataset, Systematic};
use loopscope::sweep::{Plan, Point, SweepData, default_jobs, estimate};
use loopscope::train::{LoopConfig, RunConfig, Trainer};

/// All files in a folder and those in it.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        }
        found.insert(path);
    }
    found
}

fn estimated(config: &RunConfig) -> Estimate {
    let data = Dataset::read(&config.data).unwrap();
    Estimator::new(&Device::Cpu, 1).unwrap().run(config, &data).unwrap()
}

// Trains `text` with settings over it, and compares the folder with its estimate.
#[track_caller]
fn assert_as_estimated(text: &str, checkpoints: usize) {
    let folder = prepared();
    let at = folder.path();
    std::fs::write(at.join("run.toml"), text).unwrap();
    let before = files(at);
    let told = run(at, &["train", "run.toml", "--out", "r", "--estimate"])
        .expect(0)
        .out;
    assert_eq!(files(at), before, "an estimate writes nothing");
    assert!(
        told.contains("ms a step") && told.contains("timed on this machine ("),
        "{told}"
    );
    let config = RunConfig::read(&at.join("run.toml"), &[]).unwrap();
    let estimate = estimated(&config);
    run(at, &["train", "run.toml", "--out", "r"]).expect(0);
    let written = files(&at.join("r"));
    let is_checkpoint = |path: &&PathBuf| {
        path.extension().is_some_and(|kind| kind == "safetensors") && !path.ends_with("resume.safetensors")
    };
    let counted = written.iter().filter(is_checkpoint).count();
    assert_eq!((estimate.checkpoints, counted), (checkpoints as u64, checkpoints));
    let bytes: u64 = written.iter().map(|path| path.metadata().unwrap().len()).sum();
    let share = estimate.disk_bytes as f64 / bytes as f64;
    assert!(
        (0.97..1.05).contains(&share),
        "{} told, {bytes} written",
        estimate.disk_bytes
    );
    assert!(estimate.seconds.least > 0.0 && estimate.seconds.least <= estimate.seconds.most);
    // Weights, gradients and moments at least.
    assert!(estimate.memory_bytes > 16 * config.model.parameters(18) as u64);
}

fn wide(text: &str) -> String {
    text.replace("d_model = 16", "d_model = 64")
}

#[test]
fn the_checkpoints_of_a_run_without_stages_are_counted_exactly_and_their_bytes_nearly() {
    // Step 0, then 10, 20, 30, 40, 60 (1.3 times the last one, at an evaluation), and the end.
    assert_as_estimated(&format!("stages = []\n{}", wide(SMALL_RUN)), 7);
    // With an end that is not a multiple of the interval: 0, 10, 20, 40, 67 and the end.
    let other = wide(SMALL_RUN).replace("steps = 60", "steps = 67\ncheckpoint_growth = 1.6");
    assert_as_estimated(&format!("stages = []\n{other}"), 6);
    // 229 rows are 8 steps, so that evaluations are at 0, 16, 32, 48 and 60, of which the last is not 1.3 times the one before.
    let epochs = wide(SMALL_RUN).replace("evaluate_every = 10", "evaluate_every = \"2 epochs\"");
    assert_as_estimated(&format!("stages = []\n{epochs}"), 5);
}

#[test]
fn stages_that_are_reached_have_a_checkpoint_each() {
    let stage =
        |name: &str| format!("[[stages]]\nname = \"{name}\"\nsplit = \"id_atomic\"\naccuracy = 0.0\nhold = 1\n");
    let text = wide(SMALL_RUN).replace("evaluate_early = 5", "evaluate_early = 10");
    assert_as_estimated(&format!("{text}{}{}", stage("one"), stage("two")), 9);
}

#[test]
fn a_config_that_does_not_fit_its_data_is_refused_as_training_refuses_it() {
    let folder = prepared();
    let at = folder.path();
    for set in ["model.max_positions=2", "stages.0.split=nope", "train.batch=0"] {
        let refused = |more: &[&str]| {
            let ran = run(at, &[&["train", "run.toml", "--set", set], more].concat());
            ran.expect(2).err
        };
        assert_eq!(refused(&["--estimate"]), refused(&[]), "{set}");
    }
    run(at, &["train", "run.toml", "--resume", "--estimate"]).expect(2);
    assert!(!at.join("checkpoints").exists());
}

const SWEEP: &str = r#"
config = "run.toml"
[data]
kind = "systematic"
entities = 12
relations = 5
out_degree = 5
ood_share = 0.2
held_out = 0.1
phi = 4.0
test_rows = 3000
seed = 3
[seeds]
all = [1, 2, 3]
[grid]
"model.layers" = [1, 2]
"#;

#[test]
fn points_that_differ_in_their_seeds_are_timed_once() {
    let folder = prepared();
    let at = folder.path();
    std::fs::write(at.join("sweep.toml"), SWEEP).unwrap();
    let before = files(at);
    let planned = run(at, &["sweep", "plan", "sweep.toml", "--estimate"]).expect(0).out;
    assert_eq!(files(at), before, "an estimate writes no plan and no data");
    let row = |out: &str, name: &str| -> Vec<String> {
        let line = out.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().map(str::to_owned).collect()
    };
    // One row for each number of layers, of three runs each.
    for name in ["layers-1-seed-1", "layers-2-seed-1"] {
        assert_eq!(row(&planned, name)[1..3], ["3", "60"], "{planned}");
    }
    assert!(!planned.contains("seed-2"), "{planned}");
    run(at, &["sweep", "plan", "sweep.toml", "--out", "s"]).expect(0);
    let plan = Plan::read(&at.join("s"), None).unwrap();
    let points: Vec<&Point> = plan.points.iter().collect();
    let data = SweepData::new(&at.join("s"));
    let of_points = estimate(&data, &points, &Device::Cpu, 1).unwrap();
    assert_eq!(of_points.len(), 6);
    for three in of_points.chunks(3) {
        assert!(three.iter().all(|other| *other == three[0]));
    }
    assert_ne!(of_points[0].disk_bytes, of_points[3].disk_bytes);
    let jobs = default_jobs(&data, &points).unwrap();
    assert!((1..=std::thread::available_parallelism().unwrap().get()).contains(&jobs));
    // Runs that are trained take no more time.
    run(at, &["sweep", "run", "s", "--point", "1"]).expect(0);
    let before = files(at);
    let left = run(at, &["sweep", "run", "s", "--estimate"]).expect(0).out;
    assert_eq!(files(at), before);
    assert!(left.contains("trained already: 1 point"), "{left}");
    assert_eq!(row(&left, "layers-1-seed-2")[1], "2", "{left}");
}

#[test]
fn runs_that_differ_in_what_costs_nothing_are_timed_once() {
    let data = Systematic {
        entities: 12,
        relations: 5,
        out_degree: 5,
        ood_share: 0.2,
        held_out: 0.1,
        phi: 4.0,
        test_rows: 100,
        seed: 3,
    };
    let data = data.generate().unwrap();
    let model = loopscope::model::ModelConfig::new(1, 2, 16, 2);
    let train = LoopConfig {
        batch: 32,
        ..LoopConfig::of_steps(100)
    };
    let config = RunConfig::new("data", model, train);
    let mut estimator = Estimator::new(&Device::Cpu, 1).unwrap();
    let first = estimator.run(&config, &data).unwrap();
    for (key, twice) in [
        ("seed=7", false),
        ("optimizer.lr=1e-3", false),
        ("train.steps=200", true),
    ] {
        let other = estimator.run(&config.with(&[key.to_owned()]).unwrap(), &data).unwrap();
        assert_eq!(other.seconds_a_step, first.seconds_a_step, "{key}");
        assert_eq!(other.seconds.most > first.seconds.most, twice, "{key}");
    }
    assert_eq!(estimator.shapes_timed(), 1);
    estimator
        .run(&config.with(&["model.iterations=3".to_owned()]).unwrap(), &data)
        .unwrap();
    assert_eq!(estimator.shapes_timed(), 2);
}

#[test]
fn an_experiment_is_estimated_between_its_first_stage_and_its_last() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let told = run(at, &["reproduce", "--preset", "depth-quick", "--estimate"])
        .expect(0)
        .out;
    assert_eq!(files(at), BTreeSet::new());
    for part in ["r2 ", "dynamic", "afterwards is not in it", " at once; disk "] {
        assert!(told.contains(part), "{told}");
    }
}

// Of each preset with the paper's settings the runs whose block differs from that of every run before, the deepest first.
fn architectures(preset: &Preset) -> Vec<(String, RunConfig)> {
    let mut runs = preset.runs();
    runs.sort_by_key(|(_, config)| std::cmp::Reverse(config.model.iterations));
    let mut found: Vec<(String, RunConfig)> = Vec::new();
    for (name, config) in runs {
        let block = |config: &RunConfig| (config.model.layers, config.model.injection, config.model.init);
        if found.iter().all(|(_, other)| block(other) != block(config)) {
            found.push((name.to_owned(), config.clone()));
        }
    }
    found
}

#[test]
fn the_paper_s_own_settings_train_a_step_of_every_architecture() {
    for preset in [ShippedPreset::PaperSystematic, ShippedPreset::PaperDepth] {
        let preset = Preset::parse(preset.text(), None).unwrap();
        assert!(preset.claims());
        let data = Arc::new(preset.data_sets().unwrap().remove(0));
        for (name, config) in architectures(&preset) {
            assert_eq!((config.model.d_model, config.model.heads), (768, 12));
            // A whole batch takes some tens of seconds.
            let few = config.with(&["train.batch=4".to_owned()]).unwrap();
            let mut trainer = Trainer::new(few, data.clone(), &Device::Cpu).unwrap();
            let loss = trainer.step(String::new).unwrap();
            assert!(loss.is_finite() && loss > 0.0, "{name}: {loss}");
        }
    }
}

#[test]
fn the_paper_s_own_settings_are_estimated() {
    let folder = tempfile::tempdir().unwrap();
    for (preset, runs) in [("paper-systematic", "looped-4"), ("paper-depth", "dynamic-16")] {
        let told = run(folder.path(), &["reproduce", "--preset", preset, "--estimate"])
            .expect(0)
            .out;
        assert!(told.contains(runs) && told.contains(" h"), "{told}");
    }
    assert_eq!(files(folder.path()), BTreeSet::new());
}
