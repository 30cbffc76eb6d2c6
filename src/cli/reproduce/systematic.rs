//! The systematic-generalization experiment: a looped model, vanilla controls, their stages, and what is inside.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Device;
use serde::Deserialize;

use super::{Place, Planned, go_on, make_data, once, train_all};
use crate::checkpoint::subjects;
use crate::cli::analyses::{INSIDE_SPLITS, test_splits};
use crate::cli::patch::PATCHED_SPLITS;
use crate::error::Result;
use crate::graph::{Dataset, Systematic};
use crate::measure::{Comparison, Corrupt, Eval, Lens, Patch, Probe, ProbeSpec, Specimen, compare};
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
        let (folder, out) = (runs.join(&run.name), figures.join(&run.name));
        evidence.push(look_inside(&preset, run, &data, &folder, &out, &place.device)?);
    }
    go_on(&place.stop)?;
    err!("4/4 comparing");
    let folders: Vec<PathBuf> = preset.runs.iter().map(|run| runs.join(&run.name)).collect();
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
    data: &Dataset,
    folder: &Path,
    out: &Path,
    device: &Device,
) -> Result<RunEvidence> {
    let found = subjects(folder)?;
    let specimens = found
        .iter()
        .map(|subject| Specimen::load(subject, data, device))
        .collect::<Result<Vec<_>>>()?;
    let inside: Vec<String> = INSIDE_SPLITS.map(str::to_owned).into();
    let eval = Eval {
        splits: test_splits(data).into_iter().map(str::to_owned).collect(),
        iterations: (1..=preset.evaluate_at).collect(),
    };
    let lens = Lens {
        splits: inside,
        iterations: None,
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
        splits: PATCHED_SPLITS.map(str::to_owned).into(),
        corrupt: Corrupt::Prefix,
        hook: Point::ResidPost,
        pairs: preset.pairs,
        correct_only: false,
        iterations: None,
        seed: preset.data.seed,
    };
    Ok(RunEvidence {
        name: run.name.clone(),
        eval: once(&eval, figure::eval, &specimens, data, out)?,
        lens: once(&lens, figure::lens, &specimens, data, out)?,
        probe: once(&probe, figure::probe, &specimens, data, out)?,
        patch: once(&patch, figure::patch, &specimens, data, out)?,
    })
}

fn comparison(
    preset: &Preset,
    folders: &[PathBuf],
    data: &Dataset,
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
    let splits = INSIDE_SPLITS.map(str::to_owned);
    let comparison = compare(folders, data, &splits, preset.pairs, preset.data.seed, device)?;
    cli::compare::write(&comparison, out)?;
    Ok(comparison)
}
