//! The systematic-generalization experiment: a looped model, vanilla controls, their stages, and what is inside.

use std::path::Path;
use std::sync::Arc;

use candle_core::Device;
use serde::Deserialize;

use super::{Place, Planned, go_on, make_data, once, train_all};
use crate::checkpoint::{RunPath, find_checkpoints};
use crate::error::Result;
use crate::graph::{Dataset, Systematic};
use crate::measure::{
    Comparison, Corrupt, Eval, Iterations, Lens, LoadedCheckpoint, Patch, Probe, ProbeSpec, Wants, compare,
    last_of_each,
};
use crate::model::{ModelConfig, Point};
use crate::report::{RunEvidence, summary};
use crate::train::{LoopConfig, OptimizerConfig, RunConfig, grokking_stages};
use crate::{cli, files};

/// The probe specs that it fits: those that are shipped for chains of two hops.
const SPECS: [&str; 5] = [
    include_str!("../../../probes/bridge-at-r1.toml"),
    include_str!("../../../probes/bridge-at-r2.toml"),
    include_str!("../../../probes/target-at-r2.toml"),
    include_str!("../../../probes/head-everywhere.toml"),
    include_str!("../../../probes/relation2-at-r2.toml"),
];

/// A whole experiment.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Preset {
    /// Whether the experiment is long enough to hold the paper's claims against it.
    claims: bool,
    evaluate_at: usize,
    pairs: usize,
    data: Systematic,
    optimizer: OptimizerConfig,
    train: LoopConfig,
    runs: Vec<PresetRun>,
}

#[derive(Deserialize)]
struct PresetRun {
    name: String,
    #[serde(flatten)]
    model: ModelConfig,
}

/// Runs the preset with this text.
pub(super) fn run(text: &str, seed: Option<u64>, place: &mut Place) -> Result<()> {
    let mut preset: Preset = place.parse(text)?;
    place.seed(&mut preset.data.seed, seed);
    let (runs, figures) = place.folders();
    let _lock = place.lock()?;

    err!("1/4 data");
    let data = Arc::new(make_data(&preset.data, &preset.data.generate()?, &runs.join("data"))?);
    let planned = preset.runs.iter().map(|run| Planned {
        name: run.name.clone(),
        data: data.clone(),
        config: RunConfig {
            data: runs.join("data"),
            seed: preset.data.seed,
            model: run.model.clone(),
            optimizer: preset.optimizer.clone(),
            train: preset.train.clone(),
            curriculum: None,
            stages: grokking_stages(),
        },
    });
    train_all(&planned.collect::<Vec<_>>(), &runs, place)?;
    err!("3/4 looking inside each of them");
    let mut evidence = Vec::new();
    for run in &preset.runs {
        go_on(&place.stop)?;
        let (target, out) = (place.target(&run.name), figures.join(&run.name));
        evidence.push(look_inside(&preset, run, &data, &target, &out, &place.device)?);
    }
    go_on(&place.stop)?;
    err!("4/4 comparing");
    let folders: Vec<RunPath> = preset.runs.iter().map(|run| place.target(&run.name)).collect();
    let comparison = comparison(&preset, &folders, &data, &figures, &evidence, &place.device)?;
    cli::compare::print(&comparison);
    place.conclude(&summary(
        &place.name(),
        preset.claims,
        &preset.data,
        &comparison,
        &evidence,
    ))
}

fn look_inside(
    preset: &Preset,
    run: &PresetRun,
    data: &Arc<Dataset>,
    target: &RunPath,
    out: &Path,
    device: &Device,
) -> Result<RunEvidence> {
    let found = find_checkpoints(std::slice::from_ref(target))?;
    let checkpoints = found
        .iter()
        .map(|checkpoint| LoadedCheckpoint::load(checkpoint, data, device))
        .collect::<Result<Vec<_>>>()?;
    let eval = Eval {
        splits: Vec::new(),
        iterations: Iterations::up_to(preset.evaluate_at),
        seed: preset.data.seed,
    };
    let lens = Lens {
        splits: Vec::new(),
        iterations: Iterations::Trained,
        seed: preset.data.seed,
    };
    let specs = SPECS
        .iter()
        .copied()
        .map(ProbeSpec::parse)
        .collect::<Result<Vec<_>>>()?;
    let probe = Probe {
        specs,
        seed: preset.data.seed,
        iterations: Iterations::Trained,
    };
    let patch = Patch {
        splits: Vec::new(),
        corrupt: Corrupt::Prefix,
        hook: Point::ResidPost,
        pairs: preset.pairs,
        correct_only: false,
        iterations: Iterations::Trained,
        seed: preset.data.seed,
    };
    Ok(RunEvidence {
        name: run.name.clone(),
        eval: once(&eval, &checkpoints, out)?,
        lens: once(&lens, &checkpoints, out)?,
        probe: once(&probe, &checkpoints, out)?,
        patch: once(&patch, &checkpoints, out)?,
    })
}

fn comparison(
    preset: &Preset,
    runs: &[RunPath],
    data: &Arc<Dataset>,
    out: &Path,
    evidence: &[RunEvidence],
    device: &Device,
) -> Result<Comparison> {
    let last = evidence.iter().filter_map(|run| run.lens.checkpoints.last());
    if let Ok(found) = files::read_json::<Comparison>(&out.join("compare.json"))
        && found.loopscope == env!("CARGO_PKG_VERSION")
        && found.checkpoints.iter().eq(last)
        && out.join("compare.png").is_file()
    {
        return Ok(found);
    }
    let checkpoints = last_of_each(find_checkpoints(runs)?)?;
    let load = |checkpoint| LoadedCheckpoint::load(checkpoint, data, device);
    let checkpoints = checkpoints.iter().map(load).collect::<Result<Vec<_>>>()?;
    let splits = [Wants::OneDepth, Wants::OneHeldOutDepth];
    let [lens, patch] = splits.map(|wants| wants.splits(&[], &checkpoints));
    let comparison = compare(&checkpoints, [lens?, patch?], preset.pairs, preset.data.seed)?;
    cli::compare::write(&comparison, out)?;
    Ok(comparison)
}
