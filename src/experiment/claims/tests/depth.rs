//! Claims 5 to 10, on evidence of runs of a depth experiment.

use super::depth_run::Run;
use super::*;

fn verdict(id: ClaimId, runs: impl IntoIterator<Item = Run>) -> Verdict {
    let mut evidence = Evidence::default();
    for run in runs {
        run.add_to(&mut evidence);
    }
    verdict_of(DEPTH, id, &evidence)
}

use ClaimId::{
    CommonState, DepthGrows, DynamicLearnsAsDeep, DynamicOverthinksSlower, InjectionIsNoCure, KlHaltsTooEarly,
    Overthinking, PhaseTransition, Shortcut, UnlocksDepth, VanillaLearnsLessDeep,
};
use Verdict::{NotReproduced, NotTested, Reproduced};

fn fixed(iterations: usize, learned: usize) -> Run {
    Run::new(&format!("fixed-{iterations}"), 2, iterations, learned)
}

fn drawn(iterations: usize, learned: usize) -> Run {
    Run::new(&format!("dynamic-{iterations}"), 2, iterations, learned).dynamic()
}

#[test]
fn the_learned_depth_grows_with_fixed_iterations() {
    assert_eq!(verdict(DepthGrows, [fixed(4, 5), fixed(2, 3), fixed(8, 9)]), Reproduced);
    assert_eq!(
        verdict(DepthGrows, [fixed(2, 3), fixed(4, 5), fixed(8, 5)]),
        NotReproduced
    );
    // Two of one R are not of a larger and a smaller one.
    assert_eq!(verdict(DepthGrows, [fixed(2, 3), fixed(4, 5), fixed(4, 5)]), Reproduced);
    assert_eq!(verdict(DepthGrows, [fixed(4, 5), fixed(4, 6)]), NotTested);
    assert_eq!(
        verdict(DepthGrows, [fixed(4, 5), drawn(8, 9), Run::new("vanilla", 8, 1, 3)]),
        NotTested
    );
}

#[test]
fn a_dynamic_model_learns_as_deep_as_the_largest_fixed_one() {
    assert_eq!(
        verdict(DynamicLearnsAsDeep, [fixed(4, 3), fixed(8, 6), drawn(8, 6)]),
        Reproduced
    );
    assert_eq!(
        verdict(DynamicLearnsAsDeep, [fixed(4, 3), fixed(8, 6), drawn(8, 5)]),
        NotReproduced
    );
    assert_eq!(verdict(DynamicLearnsAsDeep, [fixed(8, 6), drawn(4, 9)]), NotTested);
    assert_eq!(
        verdict(DynamicLearnsAsDeep, [fixed(8, 6), drawn(8, 9).injected()]),
        NotTested
    );
}

#[test]
fn a_vanilla_model_of_equal_depth_learns_less_deep() {
    let vanilla = |layers, learned| Run::new("vanilla", layers, 1, learned);
    assert_eq!(verdict(VanillaLearnsLessDeep, [fixed(4, 5), vanilla(8, 4)]), Reproduced);
    assert_eq!(
        verdict(VanillaLearnsLessDeep, [fixed(4, 5), vanilla(8, 5)]),
        NotReproduced
    );
    assert_eq!(verdict(VanillaLearnsLessDeep, [fixed(4, 5), vanilla(6, 2)]), NotTested);
}

#[test]
fn depths_come_in_the_last_tenth_of_the_updates() {
    let with = |steps: &[u64]| verdict(PhaseTransition, [fixed(8, steps.len() + 1).learned_at(steps)]);
    assert_eq!(with(&[700, 900, 1000]), Reproduced);
    assert_eq!(with(&[700, 890, 1000]), NotReproduced);
    // Depths that come at one evaluation count each.
    assert_eq!(with(&[500, 600, 900, 900, 900]), Reproduced);
    assert_eq!(with(&[500, 900]), NotTested);
    // Which updates they took is not known.
    assert_eq!(verdict(PhaseTransition, [fixed(8, 5)]), NotTested);
}

#[test]
fn more_iterations_unlock_deeper_chains_only_for_many_iterations() {
    let four = || fixed(4, 5).answers(5, Some(0.4));
    assert_eq!(
        verdict(UnlocksDepth, [four(), fixed(8, 6).answers(8, Some(0.5))]),
        Reproduced
    );
    assert_eq!(
        verdict(UnlocksDepth, [four(), fixed(8, 6).answers(6, Some(0.5))]),
        NotReproduced
    );
    assert_eq!(
        verdict(
            UnlocksDepth,
            [fixed(4, 5).answers(6, None), fixed(8, 6).answers(8, None)]
        ),
        NotReproduced
    );
    // One that has learned all there is can go no further: it says nothing of either kind.
    let all_there_is = || drawn(8, 16).answers(16, None);
    assert_eq!(
        verdict(UnlocksDepth, [four(), all_there_is(), fixed(8, 6).answers(8, None)]),
        Reproduced
    );
    assert_eq!(verdict(UnlocksDepth, [four(), all_there_is()]), NotTested);
    assert_eq!(verdict(UnlocksDepth, [four()]), NotTested);
    // Where another accuracy counts as answered, the criterion is another one.
    let easier = |mut run: Run| {
        run.min_accuracy = 0.5;
        run
    };
    assert_eq!(
        verdict(UnlocksDepth, [four(), easier(fixed(8, 6).answers(8, Some(0.5)))]),
        NotTested
    );
    assert_eq!(verdict(UnlocksDepth, [fixed(4, 5), fixed(8, 6)]), NotTested);
}

#[test]
fn overthinking_is_a_peak_that_falls_and_is_lower_on_deeper_chains() {
    // Intervals, of differences too, reach 0.02 to either side.
    let with = |two: &[f64], deepest: &[f64]| verdict(Overthinking, [fixed(8, 5).margin(2, two).margin(5, deepest)]);
    assert_eq!(with(&[5.0, 9.0, 8.0], &[1.0, 4.0, 3.0]), Reproduced);
    assert_eq!(with(&[5.0, 9.0, 8.0], &[1.0, 4.0, 3.97]), Reproduced);
    assert_eq!(with(&[5.0, 9.0, 8.0], &[1.0, 4.0, 3.99]), NotReproduced);
    assert_eq!(with(&[3.0, 4.03, 3.0], &[1.0, 4.0, 3.0]), NotReproduced);
    assert_eq!(with(&[5.0, 9.0, 8.0], &[]), NotTested);
    // Two hops alone are no deeper chains.
    assert_eq!(
        verdict(Overthinking, [fixed(8, 2).margin(2, &[5.0, 9.0, 8.0])]),
        NotTested
    );
    // It holds for every model, or is not known to.
    let good = || fixed(8, 5).margin(2, &[5.0, 9.0, 8.0]).margin(5, &[1.0, 4.0, 3.0]);
    assert_eq!(verdict(Overthinking, [good(), drawn(8, 6)]), NotTested);
}

#[test]
fn a_dynamic_model_falls_slower_where_the_intervals_of_the_losses_are_apart() {
    let with = |fixed_last: f64, drawn_last: f64| {
        let runs = [
            fixed(8, 5).accuracy(2, &[0.9, 1.0, fixed_last]),
            drawn(8, 5).accuracy(2, &[0.9, 1.0, drawn_last]),
        ];
        verdict(DynamicOverthinksSlower, runs)
    };
    assert_eq!(with(0.5, 0.9), Reproduced);
    assert_eq!(with(0.5, 0.53), NotReproduced);
    assert_eq!(with(0.9, 0.5), NotReproduced);
    assert_eq!(
        verdict(
            DynamicOverthinksSlower,
            [fixed(8, 5).accuracy(2, &[1.0, 0.5]), drawn(8, 5)]
        ),
        NotTested
    );
    assert_eq!(
        verdict(DynamicOverthinksSlower, [fixed(8, 5).accuracy(2, &[1.0, 0.5])]),
        NotTested
    );
}

#[test]
fn kl_alone_halts_too_early() {
    let with = |kl, both| {
        let run = drawn(8, 5)
            .halts(12, "kl=0.01", kl)
            .halts(12, "kl=0.01+entropy=3", both);
        verdict(KlHaltsTooEarly, [run])
    };
    assert_eq!(with(5.0, 10.0), Reproduced);
    assert_eq!(with(5.1, 10.0), NotReproduced);
    assert_eq!(
        verdict(KlHaltsTooEarly, [drawn(8, 5).halts(12, "kl=0.01", 5.0)]),
        NotTested
    );
    assert_eq!(verdict(KlHaltsTooEarly, [fixed(8, 5)]), NotTested);
}

#[test]
fn input_injection_does_not_cure_overthinking_where_the_paired_loss_lies_above_0() {
    let with = |accuracies: &[f64]| verdict(InjectionIsNoCure, [fixed(8, 5).injected().accuracy(5, accuracies)]);
    // It does not matter that the intervals of the accuracies overlap.
    assert_eq!(with(&[0.8, 0.9, 0.87]), Reproduced);
    assert_eq!(with(&[0.8, 0.9, 0.89]), NotReproduced);
    assert_eq!(with(&[]), NotTested);
    assert_eq!(
        verdict(InjectionIsNoCure, [fixed(8, 5).accuracy(5, &[0.9, 0.5])]),
        NotTested
    );
}

#[test]
fn a_shortcut_reads_a_short_suffix_and_permutations_the_whole_chain() {
    let permuted = |kept| fixed(8, 5).suffix(kept);
    let many_to_one = |kept| fixed(8, 5).shortcut().suffix(kept);
    assert_eq!(verdict(Shortcut, [permuted(None), many_to_one(Some(3))]), Reproduced);
    assert_eq!(verdict(Shortcut, [permuted(None), many_to_one(Some(5))]), NotReproduced);
    assert_eq!(verdict(Shortcut, [permuted(None), many_to_one(None)]), NotReproduced);
    assert_eq!(
        verdict(Shortcut, [permuted(Some(4)), many_to_one(Some(3))]),
        NotReproduced
    );
    assert_eq!(verdict(Shortcut, [permuted(None)]), NotTested);
    // Where more answers may change, the criterion is another one.
    let tolerant = |mut run: Run| {
        run.tolerance = 0.2;
        run
    };
    assert_eq!(
        verdict(Shortcut, [permuted(None), tolerant(many_to_one(Some(3)))]),
        NotTested
    );
    // What was not measured does not read the whole chain.
    assert_eq!(verdict(Shortcut, [fixed(8, 5), many_to_one(Some(3))]), NotTested);
}

#[test]
fn layers_settle_together_without_injection_and_apart_with_it() {
    let with = |without, injected| {
        verdict(
            CommonState,
            [fixed(8, 5).apart(without), fixed(8, 5).injected().apart(injected)],
        )
    };
    assert_eq!(with(Some((0.05, 0.09)), Some((0.11, 0.2))), Reproduced);
    assert_eq!(with(Some((0.05, 0.1)), Some((0.11, 0.2))), NotReproduced);
    assert_eq!(with(Some((0.05, 0.09)), Some((0.1, 0.2))), NotReproduced);
    // One layer is apart from nothing.
    assert_eq!(with(None, Some((0.11, 0.2))), NotTested);
    assert_eq!(verdict(CommonState, [fixed(8, 5).apart(Some((0.05, 0.09)))]), NotTested);
}
