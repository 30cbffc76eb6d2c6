//! The systematic-generalization experiment: a looped model, vanilla controls, their stages, and what is inside.

use std::path::Path;
use std::sync::Arc;

use super::evidence::{Evidence, ExperimentRun, RunId};
use super::preset::SystematicPreset;
use super::role::RunRole;
use super::training::TrainingRun;
use super::{Conduct, Outcome, make_data};
use crate::checkpoint::{RunPath, find_checkpoints};
use crate::error::Result;
use crate::graph::{Dataset, Tails};
use crate::measure::{Comparison, ComparisonSettings, LoadedCheckpoint, compare, last_of_each};
use crate::train::RunConfig;

const PHASES: usize = 4;

// Every tail of a systematic graph is drawn by itself.
const TAILS: Tails = Tails::Random;

/// The runs of a preset on the data that it makes, which are written into `folder` where they are missing.
pub(super) fn training_runs(preset: &SystematicPreset, made: &Dataset, folder: &Path) -> Result<Vec<TrainingRun>> {
    let folder = folder.join("data");
    let data = Arc::new(make_data(&preset.data, made, &folder)?);
    let run = |(name, config): &(String, RunConfig)| TrainingRun {
        name: name.clone(),
        config: RunConfig {
            data: folder.clone(),
            ..config.clone()
        },
        data: data.clone(),
    };
    Ok(preset.runs.iter().map(run).collect())
}

/// Trains the runs of a preset, looks inside each, and compares them.
pub(super) fn run(preset: &SystematicPreset, conduct: &Conduct) -> Result<Outcome> {
    conduct.phase(1, PHASES, "data");
    let runs = training_runs(preset, &conduct.made()[0], conduct.runs_folder())?;
    conduct.train(2, PHASES, &runs.iter().collect::<Vec<_>>())?;
    conduct.phase(3, PHASES, "looking inside each of them");
    let mut evidence = Evidence::default();
    let mut ids = Vec::new();
    for run in &runs {
        conduct.go_on()?;
        ids.push(look_inside(preset, run, conduct, &mut evidence)?);
    }
    conduct.go_on()?;
    conduct.phase(4, PHASES, "comparing");
    let comparison = comparison(preset, &runs, conduct)?;
    for (&id, training) in ids.iter().zip(comparison.runs) {
        evidence.set_training(id, training);
    }
    Ok(Outcome {
        evidence,
        data: vec![(TAILS, conduct.made()[0].hash.clone())],
    })
}

fn look_inside(
    preset: &SystematicPreset,
    run: &TrainingRun,
    conduct: &Conduct,
    evidence: &mut Evidence,
) -> Result<RunId> {
    let found = find_checkpoints(&[conduct.run_path(&run.name)])?;
    let checkpoints = found
        .iter()
        .map(|checkpoint| LoadedCheckpoint::load(checkpoint, &run.data, conduct.device()))
        .collect::<Result<Vec<_>>>()?;
    let id = evidence.add_run(ExperimentRun {
        name: run.name.clone(),
        role: RunRole::of(&run.config, TAILS),
        model: run.config.model.clone(),
        checkpoints: checkpoints.iter().map(|checkpoint| checkpoint.info.clone()).collect(),
        training: None,
    });
    let (folder, observer) = (conduct.figures_folder().join(&run.name), conduct.observer());
    evidence.measure(&[id], &preset.eval, &checkpoints, &folder, observer)?;
    evidence.measure(&[id], &preset.lens, &checkpoints, &folder, observer)?;
    evidence.measure(&[id], &preset.probe, &checkpoints, &folder, observer)?;
    evidence.measure(&[id], &preset.patch, &checkpoints, &folder, observer)?;
    Ok(id)
}

fn comparison(preset: &SystematicPreset, runs: &[TrainingRun], conduct: &Conduct) -> Result<Comparison> {
    let paths: Vec<RunPath> = runs.iter().map(|run| conduct.run_path(&run.name)).collect();
    let checkpoints = last_of_each(find_checkpoints(&paths)?)?
        .iter()
        // All runs of a preset, of which there is at least one, have one data set.
        .map(|checkpoint| LoadedCheckpoint::load(checkpoint, &runs[0].data, conduct.device()))
        .collect::<Result<Vec<_>>>()?;
    let settings = ComparisonSettings {
        lens: preset.lens.clone(),
        patch: preset.patch.clone(),
    };
    let folder = conduct.figures_folder();
    let found = Comparison::found(&settings, folder, &checkpoints)?;
    let fresh = found.is_none();
    let comparison = if let Some(comparison) = found {
        comparison
    } else {
        let comparison = compare(&checkpoints, &settings, conduct.observer().progress())?;
        comparison.write(folder)?;
        comparison
    };
    conduct.observer().compared(&comparison, folder, fresh)?;
    Ok(comparison)
}
