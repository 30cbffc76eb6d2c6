//! Linear probes on hidden states, per iteration and layer.

mod classifier;
mod spec;
mod split;

use candle_core::Tensor;
use ndarray::{Array2, Axis};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use self::classifier::{Classifier, Samples};
use self::split::{Sample, Split};
use super::report::{Method, Origin, Report, Specimen};
use super::statistics::{bootstrap, mean};
use super::{BATCH, effective_layer, rows_of};
use crate::error::{Error, Result};
use crate::graph::{Dataset, Position};
use crate::model::{Hooks, Pass, Sharing, Site};
use crate::random::Stream;

pub use spec::{ClassifierKind, Control, ProbeSpec};

/// Probes to fit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    pub specs: Vec<ProbeSpec>,
    /// Seed of the splits, the control's shuffle, and the bootstrap.
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
    pub classifier: ClassifierKind,
    pub penalty: f64,
    /// Causal prefixes fitted on, and tested on; none is in both.
    pub n_fit: usize,
    pub n: usize,
    pub classes: usize,
    /// Share of test prefixes whose label is decoded.
    pub accuracy: f64,
    /// 95 % interval of `accuracy` (bootstrap over prefixes).
    pub low: f64,
    pub high: f64,
    /// Accuracy of the control task.
    pub control: f64,
    /// accuracy − control.
    pub selectivity: f64,
    /// Accuracy of the same classifier on the embeddings of the causal prefix's tokens alone, side by side.
    pub baseline: f64,
    /// Whether the solvers of probe and control came to their end, and the worse residual.
    pub converged: bool,
    pub residual: f64,
}

impl Method for Probe {
    const NAME: &'static str = "probe";
    const FORMAT: u32 = 1;
    type Row = ProbeRow;

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
                        for specimen in specimens {
                            report.rows.extend(self.at_position(spec, position, &split, specimen)?);
                        }
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
        split: &Split,
        specimen: &Specimen,
    ) -> Result<Vec<ProbeRow>> {
        let iterations = self.iterations.unwrap_or(specimen.info.iterations);
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
        let fit = states(specimen, &sites, iterations, position, &split.fit, split)?;
        let test = split
            .test
            .iter()
            .map(|(_, samples)| states(specimen, &sites, iterations, position, samples, split))
            .collect::<Result<Vec<_>>>()?;
        let embedded_fit = &fit.embedded;
        let baseline = Classifier::fit(spec.classifier, spec.penalty, embedded_fit, split.classes.len())?;
        let shuffle = |samples: &Samples, what: &str| {
            let mut shuffled = samples.clone();
            Stream::new(self.seed, &format!("control labels {} {position} {what}", spec.name), 0)
                .shuffle(&mut shuffled.y);
            shuffled
        };
        let place = |(i, site): (usize, &Site)| -> Result<Vec<ProbeRow>> {
            let classes = split.classes.len();
            let probe = Classifier::fit(spec.classifier, spec.penalty, &fit.sites[i], classes)?;
            let Control::ShuffledLabels = spec.control;
            let control = Classifier::fit(
                spec.classifier,
                Some(probe.fit.penalty),
                &shuffle(&fit.sites[i], &spec.fit),
                classes,
            )?;
            let share = |right: &[bool]| mean(right.iter().map(|&r| f64::from(u8::from(r))));
            let tested = split
                .test
                .iter()
                .zip(&test)
                .filter(|((_, samples), _)| !samples.is_empty());
            Ok(tested
                .map(|((name, samples), states)| {
                    let right = probe.right(&states.sites[i]);
                    let accuracy = share(&right);
                    let control_accuracy = share(&control.right(&shuffle(&states.sites[i], name)));
                    let mut stream = Stream::new(self.seed, &format!("bootstrap {}", spec.name), i as u64);
                    let (low, high) = bootstrap(right.len(), &mut stream, |places| {
                        mean(places.iter().map(|&i| f64::from(u8::from(right[i]))))
                    });
                    ProbeRow {
                        origin: specimen.info.origin.clone(),
                        probe: spec.name.clone(),
                        label: spec.label.clone(),
                        site: spec.site.name().to_owned(),
                        position,
                        effective_layer: effective_layer(site.iteration(), site.layer(), specimen.info.layers),
                        iteration: site.iteration() + 1,
                        layer: site.layer() + 1,
                        split: name.clone(),
                        classifier: spec.classifier,
                        penalty: probe.fit.penalty,
                        n_fit: split.fit.len(),
                        n: samples.len(),
                        classes,
                        accuracy,
                        low,
                        high,
                        control: control_accuracy,
                        selectivity: accuracy - control_accuracy,
                        baseline: share(&baseline.right(&states.embedded)),
                        converged: probe.fit.converged && control.fit.converged,
                        residual: probe.fit.residual.max(control.fit.residual),
                    }
                })
                .collect())
        };
        let rows: Result<Vec<Vec<ProbeRow>>> = sites.par_iter().enumerate().map(place).collect();
        Ok(rows?.into_iter().flatten().collect())
    }
}

struct States {
    sites: Vec<Samples>,
    embedded: Samples,
}

fn matrix(rows: &[Vec<f32>]) -> Array2<f64> {
    let mut x = Array2::zeros((rows.len(), rows.first().map_or(0, Vec::len)));
    for (mut to, from) in x.axis_iter_mut(Axis(0)).zip(rows) {
        for (to, &from) in to.iter_mut().zip(from) {
            *to = f64::from(from);
        }
    }
    x
}

// The states of the samples at every site, and the embeddings of their causal prefixes.
fn states(
    specimen: &Specimen,
    sites: &[Site],
    iterations: usize,
    position: Position,
    samples: &[Sample],
    split: &Split,
) -> Result<States> {
    let model = &specimen.model;
    let labels: Vec<usize> = samples
        .iter()
        .filter_map(|sample| split.classes.binary_search(&sample.label).ok())
        .collect();
    let mut states: Vec<Vec<Vec<f32>>> = vec![Vec::new(); sites.len()];
    let mut embedded: Vec<Vec<f32>> = Vec::new();
    for chunk in samples.chunks(BATCH) {
        let rows = model.pack(chunk.iter().map(|s| &*s.query.tokens), Sharing::Prefixes)?;
        let queries = || 0..rows.queries();
        let probed: Vec<u32> = queries().map(|query| rows.row_at(query, position)).collect();
        // The tokens of the causal prefix; a `<pad>` at which the answer is read holds nothing of its own.
        let last = |query: usize| position.index(chunk[query].query.hops());
        let prefix = queries().flat_map(|query| rows.of_query(query)[..=last(query)].iter().copied());
        let prefix: Vec<u32> = prefix.collect();
        let record = |hooks: Hooks, &site: &Site| hooks.record_rows(site, probed.clone());
        let mut pass = Pass {
            hooks: sites
                .iter()
                .fold(Hooks::none(), record)
                .record_rows(Site::embed(), prefix),
            ..Pass::default()
        };
        model.forward(&rows, iterations, &mut pass)?;
        let side_by_side = |x: Tensor| -> Result<Vec<Vec<f32>>> { rows_of(&x.reshape((chunk.len(), ()))?) };
        for (site, states) in sites.iter().zip(&mut states) {
            states.extend(side_by_side(pass.hooks.recorded(*site)?)?);
        }
        embedded.extend(side_by_side(pass.hooks.recorded(Site::embed())?)?);
    }
    let samples = |rows: Vec<Vec<f32>>| Samples {
        x: matrix(&rows),
        y: labels.clone(),
    };
    Ok(States {
        embedded: samples(embedded),
        sites: states.into_iter().map(samples).collect(),
    })
}
