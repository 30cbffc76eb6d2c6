//! What the integration tests share: running the binary in a folder of its own.
#![allow(dead_code)] // each test file is a crate and uses a part

pub mod pages;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A run of the binary that has ended.
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// Panics with everything printed unless the exit code is this one.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        assert!(!self.err.contains("panicked"), "{}", self.err);
        self
    }

    /// Panics unless stderr holds every one of `parts`.
    #[track_caller]
    pub fn says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.err.contains(part), "stderr lacks {part:?}:\n{}", self.err);
        }
        self
    }
}

/// The binary, to be run in `folder`.
pub fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loopscope"));
    command.current_dir(folder).args(arguments);
    command
}

/// Runs the binary in `folder` to its end.
pub fn run(folder: &Path, arguments: &[&str]) -> Ran {
    run_with(folder, arguments, &[])
}

/// As [`run`], with more environment variables.
pub fn run_with(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
    let mut command = command(folder, arguments);
    let output = command.envs(variables.iter().copied()).output();
    let Output { status, stdout, stderr } = output.expect("the binary starts");
    Ran {
        code: status.code(),
        out: String::from_utf8_lossy(&stdout).into_owned(),
        err: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

/// Arguments that make a small data set in `data`.
pub const SMALL_DATA: [&str; 17] = [
    "data",
    "systematic",
    "--entities",
    "12",
    "--relations",
    "5",
    "--out-degree",
    "5",
    "--ood-share",
    "0.2",
    "--held-out",
    "0.1",
    "--phi",
    "4",
    "--out",
    "data",
    "--seed=3",
];

/// A config that trains a small model on `data`.
pub const SMALL_RUN: &str = r#"
data = "data"
[model]
layers = 1
iterations = 2
d_model = 16
heads = 2
max_positions = 3
[optimizer]
lr = 3e-3
warmup = 5
[train]
steps = 60
batch = 32
label_smoothing = 0.1
evaluate_every = 10
evaluate_early = 5
save_every_seconds = 0
"#;

/// A folder with the small data set and `run.toml`.
pub fn prepared() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    run(folder.path(), &SMALL_DATA).expect(0);
    std::fs::write(folder.path().join("run.toml"), SMALL_RUN).expect("writable");
    folder
}

/// A sweep of four points.
pub const SWEEP: &str = "config = \"run.toml\"\n[seeds]\ninit = [1, 2]\n[grid]\n\"model.iterations\" = [1, 2]\n";

/// As [`prepared`], with `sweep.toml`, planned in `s`.
pub fn planned() -> tempfile::TempDir {
    let folder = prepared();
    std::fs::write(folder.path().join("sweep.toml"), SWEEP).expect("writable");
    run(folder.path(), &["sweep", "plan", "sweep.toml", "--out", "s"]).expect(0);
    folder
}

/// A file that the repository ships.
pub fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// What a JSON file holds.
pub fn json<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    serde_json::from_slice(&std::fs::read(path).expect("readable")).expect("JSON")
}

/// The path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// The lines of `metrics.jsonl` without their times.
pub fn metrics(run: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
    let lines = text.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().remove("seconds");
        line
    });
    lines.collect()
}

/// Panics unless the run folders have the same metrics, but for their times, and the same checkpoints to the bit.
#[track_caller]
pub fn assert_same_run(a: &Path, b: &Path) {
    assert_eq!(metrics(a), metrics(b));
    let mut names: Vec<_> = std::fs::read_dir(a)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    for name in names {
        let name = name.to_str().unwrap();
        // The saved state holds the seconds of training; its numbers are those of the final checkpoint.
        if name.ends_with(".safetensors") && name != "resume.safetensors" {
            let read = |folder: &Path| std::fs::read(folder.join(name)).unwrap();
            assert!(read(a) == read(b), "{name} differs");
        }
    }
}

/// Steps of a run that cannot end by itself, whatever the machine.
pub const ENDLESS: &str = "train.steps=1000000000";

/// Steps done when the run's state was last saved.
pub fn saved_step(run: &Path) -> u64 {
    let stages: Value = serde_json::from_slice(&std::fs::read(run.join("stages.json")).unwrap()).unwrap();
    stages["step"].as_u64().unwrap()
}

/// The binary while it runs; it is killed when the test is done with it.
pub struct Running(pub Child);

impl Running {
    /// Starts the binary in `folder`; what it prints is thrown away.
    pub fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut command = command(folder, arguments);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self(child.expect("the binary starts"))
    }

    /// Waits until `done`, which the running binary brings about. The limit is for a binary that hangs.
    #[track_caller]
    pub fn wait_until(&mut self, what: &str, mut done: impl FnMut() -> bool) {
        let began = Instant::now();
        while !done() {
            let ended = self.0.try_wait().expect("the binary can be waited for");
            assert!(ended.is_none() || done(), "{ended:?} before {what}");
            assert!(began.elapsed() < Duration::from_mins(10), "{what} never came");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until the binary ends by itself; gives the exit code.
    pub fn end(mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
    }

    /// Sends Ctrl-C; gives the exit code.
    #[cfg(unix)]
    pub fn interrupt(self) -> Option<i32> {
        self.signal("INT");
        self.end()
    }

    /// Sends the signal of this name.
    #[cfg(unix)]
    pub fn signal(&self, name: &str) {
        let process = self.0.id().to_string();
        let kill = Command::new("kill").args(["-s", name, &process]).status();
        assert!(kill.unwrap().success(), "{name}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
