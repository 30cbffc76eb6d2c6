//! What the dashboard reads of folders.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::super::{Dashboard, View, WatchedState};
use super::{assert_shows, screen};
use crate::checkpoint::{HeartbeatWatch, RunLock};
use crate::error::Result;
use crate::sweep::{Plan, Point};

// What one look at these folders tells.
fn read(targets: &[PathBuf]) -> Result<Dashboard> {
    Dashboard::read(
        targets,
        &mut HeartbeatWatch::new(HeartbeatWatch::PERIOD),
        Instant::now(),
    )
}

#[test]
fn a_folder_in_which_a_process_works_may_have_no_run_yet() {
    let folder = tempfile::tempdir().unwrap();
    let target = [folder.path().to_owned()];
    let error = read(&target).unwrap_err().to_string();
    assert!(error.contains("no run is in it"), "{error}");
    let lock = RunLock::acquire(folder.path()).unwrap();
    let dashboard = read(&target).unwrap();
    assert!(dashboard.runs.is_empty(), "{dashboard:?}");
    let at_work = format!(
        "at work in {}: process {} on ",
        folder.path().display(),
        std::process::id()
    );
    assert!(dashboard.headlines[1].starts_with(&at_work), "{dashboard:?}");
    drop(lock);
}

// Writes the lock of a process on another machine into a folder, which is made where it does not exist.
fn lock_elsewhere(folder: &Path, heartbeat: u64) {
    fs::create_dir_all(folder).unwrap();
    let holder = r#""process":1,"host":"far","since":"2026-01-01T00:00:00Z","machine":"other","token":"a""#;
    fs::write(
        folder.join("run.lock"),
        format!("{{{holder},\"heartbeat\":{heartbeat:20}}}\n"),
    )
    .unwrap();
}

#[test]
fn a_process_of_another_machine_is_silent_after_two_missed_heartbeats() {
    let folder = tempfile::tempdir().unwrap();
    let (runs, sweep) = (folder.path().join("runs"), folder.path().join("s"));
    let (run, point) = (runs.join("a"), sweep.join("points/b"));
    let lock = |heartbeat| [&run, &point, &runs].map(|folder| lock_elsewhere(folder, heartbeat));
    lock(7);
    fs::write(run.join("config.toml"), "").unwrap();
    Plan::add(vec![Point::made_up(1, "b")], &[], &sweep).unwrap();
    let targets = [runs.clone(), sweep];
    let (mut heartbeats, begin) = (HeartbeatWatch::new(HeartbeatWatch::PERIOD), Instant::now());
    let mut after = |period: Duration| Dashboard::read(&targets, &mut heartbeats, begin + period).unwrap();
    let states = |dashboard: &Dashboard| -> Vec<WatchedState> { dashboard.runs.iter().map(|run| run.state).collect() };
    let (second, period) = (Duration::from_secs(1), HeartbeatWatch::PERIOD);
    assert_eq!(period, 2 * RunLock::HEARTBEAT);
    for early in [Duration::ZERO, period.saturating_sub(second)] {
        let dashboard = after(early);
        assert_eq!(states(&dashboard), [WatchedState::Training; 2]);
        let unsure = "process 1 on far since 2026-01-01T00:00:00Z, unless it died there";
        assert_eq!(dashboard.runs[0].detail, unsure);
    }
    let silent = after(period);
    assert_eq!(states(&silent), [WatchedState::Silent; 2]);
    for text in silent.runs.iter().map(|run| &run.detail).chain([&silent.headlines[1]]) {
        assert!(
            text.contains("process 1 on far") && text.contains("no heartbeat in 20s"),
            "{text}"
        );
    }
    assert!(
        silent.headlines[0].ends_with("runs: 0 training, 1 silent, 0 stopped, 0 finished"),
        "{silent:?}"
    );
    assert!(silent.headlines[2].contains("0 running, 1 silent"), "{silent:?}");
    assert_shows(
        &screen(&silent, &View::new(true), 100, 24),
        &["a  ? silent", "│? a ", "│? b "],
    );
    // One heartbeat, and it lives for two more.
    lock(8);
    for moment in [period + second, 2 * period] {
        let dashboard = after(moment);
        assert_eq!(states(&dashboard), [WatchedState::Training; 2]);
        assert_eq!(dashboard.runs[0].detail, "process 1 on far since 2026-01-01T00:00:00Z");
    }
    assert_eq!(states(&after(2 * period + second)), [WatchedState::Silent; 2]);
}

#[test]
fn runs_of_equal_names_are_told_apart_by_their_folders() {
    let folder = tempfile::tempdir().unwrap();
    let sweep = |path: &str| {
        let sweep = folder.path().join(path);
        fs::create_dir_all(&sweep).unwrap();
        let points = vec![
            Point::made_up(1, "r2-seed-1"),
            Point::made_up(2, &path.replace('/', "-")),
        ];
        Plan::add(points, &[], &sweep).unwrap();
        sweep
    };
    let run_in = |path: &str| {
        let parent = folder.path().join(path);
        fs::create_dir_all(parent.join("looped")).unwrap();
        fs::write(parent.join("looped/config.toml"), "").unwrap();
        parent
    };
    let names = |targets: &[PathBuf]| -> Vec<String> {
        let runs = read(targets).unwrap().runs;
        let mut names: Vec<String> = runs.into_iter().map(|run| run.name).collect();
        names.sort();
        names
    };
    let [here, there] = ["s", "t"].map(sweep);
    assert_eq!(names(&[here.clone(), there]), ["s", "s/r2-seed-1", "t", "t/r2-seed-1"]);
    // The folders have one name too.
    let [first, second] = ["a/s", "b/s"].map(sweep);
    let of_two = names(&[first.clone(), second]);
    assert_eq!(of_two, ["a-s", "a/s/r2-seed-1", "b-s", "b/s/r2-seed-1"]);
    let of_three = names(&[here, first]);
    assert!(of_three.contains(&"a/s/r2-seed-1".to_owned()), "{of_three:?}");
    assert_eq!(
        names(&["a/runs", "b/runs"].map(run_in)),
        ["a/runs/looped", "b/runs/looped"]
    );
    // Alone it has its short name.
    assert_eq!(names(&[run_in("b/runs")]), ["looped"]);
}
