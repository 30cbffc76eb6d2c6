//! `sweep status`: damaged points, processes of other machines, lost locks, and the time left.

mod common;

use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use candle_core::Device;
use common::{json, planned, run};
use loopscope::experiment::{Observer, Unobserved};
use loopscope::sweep::{Plan, PointOutcome, PointState, Runner, Status, SweepData, default_jobs};
use loopscope::train::{self, Trainer};
use serde_json::Value;

#[test]
fn a_damaged_point_is_a_failure_of_its_own_in_status_and_gather() {
    let folder = planned();
    let at = folder.path();
    run(at, &["sweep", "run", "s"]).expect(0);
    let plan: Value = json(&at.join("s/plan-1.json"));
    let file = |point: usize, name: &str| {
        let folder = plan["points"][point - 1]["folder"].as_str().unwrap();
        at.join("s").join(folder).join(name)
    };
    std::fs::write(file(2, "config.toml"), "data = 3").unwrap();
    std::fs::write(file(3, "final.safetensors"), "").unwrap();
    std::fs::write(file(4, "metrics.jsonl"), "{").unwrap();
    let status = run(at, &["sweep", "status", "s"]).expect(0).out;
    assert!(status.contains("2 done, 0 running, 2 failed, 0 waiting"), "{status}");
    assert!(
        status.contains("config.toml") && status.contains("metrics.jsonl"),
        "{status}"
    );
    let gathered = run(at, &["sweep", "gather", "s", "--method", "lens"]).expect(1).says(&[
        "3 points failed",
        "config.toml",
        "metrics.jsonl",
        "final.safetensors",
    ]);
    assert!(gathered.out.contains("lens-over-seeds"), "{}", gathered.out);
    let table = std::fs::read_to_string(at.join("s/gathered/gather.csv")).unwrap();
    assert!(
        table.contains("iterations-1-init-1") && !table.contains("iterations-1-init-2"),
        "{table}"
    );
    // Each point by itself.
    run(at, &["sweep", "run", "s"])
        .expect(1)
        .says(&["2 points failed", "config.toml", "metrics.jsonl"]);
}

// Removes the lock of every run that it observes, as a process does that took this one for dead.
struct TakesLocks<'a>(&'a Path);

impl Observer for TakesLocks<'_> {
    fn watch(&self, _: &str, _: &Trainer) -> Box<dyn train::Observer + '_> {
        for entry in self.0.join("points").read_dir().unwrap() {
            std::fs::remove_file(entry.unwrap().path().join("run.lock")).unwrap();
        }
        Box::new(())
    }
}

#[test]
fn a_point_whose_lock_was_lost_is_in_the_hands_of_another_process() {
    let folder = planned();
    let sweep = folder.path().join("s");
    let plan = Plan::read(&sweep, None).unwrap();
    let (stop, observer) = (AtomicBool::new(false), TakesLocks(&sweep));
    let outcome = Runner::new(&sweep, &Device::Cpu, &stop, &observer).one(&plan.points[0]);
    assert!(
        matches!(&outcome, PointOutcome::Held(why) if why.contains("another process")),
        "{outcome}"
    );
    let states = Status::read(&sweep, &plan).points;
    assert!(
        !states
            .iter()
            .any(|(_, state)| matches!(state, PointState::Failed { .. }))
    );
}

#[test]
fn the_time_left_is_told_by_points_that_are_not_done_yet() {
    let folder = planned();
    let sweep = folder.path().join("s");
    let plan = Plan::read(&sweep, None).unwrap();
    assert_eq!(Status::read(&sweep, &plan).seconds_left(), None);
    run(folder.path(), &["sweep", "run", "s", "--point", "1"]).expect(0);
    let path = sweep.join(&plan.points[0].folder).join("stages.json");
    let mut stages: Value = json(&path);
    for (key, value) in [("step", 30.into()), ("seconds", 3.0.into()), ("finished", false.into())] {
        stages[key] = value;
    }
    std::fs::write(&path, stages.to_string()).unwrap();
    // 30 of 60 steps, and three points of 60.
    let left = Status::read(&sweep, &plan).seconds_left();
    assert_eq!(left, Some(3.0 + 3.0 * 6.0));
}

// The lock of a process on another machine, with this many heartbeats.
fn lock_of_another_machine(heartbeats: u64) -> String {
    format!(
        r#"{{"process":1,"host":"far","since":"2026-01-01T00:00:00Z","machine":"other","token":"a","heartbeat":{heartbeats:20}}}"#
    ) + "\n"
}

#[test]
fn a_process_of_another_machine_is_silent_where_no_heartbeat_comes() {
    let folder = planned();
    let sweep = folder.path().join("s");
    let plan = Plan::read(&sweep, None).unwrap();
    let lock = sweep.join(&plan.points[0].folder).join("run.lock");
    std::fs::create_dir_all(lock.parent().unwrap()).unwrap();
    std::fs::write(&lock, lock_of_another_machine(7)).unwrap();
    let mut status = Status::read(&sweep, &plan);
    assert_eq!(status.n_unsure(), 1);
    assert!(matches!(status.points[0].1, PointState::Running { .. }));
    status.watch(&sweep, Duration::from_millis(40));
    let PointState::Silent { holder, .. } = &status.points[0].1 else {
        panic!("{:?}", status.points[0].1)
    };
    assert!(
        holder.contains("process 1 on far") && holder.contains("silent since 2"),
        "{holder}"
    );
    // One that lives is found to, however long it would be watched.
    let mut status = Status::read(&sweep, &plan);
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = File::options().write(true).open(&lock).unwrap();
            for heartbeat in 8.. {
                file.rewind().unwrap();
                file.write_all(lock_of_another_machine(heartbeat).as_bytes()).unwrap();
                std::thread::sleep(Duration::from_millis(1));
                if ends.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        status.watch(&sweep, Duration::from_mins(10));
        ends.store(true, Ordering::Relaxed);
    });
    assert!(matches!(&status.points[0].1, PointState::Running { holder, .. } if holder.contains("far")));
}

#[test]
fn the_data_of_points_are_read_once() {
    let folder = planned();
    let (at, sweep) = (folder.path(), folder.path().join("s"));
    let plan = Plan::read(&sweep, None).unwrap();
    let points: Vec<_> = plan.points.iter().collect();
    let data = Arc::new(SweepData::new(&sweep));
    default_jobs(&data, &points).unwrap();
    data.of(points[0]).unwrap();
    std::fs::rename(at.join("data"), at.join("away")).unwrap();
    let stop = AtomicBool::new(false);
    let outcome = Runner::new(&sweep, &Device::Cpu, &stop, &Unobserved)
        .with_data(data)
        .one(points[3]);
    assert!(matches!(outcome, PointOutcome::Trained), "{outcome}");
}
