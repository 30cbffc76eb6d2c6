//! Linear probes on hidden states, per iteration and layer.

mod baseline;
mod classifier;
mod closed_form;
mod control;
mod logistic;
mod spec;
mod split;
mod states;
mod task;

use serde::{Deserialize, Serialize};

use self::baseline::Baselines;
use self::split::Split;
use self::task::Task;
use super::report::{Method, Origin, Report, Specimen};
use super::statistics::Clustering;
use crate::error::{Error, Result};
use crate::graph::{Dataset, Position};
use crate::model::Site;

pub use spec::{ClassifierKind, ProbeSpec, SplitBy};

/// Probes to fit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    pub specs: Vec<ProbeSpec>,
    /// Seed of the splits, the control labels, and the untrained baseline.
    pub seed: u64,
    /// Inference iterations; `None` for each model's own.
    pub iterations: Option<usize>,
}

/// One probe at one place, tested on one split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeRow {
    #[serde(flatten)]
    pub origin: Origin,
    pub probe: String,
    pub label: String,
    pub site: String,
    pub position: Position,
    pub effective_layer: usize,
    /// From 1, as the layer.
    pub iteration: usize,
    pub layer: usize,
    pub split: String,
    /// What fit and test set do not share.
    pub split_by: SplitBy,
    pub classifier: ClassifierKind,
    /// L2 penalty per sample, of the probe and of both its controls.
    pub penalty: f64,
    /// Causal prefixes fitted on, and tested on; none is in both.
    pub n_fit: usize,
    pub n: usize,
    /// Facts that yield the labels of the tested prefixes.
    pub n_facts: usize,
    pub classes: usize,
    /// Accuracy on held-out fit rows, on which the penalty is chosen. To be looked at where a layer is chosen, so that the
    /// accuracy there is not a maximum over the test set.
    pub validation: f64,
    /// Share of test prefixes whose label is decoded.
    pub accuracy: f64,
    /// 95 % interval of `accuracy`, and what it counts for.
    pub low: f64,
    pub high: f64,
    pub interval: Clustering,
    /// Accuracy of the control task (Hewitt & Liang 2019): one random label a fact, the same in fit and test set.
    pub control: f64,
    /// accuracy − control.
    pub selectivity: f64,
    /// Accuracy where the labels are shuffled on both sides: a sanity check.
    pub shuffled: f64,
    /// Accuracy of the same kind of classifier on the embeddings of the causal prefix's tokens alone, side by side; …
    pub embeddings: f64,
    /// … on the states of the same architecture with new initial weights; …
    pub untrained: f64,
    /// … on those of the run's own checkpoint of step 0, where there is one.
    pub step_0: Option<f64>,
    /// Whether every solver behind this row came to its end, and the worst residual.
    pub converged: bool,
    pub residual: f64,
}

impl ProbeRow {
    /// The best accuracy without training: of the embeddings, the untrained architecture, and step 0.
    pub fn best_baseline(&self) -> f64 {
        self.embeddings.max(self.untrained).max(self.step_0.unwrap_or(0.0))
    }
}

impl Method for Probe {
    const NAME: &'static str = "probe";
    const FORMAT: u32 = 2;
    type Row = ProbeRow;

    fn baseline_hashes(&self, specimens: &[Specimen]) -> Result<Vec<String>> {
        baseline::hashes(specimens)
    }

    // A position at which a probe cannot be tested is noted and left out; a spec with no other position is an error.
    fn measure(&self, specimens: &[&Specimen], data: &Dataset, report: &mut Report<Self, ProbeRow>) -> Result<()> {
        for spec in &self.specs {
            let mut refused = None;
            let mut tested = false;
            for &position in &spec.positions {
                match split::split(spec, position, data, self.seed) {
                    Ok(split) => {
                        tested = true;
                        report.notes.extend(split.notes.iter().cloned());
                        report.rows.extend(self.at_position(spec, position, split, specimens)?);
                    }
                    Err(Error::Input(reason)) => {
                        report.notes.push(reason.clone());
                        refused = Some(reason);
                    }
                    Err(other) => return Err(other),
                }
            }
            if let (false, Some(reason)) = (tested, refused) {
                return Err(Error::Input(reason));
            }
        }
        Ok(())
    }
}

impl Probe {
    fn at_position(
        &self,
        spec: &ProbeSpec,
        position: Position,
        split: Split,
        specimens: &[&Specimen],
    ) -> Result<Vec<ProbeRow>> {
        let task = Task::new(spec, position, split, self.seed);
        let mut rows = Vec::new();
        let mut baselines = Baselines::new(&task);
        for specimen in specimens {
            let iterations = self.iterations.unwrap_or(specimen.info.iterations);
            let sites = sites(spec, specimen, iterations)?;
            let against = baselines.of(specimen, &sites, iterations)?;
            rows.extend(task.rows(specimen, &sites, iterations, &against)?);
        }
        Ok(rows)
    }
}

// The sites of a model that a spec asks for.
fn sites(spec: &ProbeSpec, specimen: &Specimen, iterations: usize) -> Result<Vec<Site>> {
    let wanted = |list: &Option<Vec<usize>>, i: usize| list.as_ref().is_none_or(|list| list.contains(&(i + 1)));
    let sites: Vec<Site> = Site::all(spec.site, iterations, specimen.info.layers)
        .into_iter()
        .filter(|site| wanted(&spec.iterations, site.iteration()) && wanted(&spec.layers, site.layer()))
        .collect();
    if sites.is_empty() {
        return Err(Error::input(format!(
            "probe {}: none of its iterations and layers exists in {} ({iterations} iterations, {} layers)",
            spec.name,
            specimen.info.name(),
            specimen.info.layers
        )));
    }
    Ok(sites)
}
