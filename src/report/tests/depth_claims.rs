//! Claims 5 to 10, on evidence of runs of a depth experiment.

use super::super::claims::Verdict;
use super::super::depth::DepthEvidence;
use super::super::depth_claims::all;
use super::*;
use crate::graph::{Position, Split};
use crate::measure::{Decided, EvalRow, Exchange, ExtrapolateRow, HaltRow, MarginRow, ReachRow, SettleRow};

struct Run(DepthEvidence);

const STEPS: u64 = 1000;

impl Run {
    // With nothing measured.
    fn new(name: &str, layers: usize, iterations: usize, learned: usize) -> Self {
        let mut info = checkpoint(name, END, layers, iterations);
        info.learned_hops = Some(learned);
        let checkpoints = [info.clone()];
        Self(DepthEvidence {
            name: name.to_owned(),
            shortcut: false,
            dynamic: false,
            injection: false,
            extrapolate: Vec::new(),
            eval: report(
                settings(json!({"splits": [], "iterations": "trained", "seed": 1})),
                &checkpoints,
            ),
            margin: report(
                settings(json!({"splits": [], "iterations": [1], "seed": 1})),
                &checkpoints,
            ),
            settle: Vec::new(),
            halt: report(
                settings(json!({"splits": [], "rules": [], "iterations": [1], "sweep": false})),
                &checkpoints,
            ),
            reach: report(
                settings(json!({"splits": [], "queries": 1, "iterations": "trained", "tolerance": 0.1, "seed": 1})),
                &checkpoints,
            ),
            patch: report(
                settings(
                    json!({"splits": [], "corrupt": "head", "hook": "resid_post", "pairs": 1, "correct_only": false,
                    "iterations": "trained", "seed": 1}),
                ),
                &checkpoints,
            ),
            checkpoint: info,
        })
    }

    fn dynamic(mut self) -> Self {
        self.0.dynamic = true;
        self
    }

    fn injected(mut self) -> Self {
        self.0.injection = true;
        self
    }

    fn shortcut(mut self) -> Self {
        self.0.shortcut = true;
        self
    }

    fn origin(&self) -> Origin {
        self.0.checkpoint.origin.clone()
    }

    // The step at which each depth from 2 hops on was learned.
    fn learned_at(mut self, steps: &[u64]) -> Self {
        let row = |(place, &step): (usize, &u64)| self.answer_row(step, place + 2, place + 2, None);
        self.0.extrapolate = steps.iter().enumerate().map(row).collect();
        self
    }

    // How deep it answers at the end, and the accuracy one hop further.
    fn answers(mut self, extrapolated: usize, next: Option<f64>) -> Self {
        let learned = self.0.learned();
        self.0.extrapolate = vec![self.answer_row(STEPS, learned, extrapolated, next)];
        self
    }

    fn answer_row(&self, step: u64, learned: usize, extrapolated: usize, next: Option<f64>) -> ExtrapolateRow {
        ExtrapolateRow {
            origin: origin(&self.0.name, "checkpoint", step),
            layers: self.0.checkpoint.layers,
            iterations: self.0.checkpoint.iterations,
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
    fn margin(mut self, hops: usize, margins: &[f64]) -> Self {
        self.0.margin.rows.retain(|row| row.hops != hops);
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
        self.0.margin.rows.extend(rows);
        self
    }

    // Accuracy after 1, 2, … iterations.
    fn accuracy(mut self, hops: usize, accuracies: &[f64]) -> Self {
        self.0.eval.rows.retain(|row| row.hops != Some(hops));
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
        self.0.eval.rows.extend(rows);
        self
    }

    // Mean iterations until a rule halts.
    fn halts(mut self, hops: usize, rule: &str, mean: f64) -> Self {
        self.0.halt.rows.retain(|row| row.rule.to_string() != rule);
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
        self.0.halt.rows.push(row);
        self
    }

    // Whether the answer is kept by so many relations at the end; nothing keeps it where there is no number.
    fn suffix(mut self, kept: Option<usize>) -> Self {
        let hops = self.0.depth();
        let row = |from_end: usize| ReachRow {
            origin: self.origin(),
            split: Split::depth_test(hops),
            hops,
            exchange: Exchange::Before,
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
        self.0.reach.rows = (0..=hops).map(row).collect();
        self
    }

    // How far the states of layers are apart at the end, and how sure that is.
    fn apart(mut self, apart: Option<(f64, f64)>) -> Self {
        self.0.settle = vec![SettleRow {
            origin: self.origin(),
            split: Split::depth_test(2),
            hops: self.0.depth(),
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

const END: &str = "stage";

fn verdict(name: &str, runs: impl IntoIterator<Item = Run>) -> Verdict {
    let evidence: Vec<DepthEvidence> = runs.into_iter().map(|run| run.0).collect();
    verdict_of(&all(&evidence), name)
}

use Verdict::{NotReproduced, NotTested, Reproduced};

fn fixed(iterations: usize, learned: usize) -> Run {
    Run::new(&format!("fixed-{iterations}"), 2, iterations, learned)
}

fn drawn(iterations: usize, learned: usize) -> Run {
    Run::new(&format!("dynamic-{iterations}"), 2, iterations, learned).dynamic()
}

#[test]
fn the_learned_depth_grows_with_fixed_iterations() {
    assert_eq!(verdict("5a.", [fixed(4, 5), fixed(2, 3), fixed(8, 9)]), Reproduced);
    assert_eq!(verdict("5a.", [fixed(2, 3), fixed(4, 5), fixed(8, 5)]), NotReproduced);
    // Two of one R are not of a larger and a smaller one.
    assert_eq!(verdict("5a.", [fixed(2, 3), fixed(4, 5), fixed(4, 5)]), Reproduced);
    assert_eq!(verdict("5a.", [fixed(4, 5), fixed(4, 6)]), NotTested);
    assert_eq!(
        verdict("5a.", [fixed(4, 5), drawn(8, 9), Run::new("vanilla", 8, 1, 3)]),
        NotTested
    );
}

#[test]
fn a_dynamic_model_learns_as_deep_as_the_largest_fixed_one() {
    assert_eq!(verdict("5b.", [fixed(4, 3), fixed(8, 6), drawn(8, 6)]), Reproduced);
    assert_eq!(verdict("5b.", [fixed(4, 3), fixed(8, 6), drawn(8, 5)]), NotReproduced);
    assert_eq!(verdict("5b.", [fixed(8, 6), drawn(4, 9)]), NotTested);
    assert_eq!(verdict("5b.", [fixed(8, 6), drawn(8, 9).injected()]), NotTested);
}

#[test]
fn a_vanilla_model_of_equal_depth_learns_less_deep() {
    let vanilla = |layers, learned| Run::new("vanilla", layers, 1, learned);
    assert_eq!(verdict("5c.", [fixed(4, 5), vanilla(8, 4)]), Reproduced);
    assert_eq!(verdict("5c.", [fixed(4, 5), vanilla(8, 5)]), NotReproduced);
    assert_eq!(verdict("5c.", [fixed(4, 5), vanilla(6, 2)]), NotTested);
}

#[test]
fn depths_come_in_the_last_tenth_of_the_updates() {
    let with = |steps: &[u64]| verdict("6.", [fixed(8, steps.len() + 1).learned_at(steps)]);
    assert_eq!(with(&[700, 900, 1000]), Reproduced);
    assert_eq!(with(&[700, 890, 1000]), NotReproduced);
    // Depths that come at one evaluation count each.
    assert_eq!(with(&[500, 600, 900, 900, 900]), Reproduced);
    assert_eq!(with(&[500, 900]), NotTested);
    // Which updates they took is not known.
    assert_eq!(verdict("6.", [fixed(8, 5)]), NotTested);
}

#[test]
fn more_iterations_unlock_deeper_chains_only_for_many_iterations() {
    let four = || fixed(4, 5).answers(5, Some(0.4));
    assert_eq!(verdict("7.", [four(), fixed(8, 6).answers(8, Some(0.5))]), Reproduced);
    assert_eq!(
        verdict("7.", [four(), fixed(8, 6).answers(6, Some(0.5))]),
        NotReproduced
    );
    assert_eq!(
        verdict("7.", [fixed(4, 5).answers(6, None), fixed(8, 6).answers(8, None)]),
        NotReproduced
    );
    // One that has learned all there is can go no further: it says nothing of either kind.
    let all_there_is = || drawn(8, 16).answers(16, None);
    assert_eq!(
        verdict("7.", [four(), all_there_is(), fixed(8, 6).answers(8, None)]),
        Reproduced
    );
    assert_eq!(verdict("7.", [four(), all_there_is()]), NotTested);
    assert_eq!(verdict("7.", [four()]), NotTested);
    assert_eq!(verdict("7.", [fixed(4, 5), fixed(8, 6)]), NotTested);
}

#[test]
fn overthinking_is_a_peak_that_falls_and_is_lower_on_deeper_chains() {
    // Intervals, of differences too, reach 0.02 to either side.
    let with = |two: &[f64], deepest: &[f64]| verdict("8a.", [fixed(8, 5).margin(2, two).margin(5, deepest)]);
    assert_eq!(with(&[5.0, 9.0, 8.0], &[1.0, 4.0, 3.0]), Reproduced);
    assert_eq!(with(&[5.0, 9.0, 8.0], &[1.0, 4.0, 3.97]), Reproduced);
    assert_eq!(with(&[5.0, 9.0, 8.0], &[1.0, 4.0, 3.99]), NotReproduced);
    assert_eq!(with(&[3.0, 4.03, 3.0], &[1.0, 4.0, 3.0]), NotReproduced);
    assert_eq!(with(&[5.0, 9.0, 8.0], &[]), NotTested);
    // Two hops alone are no deeper chains.
    assert_eq!(verdict("8a.", [fixed(8, 2).margin(2, &[5.0, 9.0, 8.0])]), NotTested);
    // It holds for every model, or is not known to.
    let good = || fixed(8, 5).margin(2, &[5.0, 9.0, 8.0]).margin(5, &[1.0, 4.0, 3.0]);
    assert_eq!(verdict("8a.", [good(), drawn(8, 6)]), NotTested);
}

#[test]
fn a_dynamic_model_falls_slower_where_the_intervals_of_the_losses_are_apart() {
    let with = |fixed_last: f64, drawn_last: f64| {
        let runs = [
            fixed(8, 5).accuracy(2, &[0.9, 1.0, fixed_last]),
            drawn(8, 5).accuracy(2, &[0.9, 1.0, drawn_last]),
        ];
        verdict("8b.", runs)
    };
    assert_eq!(with(0.5, 0.9), Reproduced);
    assert_eq!(with(0.5, 0.53), NotReproduced);
    assert_eq!(with(0.9, 0.5), NotReproduced);
    assert_eq!(
        verdict("8b.", [fixed(8, 5).accuracy(2, &[1.0, 0.5]), drawn(8, 5)]),
        NotTested
    );
    assert_eq!(verdict("8b.", [fixed(8, 5).accuracy(2, &[1.0, 0.5])]), NotTested);
}

#[test]
fn kl_alone_halts_too_early() {
    let with = |kl, both| {
        let run = drawn(8, 5)
            .halts(12, "kl=0.01", kl)
            .halts(12, "kl=0.01+entropy=3", both);
        verdict("8c.", [run])
    };
    assert_eq!(with(5.0, 10.0), Reproduced);
    assert_eq!(with(5.1, 10.0), NotReproduced);
    assert_eq!(verdict("8c.", [drawn(8, 5).halts(12, "kl=0.01", 5.0)]), NotTested);
    assert_eq!(verdict("8c.", [fixed(8, 5)]), NotTested);
}

#[test]
fn input_injection_does_not_cure_overthinking_where_the_paired_loss_lies_above_0() {
    let with = |accuracies: &[f64]| verdict("8d.", [fixed(8, 5).injected().accuracy(5, accuracies)]);
    // It does not matter that the intervals of the accuracies overlap.
    assert_eq!(with(&[0.8, 0.9, 0.87]), Reproduced);
    assert_eq!(with(&[0.8, 0.9, 0.89]), NotReproduced);
    assert_eq!(with(&[]), NotTested);
    assert_eq!(verdict("8d.", [fixed(8, 5).accuracy(5, &[0.9, 0.5])]), NotTested);
}

#[test]
fn a_shortcut_reads_a_short_suffix_and_permutations_the_whole_chain() {
    let permuted = |kept| fixed(8, 5).suffix(kept);
    let many_to_one = |kept| fixed(8, 5).shortcut().suffix(kept);
    assert_eq!(verdict("10.", [permuted(None), many_to_one(Some(3))]), Reproduced);
    assert_eq!(verdict("10.", [permuted(None), many_to_one(Some(5))]), NotReproduced);
    assert_eq!(verdict("10.", [permuted(None), many_to_one(None)]), NotReproduced);
    assert_eq!(verdict("10.", [permuted(Some(4)), many_to_one(Some(3))]), NotReproduced);
    assert_eq!(verdict("10.", [permuted(None)]), NotTested);
    // What was not measured does not read the whole chain.
    assert_eq!(verdict("10.", [fixed(8, 5), many_to_one(Some(3))]), NotTested);
}

#[test]
fn layers_settle_together_without_injection_and_apart_with_it() {
    let with = |without, injected| {
        verdict(
            "2604",
            [fixed(8, 5).apart(without), fixed(8, 5).injected().apart(injected)],
        )
    };
    assert_eq!(with(Some((0.05, 0.09)), Some((0.11, 0.2))), Reproduced);
    assert_eq!(with(Some((0.05, 0.1)), Some((0.11, 0.2))), NotReproduced);
    assert_eq!(with(Some((0.05, 0.09)), Some((0.1, 0.2))), NotReproduced);
    // One layer is apart from nothing.
    assert_eq!(with(None, Some((0.11, 0.2))), NotTested);
    assert_eq!(verdict("2604", [fixed(8, 5).apart(Some((0.05, 0.09)))]), NotTested);
}
