//! Quantities on made-up evidence, each by hand.

use super::depth_run::Run as DepthRun;
use super::systematic_run::{END, FIRST, ID, OOD, Run, TRAIN};
use super::*;
use crate::experiment::claims::{Measured, Quantity};
use Measured::{AtLeast, AtMost, Value};

fn measure(text: &str, evidence: &Evidence) -> Measured {
    let quantity: Quantity = toml::from_str(text).unwrap();
    match quantity.measure(evidence) {
        // Differences of decimal numbers.
        Value(value) if value.is_finite() => Value((value * 1e6).round() / 1e6),
        other => other,
    }
}

fn of_systematic(runs: &[Run]) -> impl Fn(&str) -> Measured + use<> {
    let mut evidence = Evidence::default();
    for run in runs {
        run.add_to(&mut evidence);
    }
    move |text| measure(text, &evidence)
}

fn of_depth(runs: Vec<DepthRun>) -> impl Fn(&str) -> Measured {
    let mut evidence = Evidence::default();
    for run in runs {
        run.add_to(&mut evidence);
    }
    move |text| measure(text, &evidence)
}

fn looped() -> Run {
    Run::new("looped", 2, 2)
        .stages(&[Some((100, 0.05)), Some((300, 0.1)), Some((700, 0.8))])
        .accuracy(&[0.2, 0.8, 0.9, 0.85])
        .lens(FIRST, TRAIN, "bridge", "r1", &[0.0, 0.1, 0.1, 0.2, 0.2])
        .lens(FIRST, TRAIN, "target", "r2", &[0.0, 0.1, 0.2, 0.6, 0.95])
        .lens(END, ID, "bridge", "r1", &[0.0, 0.5, 0.95, 0.5, 0.4])
        .lens(END, ID, "target", "r2", &[0.0, 0.1, 0.2, 0.6, 0.9])
        .lens(END, OOD, "target", "r2", &[0.0, 0.0, 0.1, 0.5, 0.8])
        .lens(END, ID, "bridge", "r2", &[0.0, 0.0, 0.01, 0.05, 0.0])
        .recovery(ID, &[Some(0.99), Some(0.95), Some(0.2), Some(0.0)])
        .probe(ID, 0.8, 0.1)
}

fn vanilla() -> Run {
    Run::new("vanilla", 4, 1)
        .stages(&[Some((200, 0.0)), None, None])
        .accuracy(&[0.05])
        .lens(END, OOD, "bridge", "r1", &[0.0, 0.1, 0.2, 0.4, 0.6])
        .recovery(ID, &[Some(0.99), Some(0.9), Some(0.6), Some(0.1)])
}

#[test]
fn quantities_of_the_systematic_experiment() {
    let of = of_systematic(&[looped(), vanilla()]);
    let expected = [
        ("kind = 'accuracy'\nrun = 'looped'\nsplit = 'test_inferred_ood'", 0.8),
        ("kind = 'stage-step'\nrun = 'looped'\nstage = 2", 300.0),
        (
            "kind = 'stage-ratio'\nslow = 'vanilla'\nfast = 'looped'\nstage = 1\ncost = 'updates'",
            2.0,
        ),
        ("kind = 'ood-at-second-stage'\nrun = 'looped'", 0.1),
        ("kind = 'target-before-bridge'\nrun = 'looped'\nstage = 1", 0.75),
        (
            "kind = 'read-at-own-relation'\nrun = 'looped'\nsplit = 'test_inferred_iid'",
            0.9,
        ),
        (
            "kind = 'appears-in-iteration'\nrun = 'looped'\nshare_of_max = 0.5\ntop1 = 0.05",
            2.0,
        ),
        (
            "kind = 'lens'\nrun = 'looped'\nsplit = 'test_inferred_ood'\nlabel = 'target'\nposition = 'r2'",
            0.8,
        ),
        (
            "kind = 'first-iteration-recovery'\nrun = 'looped'\nsplit = 'test_inferred_iid'",
            0.95,
        ),
        (
            "kind = 'probe-above-lens'\nrun = 'looped'\nsplit = 'test_inferred_iid'",
            0.75,
        ),
        ("kind = 'gain'\nrun = 'looped'\nsplit = 'test_inferred_ood'", 0.1),
        // Visible from layer 4, read from until layer 3.
        (
            "kind = 'bridge-lateness'\nrun = 'vanilla'\nvisible = 0.5\nrecovery = 0.5",
            1.0,
        ),
        (
            "kind = 'bridge-lateness'\nrun = 'vanilla'\nvisible = 0.7\nrecovery = 0.5",
            f64::INFINITY,
        ),
    ];
    for (text, value) in expected {
        assert_eq!(of(text), Value(value), "{text}");
    }
}

#[test]
fn a_stage_that_was_not_reached_gives_a_bound() {
    let of = of_systematic(&[looped(), vanilla()]);
    // All runs have 1,000 steps.
    assert_eq!(of("kind = 'stage-step'\nrun = 'vanilla'\nstage = 3"), AtLeast(1000.0));
    let ratio = |slow: &str, fast: &str, stage: usize| {
        let text = format!("kind = 'stage-ratio'\nslow = '{slow}'\nfast = '{fast}'\nstage = {stage}\ncost = 'updates'");
        of(&text)
    };
    assert_eq!(ratio("vanilla", "looped", 2), AtLeast(1000.0 / 300.0));
    assert_eq!(ratio("looped", "vanilla", 2), AtMost(0.3));
    let of = of_systematic(&[vanilla()]);
    let neither = of("kind = 'stage-ratio'\nslow = 'vanilla'\nfast = 'vanilla'\nstage = 3\ncost = 'updates'");
    assert!(
        matches!(&neither, Measured::Missing(text) if text.contains("stage 3")),
        "{neither:?}"
    );
}

#[test]
fn what_is_not_there_is_missing_and_says_why() {
    let of = of_systematic(&[Run::new("looped", 2, 2)]);
    for (text, says) in [
        (
            "kind = 'accuracy'\nrun = 'other'\nsplit = 'test_inferred_ood'",
            "a run that it is of is not there",
        ),
        (
            "kind = 'accuracy'\nrun = 'looped'\nsplit = 'test_inferred_ood'",
            "not measured",
        ),
        (
            "kind = 'probe-above-lens'\nrun = 'looped'\nsplit = 'test_inferred_ood'",
            "not measured",
        ),
        (
            "kind = 'first-iteration-recovery'\nrun = 'looped'\nsplit = 'test_inferred_ood'",
            "not measured",
        ),
        (
            "kind = 'target-before-bridge'\nrun = 'looped'\nstage = 2",
            "stage 2 was not reached",
        ),
    ] {
        let found = of(text);
        assert!(
            matches!(&found, Measured::Missing(reason) if reason.contains(says)),
            "{text}: {found:?}"
        );
    }
    let stuck = looped().stages(&[Some((100, 0.0)), Some((300, 0.1)), None]);
    let found = of_systematic(&[stuck])("kind = 'ood-at-second-stage'\nrun = 'looped'");
    assert!(
        matches!(&found, Measured::Missing(reason) if reason.contains("three stages")),
        "{found:?}"
    );
    let undefined = looped().recovery(ID, &[None, Some(0.9), Some(0.2), Some(0.0)]);
    let found =
        of_systematic(&[undefined])("kind = 'first-iteration-recovery'\nrun = 'looped'\nsplit = 'test_inferred_iid'");
    assert!(matches!(found, Measured::Missing(_)), "{found:?}");
}

#[test]
fn quantities_of_the_depth_experiment() {
    let deep = DepthRun::new("deep", 2, 8, 4)
        .answers(6, Some(0.3))
        .margin(2, &[1.0, 5.0, 4.0])
        .margin(4, &[0.0, 2.0, 3.5, 3.0])
        .accuracy(2, &[0.5, 0.9, 0.8])
        .accuracy(4, &[0.0, 0.5, 0.95, 0.9])
        .halts(16, "kl=0.01", 3.0)
        .halts(16, "kl=0.01+entropy=3", 12.0)
        .suffix(Some(3))
        .apart(Some((0.1, 0.3)));
    let shallow = DepthRun::new("shallow", 2, 2, 2)
        .answers(2, Some(0.1))
        .accuracy(2, &[0.9, 0.85]);
    let of = of_depth(vec![deep, shallow]);
    let expected = [
        ("kind = 'learned-difference'\nmore = 'deep'\nless = 'shallow'", 2.0),
        ("kind = 'answered-beyond'\nrun = 'deep'", 2.0),
        ("kind = 'answered-beyond'\nrun = 'shallow'", 0.0),
        ("kind = 'margin-fall'\nrun = 'deep'", 0.5),
        ("kind = 'peak-difference'\nrun = 'deep'\nhops = 2", 1.5),
        (
            "kind = 'loss-difference'\nmore = 'deep'\nless = 'shallow'\nhops = 2",
            0.05,
        ),
        ("kind = 'accuracy-loss'\nrun = 'deep'", 0.05),
        ("kind = 'kl-share'\nrun = 'deep'\nkl = 0.01\nentropy = 3.0", 0.25),
        ("kind = 'suffix'\nrun = 'deep'", 0.75),
        ("kind = 'layer-distance'\nrun = 'deep'", 0.2),
    ];
    for (text, value) in expected {
        assert_eq!(of(text), Value(value), "{text}");
    }
    // The deepest learned chains were not halted.
    let found = of("kind = 'kl-accuracy-lost'\nrun = 'deep'\nkl = 0.01\nentropy = 3.0");
    assert!(matches!(found, Measured::Missing(_)), "{found:?}");
}

#[test]
fn depths_come_late_and_are_compared_where_as_much_was_learned() {
    let steps = [5000, 6000, 9500, 9600, 10_000];
    let staged = DepthRun::new("staged", 2, 8, 6).learned_at(&steps);
    let other = DepthRun::new("other", 2, 4, 4).learned_at(&[4000, 4100, 4200]);
    let of = of_depth(vec![staged, other]);
    // 9,500, 9,600 and 10,000 of the last 1,000 updates of 10,000; the last stage's checkpoint is that of the run.
    let late = of("kind = 'late-depths'\nrun = 'staged'\nlate = 0.9");
    assert!(matches!(late, Value(_)), "{late:?}");
    assert_eq!(
        of("kind = 'answered-difference'\nmore = 'staged'\nless = 'other'\nlearned = 4"),
        Value(0.0)
    );
    let found = of("kind = 'answered-difference'\nmore = 'staged'\nless = 'other'\nlearned = 6");
    assert!(matches!(found, Measured::Missing(_)), "{found:?}");
    // Nothing deeper is in the data.
    let of = of_depth(vec![DepthRun::new("deep", 2, 8, 4).answers(6, None)]);
    assert_eq!(of("kind = 'answered-beyond'\nrun = 'deep'"), AtLeast(2.0));
}

#[test]
fn depths_at_their_ceilings_bound_a_difference() {
    let quantity = "kind = 'answered-difference'\nmore = 'a'\nless = 'b'\nlearned = 4";
    let measured = |a: (usize, Option<f64>), b: (usize, Option<f64>)| {
        of_depth(vec![
            DepthRun::new("a", 2, 8, 4).answers(a.0, a.1),
            DepthRun::new("b", 2, 4, 4).answers(b.0, b.1),
        ])(quantity)
    };
    let short = Some(0.3);
    assert_eq!(measured((6, short), (5, short)), Value(1.0));
    assert_eq!(measured((8, None), (5, short)), AtLeast(3.0));
    assert_eq!(measured((6, short), (8, None)), AtMost(-2.0));
    assert!(matches!(measured((8, None), (8, None)), Measured::Missing(_)));
}
