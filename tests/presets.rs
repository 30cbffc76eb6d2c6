//! Experiments from presets: shipped ones, files of one's own, and bad ones; what the library tells an observer.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use candle_core::Device;
use common::run;
use loopscope::Error;
use loopscope::checkpoint::CheckpointRole;
use loopscope::experiment::{
    Experiment, Folders, MeasuredResult, Observer, Outcome, Phase, Preset, Recurrence, ShippedPreset, replication,
};
use loopscope::measure::{Comparison, Eval, Lens, Patch};
use loopscope::train::{self, CheckpointReason, Evaluation, Trainer};

/// The systematic preset at its smallest, trained for a few steps.
fn tiny() -> String {
    let printed = ShippedPreset::Quick.text();
    let tiny = [
        ("steps = 1200", "steps = 20"),
        ("evaluate_every = 100", "evaluate_every = 10"),
        ("evaluate_early = 50", "evaluate_early = 10"),
        ("pairs = 100", "pairs = 5"),
        ("iterations = \"1..6\"", "iterations = \"1,4\""),
        (
            "specs = [\"bridge-at-r1\", \"bridge-at-r2\", \"target-at-r2\", \"head-everywhere\", \"relation2-at-r2\"]",
            "specs = [\"bridge-at-r2\"]",
        ),
    ];
    tiny.iter()
        .fold(printed.to_owned(), |text, (from, to)| edited(&text, from, to))
}

/// A preset with another value; panics where the old one is not there once.
#[track_caller]
fn edited(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from:?} in\n{text}");
    text.replace(from, to)
}

// The preset `depth-quick` with fewer steps and one run less.
fn fewer_depth_runs(printed: &str) -> String {
    let fewer = edited(printed, "steps = 90", "steps = 40");
    let shortcut = fewer.find("[[runs]]\nname = \"r2-shortcut\"").unwrap();
    let inside = fewer.find("# Which chains the lens looks at").unwrap();
    format!("{}{}", &fewer[..shortcut], &fewer[inside..])
}

#[test]
fn a_preset_is_printed_edited_and_run_from_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let printed = run(at, &["reproduce", "--print-preset", "depth-quick"]).expect(0).out;
    assert_eq!(
        Preset::parse(&printed, None).unwrap(),
        Preset::parse(ShippedPreset::DepthQuick.text(), None).unwrap()
    );
    let fewer = fewer_depth_runs(&printed);
    std::fs::write(at.join("mine.toml"), fewer).unwrap();
    let ran = run(at, &["reproduce", "--preset", "mine.toml"]).expect(0);
    assert!(ran.out.contains("What `mine` found"), "{}", ran.out);
    let config = std::fs::read_to_string(at.join("checkpoints/mine/r2/config.toml")).unwrap();
    assert!(config.contains("steps = 40"), "{config}");
    assert!(at.join("figures/mine/dynamic/halt.png").is_file());
    assert!(!at.join("checkpoints/mine/r2-shortcut").exists());
    assert!(!at.join("figures/mine/shortcut").exists());
}

#[test]
fn a_file_named_like_a_shipped_preset_must_hold_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let printed = run(at, &["reproduce", "--print-preset", "depth-quick"]).expect(0).out;
    let path = at.join("depth-quick.toml");
    std::fs::write(&path, edited(&printed, "steps = 90", "steps = 91")).unwrap();
    run(at, &["reproduce", "--preset", "depth-quick.toml"])
        .expect(2)
        .says(&["depth-quick.toml", "differs from it", "another name"]);
    assert!(!at.join("checkpoints").exists());
    std::fs::write(&path, printed).unwrap();
    run(at, &["reproduce", "--preset", "depth-quick.toml"]).expect(0);
    assert!(at.join("checkpoints/depth-quick/r2/final.safetensors").is_file());
}

#[test]
fn a_bad_preset_is_refused_with_its_key_and_what_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let refused = |text: &str, says: &[&str]| {
        std::fs::write(at.join("bad.toml"), text).unwrap();
        run(at, &["reproduce", "--preset", "bad.toml"])
            .expect(2)
            .says(&[&["bad"], says].concat());
        assert!(
            !at.join("checkpoints").exists() && !at.join("figures").exists(),
            "{says:?}"
        );
    };
    let edit = |from: &str, to: &str| edited(&tiny(), from, to);
    refused(
        &edit("kind = \"systematic\"", ""),
        &["missing field `kind`", "allowed: \"systematic\", \"depth\""],
    );
    refused(
        &edit("kind = \"systematic\"", "kind = \"deep\""),
        &["deep", "`systematic` or `depth`"],
    );
    // Of the other kind.
    refused(
        &edit("kind = \"systematic\"", "kind = \"depth\""),
        &["unknown field", "expected"],
    );
    refused(
        &edit("claims = false", "claim = false"),
        &["unknown field `claim`", "`claims`"],
    );
    refused(&edit("phi = 8.0", "phy = 8.0"), &["unknown field `phy`", "`phi`"]);
    refused(
        &edit("name = \"looped\"", "name = \"looped\"\ndropout = 0.1"),
        &["unknown field `dropout`"],
    );
    let with_dropout = |dropout: &str| format!("name = \"looped\"\n[runs.model]\n{dropout}\n");
    let of_model = |line: &str| edit("name = \"looped\"\n[runs.model]\n", &with_dropout(line));
    refused(&of_model("droput = 0.1"), &["unknown field `droput`", "`dropout`"]);
    refused(&of_model("dropout = 1.5"), &["run looped", "dropout = 1.5", "allowed"]);
    refused(
        &edit("name = \"looped\"", "name = \"../looped\""),
        &["runs.0.name = \"../looped\"", "letters"],
    );
    refused(
        &edit("name = \"looped\"", "name = \"data\""),
        &["runs.0.name = \"data\"", "folder"],
    );
    let twice = edit("name = \"looped\"", "name = \"vanilla-same-flops\"");
    refused(&twice, &["runs.1.name = \"vanilla-same-flops\"", "no other run"]);
    refused(
        &edit("out_degree = 10", "out_degree = 11"),
        &["[data] of preset bad", "out-degree is 11", "allowed"],
    );
    refused(
        &edit("pairs = 5", "pairs = 0"),
        &["measure.patch", "--pairs", "1 or more"],
    );
    refused(
        &edit("pairs = 5", "pears = 5"),
        &["measure.patch.pears", "allowed: split, corrupt, direction, pairs"],
    );
    refused(
        &edit("[measure.eval]", "[measure.evil]"),
        &["measure.evil", "allowed: seed, eval, lens, patch, probe"],
    );
    refused(
        &edit("[\"bridge-at-r2\"]", "[\"bridge\"]"),
        &["measure.probe.specs.0", "allowed: bridge-at-r1"],
    );
    refused(
        &edit("pairs = 5", "pairs = 5\nsplit = \"nope\""),
        &["measure.patch.split = \"nope\"", "test_inferred_ood"],
    );
    refused(
        &edit("hook = \"resid_post\"", "hook = \"logits\""),
        &["measure.patch", "hook logits", "allowed"],
    );
    let depth = ShippedPreset::DepthQuick.text();
    refused(
        &edited(depth, "iterations = 1.5", "iterations = 0"),
        &["inside.iterations = 0", "above 0"],
    );
    refused(
        &edited(depth, "accuracy = 0.6", "accuracy = 6"),
        &["measure.extrapolate", "0 to 1"],
    );
    // Not to be found at all.
    run(at, &["reproduce", "--preset", "none.toml"])
        .expect(2)
        .says(&["none.toml: no such file"]);
    run(at, &["reproduce", "--preset", "lptop"])
        .expect(2)
        .says(&["lptop", "laptop, quick, depth-laptop, depth-quick"]);
    run(at, &["reproduce", "--print-preset", "lptop"])
        .expect(2)
        .says(&["lptop", "allowed: laptop, quick"]);
    std::fs::write(at.join("...toml"), tiny()).unwrap();
    run(at, &["reproduce", "--preset", "...toml"])
        .expect(2)
        .says(&["letters, digits"]);
}

/// Records the events of an experiment.
#[derive(Default)]
struct Witness {
    phases: Mutex<Vec<String>>,
    // Evaluations of each run.
    evaluations: Mutex<BTreeMap<String, usize>>,
    // Method, last part of the folder, freshness.
    results: Mutex<Vec<(String, String, bool)>>,
    comparisons: AtomicUsize,
    // Fails at the result of this method.
    fails_at: Option<&'static str>,
}

struct Evaluations<'a>(&'a Witness, String);

impl train::Observer for Evaluations<'_> {
    fn on_evaluation(&mut self, _: &Trainer, _: &Evaluation, _: &[CheckpointReason]) -> Result<(), Error> {
        *self.0.evaluations.lock().unwrap().entry(self.1.clone()).or_default() += 1;
        Ok(())
    }
}

fn last_part(folder: &Path) -> String {
    folder.file_name().unwrap().to_string_lossy().into_owned()
}

impl Observer for Witness {
    fn phase(&self, phase: &Phase) {
        let text = format!("{}/{} {}", phase.number, phase.count, phase.title);
        self.phases.lock().unwrap().push(text);
    }

    fn watch(&self, name: &str, _: &Trainer) -> Box<dyn train::Observer + '_> {
        Box::new(Evaluations(self, name.to_owned()))
    }

    fn measured(&self, result: &MeasuredResult) -> Result<(), Error> {
        // Its tables are there by then.
        assert!(result.folder.join(format!("{}.csv", result.method)).is_file());
        let told = (result.method.to_owned(), last_part(result.folder), result.fresh);
        self.results.lock().unwrap().push(told);
        match self.fails_at {
            Some(method) if method == result.method => Err(Error::failed("the observer has seen enough")),
            _ => Ok(()),
        }
    }

    fn compared(&self, comparison: &Comparison, folder: &Path, _: bool) -> Result<(), Error> {
        assert_eq!(comparison.runs.len(), 3);
        assert!(folder.join("compare.csv").is_file());
        self.comparisons.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl Witness {
    // The methods and folders that were measured anew.
    fn fresh(&self) -> Vec<(String, String)> {
        let results = self.results.lock().unwrap();
        let fresh = results.iter().filter(|(_, _, fresh)| *fresh);
        fresh
            .map(|(method, folder, _)| (method.clone(), folder.clone()))
            .collect()
    }
}

fn experiment(at: &Path, preset: &str) -> Experiment {
    let folders = Folders {
        runs: at.join("checkpoints"),
        figures: at.join("figures"),
    };
    let preset = Preset::parse(preset, None).unwrap();
    Experiment::open("tiny".to_owned(), preset, folders, Device::Cpu).unwrap()
}

fn observed(at: &Path, preset: &str) -> (Witness, Outcome) {
    let witness = Witness::default();
    let outcome = experiment(at, preset).run(&witness, &AtomicBool::new(false)).unwrap();
    (witness, outcome)
}

#[test]
fn the_library_runs_an_experiment_without_a_terminal_and_tells_an_observer_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let (witness, outcome) = observed(at, &tiny());
    let phases = witness.phases.lock().unwrap().clone();
    assert_eq!(phases.len(), 4, "{phases:?}");
    assert!(
        phases[0] == "1/4 data" && phases[1].starts_with("2/4 training 3 models"),
        "{phases:?}"
    );
    // At steps 0, 10 and 20.
    let runs = ["looped", "vanilla-same-flops", "vanilla-same-parameters"];
    let evaluations: BTreeMap<String, usize> = runs.map(|run| (run.to_owned(), 3)).into();
    assert_eq!(*witness.evaluations.lock().unwrap(), evaluations);
    let methods = ["eval", "lens", "probe", "patch"];
    let pair = |run: &str, method: &str| (method.to_owned(), run.to_owned());
    let expected: Vec<_> = runs
        .iter()
        .flat_map(|run| methods.map(|method| pair(run, method)))
        .collect();
    assert_eq!(witness.fresh(), expected);
    assert_eq!(witness.comparisons.load(Ordering::Relaxed), 1);
    // Figures are the terminal's affair.
    assert!(!at.join("figures/looped/lens.png").exists());

    // The evidence by its type.
    let looped = outcome.evidence.runs().next().unwrap();
    assert_eq!((looped.name(), looped.role().recurrence), ("looped", Recurrence::Fixed));
    let lens = outcome.evidence.get::<Lens>(looped.id()).unwrap();
    assert!(!lens.rows.is_empty() && looped.rows_at::<Lens>(CheckpointRole::End).count() > 0);
    assert_eq!(looped.rows_at::<Lens>(CheckpointRole::Stage(1)).count(), 0);
    let patch = outcome.evidence.get::<Patch>(looped.id()).unwrap();
    assert_eq!(patch.settings.pairing.pairs, 5);
    assert!(looped.get::<loopscope::measure::Halt>().is_none());
    assert_eq!(looped.training().unwrap().steps, 20);
}

#[test]
fn a_depth_experiment_has_what_the_replication_table_needs() {
    let folder = tempfile::tempdir().unwrap();
    let (_, outcome) = observed(folder.path(), &fewer_depth_runs(ShippedPreset::DepthQuick.text()));
    let evidence = outcome.evidence;
    for choice in replication::RunChoice::ALL {
        assert_eq!(choice.of(&evidence).unwrap().training().unwrap().steps, 40);
        let rows = replication::rows(&evidence, choice);
        let row = |name: &str| rows.iter().find(|row| row.quantity.name.starts_with(name)).unwrap();
        // Whatever the few steps teach, the stage has had its epochs, and the lens has looked for bridges.
        assert!(row("epochs to pass 2 hops").numbers[0].value > 0.0);
        let bridges = ["bridge read at the readout", "bridge read at the position of its own"].map(row);
        assert!(bridges.iter().all(|row| row.numbers.len() == 1), "{bridges:?}");
    }
}

#[test]
fn a_result_that_is_there_is_found_and_one_of_other_settings_measured_again() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let comparison = || at.join("figures/compare.json").metadata().unwrap().modified().unwrap();
    let (_, first) = observed(at, &tiny());
    let compared = comparison();
    let (again, second) = observed(at, &tiny());
    assert!(
        again.fresh().is_empty() && again.results.lock().unwrap().len() == 12,
        "{:?}",
        again.fresh()
    );
    assert_eq!(comparison(), compared);
    let rows = |outcome: &Outcome| {
        let run = outcome.evidence.runs().next().unwrap();
        run.get::<Eval>().unwrap().rows.clone()
    };
    assert_eq!(rows(&first), rows(&second));
    // Other patching pairs change what patching and the comparison are of, and nothing else.
    let (fewer, outcome) = observed(at, &edited(&tiny(), "pairs = 5", "pairs = 4"));
    let fresh: Vec<String> = fewer.fresh().into_iter().map(|(method, _)| method).collect();
    assert_eq!(fresh, ["patch"; 3]);
    assert_ne!(comparison(), compared);
    let patch = outcome.evidence.runs().next().unwrap().get::<Patch>().unwrap();
    assert_eq!(patch.settings.pairing.pairs, 4);
    // The terminal draws what the library has left undrawn, and measures nothing again.
    std::fs::write(at.join("tiny.toml"), edited(&tiny(), "pairs = 5", "pairs = 4")).unwrap();
    let lens = at.join("figures/looped/lens.json");
    let before = lens.metadata().unwrap().modified().unwrap();
    run(at, &["reproduce", "--preset", "tiny.toml", "--out", "."]).expect(0);
    assert_eq!(lens.metadata().unwrap().modified().unwrap(), before);
    for figure in ["looped/lens.png", "looped/lens.svg", "compare.png"] {
        assert!(at.join("figures").join(figure).is_file(), "{figure}");
    }
}

#[test]
fn what_an_observer_says_ends_the_experiment_and_so_does_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let witness = Witness {
        fails_at: Some("lens"),
        ..Witness::default()
    };
    let ended = experiment(at, &tiny()).run(&witness, &AtomicBool::new(false));
    assert!(matches!(ended, Err(Error::Failed(reason)) if reason.contains("seen enough")));
    assert_eq!(witness.fresh().len(), 2);
    let stopped = experiment(at, &tiny()).run(&Witness::default(), &AtomicBool::new(true));
    assert!(matches!(stopped, Err(Error::Interrupted)));
}

#[test]
fn a_seed_takes_the_place_of_every_seed_of_a_preset() {
    let preset = |seed| match Preset::parse(&tiny(), seed).unwrap() {
        Preset::Systematic(preset) => preset,
        Preset::Depth(_) => panic!("of the other kind"),
    };
    let seeds = |seed| {
        let preset = preset(seed);
        [
            preset.data.seed,
            preset.runs[0].1.seed,
            preset.patch.pairing.seed,
            preset.probe.seed,
        ]
    };
    assert_eq!(seeds(None), [1; 4]);
    assert_eq!(seeds(Some(7)), [7; 4]);
    // Each may have one of its own in the file.
    let text = edited(&tiny(), "pairs = 5", "pairs = 5\nseed = 3");
    let Preset::Systematic(own) = Preset::parse(&text, None).unwrap() else {
        panic!("of the other kind")
    };
    assert_eq!((own.patch.pairing.seed, own.eval.seed), (3, 1));
}
