//! The results of methods on the points of a plan, with seeds as the unit.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use candle_core::Device;
use serde::Serialize;
use serde_json::{Map, Value};

use super::final_hash;
use super::seeds::SeedNumbers;
use super::{failure, table, title, values_of};
use crate::checkpoint::{CheckpointPath, CheckpointRole, RunPath, find_checkpoints};
use crate::error::{Error, Result};
use crate::figure::{Draw, Look};
use crate::files;
use crate::measure::{self, LoadedCheckpoint, Method, Progress, Report, SeedGroup, SeedRun, Table, csv, over_seeds};
use crate::registry::with_every_method;
use crate::sweep::data::SweepData;
use crate::sweep::plan::Plan;
use crate::sweep::point::Point;
use crate::wording::did_you_mean;

/// A method by name, perhaps with arguments as on its own command line: `lens`, or `probe probes/bridge-at-r1.toml --seed 2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MethodRequest {
    name: &'static str,
    arguments: Vec<String>,
}

/// The result of a method over seeds, written.
#[derive(Debug)]
pub struct GatheredMethod {
    /// The method.
    pub name: &'static str,
    /// The table of what it shows.
    pub table: Table,
    /// What its intervals are over, in words.
    pub intervals: String,
    /// How many seeds rows are of, and other things to know.
    pub notes: Vec<String>,
    /// The points that are left out because a file of theirs is damaged, a sentence each.
    pub failed: Vec<String>,
    /// The pages of its figure.
    pub pages: usize,
}

/// What a method over seeds is measured on, and where its result goes.
pub struct MethodPlace<'a> {
    /// The sweep's folder.
    pub data: &'a SweepData,
    /// The points.
    pub plan: &'a Plan,
    /// The folder for tables and figures.
    pub out: &'a Path,
    /// Where tensors live.
    pub device: &'a Device,
    /// The seed of the bootstrap over seeds.
    pub seed: u64,
    /// How the figure is drawn.
    pub look: &'a Look,
    /// What is called with the number of points that are done.
    pub progress: Option<fn(&Progress)>,
}

impl MethodPlace<'_> {
    // Tells the observer that `done` points are done.
    fn tell(&self, method: &'static str, done: usize) {
        if let Some(progress) = self.progress {
            let total = self.plan.points.len();
            progress(&Progress { method, done, total });
        }
    }
}

macro_rules! by_name {
    ($($module:ident::$Method:ident,)*) => {
        const NAMES: &[&str] = &[$(<measure::$Method as Method>::NAME),*];

        impl MethodRequest {
            /// Takes the result of the method on the end of training of each finished point from `results/` in the sweep's folder,
            /// where one of that checkpoint is (with the arguments, of these settings), else measures it and keeps it there. Puts them
            /// together with seeds as the unit, and writes `NAME-over-seeds.{csv,json}` with its figure, and `NAME-runs.csv`, the rows
            /// of all runs with their values and seeds. A point of which a file is damaged is left out, as one that failed.
            ///
            /// # Errors
            /// When no point is finished, an argument is not one of the method, a measurement fails, or a file cannot be written.
            pub fn gather(&self, place: &MethodPlace) -> Result<GatheredMethod> {
                $(
                    if self.name == <measure::$Method as Method>::NAME {
                        return gather::<measure::$Method>(&self.arguments, place);
                    }
                )*
                Err(Error::input(format!("--method {}; allowed: {}", self.name, NAMES.join(", "))))
            }
        }
    };
}

with_every_method!(by_name);

impl FromStr for MethodRequest {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let mut words = text.split_whitespace().map(str::to_owned);
        let named = words.next().unwrap_or_default();
        match NAMES.iter().find(|name| **name == named) {
            Some(name) => Ok(Self {
                name,
                arguments: words.collect(),
            }),
            None => Err(format!(
                "allowed: {}, perhaps with arguments, as in \"lens --iterations 1..8\"{}",
                NAMES.join(", "),
                did_you_mean(&named, NAMES)
            )),
        }
    }
}

/// A row of one run, with the point that it is of.
#[derive(Serialize)]
struct RunRow<'a, R: Serialize> {
    point: usize,
    name: &'a str,
    #[serde(flatten)]
    values: &'a Map<String, Value>,
    data_seed: Option<u64>,
    init_seed: u64,
    order_seed: u64,
    #[serde(flatten)]
    row: &'a R,
}

fn gather<M: Method + Draw>(arguments: &[String], place: &MethodPlace) -> Result<GatheredMethod> {
    let settings = if arguments.is_empty() {
        None
    } else {
        Some(parse::<M>(arguments)?)
    };
    let (seeds, mut notes) = SeedNumbers::of(place.plan);
    let mut failed = Vec::new();
    let mut groups: Vec<(std::collections::BTreeMap<String, String>, SeedGroup<M>)> = Vec::new();
    let mut points: Vec<&Point> = Vec::new();
    let mut left_out = 0;
    for ((done, point), &seed) in place.plan.points.iter().enumerate().zip(&seeds.of_each) {
        place.tell(M::NAME, done);
        let (report, checkpoint) = match trained(point, settings.as_ref(), place) {
            Ok(None) => {
                left_out += 1;
                continue;
            }
            Ok(Some(Trained::Found(found))) => *found,
            Ok(Some(Trained::Loaded(loaded))) => measured(point, settings.as_ref(), *loaded, place)?,
            Err(error) => {
                failed.push(failure(point, &error));
                continue;
            }
        };
        let run = SeedRun {
            seed,
            checkpoint,
            report,
        };
        points.push(point);
        let values = values_of(point);
        match groups.iter_mut().find(|(other, _)| *other == values) {
            Some((_, group)) => group.runs.push(run),
            None => groups.push((
                values,
                SeedGroup {
                    name: title(place.plan, point),
                    runs: vec![run],
                },
            )),
        }
    }
    place.tell(M::NAME, place.plan.points.len());
    if points.is_empty() {
        let because = failed.iter().map(|failed| format!("; {failed}"));
        return Err(Error::file(
            place.data.sweep(),
            format!(
                "{} needs finished points; none of plan {} is{}",
                M::NAME,
                place.plan.number,
                because.collect::<String>()
            ),
        ));
    }
    if left_out > 0 {
        notes.push(format!("{} not finished, and left out", super::verb(left_out, "point")));
    }
    let groups: Vec<SeedGroup<M>> = groups.into_iter().map(|(_, group)| group).collect();
    let mut report = over_seeds(&groups, place.seed)?;
    report.notes.splice(0..0, notes);
    let pages = write(&report, &groups, place)?;
    Ok(GatheredMethod {
        name: M::NAME,
        table: report.table()?,
        intervals: report.intervals(),
        notes: report.notes.clone(),
        failed,
        pages,
    })
}

fn write<M: Method + Draw>(report: &Report<M>, groups: &[SeedGroup<M>], place: &MethodPlace) -> Result<usize> {
    let name = format!("{}-over-seeds", M::NAME);
    report.write_as(place.out, &name)?;
    let pages = M::draw(report).write(place.out, &name, place.look)?;
    // A point is known by the checkpoint of its end, whatever a result calls its run.
    let columns: Vec<(&Point, Option<String>, Map<String, Value>)> = (place.plan.points.iter())
        .map(|point| {
            let hash = final_hash(&place.data.sweep().join(&point.folder)).ok();
            (point, hash, table::value_columns(place.plan, point))
        })
        .collect();
    let mut rows = Vec::new();
    for run in groups.iter().flat_map(|group| &group.runs) {
        let hash = &run.checkpoint.origin.checkpoint_hash;
        let Some((point, _, values)) = columns.iter().find(|(_, known, _)| known.as_ref() == Some(hash)) else {
            continue;
        };
        let owned = run
            .report
            .rows
            .iter()
            .filter(|row| run.checkpoint.owns(measure::Row::origin(*row)));
        rows.extend(owned.map(|row| RunRow {
            point: point.number,
            name: &point.name,
            values,
            data_seed: point.seeds.data,
            init_seed: point.seeds.init,
            order_seed: point.seeds.order,
            row,
        }));
    }
    files::write(&place.out.join(format!("{}-runs.csv", M::NAME)), &csv(rows)?)?;
    Ok(pages)
}

// The settings that the arguments of the method's own command line stand for.
fn parse<M: Method>(arguments: &[String]) -> Result<M> {
    const FILES: &str = "files";
    let command = M::augment_args(clap::Command::new(M::NAME).no_binary_name(true)).arg(
        clap::Arg::new(FILES)
            .num_args(0..)
            .value_parser(clap::value_parser!(PathBuf)),
    );
    let mut matches = command
        .try_get_matches_from(arguments)
        .map_err(|e| Error::input(format!("--method {}: {}", M::NAME, first_line(&e.to_string()))))?;
    let files: Vec<RunPath> = (matches.remove_many::<PathBuf>(FILES).into_iter().flatten())
        .map(|path| RunPath { name: None, path })
        .collect();
    let mut settings = M::from_arg_matches(&matches).map_err(|e| Error::input(format!("--method {}: {e}", M::NAME)))?;
    match settings.take_files(files)?.first() {
        None => Ok(settings),
        Some(other) => Err(Error::input(format!(
            "--method {}: {} is not a setting of it; the checkpoints are those of the points",
            M::NAME,
            other.path.display()
        ))),
    }
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

// A result with the checkpoint that it is of.
type OfCheckpoint<M> = (Report<M>, measure::CheckpointSummary);

// A point that is trained to its end.
enum Trained<M: Method> {
    // With the result that is there.
    Found(Box<OfCheckpoint<M>>),
    // To be measured.
    Loaded(Box<LoadedCheckpoint>),
}

// What there is of a point; `None` where it is not trained to its end. An error is that of a file of the point.
fn trained<M: Method>(point: &Point, settings: Option<&M>, place: &MethodPlace) -> Result<Option<Trained<M>>> {
    let sweep = place.data.sweep();
    if !point.is_done(sweep)? {
        return Ok(None);
    }
    let last = last_checkpoint(&sweep.join(&point.folder))?;
    if settings.is_none()
        && let Some(found) = found(&results_of(point, place), &last)?
    {
        return Ok(Some(Trained::Found(Box::new(found))));
    }
    let loaded = LoadedCheckpoint::load(&last, &place.data.of(point)?, place.device)?;
    Ok(Some(Trained::Loaded(Box::new(loaded))))
}

// The result of a point with its last checkpoint, of these settings: as it is there, or measured now.
fn measured<M: Method>(
    point: &Point,
    settings: Option<&M>,
    loaded: LoadedCheckpoint,
    place: &MethodPlace,
) -> Result<OfCheckpoint<M>> {
    let loaded = [loaded];
    let settings = match settings {
        Some(settings) => settings.clone(),
        None => parse(&[])?,
    };
    let settings = settings.resolved(&loaded)?;
    let results = results_of(point, place);
    let report = if let Some(report) = Report::found(&settings, &results, &loaded) {
        report
    } else {
        tracing::info!("{} of {}", M::NAME, point.name);
        let report = settings.run(&loaded)?;
        report.write(&results)?;
        report
    };
    let [LoadedCheckpoint { info, .. }] = loaded;
    Ok((report, info))
}

fn results_of(point: &Point, place: &MethodPlace) -> PathBuf {
    place.data.sweep().join("results").join(point.folder_name())
}

// The result that is there, whatever its settings, if it is of this checkpoint and of the present code.
fn found<M: Method>(results: &Path, last: &CheckpointPath) -> Result<Option<OfCheckpoint<M>>> {
    let path = results.join(format!("{}.json", M::NAME));
    if !path.exists() {
        return Ok(None);
    }
    let hash = files::short_hash(&files::read(&last.path)?);
    let report = match Report::<M>::read(results) {
        Ok(report) => report,
        Err(error) => {
            tracing::warn!("an earlier result is measured again: {error}");
            return Ok(None);
        }
    };
    let is_present = report.format == M::FORMAT && report.loopscope == env!("CARGO_PKG_VERSION");
    let of_last = |checkpoint: &&measure::CheckpointSummary| checkpoint.origin.checkpoint_hash == hash;
    let checkpoint = report.checkpoints.iter().find(of_last).cloned();
    match checkpoint {
        Some(checkpoint) if is_present => Ok(Some((report, checkpoint))),
        _ => {
            tracing::warn!(
                "{} is of other code or another checkpoint than the end of training; measured again",
                path.display()
            );
            Ok(None)
        }
    }
}

/// The checkpoint of the end of training of the run in `folder`.
///
/// # Errors
/// When there is none.
pub(super) fn last_checkpoint(folder: &Path) -> Result<CheckpointPath> {
    let run = RunPath {
        name: None,
        path: folder.to_owned(),
    };
    let found = find_checkpoints(&[run])?;
    let last = found
        .into_iter()
        .find(|checkpoint| checkpoint.role == CheckpointRole::End);
    last.ok_or_else(|| Error::file(folder, "has no checkpoint of the end of training"))
}
