//! Claims 1 to 4, on evidence of a looped model (2 layers, 2 iterations) and a vanilla one (4 layers).

use super::super::claims::{Verdict, all};
use super::super::{END, RunEvidence};
use super::*;
use crate::graph::{Position, Target};
use crate::measure::statistics::Clustering;
use crate::measure::{
    ClassifierKind, Corrupt, EvalRow, Iterations, Lens, LensRow, Patch, PatchRow, Place, ProbeRow, RunSummary, SplitBy,
};
use crate::model::Point;
use crate::train::{Reached, Stage, StageOutcome};

const TRAIN: &str = "train_inferred";
const ID: &str = "test_inferred_iid";
const OOD: &str = "test_inferred_ood";
const FIRST: &str = "stage 1: memorized";

struct Run {
    summary: RunSummary,
    evidence: RunEvidence,
}

impl Run {
    fn new(name: &str, layers: usize, iterations: usize) -> Self {
        let checkpoints = [
            checkpoint(name, FIRST, layers, iterations),
            checkpoint(name, END, layers, iterations),
        ];
        let lens = Lens {
            splits: Vec::new(),
            iterations: Iterations::Trained,
            seed: 1,
        };
        let patch: Patch = settings(
            json!({"splits": [], "corrupt": "prefix", "hook": "resid_post", "pairs": 1,
            "correct_only": false, "iterations": "trained", "seed": 1}),
        );
        Self {
            summary: RunSummary {
                name: name.to_owned(),
                model: model(layers, iterations),
                parameters: 0,
                forward_flops: 0,
                seed: 1,
                steps: 1000,
                seconds: 0.0,
                finished: true,
                stages: Vec::new(),
                accuracy: [].into(),
                metrics: Vec::new(),
            },
            evidence: RunEvidence {
                name: name.to_owned(),
                eval: report(
                    settings(json!({"splits": [], "iterations": "trained", "seed": 1})),
                    &checkpoints,
                ),
                lens: report(lens, &checkpoints),
                probe: report(
                    settings(json!({"specs": [], "seed": 1, "iterations": "trained"})),
                    &checkpoints,
                ),
                patch: report(patch, &checkpoints),
            },
        }
    }

    // The steps at which the stages were reached, with the OOD accuracy there.
    fn stages(mut self, reached: &[Option<(u64, f64)>]) -> Self {
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
        self.summary.stages = reached.iter().enumerate().map(outcome).collect();
        self
    }

    // Accuracies on OOD chains after 1, 2, … iterations; intervals reach 0.02 to either side.
    fn accuracy(mut self, accuracies: &[f64]) -> Self {
        let trained = self.summary.model.iterations;
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
                origin: origin(&self.summary.name, END, 1000),
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
        self.evidence.eval.rows = accuracies.iter().enumerate().map(row).collect();
        self
    }

    // What the lens reads from the embedding to the last effective layer.
    fn lens(mut self, checkpoint: &str, split: &str, label: &str, position: &str, shares: &[f64]) -> Self {
        self.evidence.lens.rows.retain(|row| {
            (
                row.origin.checkpoint.as_str(),
                row.split.name(),
                row.label.to_string().as_str(),
            ) != (checkpoint, split, label)
                || row.position.to_string() != position
        });
        let layers = self.summary.model.layers;
        let row = |(place, &top1): (usize, &f64)| LensRow {
            origin: origin(&self.summary.name, checkpoint, 1000),
            split: split.into(),
            hops: 2,
            label: label.parse().unwrap(),
            position: position.parse().unwrap(),
            place: Place {
                effective_layer: place,
                iteration: place.div_ceil(layers),
                layer: if place == 0 { 0 } else { (place - 1) % layers + 1 },
            },
            n: 200,
            top1,
            low: top1 - 0.02,
            high: top1 + 0.02,
            interval: FACTS,
            largest: largest(shares, place),
            mrr: top1,
            probability: top1,
        };
        let rows: Vec<LensRow> = shares.iter().enumerate().map(row).collect();
        self.evidence.lens.rows.extend(rows);
        self
    }

    // The recovery at r1 after each effective layer from the first on.
    fn recovery(mut self, split: &str, recoveries: &[Option<f64>]) -> Self {
        self.evidence.patch.rows.retain(|row| row.split.name() != split);
        let layers = self.summary.model.layers;
        let row = |(place, &recovery): (usize, &Option<f64>)| PatchRow {
            origin: origin(&self.summary.name, END, 1000),
            split: split.into(),
            corrupt: Corrupt::Prefix,
            hook: Some(Point::ResidPost),
            position: Some(Position::Relation(1)),
            place: Place {
                effective_layer: place + 1,
                iteration: place / layers + 1,
                layer: place % layers + 1,
            },
            n: 200,
            recovery,
            low: recovery,
            high: recovery,
            interval: FACTS,
            flips: 0.0,
            gap: 1.0,
            clean_accuracy: 1.0,
            corrupt_accuracy: 1.0,
        };
        let rows: Vec<PatchRow> = recoveries.iter().enumerate().map(row).collect();
        self.evidence.patch.rows.extend(rows);
        self
    }

    // The probe for the bridge at r2: its accuracy, and the best of what it is held against.
    fn probe(mut self, split: &str, accuracy: f64, baseline: f64) -> Self {
        self.evidence.probe.rows.retain(|row| row.split.name() != split);
        self.evidence.probe.rows.push(ProbeRow {
            origin: origin(&self.summary.name, END, 1000),
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

// One that shows what the paper says of looped models.
fn looped() -> Run {
    Run::new("looped", 2, 2)
        .stages(&[Some((100, 0.05)), Some((300, 0.1)), Some((700, 0.8))])
        .accuracy(&[0.2, 0.8, 0.9, 0.85])
        .lens(FIRST, TRAIN, "bridge", "r1", &[0.0, 0.1, 0.1, 0.2, 0.2])
        .lens(FIRST, TRAIN, "target", "r2", &[0.0, 0.1, 0.2, 0.6, 0.95])
        .lens(END, ID, "bridge", "r1", &[0.0, 0.5, 0.95, 0.5, 0.4])
        .lens(END, ID, "target", "r2", &[0.0, 0.1, 0.2, 0.6, 0.95])
        .lens(END, OOD, "bridge", "r1", &[0.0, 0.4, 0.7, 0.5, 0.4])
        .lens(END, OOD, "target", "r2", &[0.0, 0.0, 0.1, 0.5, 0.8])
        .lens(END, ID, "bridge", "r2", &[0.0, 0.0, 0.01, 0.05, 0.0])
        .lens(END, OOD, "bridge", "r2", &[0.0, 0.0, 0.01, 0.05, 0.0])
        .recovery(ID, &[Some(0.99), Some(0.95), Some(0.2), Some(0.0)])
        .recovery(OOD, &[Some(0.98), Some(0.92), Some(0.2), Some(0.0)])
        .probe(ID, 0.8, 0.1)
        .probe(OOD, 0.5, 0.1)
}

// One that shows what the paper says of vanilla models.
fn vanilla() -> Run {
    Run::new("vanilla", 4, 1)
        .accuracy(&[0.05])
        .lens(END, OOD, "bridge", "r1", &[0.0, 0.1, 0.2, 0.4, 0.6])
        .lens(END, OOD, "target", "r2", &[0.0, 0.0, 0.01, 0.02, 0.05])
        .recovery(ID, &[Some(0.99), Some(0.9), Some(0.6), Some(0.1)])
        .recovery(OOD, &[Some(0.9), Some(0.5), Some(0.1), Some(0.0)])
}

fn verdict(name: &str, runs: &[Run]) -> Verdict {
    let pairs: Vec<(&RunSummary, &RunEvidence)> = runs.iter().map(|run| (&run.summary, &run.evidence)).collect();
    verdict_of(&all(&pairs), name)
}

use Verdict::{NotReproduced, NotTested, Reproduced};

#[test]
fn looping_generalizes_where_its_interval_lies_above_those_of_vanilla_models() {
    assert_eq!(verdict("1.", &[looped(), vanilla()]), Reproduced);
    // The intervals of 0.80 and 0.77 touch.
    assert_eq!(verdict("1.", &[looped(), vanilla().accuracy(&[0.77])]), NotReproduced);
    let stuck = looped().stages(&[Some((100, 0.0)), Some((300, 0.1)), None]);
    assert_eq!(verdict("1.", &[stuck, vanilla()]), NotReproduced);
    assert_eq!(verdict("1.", &[looped()]), NotTested);
    assert_eq!(verdict("1.", &[looped(), vanilla().accuracy(&[])]), NotTested);
    assert_eq!(verdict("1.", &[looped().stages(&[]), vanilla()]), NotTested);
}

#[test]
fn stages_come_in_order_and_ood_rises_last() {
    let with = |stages: &[_]| verdict("2.", &[looped().stages(stages)]);
    assert_eq!(
        with(&[Some((100, 0.0)), Some((300, 0.39)), Some((700, 0.8))]),
        Reproduced
    );
    assert_eq!(
        with(&[Some((100, 0.0)), Some((300, 0.41)), Some((700, 0.8))]),
        NotReproduced
    );
    assert_eq!(
        with(&[Some((100, 0.0)), Some((700, 0.1)), Some((700, 0.8))]),
        NotReproduced
    );
    assert_eq!(with(&[Some((100, 0.0)), Some((300, 0.1)), None]), NotReproduced);
    assert_eq!(with(&[]), NotTested);
    assert_eq!(with(&[Some((100, 0.0))]), NotTested);
}

#[test]
fn the_first_stage_has_the_target_without_the_bridge() {
    let bridge = |shares: &[f64]| verdict("3a.", &[looped().lens(FIRST, TRAIN, "bridge", "r1", shares)]);
    let target = |shares: &[f64]| verdict("3a.", &[looped().lens(FIRST, TRAIN, "target", "r2", shares)]);
    assert_eq!(bridge(&[0.0, 0.49, 0.3]), Reproduced);
    assert_eq!(bridge(&[0.0, 0.5, 0.3]), NotReproduced);
    assert_eq!(bridge(&[]), NotTested);
    assert_eq!(target(&[0.0, 0.2, 0.9]), Reproduced);
    assert_eq!(target(&[0.0, 0.2, 0.89]), NotReproduced);
    // Without the first stage's checkpoint the lens has another one first.
    let mut run = looped();
    run.evidence.lens.checkpoints.remove(0);
    assert_eq!(verdict("3a.", &[run]), NotTested);
}

#[test]
fn bridge_and_target_are_read_at_their_own_relations() {
    let with =
        |split, label, position, shares: &[f64]| verdict("3b.", &[looped().lens(END, split, label, position, shares)]);
    assert_eq!(verdict("3b.", &[looped()]), Reproduced);
    assert_eq!(with(ID, "bridge", "r1", &[0.0, 0.89]), NotReproduced);
    assert_eq!(with(ID, "target", "r2", &[0.0, 0.89]), NotReproduced);
    assert_eq!(with(OOD, "bridge", "r1", &[0.0, 0.5]), Reproduced);
    assert_eq!(with(OOD, "target", "r2", &[0.0, 0.49]), NotReproduced);
    assert_eq!(with(OOD, "target", "r2", &[]), NotTested);
}

#[test]
fn the_ood_target_appears_with_the_second_iteration() {
    let with = |shares: &[f64]| verdict("3c.", &[looped().lens(END, OOD, "target", "r2", shares)]);
    assert_eq!(with(&[0.0, 0.1, 0.3, 0.4, 0.8]), Reproduced);
    // Half of the largest is there in the first iteration.
    assert_eq!(with(&[0.0, 0.1, 0.4, 0.5, 0.8]), NotReproduced);
    // It never appears.
    assert_eq!(with(&[0.0, 0.0, 0.0, 0.04, 0.04]), NotReproduced);
    assert_eq!(with(&[]), NotTested);
}

#[test]
fn a_vanilla_model_never_reads_the_ood_target() {
    let with = |shares: &[f64]| verdict("3d.", &[vanilla().lens(END, OOD, "target", "r2", shares)]);
    assert_eq!(with(&[0.0, 0.09, 0.0]), Reproduced);
    assert_eq!(with(&[0.0, 0.1, 0.0]), NotReproduced);
    assert_eq!(with(&[]), NotTested);
}

#[test]
fn every_layer_of_the_first_iteration_is_causal() {
    let with = |split, recoveries: &[_]| verdict("4a.", &[looped().recovery(split, recoveries)]);
    assert_eq!(with(ID, &[Some(0.9), Some(0.9), Some(0.1), None]), Reproduced);
    assert_eq!(
        with(OOD, &[Some(0.95), Some(0.89), Some(0.1), Some(0.0)]),
        NotReproduced
    );
    assert_eq!(with(OOD, &[]), NotTested);
    // The gap between clean and corrupt is not above 0.
    assert_eq!(with(OOD, &[None, None, None, None]), NotTested);
}

#[test]
fn a_vanilla_model_s_ood_bridge_comes_too_late() {
    let bridge = |shares: &[f64]| verdict("4b.", &[vanilla().lens(END, OOD, "bridge", "r1", shares)]);
    // The answer is read at r1 up to layer 3.
    assert_eq!(bridge(&[0.0, 0.1, 0.2, 0.4, 0.6]), Reproduced);
    assert_eq!(bridge(&[0.0, 0.1, 0.2, 0.5, 0.6]), NotReproduced);
    assert_eq!(bridge(&[0.0, 0.1, 0.2, 0.3, 0.4]), Reproduced);
    assert_eq!(bridge(&[]), NotTested);
    let recovery = |recoveries: &[_]| verdict("4b.", &[vanilla().recovery(ID, recoveries)]);
    assert_eq!(recovery(&[Some(0.9), Some(0.9), Some(0.9), Some(0.5)]), NotReproduced);
    assert_eq!(recovery(&[]), NotTested);
    // The model has no answer that is read at r1.
    assert_eq!(recovery(&[None, None, None, None]), NotTested);
    assert_eq!(verdict("4b.", &[Run::new("vanilla", 1, 1)]), NotTested);
}

#[test]
fn the_bridge_at_r2_is_decodable_and_invisible() {
    let lens = |shares: &[f64]| verdict("Others'", &[looped().lens(END, OOD, "bridge", "r2", shares)]);
    let probe = |accuracy, baseline| verdict("Others'", &[looped().probe(OOD, accuracy, baseline)]);
    assert_eq!(verdict("Others'", &[looped()]), Reproduced);
    assert_eq!(lens(&[0.0, 0.09]), Reproduced);
    assert_eq!(lens(&[0.0, 0.1]), NotReproduced);
    assert_eq!(lens(&[]), NotTested);
    // Intervals reach 0.02 down.
    assert_eq!(probe(0.5, 0.47), Reproduced);
    assert_eq!(probe(0.5, 0.49), NotReproduced);
    assert_eq!(probe(0.06, 0.0), NotReproduced);
    let mut run = looped();
    run.evidence.probe.rows.clear();
    assert_eq!(verdict("Others'", &[run]), NotTested);
}

#[test]
fn more_iterations_raise_accuracy_where_the_paired_difference_lies_above_0() {
    let with = |accuracies: &[f64]| verdict("Beside", &[looped().accuracy(accuracies)]);
    // Differences have intervals of 0.02 to either side; it does not matter that those of the accuracies overlap.
    assert_eq!(with(&[0.2, 0.8, 0.825, 0.81]), Reproduced);
    assert_eq!(with(&[0.2, 0.8, 0.815, 0.81]), NotReproduced);
    assert_eq!(with(&[0.2, 0.8, 0.7, 0.6]), NotReproduced);
    assert_eq!(with(&[0.2, 0.8]), NotTested);
    assert_eq!(with(&[]), NotTested);
}
