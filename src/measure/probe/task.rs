//! One probe at one position: its splits, its labels, and what a classifier decodes of them.

use std::collections::HashSet;

use candle_core::{DType, Device, Tensor};
use ndarray::Array2;
use rayon::prelude::*;
use serde::Serialize;

use super::ProbeRow;
use super::classifier::{Classifier, Fit};
use super::control::{ControlTask, shuffled};
use super::samples::Samples;
use super::spec::ProbeSpec;
use super::split::{Partition, Sample};
use super::states::{States, record};
use crate::error::Result;
use crate::graph::{Position, Query};
use crate::measure::checkpoint::LoadedCheckpoint;
use crate::measure::output::Output;
use crate::measure::place::Place;
use crate::measure::query_rows::Asked;
use crate::measure::statistics::{Clusters, share};
use crate::model::{Model, Site};
use crate::train::answers;

// What kept directions are of.
#[derive(Serialize)]
struct Directions<'a> {
    spec: &'a ProbeSpec,
    position: Position,
    seed: u64,
    // Of each site, in the order of the tensors.
    places: Vec<Place>,
}

// A per-prefix row.
#[derive(Serialize)]
struct PrefixRow<'a> {
    probe: &'a str,
    position: Position,
    #[serde(flatten)]
    place: Place,
    label: String,
    decoded: String,
    decoded_right: bool,
}

/// One label for each sample of the fit set and of each test set.
pub(super) struct Labels {
    fit: Vec<usize>,
    test: Vec<Vec<usize>>,
}

impl Labels {
    fn of(partition: &Partition, label: impl Fn(&[Sample], &str) -> Vec<usize>) -> Self {
        Self {
            fit: label(&partition.fit, "fit"),
            test: partition
                .test
                .iter()
                .map(|(name, samples)| label(samples, name.name()))
                .collect(),
        }
    }
}

/// What a classifier decoded.
pub(super) struct Decoded {
    /// By test set: the label that each sample was classified as.
    labels: Vec<Vec<usize>>,
    /// By test set: whether that is its own.
    right: Vec<Vec<bool>>,
    classifier: Classifier,
}

impl Decoded {
    fn of(classifier: Classifier, states: &States, labels: &Labels) -> Self {
        let tests = states.test.iter().zip(&labels.test);
        let decoded: Vec<Vec<usize>> = tests.map(|(x, y)| classifier.labels(&samples(x, y))).collect();
        let is_right = |(decoded, labels): (&Vec<usize>, &Vec<usize>)| {
            decoded
                .iter()
                .zip(labels)
                .map(|(decoded, label)| decoded == label)
                .collect()
        };
        Self {
            right: decoded.iter().zip(&labels.test).map(is_right).collect(),
            labels: decoded,
            classifier,
        }
    }

    fn accuracy(&self, test: usize) -> f64 {
        share(&self.right[test])
    }
}

/// What is decoded, site by site, where nothing was learned.
pub(super) struct Against<'b> {
    /// From the same architecture with new initial weights.
    pub(super) untrained: &'b [Decoded],
    /// From the run's own checkpoint of step 0, where its folder has one.
    pub(super) step_0: Option<&'b [Decoded]>,
}

fn samples(x: &Array2<f64>, y: &[usize]) -> Samples {
    Samples {
        x: x.clone(),
        y: y.to_vec(),
    }
}

/// One probe at one position.
pub(super) struct Task<'a> {
    pub(super) spec: &'a ProbeSpec,
    pub(super) position: Position,
    pub(super) partition: Partition<'a>,
    pub(super) seed: u64,
    labels: Labels,
    control: Labels,
    shuffled: Labels,
    // By test set: which samples share facts.
    clusters: Vec<Clusters>,
}

impl<'a> Task<'a> {
    pub(super) fn new(spec: &'a ProbeSpec, position: Position, partition: Partition<'a>, seed: u64) -> Self {
        let name = format!("{} {position}", spec.name);
        let last = position.index(spec.hops);
        let clusters = |samples: &[Sample]| {
            let queries: Vec<Query> = samples.iter().map(|sample| sample.up_to(last)).collect();
            Clusters::of_queries(&queries)
        };
        let control = ControlTask::new(seed, &name, &partition);
        Self {
            labels: Labels::of(&partition, |samples, _| partition.labels(samples)),
            control: Labels::of(&partition, |samples, _| control.labels(samples)),
            shuffled: Labels::of(&partition, |samples, side| {
                shuffled(partition.labels(samples), seed, &name, side)
            }),
            clusters: partition.test.iter().map(|(_, samples)| clusters(samples)).collect(),
            spec,
            position,
            partition,
            seed,
        }
    }

    // What a classifier decodes of the labels at a penalty chosen on held-out fit rows, and its accuracy there.
    fn choose(&self, states: &States) -> Result<(Decoded, f64)> {
        let samples = samples(&states.fit, &self.labels.fit);
        let (spec, classes) = (self.spec, self.partition.classes.len());
        let (classifier, validation) =
            Classifier::choose(spec.classifier, spec.penalty, &samples, self.partition.inner, classes)?;
        Ok((Decoded::of(classifier, states, &self.labels), validation))
    }

    // What a classifier with this penalty decodes of other labels.
    fn decode(&self, states: &States, labels: &Labels, penalty: f64) -> Result<Decoded> {
        let samples = samples(&states.fit, &labels.fit);
        let classifier = Classifier::fit(self.spec.classifier, penalty, &samples, self.partition.classes.len())?;
        Ok(Decoded::of(classifier, states, labels))
    }

    /// What the probe's kind of classifier decodes at each of the sites of a model, at a penalty chosen for each.
    ///
    /// # Errors
    /// As [`Task::rows`].
    pub(super) fn baselines(&self, model: &Model, sites: &[Site], iterations: usize) -> Result<Vec<Decoded>> {
        let places = record(model, sites, iterations, self.position, &self.partition)?;
        let decoded = places[..sites.len()]
            .par_iter()
            .map(|states| Ok(self.choose(states)?.0));
        decoded.collect()
    }

    /// Probes a checkpoint at `sites`; a row a site and test set that is not empty.
    ///
    /// # Errors
    /// When the data do not fit the model, a classifier's equations have no solution, or the device fails.
    pub(super) fn rows(
        &self,
        checkpoint: &LoadedCheckpoint,
        sites: &[Site],
        iterations: usize,
        against: &Against,
        out: &mut Output<ProbeRow>,
    ) -> Result<()> {
        let places = record(&checkpoint.model, sites, iterations, self.position, &self.partition)?;
        let (embeddings, _) = self.choose(&places[sites.len()])?;
        let at_site = |i: usize| -> Result<(Vec<ProbeRow>, Decoded)> {
            let states = &places[i];
            let (probe, validation) = self.choose(states)?;
            let decode = |labels| self.decode(states, labels, probe.classifier.fit.penalty);
            let (control, shuffled) = rayon::join(|| decode(&self.control), || decode(&self.shuffled));
            let found = AtSite {
                checkpoint,
                site: sites[i],
                validation,
                probe: &probe,
                control: &control?,
                shuffled: &shuffled?,
                embeddings: &embeddings,
                untrained: &against.untrained[i],
                step_0: against.step_0.map(|places| &places[i]),
            };
            let rows = self.tests().map(|test| self.row(&found, test)).collect();
            Ok((rows, probe))
        };
        let found: Result<Vec<_>> = (0..sites.len()).into_par_iter().map(at_site).collect();
        let (rows, probes): (Vec<Vec<ProbeRow>>, Vec<Decoded>) = found?.into_iter().unzip();
        out.rows.extend(rows.into_iter().flatten());
        if out.wants_fitted() {
            self.keep(checkpoint, sites, &probes, out)?;
        }
        if out.wants_queries() {
            self.prefix_rows(checkpoint, sites, iterations, &probes, out)?;
        }
        Ok(())
    }

    // Keeps the directions of the probes: the scores of label k are state · weight[.., k] + bias[k].
    fn keep(
        &self,
        checkpoint: &LoadedCheckpoint,
        sites: &[Site],
        probes: &[Decoded],
        out: &mut Output<ProbeRow>,
    ) -> Result<()> {
        let (mut weights, mut biases) = (Vec::new(), Vec::new());
        for probe in probes {
            let (weight, bias) = probe.classifier.affine();
            let shape = weight.dim();
            weights.push(Tensor::from_vec(weight.into_iter().collect(), shape, &Device::Cpu)?);
            biases.push(Tensor::from_vec(bias.to_vec(), bias.len(), &Device::Cpu)?);
        }
        let labels: Vec<i64> = self.partition.classes.iter().map(|&label| i64::from(label)).collect();
        let tensors = vec![
            ("weight".to_owned(), Tensor::stack(&weights, 0)?.to_dtype(DType::F32)?), // [site, d_model, label]
            ("bias".to_owned(), Tensor::stack(&biases, 0)?.to_dtype(DType::F32)?),    // [site, label]
            (
                "labels".to_owned(),
                Tensor::from_vec(labels, self.partition.classes.len(), &Device::Cpu)?,
            ),
        ];
        let info = Directions {
            spec: self.spec,
            position: self.position,
            seed: self.seed,
            places: sites
                .iter()
                .map(|&site| Place::of(site, checkpoint.info.layers))
                .collect(),
        };
        out.fit(
            checkpoint,
            &format!("{}-{}", self.spec.name, self.position),
            tensors,
            &info,
        )
    }

    // The test sets that are not empty.
    fn tests(&self) -> impl Iterator<Item = usize> {
        (0..self.partition.test.len()).filter(|&test| !self.partition.test[test].1.is_empty())
    }

    // What was decoded of every tested prefix, beside the model's answer to a query that begins with it.
    fn prefix_rows(
        &self,
        checkpoint: &LoadedCheckpoint,
        sites: &[Site],
        iterations: usize,
        probes: &[Decoded],
        out: &mut Output<ProbeRow>,
    ) -> Result<()> {
        let tokens = checkpoint.data.vocab.tokens();
        let name = |label: u32| tokens[label as usize].clone();
        for test in self.tests() {
            let (split, samples) = &self.partition.test[test];
            let queries = samples.iter().map(|sample| &*sample.query.tokens);
            let answers = answers(&checkpoint.model, queries, iterations)?;
            for (&site, probe) in sites.iter().zip(probes) {
                for (i, sample) in samples.iter().enumerate() {
                    let asked = Asked {
                        split,
                        row: sample.row,
                        query: sample.query,
                        answer: answers[i],
                    };
                    let values = PrefixRow {
                        probe: &self.spec.name,
                        position: self.position,
                        place: Place::of(site, checkpoint.info.layers),
                        label: name(sample.label),
                        decoded: name(self.partition.classes[probe.labels[test][i]]),
                        decoded_right: probe.right[test][i],
                    };
                    out.query_row(checkpoint, &asked, &values)?;
                }
            }
        }
        Ok(())
    }

    fn row(&self, found: &AtSite, test: usize) -> ProbeRow {
        let (name, samples) = &self.partition.test[test];
        let AtSite {
            checkpoint,
            site,
            probe,
            ..
        } = *found;
        let right = &probe.right[test];
        let clusters = &self.clusters[test];
        let (low, high) = clusters.share(right);
        let (accuracy, control) = (probe.accuracy(test), found.control.accuracy(test));
        let fits = found.fits();
        ProbeRow {
            origin: checkpoint.info.origin.clone(),
            probe: self.spec.name.clone(),
            label: self.spec.label,
            site: self.spec.site,
            position: self.position,
            place: Place::of(site, checkpoint.info.layers),
            split: name.clone(),
            split_by: self.spec.split,
            classifier: self.spec.classifier,
            penalty: probe.classifier.fit.penalty,
            n_fit: self.partition.fit.len(),
            n: samples.len(),
            n_facts: samples.iter().map(|sample| &sample.fact).collect::<HashSet<_>>().len(),
            classes: self.partition.classes.len(),
            validation: found.validation,
            accuracy,
            low,
            high,
            interval: clusters.clustering(),
            control,
            selectivity: accuracy - control,
            shuffled: found.shuffled.accuracy(test),
            embeddings: found.embeddings.accuracy(test),
            untrained: found.untrained.accuracy(test),
            step_0: found.step_0.map(|step_0| step_0.accuracy(test)),
            converged: fits.iter().all(|fit| fit.converged),
            residual: fits.iter().map(|fit| fit.residual).fold(0.0, f64::max),
        }
    }
}

// Everything that was decoded at one site of one checkpoint.
#[derive(Clone, Copy)]
struct AtSite<'a> {
    checkpoint: &'a LoadedCheckpoint,
    site: Site,
    validation: f64,
    probe: &'a Decoded,
    control: &'a Decoded,
    shuffled: &'a Decoded,
    embeddings: &'a Decoded,
    untrained: &'a Decoded,
    step_0: Option<&'a Decoded>,
}

impl AtSite<'_> {
    fn fits(&self) -> Vec<Fit> {
        [self.probe, self.control, self.shuffled, self.embeddings, self.untrained]
            .into_iter()
            .chain(self.step_0)
            .map(|decoded| decoded.classifier.fit)
            .collect()
    }
}

#[cfg(test)]
mod tests;
