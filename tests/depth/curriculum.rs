//! The curriculum: its stages, its end, and a run that is resumed inside one.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Device;
use loopscope::Error;
use loopscope::checkpoint::{Checkpoint, RunFolder};
use loopscope::graph::Dataset;
use loopscope::train::{CheckpointReason, Evaluation, Observer, RunConfig, Trainer};
use serde_json::Value;

use super::common::run;
use super::{json, prepared};

fn lines(run: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_curriculum_takes_up_one_hop_more_at_each_stage_and_ends_when_all_are_passed() {
    let folder = prepared();
    let at = folder.path();
    let ran = run(at, &["train", "run.toml", "--out", "r"]).expect(0);
    assert!(ran.out.contains("learnable recursion depth: 5 hops"), "{}", ran.out);
    let lines = lines(&at.join("r"));
    // Step 0 passes 2 hops already, 60 the last; what is measured are facts and the depths of the stage.
    let depths = |line: &Value| -> Vec<String> {
        let names = line["accuracy"].as_object().unwrap().keys();
        names.filter(|name| name.ends_with("hop_test")).cloned().collect()
    };
    assert_eq!(depths(&lines[0]), ["2hop_test"]);
    assert_eq!(depths(&lines[1]), ["2hop_test", "3hop_test"]);
    assert_eq!(
        lines
            .iter()
            .map(|line| line["step"].as_u64().unwrap())
            .collect::<Vec<_>>(),
        [0, 20, 40, 60]
    );
    for (place, hops) in (2..=5).enumerate() {
        let checkpoint = Checkpoint::read(
            &at.join(format!("r/stage-{}-{hops}hop.safetensors", place + 1)),
            &Device::Cpu,
        );
        assert_eq!(checkpoint.unwrap().info.learned_hops, Some(hops));
    }
    // The rate warms up anew: after 20 steps it is full, at the first step of a stage a tenth.
    assert_eq!(lines[1]["lr"], lines[2]["lr"]);
    assert!(lines[1]["lr"].as_f64().unwrap() < 4e-4);
}

#[test]
fn a_curriculum_may_be_judged_by_epochs_of_its_stage() {
    let folder = prepared();
    let at = folder.path();
    let set = "train.evaluate_every=1 epoch";
    run(at, &["train", "run.toml", "--out", "r", "--set", set]).expect(0);
    let steps: Vec<u64> = lines(&at.join("r"))
        .iter()
        .map(|line| line["step"].as_u64().unwrap())
        .collect();
    // 40 facts and 100 chains a depth in batches of 32: 8 steps to 3 hops, 11 to 4, 14 to 5.
    assert_eq!(steps, [0, 8, 19, 33]);
    run(
        at,
        &[
            "train",
            "run.toml",
            "--out",
            "s",
            "--set",
            "train.evaluate_every=ten epochs",
        ],
    )
    .expect(2)
    .says(&["ten epochs", "10 epochs"]);
    assert!(!at.join("s").exists());
}

#[test]
fn a_stage_that_takes_too_long_ends_the_run_at_the_depth_before_it() {
    let folder = prepared();
    let at = folder.path();
    let ran = run(
        at,
        &["train", "run.toml", "--out", "r", "--set", "curriculum.accuracy=1.0"],
    )
    .expect(0);
    assert!(
        ran.out.contains("learnable recursion depth: 1 hop\n")
            && ran.out.contains("stage 2hop: not reached in 50 steps"),
        "{}",
        ran.out
    );
    let stages = json(&at.join("r/stages.json"));
    assert_eq!(
        (&stages["finished"], &stages["step"]),
        (&Value::Bool(true), &Value::from(50))
    );
}

/// A run folder that stops its run after `steps` steps.
struct StopAfter<'a> {
    folder: RunFolder,
    steps: u64,
    stop: &'a AtomicBool,
}

impl Observer for StopAfter<'_> {
    fn on_step(&mut self, trainer: &Trainer, loss: f64) -> Result<(), Error> {
        self.stop
            .store(trainer.progress().step >= self.steps, Ordering::Relaxed);
        self.folder.on_step(trainer, loss)
    }

    fn on_evaluation(
        &mut self,
        trainer: &Trainer,
        evaluation: &Evaluation,
        reasons: &[CheckpointReason],
    ) -> Result<(), Error> {
        self.folder.on_evaluation(trainer, evaluation, reasons)
    }

    fn on_interrupt(&mut self, trainer: &Trainer) -> Result<(), Error> {
        self.folder.on_interrupt(trainer)
    }

    fn last_good_checkpoint(&self) -> String {
        self.folder.last_good_checkpoint()
    }
}

#[test]
fn a_run_resumed_inside_a_stage_is_bit_for_bit_the_uninterrupted_one() {
    let folder = prepared();
    let at = folder.path();
    let set = [
        "train.evaluate_every=40",
        "train.evaluate_early=40",
        "curriculum.stage_steps=50",
        "curriculum.lr_factor=0.5",
    ];
    let arguments = |out| [&["train", "run.toml", "--out", out, "--resume", "--set"], &set[..]].concat();
    run(at, &arguments("whole")).expect(0);
    // The second stage begins at step 0, the third at 40.
    let config = RunConfig::read(&at.join("run.toml"), &set.map(str::to_owned)).unwrap();
    let data = Arc::new(Dataset::read(&config.data).unwrap());
    let mut trainer = Trainer::new(config.clone(), data, &Device::Cpu).unwrap();
    let stop = AtomicBool::new(false);
    let mut observer = StopAfter {
        folder: RunFolder::create(&at.join("parts"), &config).unwrap(),
        steps: 53,
        stop: &stop,
    };
    let stopped = trainer.run(&stop, &mut observer);
    assert!(matches!(stopped, Err(Error::Interrupted)));
    drop(observer);
    assert_eq!(json(&at.join("parts/stages.json"))["step"], 53);
    run(at, &arguments("parts")).expect(0);
    for name in ["final.safetensors", "stage-4-5hop.safetensors"] {
        let read = |out: &str| std::fs::read(at.join(out).join(name)).unwrap();
        assert!(read("whole") == read("parts"), "{name} differs");
    }
}

#[test]
fn a_curriculum_needs_training_chains_of_each_of_its_depths() {
    let folder = prepared();
    let at = folder.path();
    let path = at.join("data/train.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let without = |hops: &[usize]| {
        let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
        let relations = |row: &Value| row["input_text"].as_str().unwrap().matches("<r_").count();
        let rows: Vec<Value> = rows.into_iter().filter(|row| !hops.contains(&relations(row))).collect();
        std::fs::write(&path, serde_json::to_string(&rows).unwrap()).unwrap();
        run(at, &["train", "run.toml", "--out", "r"]).expect(2).says(&[
            &format!("no training chains of {} hops", hops[hops.len() - 1]),
            "curriculum",
        ]);
        assert!(!at.join("r").exists());
    };
    // Neither facts nor chains of two hops: not a row for the first stage.
    without(&[1, 2]);
    without(&[4]);
}

#[test]
fn a_gate_of_a_curriculum_may_be_asked_to_hold() {
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "r", "--set", "curriculum.hold=2"]).expect(0);
    let stages = json(&at.join("r/stages.json"));
    let steps: Vec<[u64; 2]> = stages["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stage| ["since_step", "step"].map(|key| stage["reached"][key].as_u64().unwrap()))
        .collect();
    assert_eq!(steps, [[0, 20], [40, 60], [80, 100], [120, 140]]);
}
