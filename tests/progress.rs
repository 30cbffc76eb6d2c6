//! How far the analyses of experiments and sweeps are, as they tell while they measure.

mod common;

use std::path::Path;
use std::sync::{Arc, Mutex};

use common::{planned, prepared, run};
use loopscope::Device;
use loopscope::checkpoint::{RunPath, find_checkpoints};
use loopscope::experiment::{Evidence, ExperimentRun, Observer, RunRole};
use loopscope::figure::Look;
use loopscope::graph::{Dataset, Tails};
use loopscope::measure::{ComparisonSettings, Lens, LoadedCheckpoint, Method, Patch, Progress, compare};
use loopscope::sweep::gather::{MethodPlace, MethodRequest};
use loopscope::sweep::{Plan, SweepData};
use loopscope::train::RunConfig;

/// What one test was told: parts done of all parts.
type Told = Mutex<Vec<(&'static str, usize, usize)>>;

fn loaded(at: &Path) -> [LoadedCheckpoint; 1] {
    let path = RunPath {
        name: None,
        path: at.join("r/final.safetensors"),
    };
    let data = Arc::new(Dataset::read(&at.join("data")).unwrap());
    let found = find_checkpoints(&[path]).unwrap();
    [LoadedCheckpoint::load(&found[0], &data, &Device::Cpu).unwrap()]
}

/// The numbers of parts that a method has told since the last time, from none to all.
fn parts(told: &Told, method: &str) -> usize {
    let told: Vec<_> = told.lock().unwrap().drain(..).filter(|told| told.0 == method).collect();
    let (_, done, total) = *told.last().unwrap_or_else(|| panic!("{method} told nothing"));
    assert_eq!((told[0].1, done), (0, total), "{told:?}");
    total
}

#[test]
fn an_experiment_tells_its_observer_how_far_a_method_is() {
    static TOLD: Told = Mutex::new(Vec::new());
    struct Listens;
    impl Observer for Listens {
        fn progress(&self) -> Option<fn(&Progress)> {
            Some(|progress| {
                let Progress { method, done, total } = *progress;
                TOLD.lock().unwrap().push((method, done, total));
            })
        }
    }
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "r"]).expect(0);
    let checkpoints = loaded(at);
    let config = RunConfig::read(&at.join("r/config.toml"), &[]).unwrap();
    let mut evidence = Evidence::default();
    let id = evidence.add_run(ExperimentRun {
        name: "r".to_owned(),
        role: RunRole::of(&config, Tails::Permutation),
        model: config.model,
        checkpoints: vec![checkpoints[0].info.clone()],
        training: None,
    });
    let lens = Lens::defaults().unwrap();
    let mut measure = || {
        evidence
            .measure(&[id], &lens, &checkpoints, &at.join("figures"), &Listens)
            .unwrap();
    };
    measure();
    assert_eq!(parts(&TOLD, "lens"), 3, "a part a split");
    // Results that exist are not measured again.
    measure();
    assert!(TOLD.lock().unwrap().is_empty());
    let settings = ComparisonSettings {
        lens,
        patch: Patch::defaults().unwrap(),
    };
    compare(&checkpoints, &settings, Listens.progress()).unwrap();
    let of_both = TOLD.lock().unwrap().clone();
    assert!(of_both.iter().any(|told| told.0 == "lens") && of_both.iter().any(|told| told.0 == "patch"));
}

#[test]
fn gathering_tells_how_many_points_are_done() {
    static TOLD: Told = Mutex::new(Vec::new());
    fn tell(progress: &Progress) {
        let Progress { method, done, total } = *progress;
        TOLD.lock().unwrap().push((method, done, total));
    }
    let folder = planned();
    let sweep = folder.path().join("s");
    run(folder.path(), &["sweep", "run", "s", "--points", "1-3"]).expect(0);
    let plan = Plan::read(&sweep, None).unwrap();
    let method: MethodRequest = "lens".parse().unwrap();
    let data = SweepData::new(&sweep);
    let place = MethodPlace {
        data: &data,
        plan: &plan,
        out: &sweep.join("gathered"),
        device: &Device::Cpu,
        seed: 1,
        look: &Look::default(),
        progress: Some(tell),
    };
    method.gather(&place).unwrap();
    assert_eq!(parts(&TOLD, "lens"), 4);
}
