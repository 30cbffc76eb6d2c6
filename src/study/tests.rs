//! Studies: the shipped one, bad files, and verdicts on made-up numbers.

use std::path::Path;

use super::verdict::{Spread, is_in};
use super::*;
use crate::experiment::claims::Measured;
use crate::experiment::claims::Measured::{AtLeast, AtMost, Missing, Value};

fn parse(text: &str) -> Result<Study> {
    Study::parse(text, "mine", Path::new(""))
}

const MINE: &str = r#"
kind = "claims"
[[experiments]]
name = "systematic"
preset = "quick"
seeds = [1, 2, 3]
[[criteria]]
claim = "1"
statement = "it generalizes"
source = "here"
experiment = "systematic"
quantity = { kind = "accuracy", run = "looped", split = "test_inferred_ood" }
confirms = [0.5, inf]
refutes = [-inf, 0.2]
"#;

#[test]
fn the_shipped_study_has_enough_seeds_and_its_runs_are_there() {
    let study = StudySource::Claims.read().unwrap();
    let seeds: Vec<usize> = study
        .experiments
        .iter()
        .map(|experiment| experiment.seeds.len())
        .collect();
    assert!(seeds[0] >= 5 && seeds[1] >= 3, "{seeds:?}");
    assert_eq!(study.replicates().count(), seeds.iter().sum::<usize>());
    // Every one of the paper's claims has a criterion.
    for claim in 1..=10 {
        let is_of = |criterion: &Criterion| {
            let digits: String = criterion.claim.chars().take_while(char::is_ascii_digit).collect();
            digits == claim.to_string()
        };
        assert!(study.criteria.iter().any(is_of), "claim {claim}");
    }
}

#[test]
fn mistakes_in_a_study_are_named_with_what_is_allowed() {
    parse(MINE).unwrap();
    for (from, to, says) in [
        (
            "seeds = [1, 2, 3]",
            "seeds = []",
            "experiments.0: seeds; allowed: one or more",
        ),
        ("seeds = [1, 2, 3]", "seeds = [1, 1]", "each once"),
        ("\"quick\"", "\"quik\"", "preset = \"quik\"; allowed: laptop, quick"),
        ("name = \"systematic\"", "name = \"a b\"", "letters, digits"),
        (
            "experiment = \"systematic\"",
            "experiment = \"depth\"",
            "criteria.0: experiment = \"depth\"; allowed: systematic",
        ),
        (
            "\"looped\"",
            "\"loopd\"",
            "run = \"loopd\"; allowed: looped, vanilla-same-flops",
        ),
        ("\"accuracy\"", "\"acuracy\"", "acuracy"),
        ("[0.5, inf]", "[0.1, inf]", "have numbers in common"),
        (
            "[0.5, inf]",
            "[0.9, 0.5]",
            "confirms = [0.9, 0.5]; allowed: two numbers, the smaller first",
        ),
        ("[0.5, inf]", "[nan, 0.5]", "two numbers"),
        ("[-inf, 0.2]", "[]", "refutes = []; allowed: one range or more"),
        ("[-inf, 0.2]", "[[-inf, 0.2], [0.4, 0.6]]", "have numbers in common"),
        ("[-inf, 0.2]", "\"low\"", "nor a list of such pairs"),
        (
            "\"test_inferred_ood\"",
            "\"test_3hop\"",
            "criteria.0: split = \"test_3hop\"; allowed: train, ",
        ),
        (
            "{ kind = \"accuracy\", run = \"looped\", split = \"test_inferred_ood\" }",
            "{ kind = \"stage-step\", run = \"looped\", stage = 4 }",
            "stage = 4; allowed: 1 to 3",
        ),
        (
            "{ kind = \"accuracy\", run = \"looped\", split = \"test_inferred_ood\" }",
            "{ kind = \"appears-in-iteration\", run = \"looped\", share_of_max = nan, top1 = 0.1 }",
            "share_of_max = NaN; allowed: 0 to 1",
        ),
        (
            "{ kind = \"accuracy\", run = \"looped\", split = \"test_inferred_ood\" }",
            "{ kind = \"suffix\", run = \"looped\" }",
            "the quantity is of a depth experiment and the preset of a systematic one",
        ),
    ] {
        assert_eq!(MINE.matches(from).count(), 1, "{from}");
        let text = parse(&MINE.replace(from, to)).unwrap_err().to_string();
        assert!(text.contains(says), "{to}: {text}");
    }
}

// The finding of a study's first criterion, of a number for each seed from 1 on.
fn judged(study: &Study, values: &[Measured]) -> Finding {
    let seeds = (1..).zip(values).map(|(seed, value)| SeedValues {
        seed,
        values: vec![value.clone()],
    });
    study.criteria[0].judge(seeds.collect())
}

// That of the study that is written out above.
fn held(values: &[Measured; 3]) -> Finding {
    judged(&parse(MINE).unwrap(), values)
}

#[test]
fn a_claim_is_confirmed_or_refuted_by_every_seed_or_by_the_interval_of_their_mean() {
    let verdict = |values| held(&values).verdict;
    assert_eq!(verdict([Value(0.6), Value(0.9), Value(0.5)]), Verdict::Confirmed);
    assert_eq!(verdict([Value(0.2), Value(0.1), Value(0.0)]), Verdict::Refuted);
    // 0.51 ± 4.30 × 0.0115 / √3: reaches below 0.5.
    assert_eq!(verdict([Value(0.52), Value(0.51), Value(0.499)]), Verdict::Undecided);
    assert_eq!(verdict([Value(0.9), Value(0.9), Value(0.1)]), Verdict::Undecided);
    let alike = held(&[Value(0.7), Value(0.7), Value(0.7)]);
    assert_eq!((alike.confirming, alike.refuting), (3, 0));
    let (low, high) = alike.interval.unwrap();
    assert!((low - 0.7).abs() < 1e-9 && (high - 0.7).abs() < 1e-9);
    // One seed is between the ranges; the mean, 0.537 ± 0.107, is too.
    assert_eq!(verdict([Value(0.56), Value(0.56), Value(0.49)]), Verdict::Undecided);
}

#[test]
fn what_a_depth_experiment_does_not_measure_is_refused_before_it_is_trained() {
    let depth = |quantity: &str| {
        let text = MINE.replace("\"quick\"", "\"depth-quick\"").replace(
            "{ kind = \"accuracy\", run = \"looped\", split = \"test_inferred_ood\" }",
            quantity,
        );
        parse(&text).map(|_| ()).map_err(|e| e.to_string())
    };
    let preset = "depth-quick".parse::<crate::experiment::PresetSource>().unwrap();
    let preset = preset.read(None).unwrap();
    let run = preset.runs()[0].0;
    depth(&format!("{{ kind = \"suffix\", run = \"{run}\" }}")).unwrap();
    for (quantity, says) in [
        ("kind = \"peak-difference\", hops = 99", "hops = 99; allowed: 2 to "),
        ("kind = \"peak-difference\", hops = 1", "hops = 1; allowed: 2 to "),
        (
            "kind = \"kl-share\", kl = 0.123, entropy = 3.0",
            "the rule = kl=0.123; allowed: ",
        ),
        ("kind = \"late-depths\", late = 2.0", "late = 2; allowed: 0 to 1"),
        (
            "kind = \"ood-at-second-stage\"",
            "the quantity is of a systematic experiment and the preset of a depth one",
        ),
    ] {
        let text = depth(&format!("{{ {quantity}, run = \"{run}\" }}")).unwrap_err();
        assert!(text.contains(says), "{quantity}: {text}");
    }
}

#[test]
fn a_number_on_either_side_of_those_that_confirm_can_refute() {
    let study = parse(
        &MINE
            .replace("[0.5, inf]", "[2, 2]")
            .replace("[-inf, 0.2]", "[[-inf, 1], [3, inf]]"),
    )
    .unwrap();
    let verdict = |values: [f64; 3]| {
        let finding = judged(&study, &values.map(Value));
        (finding.verdict, finding.refuting)
    };
    assert_eq!(verdict([1.0, 1.0, 1.0]), (Verdict::Refuted, 3));
    assert_eq!(verdict([1.0, 4.0, 3.0]), (Verdict::Refuted, 3));
    assert_eq!(verdict([2.0, 2.0, 2.0]), (Verdict::Confirmed, 0));
    assert_eq!(verdict([1.0, 2.0, 3.0]), (Verdict::Undecided, 2));
    assert_eq!(judged(&study, &[]).refutes, "≤ 1 or ≥ 3");
}

#[test]
fn infinite_numbers_are_words_in_json() {
    let finding = held(&[Value(f64::INFINITY), AtLeast(0.9), Value(0.5)]);
    let json = serde_json::to_value(&finding).unwrap();
    assert_eq!(json["seeds"][0]["values"][0], serde_json::json!({"value": "infinity"}));
    assert_eq!(json["reason"], "every-seed");
}

#[test]
fn the_interval_of_the_mean_decides_where_one_seed_is_just_outside() {
    let study = parse(
        &MINE
            .replace("[0.5, inf]", "[0.5, 2.0]")
            .replace("[1, 2, 3]", "[1, 2, 3, 4, 5]"),
    )
    .unwrap();
    // 0.898 ± 2.776 × 0.228 / √5 = 0.615 to 1.181.
    let finding = judged(&study, &[1.0, 1.0, 1.0, 1.0, 0.49].map(Value));
    assert_eq!((finding.verdict, finding.confirming), (Verdict::Confirmed, 4));
}

#[test]
fn a_bound_decides_only_where_everything_that_it_allows_does() {
    let range = |from, to| Range { from, to };
    assert!(is_in(&AtLeast(2.0), range(1.0, f64::INFINITY)));
    assert!(!is_in(&AtLeast(2.0), range(1.0, 9.0)));
    assert!(!is_in(&AtLeast(0.5), range(1.0, f64::INFINITY)));
    assert!(is_in(&AtMost(0.5), range(f64::NEG_INFINITY, 1.0)));
    assert!(!is_in(&AtMost(0.5), range(0.0, 1.0)));
    let finding = held(&[Value(0.6), AtLeast(0.9), Value(0.5)]);
    assert_eq!((finding.verdict, finding.value), (Verdict::Confirmed, None));
}

#[test]
fn a_seed_that_could_not_be_measured_leaves_a_claim_undecided() {
    let finding = held(&[Value(0.9), Value(0.9), Missing("it was not reached".to_owned())]);
    assert_eq!((finding.verdict, finding.confirming), (Verdict::Undecided, 2));
    assert_eq!(finding.reason, Reason::SeedNotMeasured);
    assert_eq!(judged(&parse(MINE).unwrap(), &[]).verdict, Verdict::Undecided);
}

#[test]
fn spreads_are_compared_by_all_relabelings() {
    // Deviations 2, 1, 0, 1, 2 and 0.2, 0.1, 0, 0.1, 0.2: of 252 relabelings those that leave the two 2s and the two 1s with the first
    // five differ as much, whichever small one is the fifth.
    let spread = Spread::of(&[1.0, 2.0, 3.0, 4.0, 5.0], &[0.1, 0.2, 0.3, 0.4, 0.5]).unwrap();
    assert!((spread.ratio - 10.0).abs() < 1e-9);
    assert!(spread.p < 0.05, "{}", spread.p);
    let same = Spread::of(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]).unwrap();
    assert!((same.ratio - 1.0).abs() < 1e-12 && same.p > 0.5);
    assert!(Spread::of(&[1.0, 1.0], &[2.0, 2.0]).is_none(), "nothing varies");
    assert!(Spread::of(&[1.0], &[2.0, 3.0]).is_none(), "one run has no spread");
}

#[test]
fn the_page_of_claims_has_every_criterion_of_the_shipped_study() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/claims.md");
    let page = std::fs::read_to_string(page).unwrap();
    for criterion in StudySource::Claims.read().unwrap().criteria {
        let begin = format!("| {} | {} | ", criterion.claim, criterion.statement);
        let refutes = criteria::Range::words(&criterion.refutes);
        let end = format!(" | {} | {refutes} |", criterion.confirms);
        let is_there = page
            .lines()
            .any(|line| line.starts_with(&begin) && line.ends_with(&end));
        assert!(is_there, "docs/claims.md lacks:\n{begin}…{end}");
    }
}

// The numbers of `text` that stand as `mean (low–high)` or `mean (low to high)` with three decimals.
fn told_intervals(text: &str) -> Vec<[f64; 3]> {
    let number = |word: &str| -> Option<f64> {
        let (_, decimals) = word.split_once('.')?;
        word.replace('−', "-").parse().ok().filter(|_| decimals.len() == 3)
    };
    let parts = text.split('(').collect::<Vec<_>>();
    let pairs = parts.windows(2).filter_map(|pair| {
        let mean = number(pair[0].split_whitespace().last()?)?;
        let inside = pair[1].split_once(')')?.0;
        let (low, high) = inside.split_once('–').or_else(|| inside.split_once(" to "))?;
        Some([mean, number(low)?, number(high)?])
    });
    pairs.collect()
}

#[test]
fn the_readme_and_the_page_of_claims_tell_counts_and_intervals_that_are_committed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let verdicts: Verdicts = serde_json::from_str(&read("figures/gallery/claims/verdicts.json")).unwrap();
    let findings = &verdicts.findings;
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let [confirmed, refuted, undecided] = [Verdict::Confirmed, Verdict::Refuted, Verdict::Undecided].map(count);
    let readme = read("README.md");
    let told = format!("**{confirmed} are confirmed, {refuted} refuted, and {undecided} undecided**");
    assert!(readme.contains(&told), "README.md lacks {told}");
    let page = read("docs/claims.md");
    let (_, found) = page.split_once("### What was found").unwrap();
    let (found, _) = found.split_once("\n### ").unwrap();
    for text in [&readme, found] {
        let told = told_intervals(text);
        assert!(told.len() >= 10, "{told:?}");
        for numbers in told {
            let is_found = findings.iter().any(|finding| {
                let committed = finding
                    .value
                    .zip(finding.interval)
                    .map(|(mean, (low, high))| [mean, low, high]);
                committed.is_some_and(|committed| {
                    committed
                        .iter()
                        .zip(numbers)
                        .all(|(committed, told)| (committed - told).abs() < 0.000_501)
                })
            });
            assert!(is_found, "{numbers:?} are of no finding");
        }
    }
}
