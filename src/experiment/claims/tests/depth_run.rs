//! A run of the depth experiment, made up.

use super::*;
use crate::graph::{Position, Split};
use crate::measure::{
    Decided, Eval, EvalRow, Extrapolate, ExtrapolateRow, Halt, HaltRow, Interchange, Margin, MarginRow, Reach,
    ReachRow, Settle, SettleRow,
};

pub(super) struct Run {
    name: String,
    role: RunRole,
    // The last stage that it passed.
    checkpoint: CheckpointSummary,
    extrapolate: Vec<ExtrapolateRow>,
    eval: Vec<EvalRow>,
    margin: Vec<MarginRow>,
    settle: Vec<SettleRow>,
    halt: Vec<HaltRow>,
    reach: Vec<ReachRow>,
    // The settings that decide what counts as answered and as kept.
    pub(super) min_accuracy: f64,
    pub(super) tolerance: f64,
}

const STEPS: u64 = 1000;
const STAGE: CheckpointRole = CheckpointRole::Stage(1);

impl Run {
    // With nothing measured.
    pub(super) fn new(name: &str, layers: usize, iterations: usize, learned: usize) -> Self {
        let mut checkpoint = checkpoint(name, STAGE, layers, iterations);
        checkpoint.learned_hops = Some(learned);
        Self {
            name: name.to_owned(),
            role: role(match iterations {
                1 => Recurrence::Vanilla,
                _ => Recurrence::Fixed,
            }),
            checkpoint,
            extrapolate: Vec::new(),
            eval: Vec::new(),
            margin: Vec::new(),
            settle: Vec::new(),
            halt: Vec::new(),
            reach: Vec::new(),
            min_accuracy: 0.6,
            tolerance: 0.1,
        }
    }

    pub(super) fn learned(&self) -> usize {
        self.checkpoint.learned_hops.unwrap()
    }

    fn depth(&self) -> usize {
        self.learned().max(2)
    }

    pub(super) fn add_to(self, evidence: &mut Evidence) {
        // Rows of the updates at which depths were learned are of checkpoints of their own.
        let earlier = self.extrapolate.iter().map(|row| CheckpointSummary {
            origin: row.origin.clone(),
            role: CheckpointRole::Other,
            ..self.checkpoint.clone()
        });
        let id = evidence.add_run(ExperimentRun {
            name: self.name.clone(),
            role: self.role,
            model: model(self.checkpoint.layers, self.checkpoint.iterations),
            checkpoints: earlier.chain([self.checkpoint.clone()]).collect(),
            training: None,
        });
        let of_splits = json!({"splits": [], "iterations": [1], "seed": 1});
        let answered = json!({"iterations": [1], "accuracy": self.min_accuracy, "seed": 1});
        let rules = json!({"splits": [], "rules": [], "iterations": [1], "sweep": false});
        let interchanges =
            json!({"splits": [], "queries": 1, "iterations": "trained", "tolerance": self.tolerance, "seed": 1});
        evidence.insert(&[id], report::<Extrapolate>(answered, self.extrapolate));
        evidence.insert(&[id], report::<Eval>(of_splits.clone(), self.eval));
        evidence.insert(&[id], report::<Margin>(of_splits.clone(), self.margin));
        evidence.insert(&[id], report::<Settle>(of_splits, self.settle));
        evidence.insert(&[id], report::<Halt>(rules, self.halt));
        evidence.insert(&[id], report::<Reach>(interchanges, self.reach));
    }

    pub(super) fn dynamic(mut self) -> Self {
        self.role.recurrence = Recurrence::Dynamic;
        self
    }

    pub(super) fn injected(mut self) -> Self {
        self.role.injection = true;
        self
    }

    pub(super) fn shortcut(mut self) -> Self {
        self.role.tails = Tails::Random;
        self
    }

    fn origin(&self) -> Origin {
        self.checkpoint.origin.clone()
    }

    // The step at which each depth from 2 hops on was learned.
    pub(super) fn learned_at(mut self, steps: &[u64]) -> Self {
        let row = |(place, &step): (usize, &u64)| self.answer_row(step, place + 2, place + 2, None);
        self.extrapolate = steps.iter().enumerate().map(row).collect();
        self
    }

    // How deep it answers at the end, and the accuracy one hop further.
    pub(super) fn answers(mut self, extrapolated: usize, next: Option<f64>) -> Self {
        let learned = self.learned();
        self.extrapolate = vec![self.answer_row(STEPS, learned, extrapolated, next)];
        self
    }

    fn answer_row(&self, step: u64, learned: usize, extrapolated: usize, next: Option<f64>) -> ExtrapolateRow {
        ExtrapolateRow {
            origin: if step == STEPS {
                self.origin()
            } else {
                origin(&self.name, CheckpointRole::Other, step)
            },
            layers: self.checkpoint.layers,
            iterations: self.checkpoint.iterations,
            learned,
            extrapolated,
            ratio: 1.0,
            best: Some(0.9),
            low: Some(0.88),
            high: Some(0.92),
            interval: Some(FACTS),
            split: None,
            n: Some(500),
            best_iterations: Some(8),
            next,
            next_low: next,
            next_high: next,
        }
    }

    // The logit margin after 1, 2, … iterations.
    pub(super) fn margin(mut self, hops: usize, margins: &[f64]) -> Self {
        self.margin.retain(|row| row.hops != hops);
        let row = |(place, &margin): (usize, &f64)| MarginRow {
            origin: self.origin(),
            split: Split::depth_test(hops),
            hops,
            iteration: place + 1,
            n: 500,
            margin,
            low: Some(margin - 0.02),
            high: Some(margin + 0.02),
            interval: FACTS,
            largest: largest(margins, place),
            fall: fall(margins, place),
            ahead: 1.0,
            first: 0.0,
        };
        let rows: Vec<MarginRow> = margins.iter().enumerate().map(row).collect();
        self.margin.extend(rows);
        self
    }

    // Accuracy after 1, 2, … iterations.
    pub(super) fn accuracy(mut self, hops: usize, accuracies: &[f64]) -> Self {
        self.eval.retain(|row| row.hops != Some(hops));
        let row = |(place, &accuracy): (usize, &f64)| EvalRow {
            origin: self.origin(),
            split: Split::depth_test(hops),
            hops: Some(hops),
            iterations: place + 1,
            n: 500,
            accuracy,
            low: accuracy - 0.02,
            high: accuracy + 0.02,
            interval: FACTS,
            largest: largest(accuracies, place),
            fall: fall(accuracies, place),
            gain: None,
            gain_low: None,
            gain_high: None,
        };
        let rows: Vec<EvalRow> = accuracies.iter().enumerate().map(row).collect();
        self.eval.extend(rows);
        self
    }

    // Mean iterations until a rule halts.
    pub(super) fn halts(mut self, hops: usize, rule: &str, mean: f64) -> Self {
        self.halt.retain(|row| row.rule.to_string() != rule);
        let row = HaltRow {
            origin: self.origin(),
            split: Split::depth_test(hops),
            hops,
            rule: rule.parse().unwrap(),
            swept: false,
            max_iterations: 40,
            n: 500,
            accuracy: 0.5,
            low: 0.4,
            high: 0.6,
            interval: FACTS,
            mean,
            median: mean,
            std: 0.0,
            work: None,
            decided: Decided::default(),
        };
        self.halt.push(row);
        self
    }

    // Whether the answer is kept by so many relations at the end; nothing keeps it where there is no number.
    pub(super) fn suffix(mut self, kept: Option<usize>) -> Self {
        let hops = self.depth();
        let row = |from_end: usize| ReachRow {
            origin: self.origin(),
            split: Split::depth_test(hops),
            hops,
            interchange: Interchange::Before,
            position: Some(Position::Relation(hops)),
            from_end,
            n: 500,
            changed: 0.0,
            low: 0.0,
            high: 0.0,
            interval: FACTS,
            truth_changed: 0.0,
            accuracy: 0.9,
            accuracy_after: 0.9,
            shortest: kept == Some(from_end),
        };
        self.reach = (0..=hops).map(row).collect();
        self
    }

    // How far the states of layers are apart at the end, and how sure that is.
    pub(super) fn apart(mut self, apart: Option<(f64, f64)>) -> Self {
        self.settle = vec![SettleRow {
            origin: self.origin(),
            split: Split::depth_test(2),
            hops: self.depth(),
            iteration: 40,
            n: 500,
            state: 1.0,
            state_low: None,
            state_high: None,
            moved: 0.0,
            moved_low: None,
            moved_high: None,
            cosine: None,
            cosine_low: None,
            cosine_high: None,
            apart: apart.map(|(low, high)| f64::midpoint(low, high)),
            apart_low: apart.map(|(low, _)| low),
            apart_high: apart.map(|(_, high)| high),
            accuracy: 0.9,
            accuracy_low: 0.88,
            accuracy_high: 0.92,
            interval: FACTS,
        }];
        self
    }
}
