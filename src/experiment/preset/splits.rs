//! Whether the data of a preset will have what its stages and methods name: told before anything is made or trained.

use super::Preset;
use crate::error::{Error, Result};
use crate::graph::{Dataset, Split};
use crate::train::RunConfig;
use crate::wording::choices;

impl Preset {
    /// Checks the names of splits, and hook points, against the data sets that it makes.
    ///
    /// # Errors
    /// At the first that there will not be; the message names its key, and lists the splits that there will be.
    pub(crate) fn check_against(&self, made: &[Dataset]) -> Result<()> {
        let (configs, named, patch) = match self {
            Self::Systematic(preset) => (
                preset
                    .runs
                    .iter()
                    .map(|(_, config)| config)
                    .collect::<Vec<&RunConfig>>(),
                vec![
                    ("eval", &preset.eval.splits),
                    ("lens", &preset.lens.splits),
                    ("patch", &preset.patch.pairing.splits),
                ],
                &preset.patch,
            ),
            Self::Depth(preset) => (
                preset.runs.iter().map(|(.., config)| config).collect(),
                vec![
                    ("eval", &preset.eval.splits),
                    ("margin", &preset.margin.chains.splits),
                    ("settle", &preset.settle.chains.splits),
                    ("halt", &preset.halt.splits),
                    ("lens", &preset.lens.splits),
                    ("reach", &preset.reach.sampling.splits),
                    ("patch", &preset.patch.pairing.splits),
                ],
                &preset.patch,
            ),
        };
        let is_there = |split: &Split| made.iter().any(|data| data.split(split).is_ok());
        let refuse = |key: &str, split: &Split| {
            let names: Vec<&str> = made
                .first()
                .map(|data| data.split_names().collect())
                .unwrap_or_default();
            Err(Error::input(format!(
                "{key} = \"{split}\"; the data of this preset has: {}",
                choices(split.name(), &names)
            )))
        };
        for stage in configs.iter().flat_map(|config| &config.stages) {
            if !is_there(&stage.split) {
                return refuse("stages.split", &stage.split);
            }
        }
        for (method, splits) in named {
            if let Some(split) = splits.iter().find(|split| !is_there(split)) {
                return refuse(&format!("measure.{method}.split"), split);
            }
        }
        patch
            .check()
            .map_err(|error| Error::input(format!("measure.patch: {error}")))
    }
}
