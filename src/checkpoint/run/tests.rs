use std::sync::Arc;

use candle_core::Device;

use super::*;
use crate::checkpoint::RunRecord;
use crate::graph::{Dataset, Systematic};
use crate::train::{CheckpointReason, Observer};

const DATA: &str =
    "entities = 6\nrelations = 3\nout_degree = 3\nood_share = 0.2\nheld_out = 0.1\nphi = 2.0\ntest_rows = 4\nseed = 1";

const SETTINGS: &str = r#"
data = "data"
stages = []
[train]
batch = 4
evaluate_every = 1
steps = 3
[model]
layers = 1
iterations = 1
positions = "none"
d_model = 2
heads = 1
"#;

// A new trainer of a run of three steps.
fn trainer(at: &Path) -> Trainer {
    let settings: Systematic = toml::from_str(DATA).unwrap();
    let data: Arc<Dataset> = Arc::new(settings.generate().unwrap());
    let path = at.join("run.toml");
    std::fs::write(&path, SETTINGS).unwrap();
    Trainer::new(RunConfig::read(&path, &[]).unwrap(), data, &Device::Cpu).unwrap()
}

// Trains the run in `run` to its end, from where it is.
fn train(at: &Path, run: &Path) -> Trainer {
    let mut trainer = trainer(at);
    let stop = AtomicBool::new(false);
    let mut folder = RunFolder::open(run, &mut trainer, true, &stop).unwrap();
    trainer.run(&stop, &mut folder).unwrap();
    trainer
}

type Write<'a> = dyn Fn(&mut RunFolder) -> Result<()> + 'a;

// Every file of a folder with its content.
fn files_in(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| (path.clone(), std::fs::read(&path).unwrap()))
        .collect()
}

#[test]
fn no_file_of_a_run_is_written_by_a_process_that_has_lost_the_lock() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let trainer = train(folder.path(), &run);
    let last = RunRecord::read(&run).unwrap().metrics.pop().unwrap();
    let writes: [(&str, &Write); 7] = [
        (CONFIG, &|run| run.write_config(trainer.config())),
        (METRICS, &|run| run.write_metrics()),
        (STAGES, &|run| run.write_stages(&trainer)),
        (STATE, &|run| run.save_state(&trainer)),
        (FINAL, &|run| {
            run.write_checkpoint(&trainer, &last, CheckpointReason::Final)
        }),
        ("an evaluation", &|run| run.on_evaluation(&trainer, &last, &[])),
        ("an interrupt", &|run| run.on_interrupt(&trainer)),
    ];
    for (name, write) in writes {
        let mut lost = RunFolder::locked(&run, RunLock::acquire(&run).unwrap());
        std::fs::remove_file(run.join("run.lock")).unwrap();
        let next = RunLock::acquire(&run).unwrap();
        let before = files_in(&run);
        let text = write(&mut lost).unwrap_err().to_string();
        assert!(text.contains("another process may train"), "{name}: {text}");
        assert!(before == files_in(&run), "{name}");
        next.check().unwrap();
    }
}

#[test]
fn a_run_that_ended_before_its_stages_were_written_is_finished_by_a_resume() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    train(folder.path(), &run);
    let mut stages = StagesFile::read(&run).unwrap();
    assert!(stages.finished);
    let whole = std::fs::read(run.join(STAGES)).unwrap();
    // The last thing that a run writes: a process that is killed before leaves the file of the save before.
    (stages.step, stages.finished) = (2, false);
    files::write_json(&run.join(STAGES), &stages).unwrap();
    train(folder.path(), &run);
    let resumed = StagesFile::read(&run).unwrap();
    assert_eq!((resumed.step, resumed.finished), (3, true));
    std::fs::remove_file(run.join(STAGES)).unwrap();
    train(folder.path(), &run);
    assert!(StagesFile::read(&run).unwrap().finished);
    // One that fits the state is left alone.
    std::fs::write(run.join(STAGES), &whole).unwrap();
    train(folder.path(), &run);
    assert!(std::fs::read(run.join(STAGES)).unwrap() == whole);
}

#[test]
fn a_finished_run_without_its_saved_state_is_not_trained_over() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    train(folder.path(), &run);
    std::fs::remove_file(run.join(STATE)).unwrap();
    let before = files_in(&run);
    let error = RunFolder::resume(&run, &mut trainer(folder.path())).err().unwrap();
    assert!(error.to_string().contains("no resume.safetensors"), "{error}");
    assert_eq!(files_in(&run), before);
}

#[test]
fn metrics_that_lack_an_evaluation_of_the_saved_state_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    train(folder.path(), &run);
    let whole = std::fs::read_to_string(run.join(METRICS)).unwrap();
    let older: Vec<&str> = whole.lines().take(2).collect();
    std::fs::write(run.join(METRICS), older.join("\n")).unwrap();
    let before = files_in(&run);
    let refused = |of: &str| {
        let text = RunFolder::resume(&run, &mut trainer(folder.path()))
            .err()
            .unwrap()
            .to_string();
        let advice = format!("remove {STATE} and {STAGES}");
        for part in [METRICS, of, "that of the saved state is that of step 3", &advice] {
            assert!(text.contains(part), "{text}");
        }
    };
    refused("its last one is that of step 1");
    assert!(before == files_in(&run));
    std::fs::write(run.join(METRICS), "").unwrap();
    refused("its last one is none");
    // As the message says: from the beginning, to the same evaluations.
    for file in [STATE, STAGES] {
        std::fs::remove_file(run.join(file)).unwrap();
    }
    train(folder.path(), &run);
    let steps = |text: &str| text.lines().count();
    assert_eq!(
        steps(&std::fs::read_to_string(run.join(METRICS)).unwrap()),
        steps(&whole)
    );
}

#[test]
fn of_several_that_begin_or_resume_a_run_at_once_one_does() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    for round in 0..5 {
        let mut trainers: Vec<Trainer> = (0..4).map(|_| trainer(folder.path())).collect();
        let start = std::sync::Barrier::new(trainers.len());
        // All keep what they got until all have tried.
        let opened: Vec<Result<RunFolder>> = std::thread::scope(|scope| {
            let threads: Vec<_> = trainers
                .iter_mut()
                .map(|trainer| {
                    scope.spawn(|| {
                        start.wait();
                        RunFolder::open(&run, trainer, true, &AtomicBool::new(false))
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(
            opened.iter().filter(|opened| opened.is_ok()).count(),
            1,
            "round {round}"
        );
        for error in opened.iter().filter_map(|opened| opened.as_ref().err()) {
            assert!(matches!(error, Error::Locked { .. }), "{error}");
        }
        assert!(run.join(CONFIG).exists());
    }
}
