//! A run of the systematic experiment, made up.

use super::*;
use crate::measure::{
    ClassifierKind, Corrupt, Direction, Effect, Eval, EvalRow, Extent, Lens, LensRow, Patch, PatchRow, Patched, Probe,
    ProbeRow, SplitBy,
};
use crate::model::Point;
use crate::train::{Reached, Stage, StageOutcome};

pub(super) const TRAIN: &str = "train_inferred";
pub(super) const ID: &str = "test_inferred_iid";
pub(super) const OOD: &str = "test_inferred_ood";
pub(super) const FIRST: CheckpointRole = CheckpointRole::Stage(1);
pub(super) const END: CheckpointRole = CheckpointRole::End;

pub(super) struct Run {
    name: String,
    layers: usize,
    iterations: usize,
    pub(super) checkpoints: Vec<CheckpointSummary>,
    stages: Vec<StageOutcome>,
    eval: Vec<EvalRow>,
    lens: Vec<LensRow>,
    pub(super) probe: Vec<ProbeRow>,
    patch: Vec<PatchRow>,
}

impl Run {
    pub(super) fn new(name: &str, layers: usize, iterations: usize) -> Self {
        Self {
            name: name.to_owned(),
            layers,
            iterations,
            checkpoints: [FIRST, END]
                .map(|role| checkpoint(name, role, layers, iterations))
                .into(),
            stages: Vec::new(),
            eval: Vec::new(),
            lens: Vec::new(),
            probe: Vec::new(),
            patch: Vec::new(),
        }
    }

    pub(super) fn add_to(&self, evidence: &mut Evidence) {
        let model = model(self.layers, self.iterations);
        let recurrence = match self.iterations {
            1 => Recurrence::Vanilla,
            _ => Recurrence::Fixed,
        };
        let training = training(&self.name, &model, self.stages.clone(), Vec::new());
        let id = evidence.add_run(ExperimentRun {
            name: self.name.clone(),
            role: role(recurrence),
            model,
            checkpoints: self.checkpoints.clone(),
            training: Some(training),
        });
        let of_splits = json!({"splits": [], "iterations": "trained", "seed": 1});
        let of_pairs = json!({"splits": [], "corrupt": "prefix", "direction": "denoise", "hook": "resid_post", "window": 1, "whole_iteration": false, "sites": [], "attribution": false, "pairs": 1, "correct_only": false,
            "iterations": "trained", "seed": 1});
        let of_specs = json!({"specs": [], "seed": 1, "iterations": "trained"});
        evidence.insert(&[id], report::<Eval>(of_splits.clone(), self.eval.clone()));
        evidence.insert(&[id], report::<Lens>(of_splits, self.lens.clone()));
        evidence.insert(&[id], report::<Probe>(of_specs, self.probe.clone()));
        evidence.insert(&[id], report::<Patch>(of_pairs, self.patch.clone()));
    }

    // The steps at which the stages were reached, with the OOD accuracy there.
    pub(super) fn stages(mut self, reached: &[Option<(u64, f64)>]) -> Self {
        let outcome = |(place, reached): (usize, &Option<(u64, f64)>)| StageOutcome {
            stage: Stage {
                name: format!("stage {}", place + 1),
                split: OOD.into(),
                accuracy: 0.8,
                hold: 1,
            },
            reached: reached.map(|(step, ood)| Reached {
                step,
                since_step: None,
                rows: None,
                epoch: 0.0,
                seconds: 0.0,
                accuracy: [(OOD.into(), ood)].into(),
            }),
        };
        self.stages = reached.iter().enumerate().map(outcome).collect();
        self
    }

    // Accuracies on OOD chains after 1, 2, … iterations; intervals reach 0.02 to either side.
    pub(super) fn accuracy(mut self, accuracies: &[f64]) -> Self {
        let trained = self.iterations;
        let beyond = accuracies.get(trained..).unwrap_or_default();
        let best = beyond.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let first_best = accuracies
            .iter()
            .skip(trained)
            .position(|&x| x == best)
            .map(|i| i + trained);
        let row = |(place, &accuracy): (usize, &f64)| {
            let gain = (first_best == Some(place)).then(|| accuracy - accuracies[trained - 1]);
            EvalRow {
                origin: origin(&self.name, END, 1000),
                split: OOD.into(),
                hops: Some(2),
                iterations: place + 1,
                n: 200,
                accuracy,
                low: accuracy - 0.02,
                high: accuracy + 0.02,
                interval: FACTS,
                largest: largest(accuracies, place),
                fall: fall(accuracies, place),
                gain,
                gain_low: gain.map(|gain| gain - 0.02),
                gain_high: gain.map(|gain| gain + 0.02),
            }
        };
        self.eval = accuracies.iter().enumerate().map(row).collect();
        self
    }

    // What the lens reads from the embedding to the last effective layer.
    pub(super) fn lens(
        mut self,
        checkpoint: CheckpointRole,
        split: &str,
        label: &str,
        position: &str,
        shares: &[f64],
    ) -> Self {
        let of = origin(&self.name, checkpoint, 1000);
        let (label, position): (Target, Position) = (label.parse().unwrap(), position.parse().unwrap());
        self.lens.retain(|row| {
            row.origin != of || row.split.name() != split || (row.label, row.position) != (label, position)
        });
        let rows = lens_rows(&of, &split.into(), 2, (label, position), self.layers, shares);
        self.lens.extend(rows);
        self
    }

    // The recovery at r1 after each effective layer from the first on.
    pub(super) fn recovery(mut self, split: &str, recoveries: &[Option<f64>]) -> Self {
        self.patch.retain(|row| row.split.name() != split);
        let layers = self.layers;
        let row = |(place, &recovery): (usize, &Option<f64>)| PatchRow {
            origin: origin(&self.name, END, 1000),
            split: split.into(),
            corrupt: Corrupt::Prefix,
            direction: Direction::Denoise,
            patched: Patched {
                restored: Extent::One,
                hook: Some(Point::ResidPost),
                attention_head: None,
                position: Some(Position::Relation(1)),
                place: Place {
                    effective_layer: place + 1,
                    iteration: place / layers + 1,
                    layer: place % layers + 1,
                },
                states: 1,
                sites: None,
            },
            effect: Effect {
                n: 200,
                recovery,
                low: recovery,
                high: recovery,
                flips: 0.0,
                flips_low: 0.0,
                flips_high: 0.02,
                probability: 0.5,
                probability_low: None,
                probability_high: None,
                kl: 1.0,
                kl_low: None,
                kl_high: None,
                rank: 2.0,
                rank_low: None,
                rank_high: None,
                gap: 1.0,
                clean_accuracy: 1.0,
                corrupt_accuracy: 1.0,
            },
            estimate: None,
            rank_correlation: None,
            estimate_low: None,
            estimate_high: None,
            interval: FACTS,
        };
        let rows: Vec<PatchRow> = recoveries.iter().enumerate().map(row).collect();
        self.patch.extend(rows);
        self
    }

    // The probe for the bridge at r2: its accuracy, and the best of what it is held against.
    pub(super) fn probe(mut self, split: &str, accuracy: f64, baseline: f64) -> Self {
        self.probe.retain(|row| row.split.name() != split);
        self.probe.push(ProbeRow {
            origin: origin(&self.name, END, 1000),
            probe: "bridge-at-r2".to_owned(),
            label: Target::Bridge,
            site: Point::ResidPost,
            position: Position::Relation(2),
            place: Place {
                effective_layer: 3,
                iteration: 2,
                layer: 1,
            },
            split: split.into(),
            split_by: SplitBy::Facts,
            classifier: ClassifierKind::Logistic,
            penalty: 1.0,
            n_fit: 100,
            n: 100,
            n_facts: 50,
            classes: 20,
            validation: accuracy,
            accuracy,
            low: accuracy - 0.02,
            high: accuracy + 0.02,
            interval: Clustering::Facts,
            control: 0.05,
            selectivity: accuracy - 0.05,
            shuffled: 0.05,
            embeddings: 0.0,
            untrained: baseline,
            step_0: None,
            converged: true,
            residual: 0.0,
        });
        self
    }
}
