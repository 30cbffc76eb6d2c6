//! The sweep file: a base, the keys that vary, and the seeds.

mod keys;
mod names;
mod seeds;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use serde::Deserialize;
use toml::Value;

use self::names::Names;
use self::seeds::SeedLists;
use super::data::DataSettings;
use super::point::PointSeeds;
use crate::error::{Error, Result};
use crate::experiment::{Preset, PresetSource};
use crate::files;
use crate::train::RunConfig;

/// Most points of a plan: more are a mistake in a grid.
const MAX_POINTS: usize = 100_000;

/// A sweep file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SweepFile {
    /// A run config, relative to this file.
    #[serde(default)]
    config: Option<String>,
    /// Or a preset, by name or as the path of a file relative to this one, with the name of one of its runs.
    #[serde(default)]
    preset: Option<String>,
    #[serde(default)]
    run: Option<String>,
    /// The data to make; absent: that of the preset, or the folder that the config names.
    #[serde(default)]
    data: Option<DataSettings>,
    #[serde(default)]
    seeds: SeedLists,
    /// Keys with the list of values that each takes; all combinations.
    #[serde(default)]
    grid: BTreeMap<String, Value>,
    /// Sets of values, one after another; each with all combinations of the grid.
    #[serde(default)]
    list: Vec<BTreeMap<String, Value>>,
}

/// What a point is before its data are made.
pub(super) struct Planned {
    pub(super) name: String,
    pub(super) values: BTreeMap<String, Value>,
    pub(super) seeds: PointSeeds,
    pub(super) config: RunConfig,
    /// The data to make; absent: the folder that the config names.
    pub(super) data: Option<DataSettings>,
}

/// A set of values.
#[derive(Debug, Clone, Default)]
struct Combination {
    /// The index of its entry in the list, with the name that the list gives it.
    entry: Option<usize>,
    title: Option<String>,
    values: BTreeMap<String, Value>,
}

// What all points begin with.
struct Base {
    name: String,
    config: RunConfig,
    data: Option<DataSettings>,
}

/// The points that the sweep file `path` asks for, in order: of the list, the grid (the last key in alphabetical order varies
/// fastest), then the seeds.
///
/// # Errors
/// When the file cannot be read, a key is unknown or a value impossible, there are no points or too many, or two are alike.
pub(super) fn read(path: &Path) -> Result<Vec<Planned>> {
    let text = files::read_text(path)?;
    let file: SweepFile = toml::from_str(&text).map_err(|e| Error::file(path, e))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    points(&file, folder).map_err(|e| match e {
        Error::Input(reason) => Error::file(path, reason),
        other => other,
    })
}

fn points(file: &SweepFile, folder: &Path) -> Result<Vec<Planned>> {
    let base = file.base(folder)?;
    let combinations = file.combinations()?;
    let seeds = file.seeds.all(&base)?;
    let count = combinations.len().saturating_mul(seeds.len());
    if count > MAX_POINTS {
        return Err(Error::input(format!("{count} points; allowed: up to {MAX_POINTS}")));
    }
    let varied = varied_keys(&combinations);
    let mut names = Names::of(seeds.iter().map(|seeds| seeds.text(&file.seeds)));
    let mut planned = Vec::new();
    for combination in &combinations {
        let Combination { title, values, .. } = combination;
        let (of_data, of_run): (Vec<_>, Vec<_>) = values.iter().partition(|(key, _)| key.starts_with("data."));
        let data = (base.data_with(&of_data)).map_err(|e| file.named(e, combination, &of_data, "data."))?;
        let config = (base.config.with(&settings(of_run.iter().copied(), "")))
            .map_err(|e| file.named(e, combination, &of_run, ""))?;
        let varying = || values.iter().filter(|(key, _)| varied.contains(*key));
        // What the list says has the list's name, where it has one.
        let named = varying().filter(|(key, _)| title.is_none() || file.grid.contains_key(*key));
        let name = names.next(&base.name, title.as_deref(), named);
        for seeds in &seeds {
            let data = data
                .as_ref()
                .map(|data| seeds.data.map_or(data.clone(), |seed| data.seeded(seed)));
            planned.push(Planned {
                name: names::with_seeds(&name, &seeds.text(&file.seeds)),
                values: varying().map(|(key, value)| (key.clone(), value.clone())).collect(),
                seeds: PointSeeds {
                    data: data.as_ref().map(DataSettings::seed),
                    ..seeds.resolved(&config)
                },
                config: seeds.put_into(&config),
                data,
            });
        }
    }
    Ok(planned)
}

impl SweepFile {
    fn base(&self, folder: &Path) -> Result<Base> {
        let mut base = match (&self.config, &self.preset, &self.run) {
            (Some(config), None, None) => {
                let path = folder.join(config);
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                Base {
                    name,
                    config: RunConfig::read(&path, &[])?,
                    data: None,
                }
            }
            (None, Some(preset), Some(run)) => of_preset(preset, run, folder)?,
            _ => {
                return Err(Error::input(
                    "allowed: either config, or preset and run, as the base of all points",
                ));
            }
        };
        if self.data.is_some() {
            base.data.clone_from(&self.data);
        }
        Ok(base)
    }

    // Every set of values.
    fn combinations(&self) -> Result<Vec<Combination>> {
        let mut sets: Vec<Combination> = Vec::new();
        for (i, values) in self.list.iter().enumerate() {
            let mut values = values.clone();
            let title = match values.remove("name") {
                None => None,
                Some(Value::String(name)) => Some(name),
                Some(other) => return Err(Error::input(format!("list.{i}.name = {other}; allowed: a text"))),
            };
            for (key, value) in &values {
                keys::check(&format!("list.{i}"), key, value)?;
            }
            sets.push(Combination {
                entry: Some(i),
                title,
                values,
            });
        }
        if sets.is_empty() {
            sets.push(Combination::default());
        }
        for (key, values) in &self.grid {
            let values = keys::grid_values(key, values)?;
            if let Some(i) = self.list.iter().position(|set| set.contains_key(key)) {
                return Err(Error::input(format!(
                    "{key} is in the grid and in list.{i}; allowed: in one of them"
                )));
            }
            sets = sets
                .into_iter()
                .flat_map(|set| {
                    values.iter().map(move |value| {
                        let mut set = set.clone();
                        set.values.insert(key.clone(), value.clone());
                        set
                    })
                })
                .collect();
            if sets.len() > MAX_POINTS {
                return Err(Error::input(format!("the grid has more than {MAX_POINTS} points")));
            }
        }
        Ok(sets)
    }

    // An error of the settings that `values` of a set make, which lack the keys' prefix, with the keys as this file has them.
    fn named(&self, error: Error, set: &Combination, values: &[(&String, &Value)], prefix: &str) -> Error {
        let keys: Vec<(String, &str, &Value)> = values
            .iter()
            .map(|&(key, value)| {
                let full = match set.entry {
                    Some(i) if !self.grid.contains_key(key) => format!("list.{i}.{key}"),
                    _ => format!("grid.{key}"),
                };
                (full, key.strip_prefix(prefix).unwrap_or(key), value)
            })
            .collect();
        keys::named(error, &keys)
    }
}

fn of_preset(preset: &str, run: &str, folder: &Path) -> Result<Base> {
    let source = match PresetSource::from_str(preset) {
        Ok(PresetSource::File(path)) => PresetSource::File(folder.join(path)),
        Ok(shipped) => shipped,
        Err(allowed) => return Err(Error::input(format!("preset = {preset:?}; {allowed}"))),
    };
    let preset = source.read(None)?;
    let runs = preset.runs();
    let Some((_, config)) = runs.iter().find(|(name, _)| *name == run) else {
        let names: Vec<&str> = runs.iter().map(|(name, _)| *name).collect();
        return Err(Error::unknown("run", run, &names));
    };
    Ok(Base {
        name: run.to_owned(),
        config: (*config).clone(),
        data: Some(match &preset {
            Preset::Systematic(preset) => DataSettings::Systematic(preset.data.clone()),
            Preset::Depth(preset) => DataSettings::Depth(preset.data_of(run)),
        }),
    })
}

impl Base {
    fn data_with(&self, values: &[(&String, &Value)]) -> Result<Option<DataSettings>> {
        match (&self.data, values.first()) {
            (Some(data), _) => data.with(&settings(values.iter().copied(), "data.")).map(Some),
            (None, None) => Ok(None),
            (None, Some((key, _))) => Err(Error::input(format!(
                "{key}: the data are a folder that is there; allowed where [data] says how they are made"
            ))),
        }
    }
}

// Values as settings `key=value`, without the keys' prefix.
fn settings<'a>(values: impl Iterator<Item = (&'a String, &'a Value)>, prefix: &str) -> Vec<String> {
    values
        .map(|(key, value)| format!("{}={value}", key.strip_prefix(prefix).unwrap_or(key)))
        .collect()
}

// The keys that do not have one value in all sets.
fn varied_keys(sets: &[Combination]) -> Vec<String> {
    let mut keys: Vec<&String> = sets.iter().flat_map(|set| set.values.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let varies = |key: &&&String| {
        let first = sets[0].values.get(**key);
        sets.iter().any(|set| set.values.get(**key) != first)
    };
    keys.iter().filter(varies).map(|&key| key.clone()).collect()
}
