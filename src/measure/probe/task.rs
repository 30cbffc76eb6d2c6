//! One probe at one position: its splits, its labels, and what a classifier decodes of them.

use std::collections::HashSet;

use ndarray::Array2;
use rayon::prelude::*;

use super::ProbeRow;
use super::baseline::Against;
use super::classifier::{Classifier, Fit, Samples};
use super::control::{ControlTask, shuffled};
use super::spec::ProbeSpec;
use super::split::{Sample, Split};
use super::states::{States, record};
use crate::error::Result;
use crate::graph::{Position, Query};
use crate::measure::effective_layer;
use crate::measure::report::Specimen;
use crate::measure::statistics::{Clusters, share};
use crate::model::{Model, Site};

/// One label for each sample of the fit set and of each test set.
pub(super) struct Labels {
    fit: Vec<usize>,
    test: Vec<Vec<usize>>,
}

impl Labels {
    fn of(split: &Split, label: impl Fn(&[Sample], &str) -> Vec<usize>) -> Self {
        Self {
            fit: label(&split.fit, "fit"),
            test: split.test.iter().map(|(name, samples)| label(samples, name)).collect(),
        }
    }
}

/// What a classifier decoded.
pub(super) struct Decoded {
    /// By test set: whether each sample was classified right.
    right: Vec<Vec<bool>>,
    fit: Fit,
}

impl Decoded {
    fn of(classifier: &Classifier, states: &States, labels: &Labels) -> Self {
        let tests = states.test.iter().zip(&labels.test);
        Self {
            right: tests.map(|(x, y)| classifier.right(&samples(x, y))).collect(),
            fit: classifier.fit,
        }
    }

    fn accuracy(&self, test: usize) -> f64 {
        share(&self.right[test])
    }
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
    pub(super) split: Split<'a>,
    pub(super) seed: u64,
    labels: Labels,
    control: Labels,
    shuffled: Labels,
    // By test set: which samples share facts.
    clusters: Vec<Clusters>,
}

impl<'a> Task<'a> {
    pub(super) fn new(spec: &'a ProbeSpec, position: Position, split: Split<'a>, seed: u64) -> Self {
        let name = format!("{} {position}", spec.name);
        let last = position.index(spec.hops);
        let clusters = |samples: &[Sample]| {
            let queries: Vec<Query> = samples.iter().map(|sample| sample.up_to(last)).collect();
            Clusters::of_queries(&queries)
        };
        let control = ControlTask::new(seed, &name, &split);
        Self {
            labels: Labels::of(&split, |samples, _| split.labels(samples)),
            control: Labels::of(&split, |samples, _| control.labels(samples)),
            shuffled: Labels::of(&split, |samples, side| {
                shuffled(split.labels(samples), seed, &name, side)
            }),
            clusters: split.test.iter().map(|(_, samples)| clusters(samples)).collect(),
            spec,
            position,
            split,
            seed,
        }
    }

    // What a classifier decodes of the labels at a penalty chosen on held-out fit rows, and its accuracy there.
    fn choose(&self, states: &States) -> Result<(Decoded, f64)> {
        let samples = samples(&states.fit, &self.labels.fit);
        let (spec, classes) = (self.spec, self.split.classes.len());
        let (classifier, validation) =
            Classifier::choose(spec.classifier, spec.penalty, &samples, self.split.inner, classes)?;
        Ok((Decoded::of(&classifier, states, &self.labels), validation))
    }

    // What a classifier with this penalty decodes of other labels.
    fn decode(&self, states: &States, labels: &Labels, penalty: f64) -> Result<Decoded> {
        let samples = samples(&states.fit, &labels.fit);
        let classifier = Classifier::fit(self.spec.classifier, penalty, &samples, self.split.classes.len())?;
        Ok(Decoded::of(&classifier, states, labels))
    }

    /// What the probe's kind of classifier decodes at each of the sites of a model, at a penalty chosen for each.
    ///
    /// # Errors
    /// As [`Task::rows`].
    pub(super) fn baselines(&self, model: &Model, sites: &[Site], iterations: usize) -> Result<Vec<Decoded>> {
        let places = record(model, sites, iterations, self.position, &self.split)?;
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
        specimen: &Specimen,
        sites: &[Site],
        iterations: usize,
        against: &Against,
    ) -> Result<Vec<ProbeRow>> {
        let places = record(&specimen.model, sites, iterations, self.position, &self.split)?;
        let (embeddings, _) = self.choose(&places[sites.len()])?;
        let at_site = |i: usize| -> Result<Vec<ProbeRow>> {
            let states = &places[i];
            let (probe, validation) = self.choose(states)?;
            let decode = |labels| self.decode(states, labels, probe.fit.penalty);
            let (control, shuffled) = rayon::join(|| decode(&self.control), || decode(&self.shuffled));
            let place = Place {
                specimen,
                site: sites[i],
                validation,
                probe: &probe,
                control: &control?,
                shuffled: &shuffled?,
                embeddings: &embeddings,
                untrained: &against.untrained[i],
                step_0: against.step_0.map(|places| &places[i]),
            };
            let tests = (0..self.split.test.len()).filter(|&test| !self.split.test[test].1.is_empty());
            Ok(tests.map(|test| self.row(&place, test)).collect())
        };
        let rows: Result<Vec<Vec<ProbeRow>>> = (0..sites.len()).into_par_iter().map(at_site).collect();
        Ok(rows?.into_iter().flatten().collect())
    }

    fn row(&self, place: &Place, test: usize) -> ProbeRow {
        let (name, samples) = &self.split.test[test];
        let Place {
            specimen, site, probe, ..
        } = *place;
        let right = &probe.right[test];
        let clusters = &self.clusters[test];
        let (low, high) = clusters.share(right);
        let (accuracy, control) = (probe.accuracy(test), place.control.accuracy(test));
        let fits = place.fits();
        ProbeRow {
            origin: specimen.info.origin.clone(),
            probe: self.spec.name.clone(),
            label: self.spec.label.clone(),
            site: self.spec.site.name().to_owned(),
            position: self.position,
            effective_layer: effective_layer(site.iteration(), site.layer(), specimen.info.layers),
            iteration: site.iteration() + 1,
            layer: site.layer() + 1,
            split: name.clone(),
            split_by: self.spec.split,
            classifier: self.spec.classifier,
            penalty: probe.fit.penalty,
            n_fit: self.split.fit.len(),
            n: samples.len(),
            n_facts: samples.iter().map(|sample| &sample.fact).collect::<HashSet<_>>().len(),
            classes: self.split.classes.len(),
            validation: place.validation,
            accuracy,
            low,
            high,
            interval: clusters.clustering(),
            control,
            selectivity: accuracy - control,
            shuffled: place.shuffled.accuracy(test),
            embeddings: place.embeddings.accuracy(test),
            untrained: place.untrained.accuracy(test),
            step_0: place.step_0.map(|step_0| step_0.accuracy(test)),
            converged: fits.iter().all(|fit| fit.converged),
            residual: fits.iter().map(|fit| fit.residual).fold(0.0, f64::max),
        }
    }
}

// Everything that was decoded at one site of one checkpoint.
#[derive(Clone, Copy)]
struct Place<'a> {
    specimen: &'a Specimen,
    site: Site,
    validation: f64,
    probe: &'a Decoded,
    control: &'a Decoded,
    shuffled: &'a Decoded,
    embeddings: &'a Decoded,
    untrained: &'a Decoded,
    step_0: Option<&'a Decoded>,
}

impl Place<'_> {
    fn fits(&self) -> Vec<Fit> {
        [self.probe, self.control, self.shuffled, self.embeddings, self.untrained]
            .into_iter()
            .chain(self.step_0)
            .map(|decoded| decoded.fit)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Dataset, Systematic};
    use crate::measure::SplitBy;
    use crate::measure::probe::split::split;

    const R2: Position = Position::Relation(2);

    fn data() -> Dataset {
        let settings = Systematic {
            entities: 20,
            relations: 10,
            out_degree: 10,
            ood_share: 0.1,
            held_out: 0.05,
            phi: 5.0,
            test_rows: 500,
            seed: 2,
        };
        settings.generate().unwrap()
    }

    // States that say which fact (h, r1) a chain begins with and nothing else: the bridge can be had from them by memory
    // alone.
    fn one_hot(task: &Task) -> States {
        let state = |samples: &[Sample]| {
            let mut x = Array2::zeros((samples.len(), 20 * 10));
            for (mut row, sample) in x.rows_mut().into_iter().zip(samples) {
                let [head, relation] = [sample.query.tokens[0], sample.query.tokens[1]];
                // Tokens: a pad, 20 entities, 10 relations.
                row[(head - 1) as usize * 10 + (relation - 21) as usize] = 1.0;
            }
            x
        };
        States {
            fit: state(&task.split.fit),
            test: task.split.test.iter().map(|(_, samples)| state(samples)).collect(),
        }
    }

    fn accuracies(by: SplitBy) -> [f64; 3] {
        let spec: ProbeSpec = toml::from_str(
            "name = 'x'\ntitle = 'X'\nlabel = 'bridge'\npositions = ['r2']\ntest = ['train']\npenalty = 1e-4",
        )
        .unwrap();
        let spec = ProbeSpec { split: by, ..spec };
        let data = data();
        let task = Task::new(&spec, R2, split(&spec, R2, &data, 1).unwrap(), 1);
        let states = one_hot(&task);
        [&task.labels, &task.control, &task.shuffled].map(|labels| {
            let decoded = task.decode(&states, labels, 1e-4).unwrap();
            assert!(decoded.fit.converged, "{:?}", decoded.fit);
            decoded.accuracy(0)
        })
    }

    #[test]
    fn the_control_task_measures_memory_where_facts_are_shared_and_is_at_chance_where_none_are() {
        let [bridge, control, shuffled] = accuracies(SplitBy::Prefixes);
        assert!(bridge > 0.95 && control > 0.95, "{bridge} {control}");
        // 1 / 20 by chance; labels that were drawn anew on both sides cannot say that facts were memorised.
        assert!(shuffled < 0.2, "{shuffled}");
        let [bridge, control, shuffled] = accuracies(SplitBy::Facts);
        assert!(
            bridge < 0.2 && control < 0.2 && shuffled < 0.2,
            "{bridge} {control} {shuffled}"
        );
    }
}
