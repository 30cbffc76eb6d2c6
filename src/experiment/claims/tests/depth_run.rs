//! A run of the depth experiment, made up.

use super::*;
use crate::measure::{
    Decided, Eval, EvalRow, Extrapolate, ExtrapolateRow, Halt, HaltRow, Interchange, Lens, Margin, MarginRow, Reach,
    ReachRow, Rise, Settle, SettleRow,
};
use crate::train::{Reached, Stage};

pub(crate) struct Run {
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
    lens: Vec<LensRow>,
    training: Option<RunSummary>,
    // The settings that decide what counts as answered and as kept.
    pub(crate) min_accuracy: f64,
    pub(crate) tolerance: f64,
}

const STEPS: u64 = 1000;
const STAGE: CheckpointRole = CheckpointRole::Stage(1);

impl Run {
    // With nothing measured.
    pub(crate) fn new(name: &str, layers: usize, iterations: usize, learned: usize) -> Self {
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
            lens: Vec::new(),
            training: None,
            min_accuracy: 0.6,
            tolerance: 0.1,
        }
    }

    pub(crate) fn learned(&self) -> usize {
        self.checkpoint.learned_hops.unwrap()
    }

    fn depth(&self) -> usize {
        self.learned().max(2)
    }

    pub(crate) fn add_to(self, evidence: &mut Evidence) {
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
            training: self.training,
        });
        let of_splits = json!({"splits": [], "iterations": [1], "seed": 1});
        let answered = json!({"iterations": [1], "accuracy": self.min_accuracy, "seed": 1});
        let rules = json!({"splits": [], "rules": [], "iterations": [1], "sweep": false});
        let interchanges =
            json!({"splits": [], "queries": 1, "iterations": "trained", "tolerance": self.tolerance, "seed": 1});
        evidence.insert(&[id], report::<Extrapolate>(answered, self.extrapolate));
        evidence.insert(&[id], report::<Eval>(of_splits.clone(), self.eval));
        evidence.insert(&[id], report::<Margin>(of_splits.clone(), self.margin));
        evidence.insert(&[id], report::<Settle>(of_splits.clone(), self.settle));
        evidence.insert(&[id], report::<Lens>(of_splits, self.lens));
        evidence.insert(&[id], report::<Halt>(rules, self.halt));
        evidence.insert(&[id], report::<Reach>(interchanges, self.reach));
    }

    pub(crate) fn dynamic(mut self) -> Self {
        self.role.recurrence = Recurrence::Dynamic;
        self
    }

    pub(crate) fn injected(mut self) -> Self {
        self.role.injection = true;
        self
    }

    pub(crate) fn shortcut(mut self) -> Self {
        self.role.tails = Tails::Random;
        self
    }

    fn origin(&self) -> Origin {
        self.checkpoint.origin.clone()
    }

    // The step at which each depth from 2 hops on was learned.
    pub(crate) fn learned_at(mut self, steps: &[u64]) -> Self {
        let row = |(place, &step): (usize, &u64)| self.answer_row(step, place + 2, place + 2, Some(0.3));
        self.extrapolate = steps.iter().enumerate().map(row).collect();
        self
    }

    // How deep it answers at the end, and the accuracy one hop further.
    pub(crate) fn answers(mut self, extrapolated: usize, next: Option<f64>) -> Self {
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
    pub(crate) fn margin(mut self, hops: usize, margins: &[f64]) -> Self {
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
            rise: Rise::default(),
            ahead: 1.0,
            first: 0.0,
        };
        let rows: Vec<MarginRow> = margins.iter().enumerate().map(row).collect();
        self.margin.extend(rows);
        self
    }

    // Accuracy after 1, 2, … iterations.
    pub(crate) fn accuracy(mut self, hops: usize, accuracies: &[f64]) -> Self {
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
    pub(crate) fn halts(mut self, hops: usize, rule: &str, mean: f64) -> Self {
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

    // The answer is kept by a suffix of `kept` relations or more; by none where that is `None`.
    pub(crate) fn suffix(mut self, kept: Option<usize>) -> Self {
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
    pub(crate) fn apart(mut self, apart: Option<(f64, f64)>) -> Self {
        let row = self.settle_row(self.depth(), 40);
        self.settle = vec![SettleRow {
            apart: apart.map(|(low, high)| f64::midpoint(low, high)),
            apart_low: apart.map(|(low, _)| low),
            apart_high: apart.map(|(_, high)| high),
            ..row
        }];
        self
    }

    fn settle_row(&self, hops: usize, iteration: usize) -> SettleRow {
        SettleRow {
            origin: self.origin(),
            split: Split::depth_test(hops),
            hops,
            iteration,
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
            angle: 0.0,
            angle_low: None,
            angle_high: None,
            radial: 0.0,
            radial_low: None,
            radial_high: None,
            apart: None,
            apart_low: None,
            apart_high: None,
            accuracy: 0.9,
            accuracy_low: 0.88,
            accuracy_high: 0.92,
            interval: FACTS,
        }
    }

    // By how many degrees an iteration turns the state, and the share of the step along it.
    pub(crate) fn turns(mut self, hops: usize, iteration: usize, angle: f64, radial: f64) -> Self {
        let row = SettleRow {
            cosine: Some(angle.to_radians().cos()),
            cosine_low: Some((angle + 0.1).to_radians().cos()),
            cosine_high: Some((angle - 0.1).to_radians().cos()),
            angle,
            angle_low: Some(angle - 0.1),
            angle_high: Some(angle + 0.1),
            radial,
            radial_low: Some(radial - 0.02),
            radial_high: Some(radial + 0.02),
            ..self.settle_row(hops, iteration)
        };
        self.settle
            .retain(|other| (other.hops, other.iteration) != (hops, iteration));
        self.settle.push(row);
        self
    }

    // The first iteration with a right answer, the share of chains without, and the jump of the margin there.
    pub(crate) fn arrives(mut self, hops: usize, hit: f64, never: f64, jump: f64) -> Self {
        self = self.margin(hops, &[1.0, 2.0]);
        let rise = Rise {
            never: Some(never),
            hit: Some(hit),
            hit_low: Some(hit),
            hit_high: Some(hit + 1.0),
            jump: Some(jump + 1.0),
            jump_low: Some(jump + 0.9),
            jump_high: Some(jump + 1.1),
            jump_iteration: Some(hit),
            hit_jump_n: Some(300),
            hit_jump: Some(jump),
            hit_jump_low: Some(jump - 0.1),
            hit_jump_high: Some(jump + 0.1),
        };
        let of_depth = self.margin.iter_mut().filter(|row| row.hops == hops);
        of_depth
            .filter(|row| row.largest.is_max)
            .for_each(|row| row.rise = rise);
        self
    }

    // What the lens reads of an entity of the deepest learned chains.
    pub(crate) fn lens(mut self, label: &str, position: &str, shares: &[f64]) -> Self {
        let (hops, layers) = (self.depth(), self.checkpoint.layers);
        let at = (label.parse().unwrap(), position.parse().unwrap());
        let rows = lens_rows(&self.origin(), &Split::depth_test(hops), hops, at, layers, shares);
        self.lens.extend(rows);
        self
    }

    // The epochs of the stages of a curriculum to 10 hops from 2 hops on; those that come after were not passed, and training
    // ended after this number of epochs of the first of them.
    pub(crate) fn epochs(mut self, passed: &[f64], last: f64) -> Self {
        let outcome = |place: usize| StageOutcome {
            stage: Stage {
                name: String::new(),
                split: Split::depth_test(place + 2),
                accuracy: 0.95,
                hold: 1,
            },
            reached: passed.get(place).map(|&epoch| Reached {
                step: 100 * (place as u64 + 1),
                since_step: None,
                rows: None,
                epoch,
                seconds: 0.0,
                accuracy: [].into(),
            }),
        };
        let evaluation = json!({"step": STEPS, "epoch": last, "seconds": 0.0, "loss": 1.0, "lr": 0.001, "gradient_norm": 1.0,
            "accuracy": {}});
        let model = model(self.checkpoint.layers, self.checkpoint.iterations);
        let stages = (0..9).map(outcome).collect();
        self.training = Some(training(&self.name, &model, stages, vec![settings(evaluation)]));
        self
    }
}
