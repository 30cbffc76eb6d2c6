//! The first five minutes: what to do next, what the machine has, output for people and for programs, completions and man pages.

mod common;

use std::path::Path;
use std::sync::{Arc, Mutex};

use common::{ENDLESS, Ran, Running, SMALL_DATA, prepared, run, shipped};
use loopscope::Device;
use loopscope::checkpoint::{RunPath, find_checkpoints};
use loopscope::graph::Dataset;
use loopscope::measure::{Extras, Lens, LoadedCheckpoint, Method, Probe, Progress};
use serde_json::Value;

/// What `loopscope` says by itself in a folder.
fn next(folder: &Path) -> String {
    run(folder, &[]).expect(0).out
}

/// The arguments of the first command in `text` that begins with `loopscope NAME`.
fn suggested<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let mut commands = text.lines().filter_map(|line| line.trim().strip_prefix("loopscope "));
    let command = commands.find(|command| command.split(' ').next() == Some(name));
    command
        .unwrap_or_else(|| panic!("no {name} in:\n{text}"))
        .split(' ')
        .collect()
}

/// The lines of standard output, each of which must be a JSON object.
fn objects(ran: &Ran) -> Vec<Value> {
    let lines = ran.out.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line}")))
        .inspect(|object: &Value| assert!(object.is_object(), "{object}"))
        .collect()
}

#[test]
fn loopscope_alone_says_what_to_do_where_nothing_is_yet() {
    let folder = tempfile::tempdir().unwrap();
    let said = next(folder.path());
    assert!(said.contains("no run here yet"), "{said}");
    assert_eq!(suggested(&said, "reproduce"), ["reproduce", "--preset", "quick"]);
    suggested(&said, "doctor");
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "it writes nothing"
    );
}

#[cfg(unix)]
#[test]
fn loopscope_alone_tells_a_run_in_progress_from_one_that_stopped_or_died() {
    let folder = prepared();
    let at = folder.path();
    let start = |out: &str| {
        let mut running = Running::start(at, &["train", "run.toml", "--out", out, "--set", ENDLESS]);
        running.wait_until("a saved state", || at.join(out).join("stages.json").exists());
        running
    };
    let running = start("checkpoints/mine");
    let said = next(at);
    let process = running.0.id().to_string();
    assert!(said.contains("in progress") && said.contains(&process), "{said}");
    assert!(said.contains("of 1000000000"), "{said}");
    assert!(!said.contains("--resume"), "{said}");
    assert_eq!(running.interrupt(), Some(130));
    let said = next(at);
    assert!(said.contains("stopped") && !said.contains("in progress"), "{said}");
    assert_eq!(suggested(&said, "train"), ["train", "checkpoints/mine", "--resume"]);
    // One that was killed leaves its lock behind.
    let mut killed = start("checkpoints/killed");
    killed.0.kill().unwrap();
    killed.0.wait().unwrap();
    assert!(at.join("checkpoints/killed/run.lock").exists());
    let said = next(at);
    assert!(!said.contains("in progress"), "{said}");
    assert_eq!(suggested(&said, "train"), ["train", "checkpoints/killed", "--resume"]);
}

#[test]
fn loopscope_alone_leads_into_a_finished_run() {
    let folder = prepared();
    let at = folder.path();
    for name in ["looped", "other"] {
        run(at, &["train", "run.toml", "--out", &format!("checkpoints/mine/{name}")]).expect(0);
    }
    let said = next(at);
    assert!(said.contains("finished"), "{said}");
    let compare = suggested(&said, "compare");
    assert_eq!(compare.len(), 3, "{compare:?}");
    for name in ["lens", "patch", "compare"] {
        let mut arguments = suggested(&said, name);
        arguments.extend(["--out", "figures/x"]);
        run(at, &arguments).expect(0);
    }
    assert!(said.contains("loopscope report checkpoints/mine/"), "{said}");
    // Inside the folder of the experiment, and of one run.
    let inside = next(&at.join("checkpoints/mine"));
    assert!(["looped", "other"].contains(&suggested(&inside, "lens")[1]), "{inside}");
    assert_eq!(
        suggested(&next(&at.join("checkpoints/mine/looped")), "lens"),
        ["lens", "."]
    );
}

#[test]
fn quiet_leaves_errors_alone_on_standard_error() {
    let folder = prepared();
    let at = folder.path();
    let loud = run(at, &["train", "run.toml", "--out", "loud"]).expect(0);
    assert!(loud.err.contains("step 60/60"), "{}", loud.err);
    let quiet = run(at, &["train", "run.toml", "--out", "r", "--quiet"]).expect(0);
    assert_eq!(quiet.err, "");
    assert_eq!(quiet.out.lines().last(), Some("r"));
    let refused = run(at, &["--quiet", "lens", "nowhere"]).expect(2);
    assert_eq!(refused.err.lines().count(), 1, "{}", refused.err);
    refused.says(&["nowhere"]);
    // A request of more chains than there are is a warning.
    let mut many = SMALL_DATA;
    (many[13], many[15]) = ("400", "many");
    run(at, &many).expect(0).says(&["WARN"]);
    many[15] = "again";
    assert_eq!(run(at, &[&many[..], &["-q"]].concat()).expect(0).err, "");
    run(at, &["lens", "r", "--quiet", "--verbose"])
        .expect(2)
        .says(&["--verbose"]);
}

#[test]
fn json_is_the_data_of_the_rows_and_alone_on_standard_output() {
    let folder = prepared();
    let at = folder.path();
    for name in ["a", "b"] {
        run(at, &["train", "run.toml", "--out", name]).expect(0);
    }
    let lens = run(at, &["lens", "a", "--json", "--out", "f"]).expect(0);
    let file: Value = common::json(&at.join("f/lens.json"));
    let all = file["rows"].as_array().unwrap();
    let shown = objects(&lens);
    assert!(
        !shown.is_empty() && shown.iter().all(|row| all.contains(row)),
        "{shown:?}"
    );
    assert!(lens.err.contains("f/lens.{csv,json,svg,png}"), "{}", lens.err);
    let compare = objects(&run(at, &["compare", "a", "b", "--json", "--out", "f"]).expect(0));
    assert_eq!((&compare[0]["name"], &compare[1]["name"]), (&"a".into(), &"b".into()));
    assert_eq!(compare[0]["steps"], 60);
    let estimate = objects(&run(at, &["train", "run.toml", "--out", "c", "--estimate", "--json"]).expect(0));
    assert_eq!((estimate.len(), &estimate[0]["steps"]), (1, &60.into()));
    let next = objects(&run(at, &["--json"]).expect(0));
    assert!(
        next.iter().any(|step| step["command"] == "loopscope doctor"),
        "{next:?}"
    );
    std::fs::write(at.join("SWEEP.toml"), "config = 'run.toml'\n[seeds]\ninit = [1, 2]\n").unwrap();
    run(at, &["sweep", "plan", "SWEEP.toml", "--out", "s"]).expect(0);
    let status = objects(&run(at, &["sweep", "status", "s", "--json"]).expect(0));
    let points: Vec<_> = status.iter().map(|row| (&row["point"], &row["state"])).collect();
    assert_eq!(points, [(&1.into(), &"waiting".into()), (&2.into(), &"waiting".into())]);
    let circuits = objects(&run(at, &["circuit", "--list", "--json"]).expect(0));
    assert!(
        circuits.iter().any(|circuit| circuit["name"] == "hop-per-iteration"),
        "{circuits:?}"
    );
}

#[test]
fn doctor_says_what_the_machine_has_and_what_a_preset_takes() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let found = objects(&run(at, &["doctor", "--preset", "quick", "--json"]).expect(0));
    let [found] = &found[..] else {
        panic!("{found:?}");
    };
    assert!(found["cores"].as_u64().unwrap() >= 1);
    let sets = found["instruction_sets"].as_array().unwrap();
    assert!(sets.contains(&found["backend"]), "{found}");
    assert!(found["gemm"]["one_thread_gflops"].as_f64().unwrap() > 0.0);
    assert!(found["gemm"]["all_cores_gflops"].as_f64().unwrap() > 0.0);
    let preset = &found["presets"][0];
    assert_eq!(preset["preset"], "quick");
    assert!(preset["seconds"]["most"].as_f64().unwrap() > 0.0 && preset["memory_bytes"].as_u64().unwrap() > 0);
    run(at, &["doctor", "--preset", "quik"])
        .expect(2)
        .says(&["did you mean quick?"]);
    assert_eq!(std::fs::read_dir(at).unwrap().count(), 0, "it writes nothing");
}

#[test]
fn completions_and_man_pages_are_of_all_commands() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for shell in ["bash", "zsh", "fish"] {
        let script = run(at, &["completions", shell]).expect(0).out;
        assert!(script.contains("transplant") && script.contains("doctor"), "{shell}");
    }
    run(at, &["completions", "bsh"]).expect(2).says(&["bash"]);
    let page = run(at, &["man"]).expect(0).out;
    assert!(page.starts_with(".ie") && page.contains("loopscope"), "{page}");
    run(at, &["man", "--out", "pages"]).expect(0);
    let read = |name: &str| std::fs::read_to_string(at.join("pages").join(name)).unwrap();
    assert!(read("loopscope-sweep-run.1").contains("loopscope"));
    for name in ["loopscope.1", "loopscope-lens.1", "loopscope-completions.1"] {
        assert!(read(name).contains(".SH NAME"), "{name}");
    }
}

#[test]
fn measurements_tell_how_far_they_are() {
    static TOLD: Mutex<Vec<Progress>> = Mutex::new(Vec::new());
    fn tell(progress: &Progress) {
        TOLD.lock().unwrap().push(*progress);
    }
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "r"]).expect(0);
    let path = RunPath {
        name: None,
        path: at.join("r/final.safetensors"),
    };
    let data = Arc::new(Dataset::read(&at.join("data")).unwrap());
    let found = find_checkpoints(&[path]).unwrap();
    let loaded = [LoadedCheckpoint::load(&found[0], &data, &Device::Cpu).unwrap()];
    let extras = || Extras {
        progress: Some(tell),
        ..Extras::default()
    };
    let parts = |name: &str| {
        let told: Vec<Progress> = TOLD.lock().unwrap().drain(..).collect();
        let total = told[0].total;
        let expected = (0..=total).map(|done| Progress {
            method: told[0].method,
            done,
            total,
        });
        assert_eq!(told, expected.collect::<Vec<_>>(), "{name}");
        assert_eq!(told[0].method, name);
        total
    };
    Lens::defaults().unwrap().run_with(extras(), &loaded).unwrap();
    assert_eq!(parts("lens"), 3, "a part a split");
    let mut spec = Probe::defaults().unwrap();
    spec.take_files(vec![RunPath {
        name: None,
        path: shipped("probes/head-everywhere.toml"),
    }])
    .unwrap();
    spec.run_with(extras(), &loaded).unwrap();
    assert_eq!(parts("probe"), spec.specs[0].positions.len(), "a part a position");
}
