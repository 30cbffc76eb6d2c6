//! Run folders.

use std::path::Path;

use loopscope::checkpoint::{RunPath, RunRecord, StagesFile, find_checkpoints};
use loopscope::graph::Split;
use loopscope::train::{Evaluation, Reached, StageOutcome};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::common::SMALL_RUN;
use super::configs::stage;
use super::{Damage, cases, damaged, damages, names, write};

fn number() -> impl Strategy<Value = f64> {
    any::<f64>().prop_map(|x| if x.is_finite() { x } else { 0.5 })
}

fn accuracies() -> impl Strategy<Value = std::collections::BTreeMap<Split, f64>> {
    btree_map(any::<String>().prop_map(Split::from), 0.0..=1.0, 0..3)
}

fn evaluation() -> impl Strategy<Value = Evaluation> {
    (
        any::<u64>(),
        (number(), number(), number()),
        (option::of(number()), option::of(number())),
        accuracies(),
    )
        .prop_map(
            |(step, (epoch, seconds, lr), (loss, gradient_norm), accuracy)| Evaluation {
                step,
                epoch,
                seconds,
                loss,
                lr,
                gradient_norm,
                accuracy,
            },
        )
}

fn stages_file() -> impl Strategy<Value = StagesFile> {
    let reached = (
        any::<(u64, Option<u64>, Option<usize>)>(),
        number(),
        number(),
        accuracies(),
    )
        .prop_map(|((step, since_step, rows), epoch, seconds, accuracy)| Reached {
            step,
            since_step,
            epoch,
            seconds,
            accuracy,
            rows,
        });
    let outcome = (stage(), option::of(reached)).prop_map(|(stage, reached)| StageOutcome { stage, reached });
    (any::<(u64, bool, String)>(), number(), vec(outcome, 0..3)).prop_map(
        |((step, finished, data_hash), seconds, stages)| StagesFile {
            step,
            seconds,
            finished,
            data_hash,
            stages,
        },
    )
}

fn write_run(folder: &Path, stages: &StagesFile, metrics: &[Evaluation]) {
    write(folder, "config.toml", SMALL_RUN);
    write(folder, "stages.json", serde_json::to_string(stages).unwrap());
    let lines: Vec<String> = metrics
        .iter()
        .map(|line| serde_json::to_string(line).unwrap())
        .collect();
    write(folder, "metrics.jsonl", lines.join("\n"));
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn what_a_run_tells_is_read_back_the_same(stages in stages_file(), metrics in vec(evaluation(), 0..4)) {
        let folder = tempfile::tempdir().unwrap();
        write_run(folder.path(), &stages, &metrics);
        let record = RunRecord::read(folder.path()).unwrap();
        prop_assert_eq!(record.stages, stages);
        prop_assert_eq!(record.metrics, metrics);
    }

    #[test]
    fn a_damaged_run_is_refused_by_name(
        stages in stages_file(),
        metrics in vec(evaluation(), 0..4),
        which in 0_usize..3,
        damages in damages(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        write_run(folder.path(), &stages, &metrics);
        write(folder.path(), "final.safetensors", "");
        let name = ["config.toml", "stages.json", "metrics.jsonl"][which];
        let path = folder.path().join(name);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, damaged(&whole, &damages)).unwrap();
        names(RunRecord::read(folder.path()), &path)?;
        let target = RunPath { name: None, path: folder.path().to_owned() };
        names(find_checkpoints(&[target]), &path)?;
    }
}
