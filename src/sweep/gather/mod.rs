//! What the runs of a plan gave: one tidy table, and what their seeds say.

mod filter;
mod methods;
#[cfg(feature = "parquet")]
mod parquet;
mod seeds;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use self::seeds::SeedNumbers;
use super::data::SweepData;
use super::plan::Plan;
use super::point::Point;
use crate::checkpoint::{RunFolder, StagesFile};
use crate::error::{Error, Result};
use crate::figure::{self, Figure};
use crate::files;
use crate::graph::Split;
use crate::measure::seeds::{EffectRow, RunGroup, SeededRun, StageTimes, effects, stage_times};
use crate::measure::{RunSummary, csv};
use crate::wording::counted;

pub use filter::{Where, select};
pub use methods::{GatheredMethod, MethodPlace, MethodRequest};
pub use table::{CurveRow, PointRow, PointState};

/// A point with what there is of its run.
struct PointRun<'a> {
    point: &'a Point,
    /// Which seed it is of, the same number for the same seed in all sets of values.
    seed: usize,
    /// Absent where no evaluation was saved.
    run: Option<RunSummary>,
    /// The hash of the checkpoint of the end of training; absent where that is not there.
    checkpoint_hash: Option<String>,
}

/// What the runs of a plan gave.
#[derive(Debug, Serialize)]
pub struct Gathered {
    /// The number of the plan.
    pub plan: usize,
    /// Its hash.
    pub plan_hash: String,
    /// The version of loopscope that gathered it.
    pub loopscope: String,
    /// Seed of relabelings and bootstraps.
    pub seed: u64,
    /// What was left out, and other things to know.
    pub notes: Vec<String>,
    /// The points that are left out because a file of theirs is damaged, a sentence each.
    pub failed: Vec<String>,
    /// A row for each number of each point.
    pub rows: Vec<PointRow>,
    /// Survival curves of the stages.
    pub stages: Vec<StageTimes>,
    /// What each key changes.
    pub effects: Vec<EffectRow>,
    /// Every evaluation of every point.
    #[serde(skip)]
    pub curves: Vec<CurveRow>,
    /// The runs by the values that they share.
    #[serde(skip)]
    pub groups: Vec<RunGroup>,
}

/// A step of a survival curve, as a row of its table.
#[derive(Serialize)]
struct SurvivalRow<'a> {
    stage: &'a str,
    split: &'a Split,
    threshold: f64,
    group: &'a str,
    runs: usize,
    step: f64,
    at_risk: usize,
    reached: usize,
    censored: usize,
    not_reached: f64,
    low: Option<f64>,
    high: Option<f64>,
    interval: &'static str,
}

impl Gathered {
    /// Reads the runs of `plan` in the folder of `data`, as far as they are. Relabelings and bootstraps are drawn under `seed`. A
    /// point of which a file is damaged is left out, as one that failed.
    pub fn read(data: &SweepData, plan: &Plan, seed: u64) -> Self {
        let PointRuns {
            runs,
            mut notes,
            failed,
        } = read_points(data, plan);
        let groups = groups(plan, &runs);
        let (effects, of_effects) = effects(&groups, seed);
        notes.extend(of_effects);
        let finished = |group: &&RunGroup| group.runs.iter().any(|run| !run.run.finished);
        let unfinished: usize = (groups.iter().filter(finished))
            .map(|group| group.runs.iter().filter(|run| !run.run.finished).count())
            .sum();
        if unfinished > 0 {
            notes.push(format!(
                "{} not finished: in the table and the curves as far as they are, and not among the effects",
                verb(unfinished, "point")
            ));
        }
        Self {
            plan: plan.number,
            plan_hash: plan.hash.clone(),
            loopscope: env!("CARGO_PKG_VERSION").to_owned(),
            seed,
            notes,
            failed,
            rows: table::rows(plan, &runs),
            stages: stage_times(&groups, seed),
            effects,
            curves: table::curves(plan, &runs),
            groups,
        }
    }

    /// The figures with their names: accuracy over training, the survival curves of the stages, the effects of the keys; each where
    /// there is something to draw.
    pub fn figures(&self, log_steps: bool) -> Vec<(&'static str, Figure)> {
        [
            ("curves", figure::training_curves(&self.groups, log_steps)),
            ("survival", figure::survival(&self.stages, log_steps)),
            ("effects", figure::effects(&self.effects)),
        ]
        .into_iter()
        .filter_map(|(name, figure)| Some((name, figure?)))
        .collect()
    }

    /// Writes `gather.csv` and `gather.json` (the table, notes and statistics), `curves.csv` (every evaluation), `survival.csv` (the
    /// Kaplan–Meier curves) and `effects.csv` into `folder`.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        files::write(&folder.join("gather.csv"), &csv(&self.rows)?)?;
        files::write(&folder.join("curves.csv"), &csv(&self.curves)?)?;
        files::write(&folder.join("survival.csv"), &csv(self.survival_rows())?)?;
        files::write(&folder.join("effects.csv"), &csv(&self.effects)?)?;
        files::write_json(&folder.join("gather.json"), self)
    }

    /// Writes `gather.parquet`, the table of `gather.csv`, into `folder`.
    ///
    /// # Errors
    /// When it cannot be written, or this binary was built without the `parquet` feature.
    pub fn write_parquet(&self, folder: &Path) -> Result<()> {
        let path = folder.join("gather.parquet");
        #[cfg(feature = "parquet")]
        return parquet::write(&path, &self.rows);
        #[cfg(not(feature = "parquet"))]
        Err(parquet_missing(&path))
    }

    fn survival_rows(&self) -> impl Iterator<Item = SurvivalRow<'_>> {
        self.stages.iter().flat_map(|times| {
            times.curves.iter().flat_map(|curve| {
                curve.curve.iter().map(|step| SurvivalRow {
                    stage: &times.stage.name,
                    split: &times.stage.split,
                    threshold: times.stage.accuracy,
                    group: &curve.group,
                    runs: curve.runs,
                    step: step.time,
                    at_risk: step.at_risk,
                    reached: step.events,
                    censored: step.censored,
                    not_reached: step.survival,
                    low: step.low,
                    high: step.high,
                    interval: "over-seeds",
                })
            })
        })
    }
}

/// Says that Parquet is asked for where it cannot be written.
///
/// # Errors
/// Where this binary was built without the `parquet` feature.
pub fn check_parquet() -> Result<()> {
    if cfg!(feature = "parquet") {
        return Ok(());
    }
    Err(parquet_missing(Path::new("gather.parquet")))
}

fn parquet_missing(path: &Path) -> Error {
    Error::input(format!(
        "--parquet: {} cannot be written by this build; allowed in one with `cargo install --path . --features parquet`",
        path.display()
    ))
}

// `1 point is`, `2 points are`.
fn verb(n: usize, what: &str) -> String {
    format!("{} {}", counted(n, what), if n == 1 { "is" } else { "are" })
}

// The points of a plan with what there is of their runs, and what is missing.
struct PointRuns<'a> {
    runs: Vec<PointRun<'a>>,
    notes: Vec<String>,
    failed: Vec<String>,
}

fn read_points<'a>(data: &SweepData, plan: &'a Plan) -> PointRuns<'a> {
    let (seeds, mut notes) = SeedNumbers::of(plan);
    let (mut runs, mut failed, mut not_begun) = (Vec::new(), Vec::new(), Vec::new());
    for (point, &seed) in plan.points.iter().zip(&seeds.of_each) {
        match read_point(data, point, seed) {
            Ok(run) => {
                if run.run.is_none() {
                    not_begun.push(point.name.as_str());
                }
                runs.push(run);
            }
            Err(error) => failed.push(failure(point, &error)),
        }
    }
    if !not_begun.is_empty() {
        notes.push(format!(
            "{} not begun, or without a saved evaluation: {}",
            verb(not_begun.len(), "point"),
            not_begun.join(", ")
        ));
    }
    PointRuns { runs, notes, failed }
}

fn read_point<'a>(data: &SweepData, point: &'a Point, seed: usize) -> Result<PointRun<'a>> {
    let folder = data.sweep().join(&point.folder);
    let begun = RunFolder::exists(&folder) && StagesFile::read(&folder).is_ok();
    // Another run in the folder would pass for this one.
    let finished = begun && point.is_done(data.sweep())?;
    let run = if begun {
        let run = RunSummary::read(&point.name, &folder, &*data.of(point)?)?;
        Some(RunSummary { finished, ..run })
    } else {
        None
    };
    Ok(PointRun {
        point,
        seed,
        run,
        checkpoint_hash: if finished { Some(final_hash(&folder)?) } else { None },
    })
}

/// The message about a point of which a file is damaged.
fn failure(point: &Point, error: &Error) -> String {
    format!("{} ({}): {error}", point.number, point.name)
}

/// The hash of the checkpoint of the end of training.
fn final_hash(folder: &Path) -> Result<String> {
    Ok(files::short_hash(&files::read(
        &methods::last_checkpoint(folder)?.path,
    )?))
}

// The runs by the values that they share, in the order of the plan.
fn groups(plan: &Plan, runs: &[PointRun]) -> Vec<RunGroup> {
    let mut groups: Vec<RunGroup> = Vec::new();
    for of_point in runs {
        let Some(run) = &of_point.run else {
            continue;
        };
        let values = values_of(of_point.point);
        let run = SeededRun {
            seed: of_point.seed,
            run: run.clone(),
        };
        match groups.iter_mut().find(|group| group.values == values) {
            Some(group) => group.runs.push(run),
            None => groups.push(RunGroup {
                title: title(plan, of_point.point),
                experiment: of_point.point.experiment().map(str::to_owned),
                values,
                runs: vec![run],
            }),
        }
    }
    groups
}

// The values of a point by key, in words.
fn values_of(point: &Point) -> BTreeMap<String, String> {
    let text = |value: &toml::Value| match value {
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    point
        .values
        .iter()
        .map(|(key, value)| (key.clone(), text(value)))
        .collect()
}

// The values of a point in words: keys by their last part, where that is theirs alone.
fn title(plan: &Plan, point: &Point) -> String {
    let last = |key: &str| key.rsplit('.').next().unwrap_or(key).to_owned();
    let mut keys: Vec<&String> = plan.points.iter().flat_map(|point| point.values.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let name = |key: &String| {
        let shared = keys.iter().filter(|other| last(other) == last(key)).count();
        if shared > 1 { key.clone() } else { last(key) }
    };
    let values = values_of(point);
    let parts: Vec<String> = values
        .iter()
        .map(|(key, value)| format!("{} = {value}", name(key)))
        .collect();
    if parts.is_empty() {
        return "all runs".to_owned();
    }
    parts.join(", ")
}
