//! What the points of a sweep will cost before any is trained.

use std::collections::HashMap;
use std::path::Path;

use candle_core::Device;
use serde::Serialize;

use super::data::{DataSettings, SweepData};
use super::file::{self, Planned};
use super::point::Point;
use crate::error::{Error, Result};
use crate::experiment::{Estimate, EstimatedRuns, Estimator, cores, jobs_within, memory_bytes, seedless};
use crate::graph::Dataset;
use crate::machine::available_memory;

/// Estimates points of a plan, each on `threads` threads, in their order. Points that differ in their seeds alone have one
/// estimate.
///
/// # Errors
/// When the data of a point cannot be read, its config does not fit them, or a step fails.
pub fn estimate(data: &SweepData, points: &[&Point], device: &Device, threads: usize) -> Result<Vec<Estimate>> {
    let mut estimator = Estimator::new(device, threads)?;
    of_distinct(points, |point| estimator.run(&point.config, &*data.of(point)?))
}

/// As many one-thread jobs as this machine has cores, as far as points fit into the memory that is free.
///
/// # Errors
/// When the data of a point cannot be read, or its config does not fit them.
pub fn default_jobs(data: &SweepData, points: &[&Point]) -> Result<usize> {
    let Some(available) = available_memory() else {
        return Ok(cores());
    };
    let bytes = of_distinct(points, |point| memory_bytes(&point.config, &*data.of(point)?))?;
    // What a run takes is known within a fifth.
    Ok(jobs_within(available / 5 * 4, &bytes, cores()))
}

/// Estimates the points of the sweep file `path`, each on `threads` threads, without writing a plan or data.
///
/// # Errors
/// When the file cannot be read or asks for something impossible, a config does not fit its data, or a step fails.
pub fn estimate_file(path: &Path, device: &Device, threads: usize) -> Result<EstimatedRuns> {
    let in_file = |e: Error| match e {
        Error::Input(reason) => Error::file(path, reason),
        other => other,
    };
    let mut estimator = Estimator::new(device, threads)?;
    let (mut known, mut data_sets) = (HashMap::new(), HashMap::new());
    let mut runs = Vec::new();
    for planned in file::read(path)? {
        let settings = planned.data.as_ref().map(|data| data.seeded(0));
        let folder = settings.is_none().then_some(&planned.config.data);
        let key = text(&(seedless(&planned.config), &settings, folder))?;
        if !known.contains_key(&key) {
            let data = data_of(&planned).map_err(in_file)?;
            let estimate = estimator
                .run(&planned.config, &data)
                .map_err(|e| in_file(Error::input(format!("{}: {e}", planned.name))))?;
            known.insert(key.clone(), (estimate, data.written_bytes()));
        }
        let (estimate, bytes) = &known[&key];
        if let Some(settings) = &planned.data {
            data_sets.insert(text(settings)?, *bytes);
        }
        runs.push((planned.name, estimate.clone()));
    }
    Ok(EstimatedRuns {
        runs,
        data_bytes: data_sets.values().sum(),
    })
}

fn data_of(planned: &Planned) -> Result<Dataset> {
    match &planned.data {
        Some(settings) => DataSettings::generate(settings),
        None => Dataset::read(&planned.config.data),
    }
}

// Does `f` for one of all points that differ in their seeds alone, and gives what came of it for each point.
fn of_distinct<T: Clone>(points: &[&Point], mut f: impl FnMut(&Point) -> Result<T>) -> Result<Vec<T>> {
    let mut known: HashMap<String, T> = HashMap::new();
    let mut all = Vec::new();
    for point in points {
        // Data that were there before have no seed; other data differ in their seed, or in the values that vary.
        let folder = point.seeds.data.is_none().then_some(&point.data.hash);
        let key = text(&(seedless(&point.config), &point.values, folder))?;
        let found = match known.get(&key) {
            Some(found) => found.clone(),
            None => f(point)?,
        };
        known.entry(key).or_insert_with(|| found.clone());
        all.push(found);
    }
    Ok(all)
}

fn text(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(Error::failed)
}
