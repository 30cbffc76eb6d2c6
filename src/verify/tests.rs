//! Verification fails where a method is broken, or does not fail where it should.

use serde::{Deserialize, Serialize};

use super::subject::Subject;
use super::table::{Cell, Found, Verdict, cells};
use super::*;
use crate::graph::{Position, Target};
use crate::measure::{Group, Lens, LensRow, Output, Place};
use crate::model::Point;

// A lens that takes every iteration for the one before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, clap::Args)]
struct OffByOne {
    #[command(flatten)]
    #[serde(flatten)]
    lens: Lens,
}

// A lens that is sure of everything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, clap::Args)]
struct Credulous {
    #[command(flatten)]
    #[serde(flatten)]
    lens: Lens,
}

fn as_lens(settings: &Lens, checkpoints: &[crate::measure::CheckpointSummary], rows: &[LensRow]) -> Vec<SiteScore> {
    Lens::site_scores(&Report::made_up(settings.clone(), checkpoints.to_vec(), rows.to_vec()))
}

macro_rules! lens_with {
    ($Broken:ident, $break:expr) => {
        impl Method for $Broken {
            const NAME: &'static str = "lens";
            const ABOUT: &'static str = "A broken method";
            const MISLEADS: &'static str = <Lens as Method>::MISLEADS;
            const FORMAT: u32 = 1;
            type Row = LensRow;

            fn seed(&self) -> u64 {
                self.lens.seed()
            }

            fn resolve(&mut self, checkpoints: &[LoadedCheckpoint]) -> Result<()> {
                self.lens.resolve(checkpoints)
            }

            fn measure(&self, group: &Group, out: &mut Output<LensRow>) -> Result<()> {
                self.lens.measure(group, out)
            }

            fn site_scores(report: &Report<Self>) -> Vec<SiteScore> {
                let mut scores = as_lens(&report.settings.lens, &report.checkpoints, &report.rows);
                for score in &mut scores {
                    $break(score);
                }
                scores
            }
        }
    };
}

lens_with!(OffByOne, |score: &mut SiteScore| {
    let Place {
        effective_layer,
        iteration,
        ..
    } = &mut score.place;
    // One layer a block.
    *effective_layer = effective_layer.saturating_sub(1).max(1);
    *iteration = *effective_layer;
});

lens_with!(Credulous, |score: &mut SiteScore| score.is_called = true);

fn models() -> Vec<Subject> {
    let of = suite::subjects(true).unwrap().into_iter();
    of.filter(|subject| ["hop-per-iteration", control::UNTRAINED].contains(&&*subject.name))
        .collect()
}

fn visible<M: Method>(subjects: &[Subject]) -> Vec<Verdict> {
    let all: Vec<Found> = subjects.iter().map(found::<M>).collect();
    let cells = cells(&all, &MarksFile::built_in().unwrap());
    let of_claim = cells.iter().filter(|cell| cell.claim == Some(Claim::Visible));
    of_claim.map(|cell| cell.verdict).collect()
}

#[test]
fn a_broken_method_is_red_and_the_one_that_it_was_is_green() {
    let subjects = models();
    assert_eq!(subjects.len(), 2);
    assert_eq!(visible::<Lens>(&subjects), [Verdict::Holds; 2]);
    // What is shifted by an iteration finds nothing more in a control than before.
    assert_eq!(visible::<OffByOne>(&subjects), [Verdict::Misses, Verdict::Holds]);
    assert_eq!(visible::<Credulous>(&subjects), [Verdict::Misses; 2]);
}

// Eight sites, half of them used, with these scores.
fn made_up(method: &str, model: &str, claim: Claim, used: f64, unused: f64) -> Found {
    let site = |index: usize| Judged {
        score: SiteScore {
            claim,
            targets: vec![Target::Bridge],
            hops: 2,
            point: Point::ResidPost,
            position: Position::Relation(1),
            place: Place {
                effective_layer: index + 1,
                iteration: index + 1,
                layer: 1,
            },
            head: None,
            score: if index < 4 { used } else { unused },
            is_called: (if index < 4 { used } else { unused }) > 0.5,
        },
        truth: index < 4,
    };
    Found {
        method: method.to_owned(),
        model: model.to_owned(),
        variant: "dense".to_owned(),
        sites: (0..8).map(site).collect(),
        checks: Vec::new(),
        faithfulness: Vec::new(),
        failure: None,
    }
}

fn only(found: Found) -> Cell {
    let [cell] = <[Cell; 1]>::try_from(cells(&[found], &MarksFile::built_in().unwrap())).unwrap();
    cell
}

#[test]
fn a_cell_that_should_fail_and_does_not_is_red() {
    let patch = |model, used, unused| only(made_up("patch", model, Claim::Used, used, unused));
    assert_eq!(patch("hidden-bridge", 1.0, 0.0).verdict, Verdict::Holds);
    assert_eq!(patch("hidden-bridge", 0.0, 1.0).verdict, Verdict::Misses);
    let documented = patch("backup", 0.0, 0.0);
    assert_eq!(documented.verdict, Verdict::Limit);
    assert!(documented.is_green() && documented.limit.is_some());
    let holds = patch("backup", 1.0, 0.0);
    assert_eq!(holds.verdict, Verdict::HoldsAgainstLimit);
    assert!(!holds.is_green());
}

#[test]
fn edits_must_give_the_counterfactual_answer_where_an_entity_is_used_and_nowhere_else() {
    let edit = |used, unused| only(made_up("patch", "hidden-bridge", Claim::Counterfactual, used, unused));
    let good = edit(0.9, 0.1);
    assert_eq!((good.sufficiency_min, good.selectivity_max), (Some(0.9), Some(0.1)));
    assert_eq!(good.verdict, Verdict::Holds);
    assert_eq!(edit(0.79, 0.0).verdict, Verdict::Misses);
    assert_eq!(edit(1.0, 0.26).verdict, Verdict::Misses);
    // In a control nothing should give it.
    let untrained = |unused| only(made_up("patch", control::UNTRAINED, Claim::Counterfactual, 0.0, unused));
    assert_eq!(untrained(0.0).verdict, Verdict::Holds);
}

#[test]
fn a_number_that_is_not_as_designed_and_a_failure_are_red() {
    let numbers = |found: f64| Found {
        checks: vec![crate::measure::Check {
            what: "accuracy".to_owned(),
            expected: 1.0,
            found,
        }],
        sites: Vec::new(),
        ..made_up("eval", "backup", Claim::Used, 0.0, 0.0)
    };
    assert_eq!(only(numbers(0.99)).verdict, Verdict::Holds);
    assert_eq!(only(numbers(0.9)).verdict, Verdict::Misses);
    assert_eq!(only(numbers(f64::NAN)).verdict, Verdict::Misses);
    let failed = Found {
        failure: Some("no pairs".to_owned()),
        ..numbers(1.0)
    };
    assert_eq!(only(failed).verdict, Verdict::Misses);
}

#[test]
fn the_matrix_has_a_row_for_each_claim_and_marks_what_is_red() {
    let found = [
        made_up("lens", "backup", Claim::Visible, 1.0, 0.0),
        made_up("lens", control::UNTRAINED, Claim::Visible, 1.0, 0.0),
        made_up("patch", "backup", Claim::Used, 0.0, 0.0),
        made_up("patch", "hidden-bridge", Claim::Used, 0.0, 1.0),
    ];
    let verification = Verification {
        loopscope: String::new(),
        cells: cells(&found, &MarksFile::built_in().unwrap()),
        found: found.to_vec(),
    };
    let text = verification.markdown();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "| method | claim | backup | hidden-bridge | untrained |",
            "|---|---|---|---|---|",
            "| `lens` | visible | 1.00, 1.00 | – | 0.000 |",
            "| `patch` | used | (0.50, 0.50) | 0.00, 0.00! | – |",
        ]
    );
    assert_eq!(verification.red().count(), 1);
    assert!(verification.expect_green().is_err());
}
