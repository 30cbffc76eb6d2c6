//! The depth-extrapolation experiment: curricula for several recurrences, and the same over many-to-one relations.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::evidence::{Evidence, ExperimentRun, RunId, last_reached};
use super::preset::{ALL_TAILS, DepthPreset};
use super::role::RunRole;
use super::training::TrainingRun;
use super::{Conduct, Outcome, make_data};
use crate::checkpoint::find_checkpoints;
use crate::error::{Error, Result};
use crate::graph::{Dataset, Position, Split, Tails};
use crate::measure::{CheckpointSummary, Eval, Halt, Iterations, Lens, LoadedCheckpoint, Probe, ProbeSpec, RunSummary};
use crate::train::RunConfig;

const PHASES: usize = 4;

/// What data with these tails is called.
pub(crate) fn title(tails: Tails) -> &'static str {
    match tails {
        Tails::Permutation => "permutations",
        Tails::Random => "many-to-one",
    }
}

// The folder of data with these tails.
fn data_folder(tails: Tails) -> &'static str {
    match tails {
        Tails::Permutation => "data",
        Tails::Random => "data-shortcut",
    }
}

// A run of the plan, in the preset's order.
struct Planned {
    id: RunId,
    training: TrainingRun,
    tails: Tails,
}

/// The runs of a preset on the data that it makes, which are written into `folder` where they are missing.
pub(super) fn training_runs(preset: &DepthPreset, made: &[Dataset], folder: &Path) -> Result<Vec<TrainingRun>> {
    let mut data = Vec::new();
    for (tails, made) in ALL_TAILS.into_iter().zip(made) {
        let folder = folder.join(data_folder(tails));
        data.push(Arc::new(make_data(&preset.data_over(tails), made, &folder)?));
    }
    let run = |(name, tails, config): &(String, Tails, RunConfig)| TrainingRun {
        name: name.clone(),
        config: RunConfig {
            data: folder.join(data_folder(*tails)),
            ..config.clone()
        },
        data: data[usize::from(*tails == Tails::Random)].clone(),
    };
    Ok(preset.runs.iter().map(run).collect())
}

/// Trains the runs of a preset, and looks how deep each of them goes and inside each.
pub(super) fn run(preset: &DepthPreset, conduct: &Conduct) -> Result<Outcome> {
    conduct.phase(1, PHASES, "data");
    let mut evidence = Evidence::default();
    let runs = training_runs(preset, conduct.made(), conduct.runs_folder())?;
    let planned: Vec<Planned> = runs
        .into_iter()
        .zip(&preset.runs)
        .map(|(training, (name, tails, config))| {
            let id = evidence.add_run(ExperimentRun {
                name: name.clone(),
                role: RunRole::of(config, *tails),
                model: config.model.clone(),
                checkpoints: Vec::new(),
                training: None,
            });
            Planned {
                id,
                training,
                tails: *tails,
            }
        })
        .collect();
    let runs: Vec<&TrainingRun> = planned.iter().map(|run| &run.training).collect();
    conduct.train(2, PHASES, &runs)?;
    for tails in ALL_TAILS {
        let of_data: Vec<&Planned> = planned.iter().filter(|run| run.tails == tails).collect();
        if of_data.is_empty() {
            continue;
        }
        conduct.phase(3, PHASES, &format!("how deep each of them goes, {}", title(tails)));
        conduct.go_on()?;
        let last_passed = how_deep(preset, &of_data, tails, conduct, &mut evidence)?;
        conduct.phase(4, PHASES, &format!("looking inside each of them, {}", title(tails)));
        for (run, checkpoint) in of_data.iter().zip(&last_passed) {
            conduct.go_on()?;
            look_inside(preset, run, checkpoint, conduct, &mut evidence)?;
        }
    }
    let hashes = conduct.made().iter().map(|data| data.hash.clone());
    Ok(Outcome {
        evidence,
        data: ALL_TAILS.into_iter().zip(hashes).collect(),
    })
}

// How far all checkpoints of these runs answer, and how their last stages settle; gives the checkpoint at which each run
// passed its last stage (what comes after it was not judged good enough).
fn how_deep(
    preset: &DepthPreset,
    runs: &[&Planned],
    tails: Tails,
    conduct: &Conduct,
    evidence: &mut Evidence,
) -> Result<Vec<LoadedCheckpoint>> {
    let mut all = Vec::new();
    let mut last_passed = Vec::new();
    for run in runs {
        let found = find_checkpoints(&[conduct.run_path(&run.training.name)])?;
        let place = last_reached(found.iter().map(|checkpoint| checkpoint.role));
        last_passed.extend(place.map(|place| all.len() + place));
        let first = all.len();
        for checkpoint in &found {
            all.push(LoadedCheckpoint::load(
                checkpoint,
                &run.training.data,
                conduct.device(),
            )?);
        }
        let checkpoints = all[first..].iter().map(|checkpoint| checkpoint.info.clone());
        evidence.set_checkpoints(run.id, checkpoints.collect());
        if let Some(checkpoint) = all.last() {
            evidence.set_training(run.id, RunSummary::of(checkpoint)?);
        }
    }
    let ids: Vec<RunId> = runs.iter().map(|run| run.id).collect();
    let folder: PathBuf = match tails {
        Tails::Permutation => conduct.figures_folder().to_owned(),
        Tails::Random => conduct.figures_folder().join("shortcut"),
    };
    evidence.measure(&ids, &preset.extrapolate, &all, &folder, conduct.observer())?;
    let mut place = 0..;
    all.retain(|_| place.next().is_some_and(|place| last_passed.contains(&place)));
    let splits = runs[0].training.data.depths().into_iter().map(Split::depth_test);
    let mut settle = preset.settle.clone();
    settle.chains.splits = named_or(&settle.chains.splits, &splits.collect::<Vec<_>>());
    evidence.measure(&ids, &settle, &all, &folder, conduct.observer())?;
    Ok(all)
}

// The splits that the preset names, else those of the plan.
fn named_or(named: &[Split], planned: &[Split]) -> Vec<Split> {
    if named.is_empty() { planned } else { named }.to_vec()
}

// A spec for chains of this many hops, at every relation.
fn at_every_relation(spec: &ProbeSpec, hops: usize) -> ProbeSpec {
    ProbeSpec {
        hops,
        positions: (1..=hops).map(Position::Relation).collect(),
        test: vec![Split::train(), Split::depth_test(hops)],
        ..spec.clone()
    }
}

fn look_inside(
    preset: &DepthPreset,
    run: &Planned,
    checkpoint: &LoadedCheckpoint,
    conduct: &Conduct,
    evidence: &mut Evidence,
) -> Result<()> {
    let depths: Vec<usize> = run.training.data.depths();
    let deepest = depths
        .iter()
        .copied()
        .max()
        .ok_or_else(|| Error::input("the data has no chains by depth"))?;
    let splits: Vec<Split> = depths.iter().map(|&hops| Split::depth_test(hops)).collect();
    let info: &CheckpointSummary = &checkpoint.info;
    // The depth that is surely known, and one that only more iterations may reach.
    let learned = info.learned_hops.unwrap_or(1).clamp(2, deepest);
    let beyond = learned + preset.inside.hops_beyond;
    let mut looked_at = vec![Split::depth_test(learned)];
    if preset.inside.hops_beyond > 0 && beyond <= deepest {
        looked_at.push(Split::depth_test(beyond));
    }
    let max = preset.eval.iterations.max(info.iterations);
    let lens = Lens {
        splits: named_or(&preset.lens.splits, &looked_at),
        iterations: match &preset.lens.iterations {
            Iterations::Trained => Iterations::exactly(preset.inside.iterations(info.iterations).min(max)),
            named @ Iterations::These(_) => named.clone(),
        },
        ..preset.lens.clone()
    };
    let probe = Probe {
        specs: preset
            .probe
            .specs
            .iter()
            .map(|spec| at_every_relation(spec, learned))
            .collect(),
        ..preset.probe.clone()
    };
    let eval = Eval {
        splits: named_or(&preset.eval.splits, &splits),
        ..preset.eval.clone()
    };
    let mut margin = preset.margin.clone();
    margin.chains.splits = named_or(&margin.chains.splits, &splits);
    let halt = Halt {
        splits: named_or(&preset.halt.splits, &splits),
        ..preset.halt.clone()
    };
    let mut reach = preset.reach.clone();
    reach.sampling.splits = named_or(&reach.sampling.splits, &splits);
    let mut patch = preset.patch.clone();
    patch.pairing.splits = named_or(&patch.pairing.splits, &[Split::depth_test(learned)]);
    let (ids, checkpoints) = ([run.id], std::slice::from_ref(checkpoint));
    let (folder, observer) = (conduct.figures_folder().join(&run.training.name), conduct.observer());
    evidence.measure(&ids, &lens, checkpoints, &folder, observer)?;
    evidence.measure(&ids, &probe, checkpoints, &folder, observer)?;
    evidence.measure(&ids, &eval, checkpoints, &folder, observer)?;
    evidence.measure(&ids, &margin, checkpoints, &folder, observer)?;
    evidence.measure(&ids, &halt, checkpoints, &folder, observer)?;
    evidence.measure(&ids, &reach, checkpoints, &folder, observer)?;
    evidence.measure(&ids, &patch, checkpoints, &folder, observer)
}
