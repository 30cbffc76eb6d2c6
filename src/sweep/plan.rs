//! Plans: the points of a sweep, numbered, hashed and never changed.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::Device;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::data::DataSettings;
use super::file::{self, Planned};
use super::point::{Point, PointData};
use crate::checkpoint::relative_to;
use crate::error::{Error, Result};
use crate::experiment::seedless;
use crate::files;
use crate::graph::Dataset;
use crate::train::{RunConfig, Trainer};

/// The points of a sweep. A plan is written once and never changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Its number in the sweep's folder, from 1.
    pub number: usize,
    /// The hash of its points, 16 hexadecimal digits.
    pub hash: String,
    /// The version of loopscope that made it.
    pub loopscope: String,
    /// The points, in order.
    pub points: Vec<Point>,
}

// A point before it has a number, a hash and a folder.
struct Draft {
    planned: Planned,
    data: PointData,
    hash: String,
}

impl Plan {
    /// Makes the plan of the sweep file `path` in the folder `sweep`, with the data that it needs. Gives the newest plan that
    /// is there where its points are the same, and whether it is a new one.
    ///
    /// # Errors
    /// When the file cannot be read or asks for something impossible, a config does not fit its data, two points are the same
    /// run, or the folder cannot be written.
    pub fn make(path: &Path, sweep: &Path) -> Result<(Self, bool)> {
        let drafts = drafts(file::read(path)?, sweep).map_err(|e| match e {
            Error::Input(reason) => Error::file(path, reason),
            other => other,
        })?;
        Self::add_with(Self::all(sweep)?, sweep, |earlier| numbered(&drafts, earlier))
    }

    /// Adds a plan of `points` to the plans of a sweep; gives the newest of them where it has the same points.
    ///
    /// # Errors
    /// When the plan cannot be written.
    pub fn add(points: Vec<Point>, earlier: &[Self], sweep: &Path) -> Result<(Self, bool)> {
        Self::add_with(earlier.to_vec(), sweep, move |_| Ok(points.clone()))
    }

    // Adds a plan of the points that `points` makes of the earlier plans.
    fn add_with(
        mut earlier: Vec<Self>,
        sweep: &Path,
        points: impl Fn(&[Self]) -> Result<Vec<Point>>,
    ) -> Result<(Self, bool)> {
        loop {
            let points = points(&earlier)?;
            if let Some(newest) = earlier.last().filter(|plan| have_same(&plan.points, &points)) {
                return Ok((newest.clone(), false));
            }
            let plan = Self {
                number: earlier.last().map_or(1, |plan| plan.number + 1),
                hash: hash_of(&value(&points)?)?,
                loopscope: env!("CARGO_PKG_VERSION").to_owned(),
                points,
            };
            if plan.write(sweep)? {
                return Ok((plan, true));
            }
            // Another process has added one at the same moment.
            earlier.push(Self::read_number(sweep, plan.number)?);
        }
    }

    // Writes the plan whole, unless there is one of its number; gives whether it was written.
    fn write(&self, sweep: &Path) -> Result<bool> {
        let path = sweep.join(file_name(self.number));
        let mut text = serde_json::to_string_pretty(self).map_err(|e| Error::write(&path, e))?;
        text.push('\n');
        files::write_new(&path, text.as_bytes())
    }

    /// The numbers of the plans in the folder `sweep`, in order.
    pub fn numbers(sweep: &Path) -> Vec<usize> {
        let number = |entry: std::io::Result<std::fs::DirEntry>| {
            let name = entry.ok()?.file_name();
            let number = name.to_str()?.strip_prefix("plan-")?.strip_suffix(".json")?;
            number.parse().ok()
        };
        let mut numbers: Vec<usize> = sweep.read_dir().into_iter().flatten().filter_map(number).collect();
        numbers.sort_unstable();
        numbers
    }

    /// The plans in the folder `sweep`, in the order of their numbers.
    ///
    /// # Errors
    /// When one is damaged or was edited.
    pub fn all(sweep: &Path) -> Result<Vec<Self>> {
        let numbers = Self::numbers(sweep);
        numbers.iter().map(|&number| Self::read_number(sweep, number)).collect()
    }

    /// Whether `folder` is that of a sweep: it has a plan.
    pub fn is_in(folder: &Path) -> bool {
        !Self::numbers(folder).is_empty()
    }

    /// The plan with this number in the folder `sweep`; the newest where none is named. The others are not read.
    ///
    /// # Errors
    /// When there is none, or it is damaged or was edited.
    pub fn read(sweep: &Path, number: Option<usize>) -> Result<Self> {
        match number.or_else(|| Self::numbers(sweep).pop()) {
            Some(number) => Self::read_number(sweep, number),
            None => Err(Error::file(
                sweep,
                "is not the folder of a sweep (it has no plan-1.json); loopscope sweep plan FILE.toml makes one",
            )),
        }
    }

    // The hash is that of the values in the file, whatever settings this version has beside them.
    fn read_number(sweep: &Path, number: usize) -> Result<Self> {
        let path = sweep.join(file_name(number));
        let stored: Value = files::read_json(&path)?;
        let hash = hash_of(&stored["points"])?;
        let plan: Self = serde_json::from_value(stored).map_err(|e| Error::file(&path, format!("bad plan: {e}")))?;
        let numbers_fit = plan
            .points
            .iter()
            .zip(1..)
            .all(|(point, number)| point.number == number);
        if plan.number != number || !numbers_fit || hash != plan.hash {
            return Err(Error::file(
                &path,
                "was edited: its points are not those that its hash tells; a plan is never changed, so make another one with \
                 loopscope sweep plan",
            ));
        }
        Ok(plan)
    }

    /// The point with this number.
    ///
    /// # Errors
    /// When there is none.
    pub fn point(&self, number: usize) -> Result<&Point> {
        number.checked_sub(1).and_then(|i| self.points.get(i)).ok_or_else(|| {
            Error::input(format!(
                "point {number}; plan {} has points 1 to {}",
                self.number,
                self.points.len()
            ))
        })
    }
}

fn file_name(number: usize) -> String {
    format!("plan-{number}.json")
}

// Points as a plan's file has them: read from text, because floats of 32 bits have other digits there than as a value of their own.
fn value(points: &[Point]) -> Result<Value> {
    let text = serde_json::to_string(points).map_err(Error::failed)?;
    serde_json::from_str(&text).map_err(Error::failed)
}

fn hash_of(points: &Value) -> Result<String> {
    let text = serde_json::to_string(points).map_err(Error::failed)?;
    Ok(files::short_hash(text.as_bytes()))
}

fn have_same(some: &[Point], others: &[Point]) -> bool {
    some.len() == others.len() && some.iter().zip(others).all(|(point, other)| point.is_as(other))
}

// Makes the data of the points and checks that each config fits them.
fn drafts(planned: Vec<Planned>, sweep: &Path) -> Result<Vec<Draft>> {
    let mut data = DataSets {
        sweep,
        known: HashMap::new(),
    };
    // Points that differ in their seeds alone are checked once.
    let mut checked: Vec<(RunConfig, String)> = Vec::new();
    let mut drafts = Vec::new();
    for planned in planned {
        let (point_data, dataset) = data.of(&planned)?;
        let seedless = seedless(&planned.config);
        if !checked
            .iter()
            .any(|(config, hash)| *config == seedless && *hash == point_data.hash)
        {
            Trainer::new(seedless.clone(), dataset, &Device::Cpu)
                .map_err(|e| Error::input(format!("{}: {e}", planned.name)))?;
            checked.push((seedless, point_data.hash.clone()));
        }
        let hash = Point::hash_of(&planned.config, &point_data.hash)?;
        drafts.push(Draft {
            planned,
            data: point_data,
            hash,
        });
    }
    Ok(drafts)
}

// The data sets of a plan, each made or read once.
struct DataSets<'a> {
    sweep: &'a Path,
    known: HashMap<String, (PointData, Arc<Dataset>)>,
}

impl DataSets<'_> {
    fn of(&mut self, planned: &Planned) -> Result<(PointData, Arc<Dataset>)> {
        let key = match &planned.data {
            Some(settings) => serde_json::to_string(settings).map_err(Error::failed)?,
            None => planned.config.data.display().to_string(),
        };
        if let Some((data, dataset)) = self.known.get(&key) {
            return Ok((data.clone(), dataset.clone()));
        }
        let made = match &planned.data {
            Some(settings) => self
                .make(settings)
                .map_err(|e| Error::input(format!("{}: data: {e}", planned.name)))?,
            None => self.read(&planned.config.data)?,
        };
        self.known.insert(key, made.clone());
        Ok(made)
    }

    fn make(&self, settings: &DataSettings) -> Result<(PointData, Arc<Dataset>)> {
        let made = settings.generate()?;
        let folder = Path::new("data").join(&made.hash);
        settings.write(&made, &self.sweep.join(&folder))?;
        let hash = made.hash.clone();
        Ok((PointData { folder, hash }, Arc::new(made)))
    }

    fn read(&self, folder: &Path) -> Result<(PointData, Arc<Dataset>)> {
        let found = Dataset::read(folder)?;
        files::create_folder(self.sweep)?;
        let data = PointData {
            folder: relative_to(self.sweep, folder),
            hash: found.hash.clone(),
        };
        Ok((data, Arc::new(found)))
    }
}

fn numbered(drafts: &[Draft], earlier: &[Plan]) -> Result<Vec<Point>> {
    // By the hashes that this version gives their settings.
    let mut known: HashMap<String, &Point> = HashMap::new();
    for point in earlier.iter().flat_map(|plan| &plan.points) {
        known.insert(Point::hash_of(&point.config, &point.data.hash)?, point);
    }
    let mut names: HashMap<&str, &str> = HashMap::new();
    let mut points = Vec::new();
    for (number, draft) in (1..).zip(drafts) {
        let Draft { planned, data, hash } = draft;
        if let Some(other) = names.insert(hash, &planned.name) {
            return Err(Error::input(format!(
                "{other} and {} are the same run; allowed: points that differ in a setting, a seed or the data",
                planned.name
            )));
        }
        let (folder, hash) = match known.get(hash) {
            Some(point) => (point.folder.clone(), &point.hash),
            None => (Path::new("points").join(format!("{}-{hash}", planned.name)), hash),
        };
        points.push(Point {
            number,
            folder,
            name: planned.name.clone(),
            hash: hash.clone(),
            values: planned.values.clone(),
            seeds: planned.seeds,
            config: RunConfig {
                data: data.folder.clone(),
                ..planned.config.clone()
            },
            data: data.clone(),
        });
    }
    Ok(points)
}
