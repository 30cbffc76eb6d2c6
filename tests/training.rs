//! Runs: what they leave behind, and that stopping them changes nothing.

mod common;

use std::path::Path;
use std::sync::Arc;

use candle_core::Device;
use common::{ENDLESS, Running, SMALL_DATA, SMALL_RUN, assert_same_run, metrics, prepared, run, saved_step};
use loopscope::checkpoint::RunLock;
use loopscope::graph::Dataset;
use loopscope::train::{RunConfig, Trainer};
use serde_json::Value;

#[test]
fn a_run_that_is_killed_and_resumed_is_bit_for_bit_the_uninterrupted_one() {
    let folder = prepared();
    let at = folder.path();
    let arguments = |out, steps| ["train", "run.toml", "--out", out, "--resume", "--set", steps];
    // Killed three times, each time later, without a signal that it could handle.
    for evaluations in [3, 12, 25] {
        let mut running = Running::start(at, &arguments("killed", ENDLESS));
        running.wait_until("evaluation", || metrics(&at.join("killed")).len() > evaluations);
    }
    assert!(!at.join("killed/final.safetensors").exists());
    // It ends some evaluations after the last one that may have been written.
    let steps = format!("train.steps={}", saved_step(&at.join("killed")) + 55);
    run(at, &arguments("killed", &steps)).expect(0);
    run(at, &arguments("whole", &steps)).expect(0);
    assert_same_run(&at.join("whole"), &at.join("killed"));
    // What is finished is left alone.
    let before = std::fs::read(at.join("killed/metrics.jsonl")).unwrap();
    run(at, &arguments("killed", &steps)).expect(0);
    assert!(before == std::fs::read(at.join("killed/metrics.jsonl")).unwrap());
}

#[test]
fn a_run_is_trained_by_one_process_at_a_time() {
    let folder = prepared();
    let at = folder.path();
    let resume = ["train", "run.toml", "--out", "r", "--resume", "--set", ENDLESS];
    let mut running = Running::start(at, &resume);
    running.wait_until("evaluation", || metrics(&at.join("r")).len() > 1);
    let process = format!("process {} on ", running.0.id());
    let refused = |arguments: &[&str]| {
        run(at, arguments)
            .expect(2)
            .says(&["r: ", &process, " since 2", "nothing was changed"]);
    };
    refused(&resume);
    refused(&["train", "r", "--resume"]);
    // A folder in which a run is just about to begin.
    std::fs::create_dir(at.join("new")).unwrap();
    let lock = RunLock::acquire(&at.join("new")).unwrap();
    run(at, &["train", "run.toml", "--out", "new"])
        .expect(2)
        .says(&["new: process "]);
    assert!(!at.join("new/config.toml").exists());
    drop(lock);
    // The lock dies with its holder, however that ends.
    drop(running);
    let steps = format!("train.steps={}", saved_step(&at.join("r")) + 55);
    run(at, &["train", "run.toml", "--out", "r", "--resume", "--set", &steps]).expect(0);
    assert!(!at.join("r/run.lock").exists(), "what is over leaves no lock behind");
}

// A lock file is what people remove.
#[cfg(unix)]
#[test]
fn a_run_whose_lock_was_removed_stops_before_it_writes_into_another_s() {
    let folder = prepared();
    let at = folder.path();
    let resume = ["train", "run.toml", "--out", "r", "--resume", "--set", ENDLESS];
    let mut first = Running::start(at, &resume);
    first.wait_until("evaluation", || metrics(&at.join("r")).len() > 1);
    std::fs::remove_file(at.join("r/run.lock")).unwrap();
    assert_eq!(first.end(), Some(1), "a run without its lock fails");
    let before = metrics(&at.join("r")).len();
    let mut second = Running::start(at, &resume);
    second.wait_until("evaluation", || metrics(&at.join("r")).len() > before);
}

#[test]
fn dropout_and_the_padded_readout_resume_bit_for_bit_too() {
    let folder = prepared();
    let at = folder.path();
    let set = [
        "--set",
        "model.dropout=0.1",
        "model.readout=last-column",
        "model.columns=3",
        "optimizer.decay=all",
        "model.positions=sinusoidal",
        "model.init=gaussian",
    ];
    run(at, &[&["train", "run.toml", "--out", "whole"], &set[..]].concat()).expect(0);
    run(
        at,
        &[&["train", "run.toml", "--out", "parts"], &set[..], &["train.steps=33"]].concat(),
    )
    .expect(0);
    // A run that ended earlier has a final checkpoint and an evaluation at its last step; both are its own.
    run(
        at,
        &[&["train", "run.toml", "--out", "parts", "--resume"], &set[..]].concat(),
    )
    .expect(0);
    let read = |name: &str| std::fs::read(at.join(name).join("final.safetensors")).unwrap();
    assert!(read("whole") == read("parts"));
}

#[cfg(unix)]
#[test]
fn an_interrupt_finishes_the_step_saves_and_exits_with_130() {
    let folder = prepared();
    let at = folder.path();
    let train = |out, steps| {
        let never = "train.save_every_seconds=1e9";
        ["train", "run.toml", "--out", out, "--resume", "--set", steps, never]
    };
    let mut running = Running::start(at, &train("stopped", ENDLESS));
    running.wait_until("evaluation", || metrics(&at.join("stopped")).len() > 5);
    assert_eq!(running.interrupt(), Some(130));
    assert!(at.join("stopped/resume.safetensors").exists());
    let steps = format!("train.steps={}", saved_step(&at.join("stopped")) + 55);
    run(at, &train("stopped", &steps)).expect(0);
    run(at, &train("whole", &steps)).expect(0);
    assert_same_run(&at.join("whole"), &at.join("stopped"));
}

// A run that has begun and saves at its end alone, and the signals that it gets, all before it can react to one of them.
#[cfg(unix)]
fn signalled(folder: &Path, out: &str, signals: &[&str]) -> Option<i32> {
    let never = "train.save_every_seconds=1e9";
    let mut running = Running::start(folder, &["train", "run.toml", "--out", out, "--set", ENDLESS, never]);
    running.wait_until("evaluation", || metrics(&folder.join(out)).len() > 2);
    for signal in [&["STOP"], signals, &["CONT"]].concat() {
        running.signal(signal);
    }
    running.end()
}

#[cfg(unix)]
#[test]
fn usr1_asks_to_save_and_end_and_a_request_to_end_may_come_beside_it() {
    let folder = prepared();
    let at = folder.path();
    for signals in [&["USR1"][..], &["TERM"], &["HUP"], &["USR1", "TERM"]] {
        let out = signals.join("-");
        assert_eq!(signalled(at, &out, signals), Some(130), "{out}");
        assert!(at.join(&out).join("resume.safetensors").exists(), "{out}");
    }
}

// A process that waits for its data cannot react to the first request.
#[cfg(target_os = "linux")]
#[test]
fn a_second_request_to_end_ends_at_once() {
    use std::os::unix::fs::OpenOptionsExt;
    let folder = prepared();
    let at = folder.path();
    std::fs::write(at.join("sweep.toml"), "config = \"run.toml\"\nseeds.init = [1]").unwrap();
    run(at, &["sweep", "plan", "sweep.toml", "--out", "sweep"]).expect(0);
    let data = at.join("data/train.json");
    std::fs::remove_file(&data).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&data).status().unwrap();
    assert!(made.success());
    let mut running = Running::start(at, &["sweep", "run", "sweep"]);
    // No process writes, so that the data never come. Such an end can be opened once the other one is.
    let mut unwritten = None;
    running.wait_until("its reading of the data", || {
        let end = std::fs::OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&data);
        unwritten = end.ok();
        unwritten.is_some()
    });
    while running.0.try_wait().unwrap().is_none() {
        running.signal("TERM");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert_eq!(running.end(), Some(130));
}

#[test]
fn a_run_leaves_what_it_promises() {
    let folder = prepared();
    let at = folder.path();
    run(
        at,
        &["train", "run.toml", "--seed", "5", "--set", "stages.0.accuracy=0.02"],
    )
    .expect(0);
    let at = at.join("checkpoints/run");
    let config = std::fs::read_to_string(at.join("config.toml")).unwrap();
    assert!(
        config.contains("seed = 5") && config.contains("data = \"../../data\""),
        "{config}"
    );
    let stages: Value = serde_json::from_slice(&std::fs::read(at.join("stages.json")).unwrap()).unwrap();
    assert_eq!(stages["finished"], true);
    assert_eq!(stages["stages"].as_array().unwrap().len(), 3);
    assert!(stages["stages"][0]["reached"]["step"].is_u64());
    assert!(
        stages["stages"][2]["reached"].is_null(),
        "a stage that is never reached is said to be so"
    );
    assert!(at.join("stage-1-memorization.safetensors").exists());
    assert!(!at.join("stage-3-systematic.safetensors").exists());
    let lines = metrics(&at);
    for key in ["step", "epoch", "loss", "lr", "gradient_norm", "accuracy"] {
        assert!(lines[1].get(key).is_some_and(|value| !value.is_null()), "{key}");
    }
    for split in [
        "train",
        "id_atomic",
        "ood_atomic",
        "train_inferred",
        "test_inferred_iid",
        "test_inferred_ood",
    ] {
        assert!(lines[1]["accuracy"][split].is_f64(), "{split}");
    }
    let (_, info) = loopscope::checkpoint::read_tensors(&at.join("final.safetensors")).unwrap();
    let info: Value = serde_json::from_str(&info.unwrap()).unwrap();
    assert_eq!(info["step"], 60);
    assert_eq!(info["accuracy"], lines.last().unwrap()["accuracy"]);
    assert_eq!(info["model"]["d_model"], 16);
}

#[test]
fn a_stage_is_reached_when_it_has_held_and_says_of_how_many_rows() {
    let folder = prepared();
    let at = folder.path();
    let text = SMALL_RUN.to_owned() + "[[stages]]\nname = \"chance\"\nsplit = \"id_atomic\"\naccuracy = 0.0\n";
    std::fs::write(at.join("chance.toml"), text).unwrap();
    let ran = run(at, &["train", "chance.toml", "--out", "r"]).expect(0);
    let stages: Value = serde_json::from_slice(&std::fs::read(at.join("r/stages.json")).unwrap()).unwrap();
    let stage = &stages["stages"][0];
    // Evaluated at 0, 5 and 10 before the first stage is reached.
    assert_eq!(stage["hold"], 3);
    assert_eq!(
        (&stage["reached"]["since_step"], &stage["reached"]["step"]),
        (&Value::from(0), &Value::from(10))
    );
    assert_eq!(stage["reached"]["rows"], 48);
    assert!(ran.out.contains("n = 48"), "{}", ran.out);
    let (_, info) = loopscope::checkpoint::read_tensors(&at.join("r/stage-1-chance.safetensors")).unwrap();
    assert!(info.unwrap().contains("\"step\":10,"));
}

#[test]
fn what_a_run_is_told_fits_its_settings() {
    let folder = prepared();
    let at = folder.path();
    std::fs::write(at.join("none.toml"), format!("stages = []\n{SMALL_RUN}")).unwrap();
    let ran = run(at, &["train", "none.toml", "--out", "none"]).expect(0);
    assert!(
        ran.err.contains("step 60/60") && !ran.err.contains("stage"),
        "{}",
        ran.err
    );
    assert!(!ran.err.contains("warmup"), "{}", ran.err);
    let set = ["--set", "optimizer.warmup=60"];
    run(at, &[&["train", "none.toml", "--out", "warm"], &set[..]].concat())
        .expect(0)
        .says(&["optimizer.warmup = 60", "train.steps = 60"]);
}

#[test]
fn a_stage_of_a_split_without_rows_is_refused_and_one_of_the_validation_split_is_watched() {
    let folder = prepared();
    let at = folder.path();
    let mut config = RunConfig::read(&at.join("run.toml"), &[]).unwrap();
    let mut data = Dataset::read(&config.data).unwrap();
    data.splits.insert(1, ("empty".into(), Vec::new()));
    config.stages.truncate(1);
    config.stages[0].split = "empty".into();
    let refused = Trainer::new(config, Arc::new(data), &Device::Cpu)
        .err()
        .unwrap()
        .to_string();
    assert!(
        refused.contains("stage `memorization`") && refused.contains("`empty`"),
        "{refused}"
    );
    let set = ["--set", "stages.0.split=valid", "stages.0.accuracy=0"];
    run(at, &[&["train", "run.toml", "--out", "r"], &set[..]].concat()).expect(0);
    assert!(at.join("r/stage-1-memorization.safetensors").exists());
}

#[test]
fn a_run_that_diverges_names_the_step_the_tensor_and_the_last_good_checkpoint() {
    let folder = prepared();
    let arguments = [
        "train",
        "run.toml",
        "--out",
        "r",
        "--set",
        "optimizer.lr=1e30",
        "optimizer.clip=0",
    ];
    let ran = run(folder.path(), &arguments)
        .expect(1)
        .says(&["step ", "is not finite", "Last good checkpoint: r/"]);
    let checkpoint = ran
        .err
        .split("Last good checkpoint: ")
        .nth(1)
        .unwrap()
        .split(". ")
        .next()
        .unwrap();
    assert!(folder.path().join(checkpoint).exists(), "{checkpoint}");
}

#[test]
fn a_run_is_never_overwritten_nor_resumed_with_other_settings_or_data() {
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "r"]).expect(0);
    let files = || {
        ["final.safetensors", "config.toml", "metrics.jsonl"]
            .map(|name| std::fs::read(at.join("r").join(name)).unwrap())
    };
    let before = files();
    run(at, &["train", "run.toml", "--out", "r"])
        .expect(2)
        .says(&["holds a run already", "--resume"]);
    run(at, &["train", "run.toml", "--out", "r", "--resume", "--seed", "9"])
        .expect(2)
        .says(&["seed is 1 in the run, 9 is given"]);
    run(
        at,
        &["train", "run.toml", "--out", "r", "--resume", "--set", "train.steps=5"],
    )
    .expect(2)
    .says(&["has done 60 steps already"]);
    // Stages that had to hold for one evaluation alone, as those of earlier versions did.
    let hold = [
        "train",
        "run.toml",
        "--out",
        "r",
        "--resume",
        "--set",
        "stages.1.hold=1",
        "stages.2.hold=1",
    ];
    run(at, &hold).expect(2).says(&[
        "stages.1.hold is 3 in the run, 1 is given; stages.2.hold is 3",
        "loopscope train r --resume",
    ]);
    let mut other = SMALL_DATA;
    other[16] = "--seed=4";
    other[15] = "other";
    run(at, &other).expect(0);
    std::fs::write(at.join("other.toml"), SMALL_RUN.replace("\"data\"", "\"other\"")).unwrap();
    run(at, &["train", "other.toml", "--out", "r", "--resume"])
        .expect(2)
        .says(&["trains on data"]);
    assert!(before == files(), "a refusal harms nothing");
}
