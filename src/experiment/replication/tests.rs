//! Made-up experiments on either side of the bounds of each quantity.

use super::*;
use crate::experiment::claims::tests::depth_run::Run;

fn evidence(runs: impl IntoIterator<Item = Run>) -> Evidence {
    let mut evidence = Evidence::default();
    for run in runs {
        run.add_to(&mut evidence);
    }
    evidence
}

fn drawn(iterations: usize, learned: usize) -> Run {
    Run::new(&format!("dynamic-{iterations}"), 2, iterations, learned).dynamic()
}

// The row whose quantity's name begins like this, on the dynamic run.
#[track_caller]
fn row(run: Run, name: &str) -> Row {
    let all = rows(&evidence([run]), RunChoice::Dynamic);
    let mut found = all.into_iter().filter(|row| row.quantity.name.starts_with(name));
    let row = found.next().unwrap();
    assert!(found.next().is_none(), "{name} twice");
    row
}

#[track_caller]
fn same(run: Run, name: &str) -> Option<bool> {
    row(run, name).same
}

fn values(row: &Row) -> Vec<(Option<usize>, f64)> {
    row.numbers.iter().map(|number| (number.at, number.value)).collect()
}

#[test]
fn the_run_is_found_by_what_it_is() {
    let runs = || {
        [
            drawn(8, 4),
            drawn(12, 9),
            Run::new("r4", 2, 4, 4),
            Run::new("r8", 2, 8, 8),
            Run::new("r16", 2, 16, 9).injected(),
            Run::new("vanilla", 8, 1, 2),
        ]
    };
    let name = |evidence: &Evidence, choice: RunChoice| choice.of(evidence).map(|run| run.name().to_owned());
    let all = evidence(runs());
    assert_eq!(name(&all, RunChoice::Dynamic).as_deref(), Some("dynamic-12"));
    assert_eq!(name(&all, RunChoice::LargestFixed).as_deref(), Some("r8"));
    let none = evidence([Run::new("vanilla", 8, 1, 2)]);
    assert_eq!(name(&none, RunChoice::Dynamic), None);
    let rows = rows(&none, RunChoice::LargestFixed);
    assert_eq!(rows.len(), QUANTITIES.len());
    assert!(
        rows.iter()
            .all(|row| row.run.is_none() && row.same.is_none() && row.numbers.is_empty())
    );
}

#[test]
fn of_a_run_on_which_nothing_was_measured_nothing_is_known() {
    for row in rows(&evidence([drawn(12, 9)]), RunChoice::Dynamic) {
        assert_eq!((row.same, row.numbers.len()), (None, 0), "{}", row.quantity.name);
        assert_eq!(row.run.as_deref(), Some("dynamic-12"));
    }
}

#[test]
fn two_hops_take_half_to_twice_the_epochs() {
    let with = |epochs: f64| same(drawn(12, 2).epochs(&[epochs], 1.0), "epochs to pass 2 hops");
    assert_eq!(with(2000.0), Some(true));
    assert_eq!(with(389.0), Some(false));
    assert_eq!(with(5617.0), Some(false));
    // Not passed: it takes more epochs than these, which decides only above the upper bound.
    let open = |epochs: f64| same(drawn(12, 1).epochs(&[], epochs), "epochs to pass 2 hops");
    assert_eq!((open(300.0), open(2000.0), open(6000.0)), (None, None, Some(false)));
}

#[test]
fn a_stage_is_hard_by_its_share_of_the_longest() {
    let name = "hard stages";
    let theirs = [2808.0, 70.0, 6.0, 1099.0, 2.0, 1.0, 1.0, 1.0, 2.0];
    let found = row(drawn(12, 10).epochs(&theirs, 0.0), name);
    assert_eq!((values(&found), found.same), (vec![(None, 2.0)], Some(true)));
    let one = [400.0, 39.0, 6.0, 2.0, 2.0, 1.0, 1.0, 1.0, 2.0];
    assert_eq!(same(drawn(12, 10).epochs(&one, 0.0), name), Some(false));
    // One more may follow.
    assert_eq!(same(drawn(12, 2).epochs(&one[..1], 50.0), name), None);
    assert_eq!(same(drawn(12, 5).epochs(&[400.0, 50.0, 50.0], 1.0), name), Some(false));
}

#[test]
fn later_stages_take_at_most_two_epochs_and_one_that_was_not_passed_took_more_or_is_open() {
    let name = "epochs to pass each of 6 to 10";
    let with = |later: &[f64], last: f64| {
        let epochs = [&[400.0, 70.0, 6.0, 2.0][..], later].concat();
        row(drawn(12, epochs.len() + 1).epochs(&epochs, last), name)
    };
    let all = with(&[2.0, 1.0, 1.0, 0.7, 2.0], 0.0);
    assert_eq!(all.same, Some(true));
    assert_eq!(values(&all)[0], (Some(6), 2.0));
    assert_eq!(with(&[2.1, 1.0, 1.0, 0.7, 2.0], 0.0).same, Some(false));
    let stuck = with(&[1.0, 1.0], 88.0);
    assert_eq!(stuck.same, Some(false));
    assert_eq!(values(&stuck)[2..], [(Some(8), 88.0)]);
    assert!(stuck.numbers[2].at_least && !stuck.numbers[1].at_least);
    assert_eq!(with(&[1.0, 1.0], 1.5).same, None);
}

#[test]
fn answers_come_in_iterations_1_to_4_at_every_learned_depth() {
    let name = "first iteration";
    let with = |hits: &[f64]| {
        let learned = hits.len() + 1;
        let runs = (2..).zip(hits);
        runs.fold(drawn(12, learned), |run, (hops, &hit)| run.arrives(hops, hit, 0.0, 6.0))
    };
    assert_eq!(same(with(&[1.0, 2.0, 4.0]), name), Some(true));
    assert_eq!(same(with(&[2.0, 3.0, 5.0]), name), Some(false));
    // What was not learned, and more hops than theirs, are left out.
    let unlearned = with(&[1.0, 2.0]).arrives(4, 40.0, 0.9, 1.0);
    assert_eq!(values(&row(unlearned, name)), [(Some(2), 1.0), (Some(3), 2.0)]);
    let deeper = with(&[1.0; 11]);
    assert_eq!(row(deeper, name).numbers.len(), 9);
    let some = row(drawn(12, 2).arrives(2, 2.0, 0.2, 6.0), name).numbers[0];
    assert_eq!((some.n, some.interval), (Some(400), Some((2.0, 3.0))));
    assert!((some.left_out.unwrap() - 0.2).abs() < 1e-9);
}

#[test]
fn hops_an_iteration_are_those_of_the_deepest_learned_chains() {
    let name = "hops an iteration";
    let with = |hit: f64| drawn(12, 8).arrives(2, 2.0, 0.0, 6.0).arrives(8, hit, 0.0, 6.0);
    assert_eq!(same(with(4.0), name), Some(true));
    let slow = row(with(7.0), name);
    assert_eq!((slow.same, values(&slow)), (Some(false), vec![(None, 8.0 / 7.0)]));
    // The interval of the iteration, 7 to 8.
    assert_eq!(slow.numbers[0].interval, Some((1.0, 8.0 / 7.0)));
}

#[test]
fn jumps_of_the_margin_are_of_the_same_logits() {
    let with = |jump: f64| drawn(12, 3).arrives(2, 2.0, 0.0, 6.5).arrives(3, 2.0, 0.0, jump);
    let name = "margin jump";
    assert_eq!(
        (same(with(7.9), name), same(with(8.1), name)),
        (Some(true), Some(false))
    );
    // The largest jump is a logit more here.
    let name = "largest margin jump";
    assert_eq!(
        (same(with(6.9), name), same(with(7.9), name)),
        (Some(true), Some(false))
    );
    let found = row(with(7.0), "margin jump").numbers[1];
    assert_eq!((found.n, found.interval), (Some(300), Some((6.9, 7.1))));
    // 300 of 500, the others right at once.
    assert_eq!(found.left_out, Some(0.4));
}

#[test]
fn the_turn_of_the_state_falls_as_theirs() {
    let with = |iteration, angle: f64| {
        drawn(12, 3)
            .turns(2, iteration, angle, 0.5)
            .turns(3, iteration, 1.0 + angle, 0.5)
    };
    let first = "turn of the state in iteration 1";
    assert_eq!(
        (same(with(1, 40.0), first), same(with(1, 20.0), first)),
        (Some(true), Some(false))
    );
    let eighth = "turn of the state in iteration 8";
    assert_eq!(
        (same(with(8, 1.0), eighth), same(with(8, 1.5), eighth)),
        (Some(true), Some(false))
    );
    let steps = "angle between successive steps";
    assert_eq!(
        (same(with(8, 1.0), steps), same(with(8, 1.5), steps)),
        (Some(true), Some(false))
    );
    let (low, high) = row(with(8, 1.0), steps).numbers[0].interval.unwrap();
    assert!((low - 0.9).abs() < 1e-6 && (high - 1.1).abs() < 1e-6, "{low} {high}");
    // Other iterations say nothing of these.
    assert_eq!((same(with(7, 1.0), first), same(with(7, 1.0), eighth)), (None, None));
}

#[test]
fn later_motion_is_radial_at_each_later_iteration_of_the_deepest_chains() {
    let name = "radial share of later motion";
    let with = |ninth: f64, last: f64| {
        drawn(12, 3)
            .turns(3, 9, 1.0, ninth)
            .turns(3, 40, 1.0, last)
            .turns(2, 9, 1.0, 0.1)
    };
    assert_eq!(same(with(0.93, 0.99), name), Some(true));
    let found = row(with(0.62, 0.99), name);
    assert_eq!(
        (found.same, values(&found)),
        (Some(false), vec![(Some(9), 0.62), (Some(40), 0.99)])
    );
}

#[test]
fn after_arrival_is_counted_from_the_first_right_answer() {
    let run = |angle: f64, radial: f64| {
        // Before the fourth iteration after arrival it turns as it likes.
        drawn(12, 2)
            .arrives(2, 7.0, 0.0, 6.0)
            .turns(2, 10, 50.0, 0.1)
            .turns(2, 11, angle, radial)
    };
    let (turn, radial) = (
        "turn of the state 4 iterations after",
        "radial share 4 iterations after",
    );
    assert_eq!(
        (same(run(2.0, 0.95), turn), same(run(2.0, 0.95), radial)),
        (Some(true), Some(true))
    );
    assert_eq!(
        (same(run(3.0, 0.8), turn), same(run(3.0, 0.8), radial)),
        (Some(false), Some(false))
    );
    // Without a first right answer there is nothing to count from.
    assert_eq!(same(drawn(12, 2).turns(2, 11, 2.0, 0.95), turn), None);
}

#[test]
fn bridges_are_looked_for_at_the_readout_and_at_their_own_relations() {
    let (readout, own) = ("bridge read at the readout", "bridge read at the position of its own");
    let hidden = || {
        drawn(12, 3)
            .lens("bridge1", "r3", &[0.0, 0.02, 0.01])
            .lens("bridge2", "r3", &[0.0, 0.03, 0.01])
    };
    // The target is read there, and bridges at later relations than their own are neither here nor there.
    let run = || {
        hidden()
            .lens("target", "r3", &[0.0, 0.5, 1.0])
            .lens("bridge1", "r2", &[0.9, 0.9, 0.9])
    };
    let found = row(run(), readout);
    assert_eq!((found.same, values(&found)), (Some(true), vec![(None, 0.03)]));
    assert_eq!(same(run(), own), None);
    let seen = || {
        run()
            .lens("bridge1", "r1", &[0.0, 0.04, 0.01])
            .lens("bridge2", "r2", &[0.0, 0.0, 0.06])
    };
    assert_eq!((same(seen(), own), same(seen(), readout)), (Some(false), Some(true)));
    assert_eq!(same(run().lens("bridge1", "r1", &[0.0, 0.04, 0.01]), own), Some(true));
    assert_eq!(
        same(hidden().lens("bridge2", "r3", &[0.0, 0.3, 0.0]), readout),
        Some(false)
    );
    // Where the answer is read at a position of its own, that is the readout.
    let apart = || {
        drawn(12, 3)
            .lens("bridge2", "r3", &[0.0, 0.3, 0.0])
            .lens("bridge2", "readout", &[0.0, 0.01, 0.0])
    };
    assert_eq!(same(apart(), readout), Some(true));
}

#[test]
fn seeds_and_test_queries_are_two_kinds_of_spread() {
    let run = |name: &str, hit: f64, epochs: &[f64]| {
        let run = Run::new(name, 2, 12, epochs.len() + 1).dynamic();
        run.arrives(2, hit, 0.0, 6.0).epochs(epochs, 9.0)
    };
    let seed = |run: Run| {
        let evidence = evidence([run]);
        RunChoice::ALL
            .into_iter()
            .flat_map(|choice| rows(&evidence, choice))
            .collect::<Vec<Row>>()
    };
    let seeds = [
        (4, seed(run("dynamic-12", 2.0, &[1500.0, 3.0]))),
        (5, seed(run("dynamic-12", 3.0, &[700.0, 3.0, 2.0]))),
        (7, seed(run("dynamic-12", 5.0, &[]))),
    ];
    let text = markdown(&seeds);
    let line = |start: &str| {
        let mut lines = text.lines().filter(|line| line.starts_with(start));
        lines
            .next()
            .unwrap_or_else(|| panic!("no line {start}:\n{text}"))
            .to_owned()
    };
    assert!(
        text.contains("### dynamic-12: the dynamic run with the most iterations"),
        "{text}"
    );
    assert!(text.contains("ours over 3 seeds"), "{text}");
    // Of two seeds at 2 hops: the third has learned none, and an open stage is no smaller than its epochs so far.
    let hit = line("| first iteration");
    assert!(
        hit.contains("| 1 to 4 for k = 1 to 10 | k 2: 2 (2–3, 2 seeds) | 1 to 4 | 2 of 2, 1 not known |"),
        "{hit}"
    );
    let epochs = line("| epochs to pass 2 hops");
    assert!(
        epochs.contains("| 2,808 | ≥ 700 (≥ 9 to ≥ 1500) | 1404 to 5616 | 1 of 2, 1 not known |"),
        "{epochs}"
    );
    assert!(
        line("- *turn of the state in iteration 8").contains("2608.03263"),
        "{text}"
    );
    // Of one seed: the interval is over its queries.
    assert!(text.contains("**Seed 5, dynamic-12**, which learned 4 hops; in parentheses the 95 % intervals (clustered by fact) over test queries"), "{text}");
    let of_seed = text.split("**Seed 5").nth(1).unwrap();
    assert!(
        of_seed.contains("| first iteration at which the answer is right | k 2: 3 (3 to 4, n = 500) | yes |"),
        "{of_seed}"
    );
    assert!(
        text.contains("Seed 7: the run with the largest fixed R is not there."),
        "{text}"
    );
    // Nothing of a row can break the table.
    for line in text.lines().filter(|line| line.starts_with('|')) {
        let cells = line.matches('|').count();
        assert!([4, 7].contains(&cells), "{line}");
    }
    let json = serde_json::to_value(&seeds[0].1).unwrap();
    assert_eq!(json[0]["quantity"]["name"], "epochs to pass 2 hops");
    assert_eq!(json[0]["same"], true);
}
