//! Plans and their points on the command line: one command a point, failures kept apart, plans that are never changed.

mod common;

use std::path::{Path, PathBuf};
use std::sync::Barrier;

use common::{SWEEP, assert_same_run, json, planned, prepared, run, run_with, shipped, text};
use loopscope::sweep::Plan;
use serde_json::Value;
use sha2::{Digest, Sha256};

fn status(at: &Path) -> String {
    run(at, &["sweep", "status", "s"]).expect(0).out
}

#[test]
fn a_point_is_one_command_and_an_ordinary_run() {
    let folder = planned();
    let at = folder.path();
    let trained = run(at, &["sweep", "run", "s", "--point", "2"]).expect(0);
    assert!(
        trained.out.contains("iterations-1-init-2") && trained.out.contains("trained"),
        "{}",
        trained.out
    );
    assert!(
        run(at, &["sweep", "run", "s", "--point", "2"])
            .expect(0)
            .out
            .contains("was done")
    );
    // A task's number plus an offset; the sweep's run is that of `train` with the same settings.
    let task = run_with(
        at,
        &["sweep", "run", "s", "--task", "--offset", "2"],
        &[("HQ_TASK_ID", "2")],
    )
    .expect(0);
    assert!(task.out.contains("iterations-2-init-2"), "{}", task.out);
    run(at, &["train", "run.toml", "--out", "alone", "--set", "init_seed=2"]).expect(0);
    let points = at.join("s/points");
    let mut runs = points.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let of_two = runs
        .find(|path| path.to_string_lossy().contains("iterations-2-init-2"))
        .unwrap();
    assert_same_run(&at.join("alone"), &of_two);
    assert!(
        status(at).contains("plan 1: 2 done, 0 running, 0 failed, 2 waiting"),
        "{}",
        status(at)
    );
    run(at, &["sweep", "run", "s", "--points", "1-3"]).expect(0);
    assert!(status(at).contains("4 done"), "{}", status(at));
    for (arguments, says) in [
        (&["--point", "5"][..], "point 5; plan 1 has points 1 to 4"),
        (&["--points", "3-1"], "numbers of points and ranges of them"),
        (&["--task"], "HQ_TASK_ID or SLURM_ARRAY_TASK_ID"),
        (&["--plan", "7"], "plan-7.json"),
        (&["--jobs", "0"], "--jobs 0; allowed: 1 to 1024"),
    ] {
        run(at, &[&["sweep", "run", "s"], arguments].concat())
            .expect(2)
            .says(&[says]);
    }
    run(at, &["sweep", "status", "data"])
        .expect(2)
        .says(&["is not the folder of a sweep"]);
}

#[test]
fn a_changed_file_makes_the_next_plan_and_the_same_points_are_the_same_runs() {
    let folder = planned();
    let at = folder.path();
    let again = run(at, &["sweep", "plan", "sweep.toml", "--out", "s"]).expect(0);
    assert!(
        again.out.contains("plan 1") && again.out.contains("this plan already"),
        "{}",
        again.out
    );
    run(at, &["sweep", "run", "s", "--point", "4"]).expect(0);
    // One value of the grid instead of two: points 3 and 4 become 1 and 2, under other names.
    std::fs::write(at.join("sweep.toml"), SWEEP.replace("[1, 2]\n", "[2]\n")).unwrap();
    let next = SWEEP.replace("\"model.iterations\" = [1, 2]", "\"model.iterations\" = [2]");
    std::fs::write(at.join("sweep.toml"), next).unwrap();
    let planned = run(at, &["sweep", "plan", "sweep.toml", "--out", "s"]).expect(0);
    assert!(
        planned.out.contains("plan 2") && planned.out.contains("2 points"),
        "{}",
        planned.out
    );
    assert!(
        run(at, &["sweep", "run", "s", "--point", "2"])
            .expect(0)
            .out
            .contains("was done")
    );
    // A task without the number of its plan follows the newest one, and says so.
    let task = |arguments: &[&str]| {
        let arguments = [&["sweep", "run", "s", "--task"], arguments].concat();
        run_with(at, &arguments, &[("HQ_TASK_ID", "2")]).expect(0)
    };
    task(&[]).says(&["--task without --plan", "plan 2, the newest of 2 in s"]);
    let named = task(&["--plan", "2"]).err;
    assert!(!named.contains("newest"), "{named}");
    assert!(
        run(at, &["sweep", "run", "s", "--plan", "1", "--point", "4"])
            .expect(0)
            .out
            .contains("was done")
    );
    // A plan that was edited is refused.
    let plan = at.join("s/plan-2.json");
    let edited = std::fs::read_to_string(&plan)
        .unwrap()
        .replace("\"lr\": 0.003", "\"lr\": 0.004");
    std::fs::write(&plan, edited).unwrap();
    run(at, &["sweep", "run", "s"])
        .expect(2)
        .says(&["plan-2.json", "was edited"]);
    run(at, &["sweep", "run", "s", "--plan", "1", "--point", "4"]).expect(0);
}

#[test]
fn a_point_that_fails_is_kept_apart_and_the_others_are_trained() {
    let folder = prepared();
    let at = folder.path();
    let sweep = "config = \"run.toml\"\n[grid]\n\"optimizer.lr\" = [3e-3, 1e30]\n\"optimizer.clip\" = [0.0]\n";
    std::fs::write(at.join("sweep.toml"), sweep).unwrap();
    run(at, &["sweep", "plan", "sweep.toml", "--out", "s"]).expect(0);
    let failed = run(at, &["sweep", "run", "s"])
        .expect(1)
        .says(&["1 point failed", "is not finite"]);
    assert!(failed.out.contains("trained"), "{}", failed.out);
    let status = status(at);
    assert!(status.contains("1 done, 0 running, 1 failed, 0 waiting"), "{status}");
    assert!(
        status.contains("is not finite") && status.contains("begins at step 0"),
        "{status}"
    );
    // Points refuse data other than those of the plan.
    std::fs::remove_dir_all(at.join("data")).unwrap();
    let mut other = common::SMALL_DATA;
    other[16] = "--seed=4";
    run(at, &other).expect(0);
    run(at, &["sweep", "run", "s"])
        .expect(1)
        .says(&["the plan was made with data"]);
}

#[test]
fn a_plan_of_another_version_is_valid_as_long_as_its_values_have_its_hash() {
    // Its configs lack a key that this version has, with a default.
    let frozen = shipped("tests/plans");
    let plan = std::fs::read_to_string(frozen.join("plan-1.json")).unwrap();
    assert!(!plan.contains("share_prefixes"));
    let status = run(&frozen, &["sweep", "status", text(&frozen)]).expect(0).out;
    assert!(
        status.contains("plan 1: 0 done, 0 running, 0 failed, 4 waiting"),
        "{status}"
    );
    let folder = tempfile::tempdir().unwrap();
    let edited = plan.replacen("\"lr\": 0.003", "\"lr\": 0.004", 1);
    assert_ne!(edited, plan);
    std::fs::write(folder.path().join("plan-1.json"), edited).unwrap();
    run(folder.path(), &["sweep", "status", "."])
        .expect(2)
        .says(&["plan-1.json", "was edited"]);
}

// Makes a plan what a version without the key `train.share_prefixes` would have written: without the key, and with other hashes.
fn as_of_another_version(plan: &Path) {
    let mut value: Value = json(plan);
    for point in value["points"].as_array_mut().unwrap() {
        let hash = point["hash"].as_str().unwrap().chars().rev().collect::<String>();
        point["hash"] = hash.into();
        let train = point["config"]["train"].as_object_mut().unwrap();
        train.shift_remove("share_prefixes").unwrap();
    }
    let points = serde_json::to_string(&value["points"]).unwrap();
    value["hash"] = format!("{:x}", Sha256::digest(points))[..16].into();
    std::fs::write(plan, serde_json::to_string_pretty(&value).unwrap()).unwrap();
}

#[test]
fn points_that_another_version_trained_are_done_and_its_plan_is_the_same_plan() {
    let folder = planned();
    let at = folder.path();
    run(at, &["sweep", "run", "s", "--points", "1-2"]).expect(0);
    as_of_another_version(&at.join("s/plan-1.json"));
    let status = status(at);
    assert!(status.contains("plan 1: 2 done"), "{status}");
    let again = run(at, &["sweep", "run", "s", "--point", "1"]).expect(0).out;
    assert!(again.contains("was done"), "{again}");
    let planned = run(at, &["sweep", "plan", "sweep.toml", "--out", "s"]).expect(0).out;
    assert!(planned.contains("this plan already"), "{planned}");
    // A later plan finds the folders of the same points.
    std::fs::write(at.join("sweep.toml"), SWEEP.replace("init = [1, 2]", "init = [2, 1]")).unwrap();
    run(at, &["sweep", "plan", "sweep.toml", "--out", "s"]).expect(0);
    let done = run(at, &["sweep", "run", "s", "--points", "1-2"]).expect(0).out;
    assert_eq!(done.matches("was done").count(), 2, "{done}");
}

#[test]
fn the_newest_plan_is_read_without_the_others_and_what_is_printed_names_its_number() {
    let folder = planned();
    let at = folder.path();
    let next = SWEEP.replace("init = [1, 2]", "init = [3]");
    std::fs::write(at.join("sweep.toml"), next).unwrap();
    let planned = run(at, &["sweep", "plan", "sweep.toml", "--out", "s"]).expect(0).out;
    assert!(planned.contains("loopscope sweep run s --plan 2\n"), "{planned}");
    std::fs::write(at.join("s/plan-1.json"), "{").unwrap();
    assert!(status(at).contains("plan 2: 0 done"), "{}", status(at));
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    run(at, &["sweep", "run", "s", "--point", "1"]).expect(0);
    let plan: Value = json(&at.join("s/plan-2.json"));
    let hash = plan["points"][0]["hash"].as_str().unwrap();
    let folders: Vec<String> = at.join("s/points").read_dir().unwrap().map(name).collect();
    assert_eq!(folders, [format!("iterations-1-{hash}")]);
}

#[test]
fn several_that_plan_the_same_at_once_make_one_plan_and_of_others_each_its_own() {
    for round in 0..5 {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let sweep = |name: &str, seeds: &str| -> PathBuf {
            let path = at.join(name);
            let file = format!("preset = 'quick'\nrun = 'looped'\n[seeds]\nall = {seeds}\n");
            std::fs::write(&path, file).unwrap();
            path
        };
        let files = [sweep("a.toml", "[1, 2]"), sweep("b.toml", "[2, 3]")];
        // In each folder several plan at the same moment.
        for (out, planners) in [("same", [0, 0, 0, 0]), ("two", [0, 1, 0, 1])] {
            let start = Barrier::new(planners.len());
            let made: Vec<(usize, Plan)> = std::thread::scope(|scope| {
                let make = |file: usize| {
                    start.wait();
                    (file, Plan::make(&files[file], &at.join(out)).unwrap().0)
                };
                let threads = planners.map(|file| scope.spawn(move || make(file)));
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let plans = Plan::all(&at.join(out)).unwrap();
            for (file, plan) in &made {
                assert_eq!(plans[plan.number - 1], *plan, "{round}");
                assert_eq!(plan.points[0].seeds.init, [1, 2][*file]);
            }
            if out == "same" {
                assert_eq!(plans.len(), 1, "{round}");
            } else {
                // Whoever came second has the folder of the point that both have.
                let of_two = |plan: &Plan| {
                    let mut points = plan.points.iter();
                    points.find(|point| point.seeds.init == 2).unwrap().folder.clone()
                };
                assert!(plans.len() >= 2 && plans.iter().all(|plan| of_two(plan) == of_two(&plans[0])));
            }
            let left = |folder: &str| {
                let entries = at.join(out).join(folder).read_dir().unwrap();
                entries
                    .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'))
                    .count()
            };
            assert_eq!((left(""), left("data")), (0, 0), "nothing half-written");
        }
    }
}

#[test]
fn seeds_are_the_same_however_they_are_written_and_one_without_effect_is_told() {
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "r", "--seed", "3"]).expect(0);
    let resume = |settings: &str| {
        let settings: Vec<&str> = settings.split(' ').collect();
        run(
            at,
            &[&["train", "run.toml", "--out", "r", "--resume"], &settings[..]].concat(),
        )
    };
    resume("--set init_seed=3 order_seed=3").expect(0);
    resume("--set init_seed=3 order_seed=4")
        .expect(2)
        .says(&["order_seed is 3 in the run, 4 is given"]);
    for seed in ["--seed 9", "--set seed=9"] {
        resume(&format!("{seed} --set init_seed=3 order_seed=3"))
            .expect(0)
            .says(&["seed = 9 has no effect", "both init_seed and order_seed"]);
    }
}
