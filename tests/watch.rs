//! `loopscope watch`: what it prints where there is no terminal, and a dashboard in a pseudo-terminal.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime};

use common::{ENDLESS, Running, planned, prepared, run, text};
use serde_json::Value;

/// The files of a folder with when they were changed.
fn state_of(folder: &Path) -> Vec<(String, SystemTime)> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let mut files: Vec<_> = entries
        .map(|entry| {
            let changed = entry.metadata().unwrap().modified().unwrap();
            (entry.file_name().into_string().unwrap(), changed)
        })
        .collect();
    files.sort();
    files
}

fn rows(folder: &Path, arguments: &[&str]) -> Vec<Value> {
    let ran = run(folder, &[&["watch", "--json"], arguments].concat()).expect(0);
    ran.out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn without_a_terminal_the_present_state_is_printed_once_and_nothing_is_written() {
    let folder = prepared();
    let at = folder.path();
    let out = ["train", "run.toml", "--out"];
    run(at, &[&out[..], &["runs/a"]].concat()).expect(0);
    let mut running = Running::start(at, &[&out[..], &["runs/b", "--set", ENDLESS]].concat());
    running.wait_until("a saved state", || at.join("runs/b/stages.json").exists());
    let before = state_of(&at.join("runs/a"));
    let said = run(at, &["watch", "runs"]).expect(0).out;
    assert!(said.contains("runs: 1 training, 0 stopped, 1 finished"), "{said}");
    assert!(said.contains("60 of 60") && said.contains("of 1000000000"), "{said}");
    assert_eq!(state_of(&at.join("runs/a")), before);
    // The one in training first.
    let states: Vec<Value> = rows(at, &["runs"]).iter().map(|row| row["state"].clone()).collect();
    assert_eq!(states, ["training", "finished"]);
    assert_eq!(running.interrupt(), Some(130));
    let stopped = &rows(at, &["runs/b"])[0];
    assert_eq!(
        (&stopped["state"], &stopped["seconds_left"]),
        (&"stopped".into(), &Value::Null)
    );
}

#[test]
fn a_last_line_that_is_not_whole_is_left_out() {
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "a"]).expect(0);
    let whole = rows(at, &["a"]);
    assert_eq!(whole[0]["step"], 60);
    let metrics = at.join("a/metrics.jsonl");
    let mut lines = fs::read_to_string(&metrics).unwrap();
    lines.push_str("{\"step\": 70, \"epo");
    fs::write(&metrics, &lines).unwrap();
    assert_eq!(rows(at, &["a"]), whole);
    // Another line is damage, which is shown with the run.
    fs::write(&metrics, format!("{{\n{lines}")).unwrap();
    let damaged = &rows(at, &["a"])[0];
    assert_eq!(damaged["state"], "failed");
    assert!(
        damaged["detail"].as_str().unwrap().contains("metrics.jsonl: line 1"),
        "{damaged}"
    );
}

#[test]
fn a_sweep_has_its_points_in_every_state() {
    let folder = planned();
    let at = folder.path();
    run(at, &["sweep", "run", "s", "--point", "2"]).expect(0);
    let said = run(at, &["watch", "s"]).expect(0).out;
    assert!(
        said.contains("s, plan 1: 1 done, 0 running, 0 failed, 3 waiting; about"),
        "{said}"
    );
    let points = rows(at, &["s"]);
    let states: Vec<&str> = points.iter().map(|row| row["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["finished", "waiting", "waiting", "waiting"]);
    assert_eq!(points[0]["run"], "iterations-1-init-2");
}

#[test]
fn a_point_in_training_whose_last_line_is_not_whole_has_not_failed() {
    let folder = planned();
    let at = folder.path();
    let plan: Value = common::json(&at.join("s/plan-1.json"));
    let point = at.join("s").join(plan["points"][0]["folder"].as_str().unwrap());
    run(at, &["sweep", "run", "s", "--point", "1"]).expect(0);
    // As it was in training.
    fs::remove_file(point.join("final.safetensors")).unwrap();
    let mut lines = fs::read_to_string(point.join("metrics.jsonl")).unwrap();
    lines.push_str("{\"step\": 70");
    fs::write(point.join("metrics.jsonl"), lines).unwrap();
    let state = || rows(at, &["s"])[0]["state"].clone();
    assert_eq!(state(), "failed", "no process will end the line");
    // Of another machine, so that only its heartbeat could tell that it is dead.
    let lock =
        r#"{"process":1,"host":"far","since":"2026-01-01T00:00:00Z","machine":"other","token":"a","heartbeat":7}"#;
    fs::write(point.join("run.lock"), lock).unwrap();
    assert_eq!(state(), "training");
}

#[test]
fn what_is_no_run_is_refused_with_what_is_near() {
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "runs/looped"]).expect(0);
    run(at, &["watch", "runs/loopd"])
        .expect(2)
        .says(&["runs/loopd: no such file or folder", "looped"]);
    run(at, &["watch", "data"])
        .expect(2)
        .says(&["data: is not a run folder"]);
    run(at, &["watch", "run.toml"]).expect(2).says(&["run.toml"]);
    run(at, &["watch"]).expect(2);
}

/// A shell in a pseudo-terminal of 100 columns and 30 lines.
struct Pseudo {
    child: Child,
    output: Receiver<Vec<u8>>,
    seen: String,
}

impl Pseudo {
    /// Runs the dashboard of `target` in it, then has the terminal tell its settings; `None` where there is no `script` of
    /// util-linux.
    #[expect(clippy::print_stderr, reason = "a test that was skipped says so")]
    fn watch(folder: &Path, target: &str, variables: &[(&str, &str)]) -> Option<Self> {
        let version = Command::new("script").arg("--version").output().ok()?;
        if !String::from_utf8_lossy(&version.stdout).contains("util-linux") {
            eprintln!("skipped: there is no script of util-linux here");
            return None;
        }
        let inner = format!(
            "stty cols 100 rows 30; sh -c 'echo process $$; exec {} watch {target}'; echo code $?; stty -a; echo terminal told",
            env!("CARGO_BIN_EXE_loopscope")
        );
        let mut child = Command::new("script")
            .args(["-qc", &inner, "/dev/null"])
            .current_dir(folder)
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut out = child.stdout.take().unwrap();
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count) = out.read(&mut bytes) {
                if count == 0 || sender.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Some(Self {
            child,
            output,
            seen: String::new(),
        })
    }

    /// Waits until the terminal was sent `part`, which has no space: the screen skips those. The limit is for a program that hangs.
    #[track_caller]
    fn wait_for(&mut self, part: &str) {
        while !self.seen.contains(part) {
            let more = self.output.recv_timeout(Duration::from_mins(2));
            let bytes = more.unwrap_or_else(|e| panic!("no {part:?} ({e}) in {:?}", self.seen));
            self.seen.push_str(&String::from_utf8_lossy(&bytes));
        }
    }

    fn press(&mut self, keys: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(keys.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    /// The process of the dashboard.
    fn process(&self) -> &str {
        let (_, rest) = self.seen.split_once("process ").unwrap();
        rest.split_ascii_whitespace().next().unwrap()
    }

    /// Panics unless the dashboard ended well, and the terminal is as it was.
    #[track_caller]
    fn end(mut self) {
        self.wait_for("terminal told");
        let seen = &self.seen;
        for part in ["\x1b[?1049h", "\x1b[?1049l", "\x1b[?25h", "code 0", " icanon", " echo "] {
            assert!(seen.contains(part), "no {part:?} in {seen:?}");
        }
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}

#[test]
fn the_dashboard_takes_keys_and_gives_the_terminal_back() {
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "a"]).expect(0);
    let Some(mut terminal) = Pseudo::watch(at, "a", &[]) else {
        return;
    };
    terminal.wait_for("finished");
    terminal.press("?");
    terminal.wait_for("Ctrl-C");
    // The first ends the help alone.
    terminal.press("\x1b");
    terminal.press("q");
    terminal.end();
}

#[test]
fn a_signal_gives_the_terminal_back() {
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "a"]).expect(0);
    for signal in ["-INT", "-TERM"] {
        let Some(mut terminal) = Pseudo::watch(at, "a", &[]) else {
            return;
        };
        terminal.wait_for("finished");
        let sent = Command::new("kill").args([signal, terminal.process()]).status();
        assert!(sent.unwrap().success());
        terminal.end();
    }
}

#[test]
fn a_terminal_that_is_closed_ends_the_dashboard() {
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "a"]).expect(0);
    let Some(mut terminal) = Pseudo::watch(at, "a", &[]) else {
        return;
    };
    terminal.wait_for("finished");
    let process = terminal.process().to_owned();
    terminal.child.kill().unwrap();
    terminal.child.wait().unwrap();
    let signal = |name: &str| {
        let sent = Command::new("kill")
            .args([name, &process])
            .stderr(Stdio::null())
            .status();
        sent.unwrap().success()
    };
    // The limit is for a program that hangs.
    let began = Instant::now();
    while signal("-0") {
        if began.elapsed() > Duration::from_mins(1) {
            signal("-KILL");
            panic!("the dashboard goes on without its terminal");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a sequence in `seen` sets a colour (ECMA-48, SGR).
fn has_colors(seen: &str) -> bool {
    let sequences = seen.split("\x1b[").skip(1);
    let styles = sequences.filter_map(|rest| {
        let (parameters, _) = rest.split_at(rest.find(|c: char| c.is_ascii_alphabetic())?);
        rest[parameters.len()..].starts_with('m').then_some(parameters)
    });
    let is_color = |parameter: &str| matches!(parameter.parse(), Ok(30..=38 | 40..=48 | 90..=107_u32));
    styles.flat_map(|style| style.split(';')).any(is_color)
}

#[test]
fn no_color_is_honoured_on_the_screen() {
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "a"]).expect(0);
    let seen = |variables: &[(&str, &str)]| {
        let mut terminal = Pseudo::watch(at, text(Path::new("a")), variables)?;
        terminal.wait_for("finished");
        terminal.press("q");
        terminal.wait_for("terminal told");
        Some(terminal.seen.clone())
    };
    let Some(colored) = seen(&[]) else { return };
    assert!(has_colors(&colored), "{colored:?}");
    let plain = seen(&[("NO_COLOR", "1")]).unwrap();
    assert!(!has_colors(&plain), "{plain:?}");
}
