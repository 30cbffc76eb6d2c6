//! Linear probes on hidden states, per iteration and layer.

mod baseline;
mod classifier;
mod closed_form;
mod control;
mod directions;
mod logistic;
mod samples;
mod spec;
mod split;
mod states;
mod task;

use serde::{Deserialize, Serialize};

use self::baseline::Baselines;
use self::split::Partition;
use self::task::Task;
use super::checkpoint::{LoadedCheckpoint, Origin};
use super::columns::Column;
use super::iterations::Iterations;
use super::judged::{Claim, Setting, SiteScore};
use super::method::{Method, Report};
use super::output::Output;
use super::place::Place;
use super::population::Group;
use super::quantity::quantities;
use super::row::columns;
use super::statistics::Clustering;
use crate::checkpoint::RunPath;
use crate::error::{Error, Result};
use crate::graph::{Position, Split, Target};
use crate::model::{Point, Site};

pub(super) use directions::directions;
pub use spec::{ClassifierKind, ProbeSpec, SplitBy};

/// Probes to fit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, clap::Args)]
pub struct Probe {
    /// The probes; on the command line they are named among the checkpoints, as files ending in `.toml`. Where there is none, the
    /// usual ones: of the bridge and the target, of chains by depth of the entity after each hop.
    #[arg(skip)]
    pub specs: Vec<ProbeSpec>,
    /// Seed of the splits, the control labels and the untrained baseline
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Inference iterations [default: the model's own]
    #[arg(long, value_parser = Iterations::parse_one, default_value = "trained", hide_default_value = true)]
    pub iterations: Iterations,
}

/// One probe at one place, tested on one split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeRow {
    /// The checkpoint and the data.
    #[serde(flatten)]
    pub origin: Origin,
    /// The name of the probe.
    pub probe: String,
    /// The entity or relation that is decoded.
    pub label: Target,
    /// The hook point of the probed state.
    pub site: Point,
    /// The position of the probed state.
    pub position: Position,
    /// The effective layer.
    #[serde(flatten)]
    pub place: Place,
    /// The split.
    pub split: Split,
    /// What fit and test set do not share.
    pub split_by: SplitBy,
    /// The classifier.
    pub classifier: ClassifierKind,
    /// L2 penalty per sample, of the probe and of both its controls.
    pub penalty: f64,
    /// Causal prefixes fitted on, and tested on; none is in both.
    pub n_fit: usize,
    /// Causal prefixes tested on.
    pub n: usize,
    /// Facts that yield the labels of the tested prefixes.
    pub n_facts: usize,
    /// The number of classes.
    pub classes: usize,
    /// Accuracy on held-out fit rows, on which the penalty is chosen. To be looked at where a layer is chosen, so that the
    /// accuracy there is not a maximum over the test set.
    pub validation: f64,
    /// Share of test prefixes whose label is decoded.
    pub accuracy: f64,
    /// 95 % interval of `accuracy`, and what it counts for.
    pub low: f64,
    /// The upper end of that interval.
    pub high: f64,
    /// What the interval counts for.
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
    /// The worst residual of these solvers.
    pub residual: f64,
}

impl ProbeRow {
    /// The best accuracy without training: of the embeddings, the untrained architecture, and step 0.
    pub fn best_baseline(&self) -> f64 {
        self.embeddings.max(self.untrained).max(self.step_0.unwrap_or(0.0))
    }
}

columns! {
    ProbeRow:
    Column::of("probe"),
    Column::of("position"),
    Column::of("split"),
    Column::of("n"),
    Column::of("classifier"),
    Column::of("effective_layer").titled("effective layer"),
    Column::of("validation"),
    Column::of("accuracy").titled("accuracy (95 %)").within("low", "high"),
    Column::of("control"),
    Column::of("shuffled"),
    Column::of("embeddings"),
    Column::of("untrained"),
    Column::of("step_0").titled("step 0"),
    Column::of("converged");
    measured
    quantities![
        sample n, of n_fit, of n_facts, of classes, of penalty, share validation, share accuracy within low high,
        share control, of selectivity, share shuffled, share embeddings, share untrained, share step_0, of converged,
        of residual,
    ]
}

impl Method for Probe {
    const NAME: &'static str = "probe";
    const ABOUT: &'static str =
        "Linear probes on hidden states, with controls; what to probe is a spec, a .toml file among the targets";
    const MISLEADS: &'static str = "What a probe finds stays after its last reader and need not be read at all; compare it with the control task and the baselines before it is taken for a representation.";
    const FORMAT: u32 = 4;
    type Row = ProbeRow;

    fn seed(&self) -> u64 {
        self.seed
    }

    fn take_files(&mut self, arguments: Vec<RunPath>) -> Result<Vec<RunPath>> {
        let is_spec = |named: &RunPath| named.path.extension().is_some_and(|extension| extension == "toml");
        let (specs, checkpoints): (Vec<RunPath>, Vec<RunPath>) = arguments.into_iter().partition(is_spec);
        if specs.is_empty() {
            return Err(Error::input(
                "no probe spec named; add one or more, as in probes/bridge-at-r1.toml",
            ));
        }
        for named in &specs {
            let spec = ProbeSpec::read(&named.path)?;
            if self.specs.iter().any(|other| other.name == spec.name) {
                return Err(Error::input(format!(
                    "two of the specs are called {}; each needs its own name",
                    spec.name
                )));
            }
            self.specs.push(spec);
        }
        Ok(checkpoints)
    }

    fn resolve(&mut self, checkpoints: &[LoadedCheckpoint]) -> Result<()> {
        if self.specs.is_empty() {
            self.specs = ProbeSpec::usual(checkpoints.iter().any(|it| it.info.learned_hops.is_some()))?;
        }
        self.iterations.resolve(checkpoints);
        Ok(())
    }

    fn baseline_hashes(&self, checkpoints: &[LoadedCheckpoint]) -> Result<Vec<String>> {
        baseline::hashes(checkpoints)
    }

    // A position at which a probe cannot be tested is noted and left out; a spec with no other position is an error.
    fn measure(&self, group: &Group, out: &mut Output<ProbeRow>) -> Result<()> {
        let positions: usize = self.specs.iter().map(|spec| spec.positions.len()).sum();
        out.expect(positions * group.checkpoints.len());
        for spec in &self.specs {
            let mut refused = None;
            let mut tested = false;
            for &position in &spec.positions {
                match split::partition(spec, position, group.data, self.seed) {
                    Ok(partition) => {
                        tested = true;
                        out.notes.extend(partition.notes.iter().cloned());
                        self.at_position(spec, position, partition, group, out)?;
                    }
                    Err(Error::Input(reason)) => {
                        out.notes.push(reason.clone());
                        refused = Some(reason);
                        out.parts_done(group.checkpoints.len());
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

    // Of each line of the figure the effective layer with the best accuracy on held-out fit rows, the first of equals.
    fn shown(report: &Report<Self>) -> Vec<&ProbeRow> {
        let line = |row: &ProbeRow| (row.origin.clone(), row.probe.clone(), row.position, row.split.clone());
        let mut chosen: Vec<&ProbeRow> = Vec::new();
        for row in &report.rows {
            match chosen.iter_mut().find(|known| line(known) == line(row)) {
                Some(known) if row.validation > known.validation => *known = row,
                Some(_) => {}
                None => chosen.push(row),
            }
        }
        chosen
    }

    fn to_verify(setting: &Setting) -> Result<Vec<Self>> {
        Ok(vec![Self {
            specs: verified_specs(setting),
            ..Self::defaults()?
        }])
    }

    // What a probe decodes is often taken for what is used. It is decodable where most prefixes are decoded, and more than
    // without training: something of a label may follow from other tokens that a state holds.
    fn site_scores(report: &Report<Self>) -> Vec<SiteScore> {
        const CALLED: f64 = 0.5;
        let hops = |row: &ProbeRow| {
            let specs = &report.settings.specs;
            specs.iter().find(|spec| spec.name == row.probe).map(|spec| spec.hops)
        };
        let scores = report.rows.iter().filter_map(|row| {
            let hops = hops(row)?;
            Some([Claim::Decodable, Claim::Used].map(|claim| SiteScore {
                claim,
                targets: vec![row.label],
                hops,
                point: row.site,
                position: row.position,
                place: row.place,
                head: None,
                score: row.accuracy - row.best_baseline(),
                is_called: row.low > CALLED.max(row.best_baseline()),
            }))
        });
        scores.flatten().collect()
    }
}

// Every entity after the head, before and after the MLP, at every position from the one on that determines it. In a small graph
// a target gives its bridge away, so that the facts that lead on from a label are kept apart too.
fn verified_specs(setting: &Setting) -> Vec<ProbeSpec> {
    let mut specs = Vec::new();
    for &hops in &setting.hops {
        for hop in 1..=hops {
            let label = Target::entity(hop, hops);
            let positions = Position::of_chain(hops, setting.reads_apart).into_iter();
            let positions: Vec<Position> = positions.filter(|position| position.index(hops) >= hop).collect();
            specs.extend([Point::ResidMid, Point::ResidPost].map(|site| ProbeSpec {
                name: format!("{label}-of-{hops}-{}", site.name()),
                title: String::new(),
                label,
                hops,
                site,
                positions: positions.clone(),
                iterations: None,
                layers: None,
                fit: Split::depth_test(hops),
                test: vec![Split::depth_test(hops)],
                split: SplitBy::BothFacts,
                held_out: 0.4,
                // In closed form: a verification fits it at thousands of places.
                classifier: ClassifierKind::Discriminant,
                // A tenth of the mean deviation: what is below may be left by small errors of weights.
                penalty: Some(1e-2),
                max_prefixes: 4000,
            }));
        }
    }
    specs
}

impl Probe {
    fn at_position(
        &self,
        spec: &ProbeSpec,
        position: Position,
        partition: Partition,
        group: &Group,
        out: &mut Output<ProbeRow>,
    ) -> Result<()> {
        let task = Task::new(spec, position, partition, self.seed);
        let mut baselines = Baselines::new(&task);
        for checkpoint in &group.checkpoints {
            let iterations = self.iterations.max(checkpoint.info.iterations);
            let sites = sites(spec, checkpoint, iterations)?;
            let against = baselines.of(checkpoint, &sites, iterations)?;
            task.rows(checkpoint, &sites, iterations, &against, out)?;
            out.parts_done(1);
        }
        Ok(())
    }
}

// The sites of a model that a spec asks for.
fn sites(spec: &ProbeSpec, checkpoint: &LoadedCheckpoint, iterations: usize) -> Result<Vec<Site>> {
    let wanted = |list: &Option<Vec<usize>>, i: usize| list.as_ref().is_none_or(|list| list.contains(&(i + 1)));
    let sites: Vec<Site> = Site::all(spec.site, iterations, checkpoint.info.layers)
        .into_iter()
        .filter(|site| wanted(&spec.iterations, site.iteration()) && wanted(&spec.layers, site.layer()))
        .collect();
    if sites.is_empty() {
        return Err(Error::input(format!(
            "probe {}: none of its iterations and layers exists in {} ({iterations} iterations, {} layers)",
            spec.name,
            checkpoint.info.name(),
            checkpoint.info.layers
        )));
    }
    Ok(sites)
}

#[cfg(test)]
mod tests {
    use super::*;

    // A row that a JSON report could hold.
    fn row(effective_layer: usize, validation: f64, accuracy: f64) -> ProbeRow {
        let row = serde_json::json!({
            "run": "a", "checkpoint": "final", "step": 1, "checkpoint_hash": "0", "data_hash": "0",
            "probe": "bridge-at-r2", "label": "bridge", "site": "resid_post", "position": "r2",
            "effective_layer": effective_layer, "iteration": effective_layer, "layer": 1,
            "split": "train", "split_by": "facts", "classifier": "logistic", "penalty": 1e-3,
            "n_fit": 10, "n": 10, "n_facts": 5, "classes": 5, "validation": validation, "accuracy": accuracy,
            "low": 0.0, "high": 1.0, "interval": "facts", "control": 0.2, "selectivity": accuracy - 0.2,
            "shuffled": 0.2, "embeddings": 0.2, "untrained": 0.2, "step_0": null, "converged": true, "residual": 0.0,
        });
        serde_json::from_value(row).unwrap()
    }

    #[test]
    fn the_layer_is_chosen_on_held_out_fit_rows_and_the_first_of_equals() {
        let settings = Probe {
            specs: Vec::new(),
            seed: 1,
            iterations: Iterations::Trained,
        };
        let rows = [row(1, 0.5, 0.9), row(2, 0.8, 0.7), row(3, 0.8, 0.8)];
        let report = Report::made_up(settings, Vec::new(), rows.into());
        let shown = Probe::shown(&report);
        assert_eq!(shown.len(), 1);
        assert_eq!((shown[0].place.effective_layer, shown[0].accuracy), (2, 0.7));
    }
}
