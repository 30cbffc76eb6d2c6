//! The plan of a study: all runs of all seeds as points, run by run, so that the seeds of a run are trained side by side.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Device;

use super::{Replicate, Study};
use crate::checkpoint::relative_to;
use crate::error::Result;
use crate::experiment::{Experiment, Folders, TrainingRun};
use crate::sweep::{Plan, Point, PointData, PointSeeds};
use crate::train::RunConfig;

impl Study {
    /// The plan of all runs in the folder `runs`, which is written, with the data, where it is missing.
    ///
    /// # Errors
    /// When a preset is impossible, the folder holds other data or an edited plan, or cannot be written.
    pub fn plan(&self, runs: &Path) -> Result<Plan> {
        let mut points = Vec::new();
        for experiment in &self.experiments {
            let mut of_seeds = Vec::new();
            for &seed in &experiment.seeds {
                let replicate = Replicate { experiment, seed };
                of_seeds.push((
                    replicate,
                    replicate.open(runs, Path::new(""), &Device::Cpu)?.training_runs()?,
                ));
            }
            // Every seed has the same runs.
            let count = of_seeds.first().map_or(0, |(_, runs)| runs.len());
            for run in 0..count {
                for (replicate, training) in &of_seeds {
                    points.push(point(points.len() + 1, replicate, &training[run], runs)?);
                }
            }
        }
        Ok(Plan::add(points, &Plan::all(runs)?, runs)?.0)
    }
}

impl Replicate<'_> {
    /// Its experiment in its folders in those of the study.
    ///
    /// # Errors
    /// As [`Experiment::open`].
    pub fn open(&self, runs: &Path, figures: &Path, device: &Device) -> Result<Experiment> {
        let name = format!("{}, seed {}", self.experiment.name, self.seed);
        let folders = Folders {
            runs: runs.join(self.folder()),
            figures: figures.join(self.folder()),
        };
        Experiment::open(name, self.preset()?, folders, device.clone())
    }
}

fn point(number: usize, replicate: &Replicate, run: &TrainingRun, runs: &Path) -> Result<Point> {
    let seeds = run.config.seeds();
    let data = PointData {
        folder: relative_to(runs, &run.config.data),
        hash: run.data.hash.clone(),
    };
    let experiment = &replicate.experiment.name;
    Ok(Point {
        number,
        name: format!("{experiment}-{}-seed-{}", run.name, replicate.seed),
        folder: replicate.folder().join(&run.name),
        hash: Point::hash_of(&run.config, &data.hash)?,
        values: BTreeMap::from([
            (Point::EXPERIMENT.to_owned(), experiment.as_str().into()),
            ("run".to_owned(), run.name.as_str().into()),
        ]),
        seeds: PointSeeds {
            data: Some(replicate.seed),
            init: seeds.init,
            order: seeds.order,
        },
        config: RunConfig {
            data: data.folder.clone(),
            ..run.config.clone()
        },
        data,
    })
}
