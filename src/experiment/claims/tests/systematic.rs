//! Claims 1 to 4, on evidence of a looped model (2 layers, 2 iterations) and a vanilla one (4 layers).

use super::systematic_run::{END, FIRST, ID, OOD, Run, TRAIN};
use super::*;

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

fn verdict(id: ClaimId, runs: &[Run]) -> Verdict {
    let mut evidence = Evidence::default();
    for run in runs {
        run.add_to(&mut evidence);
    }
    verdict_of(SYSTEMATIC, id, &evidence)
}

use ClaimId::{
    BridgeInvisible, BridgeTooLate, FirstIterationCausal, Generalizes, MoreIterations, NeverReadByVanilla,
    ReadAtOwnRelation, SecondIteration, TargetBeforeBridge, ThreeStages,
};
use Verdict::{NotReproduced, NotTested, Reproduced};

#[test]
fn looping_generalizes_where_its_interval_lies_above_those_of_vanilla_models() {
    assert_eq!(verdict(Generalizes, &[looped(), vanilla()]), Reproduced);
    // The intervals of 0.80 and 0.77 touch.
    assert_eq!(
        verdict(Generalizes, &[looped(), vanilla().accuracy(&[0.77])]),
        NotReproduced
    );
    let stuck = looped().stages(&[Some((100, 0.0)), Some((300, 0.1)), None]);
    assert_eq!(verdict(Generalizes, &[stuck, vanilla()]), NotReproduced);
    assert_eq!(verdict(Generalizes, &[looped()]), NotTested);
    assert_eq!(verdict(Generalizes, &[looped(), vanilla().accuracy(&[])]), NotTested);
    assert_eq!(verdict(Generalizes, &[looped().stages(&[]), vanilla()]), NotTested);
}

#[test]
fn stages_come_in_order_and_ood_rises_last() {
    let with = |stages: &[_]| verdict(ThreeStages, &[looped().stages(stages)]);
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
    let bridge = |shares: &[f64]| {
        verdict(
            TargetBeforeBridge,
            &[looped().lens(FIRST, TRAIN, "bridge", "r1", shares)],
        )
    };
    let target = |shares: &[f64]| {
        verdict(
            TargetBeforeBridge,
            &[looped().lens(FIRST, TRAIN, "target", "r2", shares)],
        )
    };
    assert_eq!(bridge(&[0.0, 0.49, 0.3]), Reproduced);
    assert_eq!(bridge(&[0.0, 0.5, 0.3]), NotReproduced);
    assert_eq!(bridge(&[]), NotTested);
    assert_eq!(target(&[0.0, 0.2, 0.9]), Reproduced);
    assert_eq!(target(&[0.0, 0.2, 0.89]), NotReproduced);
    // Without the first stage's checkpoint the lens has another one first.
    let mut run = looped();
    run.checkpoints.remove(0);
    assert_eq!(verdict(TargetBeforeBridge, &[run]), NotTested);
}

#[test]
fn bridge_and_target_are_read_at_their_own_relations() {
    let with = |split, label, position, shares: &[f64]| {
        verdict(ReadAtOwnRelation, &[looped().lens(END, split, label, position, shares)])
    };
    assert_eq!(verdict(ReadAtOwnRelation, &[looped()]), Reproduced);
    assert_eq!(with(ID, "bridge", "r1", &[0.0, 0.89]), NotReproduced);
    assert_eq!(with(ID, "target", "r2", &[0.0, 0.89]), NotReproduced);
    assert_eq!(with(OOD, "bridge", "r1", &[0.0, 0.5]), Reproduced);
    assert_eq!(with(OOD, "target", "r2", &[0.0, 0.49]), NotReproduced);
    assert_eq!(with(OOD, "target", "r2", &[]), NotTested);
}

#[test]
fn the_ood_target_appears_with_the_second_iteration() {
    let with = |shares: &[f64]| verdict(SecondIteration, &[looped().lens(END, OOD, "target", "r2", shares)]);
    assert_eq!(with(&[0.0, 0.1, 0.3, 0.4, 0.8]), Reproduced);
    // Half of the largest is there in the first iteration.
    assert_eq!(with(&[0.0, 0.1, 0.4, 0.5, 0.8]), NotReproduced);
    // It never appears.
    assert_eq!(with(&[0.0, 0.0, 0.0, 0.04, 0.04]), NotReproduced);
    assert_eq!(with(&[]), NotTested);
}

#[test]
fn a_vanilla_model_never_reads_the_ood_target() {
    let with = |shares: &[f64]| verdict(NeverReadByVanilla, &[vanilla().lens(END, OOD, "target", "r2", shares)]);
    assert_eq!(with(&[0.0, 0.09, 0.0]), Reproduced);
    assert_eq!(with(&[0.0, 0.1, 0.0]), NotReproduced);
    assert_eq!(with(&[]), NotTested);
}

#[test]
fn every_layer_of_the_first_iteration_is_causal() {
    let with = |split, recoveries: &[_]| verdict(FirstIterationCausal, &[looped().recovery(split, recoveries)]);
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
    let bridge = |shares: &[f64]| verdict(BridgeTooLate, &[vanilla().lens(END, OOD, "bridge", "r1", shares)]);
    // The answer is read at r1 up to layer 3.
    assert_eq!(bridge(&[0.0, 0.1, 0.2, 0.4, 0.6]), Reproduced);
    assert_eq!(bridge(&[0.0, 0.1, 0.2, 0.5, 0.6]), NotReproduced);
    assert_eq!(bridge(&[0.0, 0.1, 0.2, 0.3, 0.4]), Reproduced);
    assert_eq!(bridge(&[]), NotTested);
    let recovery = |recoveries: &[_]| verdict(BridgeTooLate, &[vanilla().recovery(ID, recoveries)]);
    assert_eq!(recovery(&[Some(0.9), Some(0.9), Some(0.9), Some(0.5)]), NotReproduced);
    assert_eq!(recovery(&[]), NotTested);
    // The model has no answer that is read at r1.
    assert_eq!(recovery(&[None, None, None, None]), NotTested);
    assert_eq!(verdict(BridgeTooLate, &[Run::new("vanilla", 1, 1)]), NotTested);
}

#[test]
fn the_bridge_at_r2_is_decodable_and_invisible() {
    let lens = |shares: &[f64]| verdict(BridgeInvisible, &[looped().lens(END, OOD, "bridge", "r2", shares)]);
    let probe = |accuracy, baseline| verdict(BridgeInvisible, &[looped().probe(OOD, accuracy, baseline)]);
    assert_eq!(verdict(BridgeInvisible, &[looped()]), Reproduced);
    assert_eq!(lens(&[0.0, 0.09]), Reproduced);
    assert_eq!(lens(&[0.0, 0.1]), NotReproduced);
    assert_eq!(lens(&[]), NotTested);
    // Intervals reach 0.02 down.
    assert_eq!(probe(0.5, 0.47), Reproduced);
    assert_eq!(probe(0.5, 0.49), NotReproduced);
    assert_eq!(probe(0.06, 0.0), NotReproduced);
    let mut run = looped();
    run.probe.clear();
    assert_eq!(verdict(BridgeInvisible, &[run]), NotTested);
}

#[test]
fn more_iterations_raise_accuracy_where_the_paired_difference_lies_above_0() {
    let with = |accuracies: &[f64]| verdict(MoreIterations, &[looped().accuracy(accuracies)]);
    // Differences have intervals of 0.02 to either side; it does not matter that those of the accuracies overlap.
    assert_eq!(with(&[0.2, 0.8, 0.825, 0.81]), Reproduced);
    assert_eq!(with(&[0.2, 0.8, 0.815, 0.81]), NotReproduced);
    assert_eq!(with(&[0.2, 0.8, 0.7, 0.6]), NotReproduced);
    assert_eq!(with(&[0.2, 0.8]), NotTested);
    assert_eq!(with(&[]), NotTested);
}
