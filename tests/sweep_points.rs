//! Plans and their points on the command line: one command a point, failures kept apart, plans that are never changed.

mod common;

use std::path::Path;

use common::{assert_same_run, prepared, run, run_with};

const SWEEP: &str = "config = \"run.toml\"\n[seeds]\ninit = [1, 2]\n[grid]\n\"model.iterations\" = [1, 2]\n";

/// A folder with data, config and a planned sweep `s` of four points.
fn planned() -> tempfile::TempDir {
    let folder = prepared();
    std::fs::write(folder.path().join("sweep.toml"), SWEEP).unwrap();
    run(folder.path(), &["sweep", "plan", "sweep.toml", "--out", "s"]).expect(0);
    folder
}

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
    // Data that are not those of the plan are no data for its points.
    std::fs::remove_dir_all(at.join("data")).unwrap();
    let mut other = common::SMALL_DATA;
    other[16] = "--seed=4";
    run(at, &other).expect(0);
    run(at, &["sweep", "run", "s"])
        .expect(1)
        .says(&["the plan was made with data"]);
}
