//! The depth-extrapolation experiment: curricula for several recurrences, and the same over many-to-one relations.

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use super::{Place, Planned, go_on, make_data, once, train_all};
use crate::checkpoint::find_checkpoints;
use crate::error::{Error, Result};
use crate::graph::{Chains, Dataset, Position, Split, Tails};
use crate::measure::{
    CheckpointSummary, Corrupt, Eval, Extrapolate, Halt, Iterations, Lens, LoadedCheckpoint, Margin, Patch, Probe,
    ProbeSpec, Reach, Report, Rule, Settle,
};
use crate::model::{ModelConfig, Point};
use crate::report::{DepthEvidence, DepthExperiment, depth_summary};
use crate::train::{Curriculum, Dynamic, LoopConfig, OptimizerConfig, RunConfig};

/// A whole experiment.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Preset {
    /// Whether the experiment is long enough to hold the paper's claims against it.
    claims: bool,
    most: usize,
    queries: usize,
    pairs: usize,
    rules: Vec<Rule>,
    data: Chains,
    optimizer: OptimizerConfig,
    train: LoopConfig,
    curriculum: Curriculum,
    runs: Vec<PresetRun>,
}

#[derive(Deserialize)]
struct PresetRun {
    name: String,
    #[serde(default)]
    data: Source,
    #[serde(default)]
    dynamic: Option<Dynamic>,
    #[serde(flatten)]
    model: ModelConfig,
}

/// The data that a run trains on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Source {
    #[default]
    Depth,
    Shortcut,
}

impl Source {
    const ALL: [Self; 2] = [Self::Depth, Self::Shortcut];

    fn name(self) -> &'static str {
        match self {
            Self::Depth => "permutations",
            Self::Shortcut => "many-to-one",
        }
    }

    fn folder(self) -> &'static str {
        match self {
            Self::Depth => "data",
            Self::Shortcut => "data-shortcut",
        }
    }

    fn tails(self) -> Tails {
        match self {
            Self::Depth => Tails::Permutation,
            Self::Shortcut => Tails::Random,
        }
    }
}

/// Runs the preset with this text.
pub(super) fn run(text: &str, seed: Option<u64>, place: &mut Place) -> Result<()> {
    let mut preset: Preset = place.parse(text)?;
    place.seed(&mut preset.data.seed, seed);
    let (runs, figures) = place.folders();
    let _lock = place.lock()?;

    err!("1/4 data");
    let make = |source: Source| -> Result<Arc<Dataset>> {
        let settings = Chains {
            tails: source.tails(),
            ..preset.data.clone()
        };
        let made = settings.generate()?;
        Ok(Arc::new(make_data(&settings, &made, &runs.join(source.folder()))?))
    };
    let data = [make(Source::Depth)?, make(Source::Shortcut)?];
    let data_of = |source: Source| data[usize::from(source == Source::Shortcut)].clone();
    let planned = preset.runs.iter().map(|run| Planned {
        name: run.name.clone(),
        data: data_of(run.data),
        config: RunConfig {
            data: runs.join(run.data.folder()),
            seed: preset.data.seed,
            model: run.model.clone(),
            optimizer: preset.optimizer.clone(),
            train: LoopConfig {
                dynamic: run.dynamic,
                ..preset.train.clone()
            },
            curriculum: Some(preset.curriculum),
            stages: Vec::new(),
        },
    });
    train_all(&planned.collect::<Vec<_>>(), &runs, place)?;

    let mut evidence = Vec::new();
    for source in Source::ALL {
        err!("3/4 how deep each of them goes, {}", source.name());
        go_on(&place.stop)?;
        let out = match source {
            Source::Depth => figures.clone(),
            Source::Shortcut => figures.join("shortcut"),
        };
        let of_source: Vec<&PresetRun> = preset.runs.iter().filter(|run| run.data == source).collect();
        if of_source.is_empty() {
            continue;
        }
        let data = data_of(source);
        let (checkpoints, extrapolate) = how_deep(&preset, &of_source, &data, place, &out)?;
        let settle = Settle {
            splits: data.depths().into_iter().map(Split::depth_test).collect(),
            iterations: Iterations::up_to(preset.most),
            seed: preset.data.seed,
        };
        let settle = once(&settle, &checkpoints, &out)?;
        err!("4/4 looking inside each of them, {}", source.name());
        for (run, checkpoint) in of_source.into_iter().zip(&checkpoints) {
            go_on(&place.stop)?;
            let inside = look_inside(&preset, checkpoint, &data, &figures.join(&run.name))?;
            evidence.push(DepthEvidence {
                name: run.name.clone(),
                shortcut: source == Source::Shortcut,
                dynamic: run.dynamic.is_some(),
                injection: run.model.injection,
                extrapolate: extrapolate
                    .rows
                    .iter()
                    .filter(|row| row.origin.run == run.name)
                    .cloned()
                    .collect(),
                settle: settle
                    .rows
                    .iter()
                    .filter(|row| row.origin.run == run.name)
                    .cloned()
                    .collect(),
                ..inside
            });
        }
    }
    // As the preset lists them.
    evidence.sort_by_key(|found| preset.runs.iter().position(|run| run.name == found.name));
    let name = place.name();
    let experiment = DepthExperiment {
        name: &name,
        claims: preset.claims,
        data: &preset.data,
        hashes: [&data[0].hash, &data[1].hash],
        accuracy: preset.curriculum.accuracy,
    };
    place.conclude(&depth_summary(&experiment, &evidence))
}

// Each run's last stage that was passed (what comes after it was not judged good enough), and how far all its
// checkpoints answer.
fn how_deep(
    preset: &Preset,
    runs: &[&PresetRun],
    data: &Arc<Dataset>,
    place: &Place,
    out: &Path,
) -> Result<(Vec<LoadedCheckpoint>, Report<Extrapolate>)> {
    let mut all = Vec::new();
    let mut last_passed = Vec::new();
    for run in runs {
        let found = find_checkpoints(&[place.target(&run.name)])?;
        // The end of training comes last.
        last_passed.push(all.len() + found.len().saturating_sub(2));
        for checkpoint in &found {
            all.push(LoadedCheckpoint::load(checkpoint, data, &place.device)?);
        }
    }
    let extrapolate = Extrapolate {
        iterations: Iterations::up_to(preset.most),
        accuracy: 0.6,
        seed: preset.data.seed,
    };
    let report = once(&extrapolate, &all, out)?;
    let mut place = 0..;
    all.retain(|_| place.next().is_some_and(|place| last_passed.contains(&place)));
    Ok((all, report))
}

// The shipped probe for how many hops are done, on chains of so many hops.
fn hops_done(hops: usize) -> Result<ProbeSpec> {
    let shipped = ProbeSpec::parse(include_str!("../../../probes/hops-done.toml"))?;
    Ok(ProbeSpec {
        hops,
        positions: (1..=hops).map(Position::Relation).collect(),
        test: vec![Split::train(), Split::depth_test(hops)],
        ..shipped
    })
}

fn look_inside(preset: &Preset, checkpoint: &LoadedCheckpoint, data: &Dataset, out: &Path) -> Result<DepthEvidence> {
    let depths: Vec<usize> = data.depths();
    let deepest = depths
        .iter()
        .copied()
        .max()
        .ok_or_else(|| Error::input("the data has no chains by depth"))?;
    let splits: Vec<Split> = depths.iter().map(|&hops| Split::depth_test(hops)).collect();
    let info: &CheckpointSummary = &checkpoint.info;
    // The depth that is surely known, and one that only more iterations may reach.
    let learned = info.learned_hops.unwrap_or(1).clamp(2, deepest);
    let mut looked_at = vec![Split::depth_test(learned)];
    if learned + 2 <= deepest {
        looked_at.push(Split::depth_test(learned + 2));
    }
    let seed = preset.data.seed;
    let eval = Eval {
        splits: splits.clone(),
        iterations: Iterations::up_to(preset.most),
        seed,
    };
    let margin = Margin {
        splits: splits.clone(),
        iterations: Iterations::up_to(preset.most),
        seed,
    };
    let halt = Halt {
        splits: splits.clone(),
        rules: preset.rules.clone(),
        iterations: Iterations::up_to(preset.most),
        sweep: true,
    };
    let lens = Lens {
        splits: looked_at,
        iterations: Iterations::exactly((info.iterations + info.iterations.div_ceil(2)).min(preset.most)),
        seed,
    };
    let reach = Reach {
        splits,
        queries: preset.queries,
        iterations: Iterations::Trained,
        tolerance: 0.1,
        seed,
    };
    let patch = Patch {
        splits: vec![Split::depth_test(learned)],
        corrupt: Corrupt::Head,
        hook: Point::ResidPost,
        pairs: preset.pairs,
        correct_only: false,
        iterations: Iterations::Trained,
        seed,
    };
    let probe = Probe {
        specs: vec![hops_done(learned)?],
        seed,
        iterations: Iterations::Trained,
    };
    let checkpoint = std::slice::from_ref(checkpoint);
    once(&lens, checkpoint, out)?;
    once(&probe, checkpoint, out)?;
    Ok(DepthEvidence {
        name: String::new(),
        shortcut: false,
        dynamic: false,
        injection: false,
        checkpoint: info.clone(),
        extrapolate: Vec::new(),
        eval: once(&eval, checkpoint, out)?,
        margin: once(&margin, checkpoint, out)?,
        settle: Vec::new(),
        halt: once(&halt, checkpoint, out)?,
        reach: once(&reach, checkpoint, out)?,
        patch: once(&patch, checkpoint, out)?,
    })
}
