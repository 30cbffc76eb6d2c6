//! The systematic-generalization experiment: a looped model, vanilla controls, their stages, and what is inside.

use std::path::Path;
use std::sync::Arc;

use candle_core::Device;
use serde::Deserialize;

use super::{Place, Planned, go_on, make_data, once, train_all};
use crate::checkpoint::{Target, subjects};
use crate::error::Result;
use crate::graph::{Dataset, Systematic};
use crate::measure::{
    Comparison, Corrupt, Eval, Lens, Patch, Probe, ProbeSpec, Specimen, Wants, compare, last_of_each,
};
use crate::model::{ModelConfig, Point};
use crate::report::{RunEvidence, summary};
use crate::train::{LoopConfig, OptimizerConfig, RunConfig, grokking_stages};
use crate::{cli, figure, files};

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
    let folders: Vec<Target> = preset.runs.iter().map(|run| place.target(&run.name)).collect();
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
    target: &Target,
    out: &Path,
    device: &Device,
) -> Result<RunEvidence> {
    let found = subjects(std::slice::from_ref(target))?;
    let specimens = found
        .iter()
        .map(|subject| Specimen::load(subject, data, device))
        .collect::<Result<Vec<_>>>()?;
    let eval = Eval {
        splits: Wants::Tests.splits(&[], &specimens)?,
        iterations: (1..=preset.evaluate_at).collect(),
        seed: preset.data.seed,
    };
    let lens = Lens {
        splits: Wants::Chains.splits(&[], &specimens)?,
        iterations: None,
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
        iterations: None,
    };
    let patch = Patch {
        splits: Wants::HeldOutChains.splits(&[], &specimens)?,
        corrupt: Corrupt::Prefix,
        hook: Point::ResidPost,
        pairs: preset.pairs,
        correct_only: false,
        iterations: None,
        seed: preset.data.seed,
    };
    Ok(RunEvidence {
        name: run.name.clone(),
        eval: once(&eval, figure::eval, &specimens, out)?,
        lens: once(&lens, figure::lens, &specimens, out)?,
        probe: once(&probe, figure::probe, &specimens, out)?,
        patch: once(&patch, figure::patch, &specimens, out)?,
    })
}

fn comparison(
    preset: &Preset,
    runs: &[Target],
    data: &Arc<Dataset>,
    out: &Path,
    evidence: &[RunEvidence],
    device: &Device,
) -> Result<Comparison> {
    let last = evidence.iter().filter_map(|run| run.lens.subjects.last());
    if let Ok(found) = files::read_json::<Comparison>(&out.join("compare.json"))
        && found.loopscope == env!("CARGO_PKG_VERSION")
        && found.subjects.iter().eq(last)
        && out.join("compare.png").is_file()
    {
        return Ok(found);
    }
    let subjects = last_of_each(subjects(runs)?)?;
    let load = |subject| Specimen::load(subject, data, device);
    let specimens = subjects.iter().map(load).collect::<Result<Vec<_>>>()?;
    let splits = [Wants::OneDepth, Wants::OneHeldOutDepth];
    let [lens, patch] = splits.map(|wants| wants.splits(&[], &specimens));
    let comparison = compare(&subjects, &specimens, [lens?, patch?], preset.pairs, preset.data.seed)?;
    cli::compare::write(&comparison, out)?;
    Ok(comparison)
}
