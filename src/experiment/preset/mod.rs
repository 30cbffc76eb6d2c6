//! Presets: whole experiments as data.

mod file;
mod source;
mod splits;

use serde::{Deserialize, Serialize};

pub use source::{PresetSource, ShippedPreset, unknown_preset};

use crate::error::{Error, Result};
use crate::graph::{Chains, Dataset, Systematic, Tails};
use crate::measure::{Eval, Extrapolate, Halt, Lens, Margin, Patch, Probe, Reach, Settle};
use crate::train::{Curriculum, RunConfig};

/// The tails that relations can have, permutations first.
pub(crate) const ALL_TAILS: [Tails; 2] = [Tails::Permutation, Tails::Random];

/// A whole experiment, checked.
#[derive(Debug, Clone, PartialEq)]
pub enum Preset {
    /// Systematic generalization: chains of two hops, a looped model and vanilla controls.
    Systematic(Box<SystematicPreset>),
    /// Depth extrapolation: chains of many hops, curricula for several recurrences.
    Depth(Box<DepthPreset>),
}

/// The systematic experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct SystematicPreset {
    /// Whether the experiment is long enough to hold the paper's claims against it.
    pub claims: bool,
    /// The data set.
    pub data: Systematic,
    /// The config of each run by name, in the preset's order; `data` is left empty.
    pub runs: Vec<(String, RunConfig)>,
    /// Settings of `eval`.
    pub eval: Eval,
    /// Settings of `lens`.
    pub lens: Lens,
    /// Settings of `probe`.
    pub probe: Probe,
    /// Settings of `patch`.
    pub patch: Patch,
}

/// The depth experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct DepthPreset {
    /// Whether the experiment is long enough to hold the paper's claims against it.
    pub claims: bool,
    /// The data over permutations; that over many-to-one relations differs in its tails alone.
    pub data: Chains,
    /// The curriculum of all runs.
    pub curriculum: Curriculum,
    /// The config of each run by name with the tails of its relations, in the preset's order; `data` is left empty.
    pub runs: Vec<(String, Tails, RunConfig)>,
    /// Which depths are looked into.
    pub inside: Inside,
    /// Settings of `extrapolate`.
    pub extrapolate: Extrapolate,
    /// Settings of `settle`.
    pub settle: Settle,
    /// Settings of `eval`.
    pub eval: Eval,
    /// Settings of `margin`.
    pub margin: Margin,
    /// Settings of `halt`.
    pub halt: Halt,
    /// Settings of `lens`.
    pub lens: Lens,
    /// Settings of `reach`.
    pub reach: Reach,
    /// Settings of `patch`.
    pub patch: Patch,
    /// Settings of `probe`.
    pub probe: Probe,
}

/// Which chains the lens looks at in the depth experiment, where its splits and iterations are left open.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inside {
    /// Beside the deepest chains that a run learned, those of this many more hops.
    pub hops_beyond: usize,
    /// The lens reads after this many times the iterations of training, rounded up; never more than `eval` does.
    pub iterations: f64,
}

impl Preset {
    /// Whether the experiment is long enough to hold the paper's claims against it.
    pub fn claims(&self) -> bool {
        match self {
            Self::Systematic(preset) => preset.claims,
            Self::Depth(preset) => preset.claims,
        }
    }

    /// The data sets that it makes: of a depth experiment the one over permutations, then the many-to-one one.
    ///
    /// # Errors
    /// When a setting of the data is impossible.
    pub fn data_sets(&self) -> Result<Vec<Dataset>> {
        match self {
            Self::Systematic(preset) => Ok(vec![preset.data.generate()?]),
            Self::Depth(preset) => ALL_TAILS
                .into_iter()
                .map(|tails| preset.data_over(tails).generate())
                .collect(),
        }
    }

    /// The config of each run by name, in the preset's order.
    pub fn runs(&self) -> Vec<(&str, &RunConfig)> {
        match self {
            Self::Systematic(preset) => preset
                .runs
                .iter()
                .map(|(name, config)| (name.as_str(), config))
                .collect(),
            Self::Depth(preset) => preset
                .runs
                .iter()
                .map(|(name, _, config)| (name.as_str(), config))
                .collect(),
        }
    }

    fn check_runs(&self) -> Result<()> {
        let runs = self.runs();
        if runs.is_empty() {
            return Err(Error::input("runs is empty; allowed: one or more [[runs]]"));
        }
        for (i, &(name, config)) in runs.iter().enumerate() {
            let refuse = |allowed: &str| {
                let key = format!("runs.{i}.name = {name:?}");
                Err(Error::input(format!("{key}; allowed: {allowed}")))
            };
            if !is_name(name) {
                return refuse("letters, digits, - and _");
            }
            // Folders of the experiment itself.
            if ["data", "data-shortcut", "shortcut"].contains(&name) {
                return refuse("another name; this one is that of the experiment's own folder");
            }
            if runs[..i].iter().any(|&(other, _)| other == name) {
                return refuse("a name that no other run has");
            }
            config.check().map_err(|e| Error::input(format!("run {name}: {e}")))?;
        }
        Ok(())
    }
}

impl DepthPreset {
    /// The settings of the data of the run `name`; over permutations where there is no such run.
    pub fn data_of(&self, name: &str) -> Chains {
        let run = self.runs.iter().find(|(known, ..)| known == name);
        self.data_over(run.map_or(Tails::Permutation, |(_, tails, _)| *tails))
    }

    /// The settings of its data with these tails.
    pub fn data_over(&self, tails: Tails) -> Chains {
        Chains {
            tails,
            ..self.data.clone()
        }
    }
}

impl Inside {
    /// The iterations that the lens reads after, of a model that was trained with `trained`.
    pub fn iterations(self, trained: usize) -> usize {
        (self.iterations * trained as f64).ceil() as usize
    }

    fn check(self) -> Result<()> {
        let factor = self.iterations;
        if !(factor.is_finite() && factor > 0.0) {
            return Err(Error::input(format!("inside.iterations = {factor}; allowed: above 0")));
        }
        Ok(())
    }
}

// Whether it can be the name of a folder and nothing else.
fn is_name(text: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !text.is_empty() && text.chars().all(letter)
}
