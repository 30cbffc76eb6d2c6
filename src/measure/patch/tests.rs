//! Patches of several states, of heads, and to first order, held against sweeps of single states and finite differences.

use super::sites::State;
use super::sweep::SELF_CHECKS;
use super::*;
use crate::measure::pairs::Sides;
use crate::measure::states::States;
use crate::measure::tests::untrained_checkpoint;
use crate::measure::{Direction, Extras, Iterations, rows_of};
use crate::model::{Branch, Edit, Model, Write};

fn settings() -> Patch {
    let pairing = Pairing {
        splits: vec![Split::depth_test(2)],
        corrupt: Corrupt::Prefix,
        direction: Direction::Denoise,
        pairs: 12,
        correct_only: false,
        iterations: Iterations::exactly(3),
        seed: 1,
    };
    Patch::sweep(pairing, Point::ResidPost)
}

fn rows(patch: &Patch) -> Vec<PatchRow> {
    patch.run(&[untrained_checkpoint(false)]).unwrap().rows
}

fn listed(hook: Point, sites: &[&str]) -> Vec<PatchRow> {
    let patch = Patch {
        hook,
        sites: sites.iter().map(|text| text.parse().unwrap()).collect(),
        ..settings()
    };
    rows(&patch)
}

// The KL divergence tells runs apart whatever recovery is.
fn assert_same(a: &PatchRow, b: &PatchRow) {
    assert!(
        (a.effect.kl - b.effect.kl).abs() < 1e-5 && (a.effect.probability - b.effect.probability).abs() < 1e-5,
        "{a:?}\n{b:?}"
    );
}

#[test]
fn a_listed_state_has_the_effect_that_it_has_in_the_sweep() {
    let swept = rows(&settings());
    for row in &listed(Point::ResidPost, &["r1@1.2", "r2@2.1", "head@3.2"])[SELF_CHECKS..] {
        let is_same = |of: &&PatchRow| {
            let text = row.patched.sites.as_deref().unwrap_or_default();
            let (position, place) = (of.patched.position, of.patched.place);
            position.is_some_and(|at| format!("{at}@{}.{}", place.iteration, place.layer) == text)
        };
        assert_same(row, swept.iter().find(is_same).unwrap());
        assert_eq!(row.patched.restored, Extent::Listed);
    }
}

#[test]
fn all_heads_together_are_the_whole_state() {
    for hook in [Point::Z, Point::AttnPattern] {
        let swept = rows(&Patch { hook, ..settings() });
        let whole = |row: &&PatchRow| {
            row.patched.attention_head.is_none()
                && row.patched.position == Some(Position::Relation(2))
                && row.patched.place.effective_layer == 2
        };
        let whole = swept.iter().find(whole).unwrap();
        let both = &listed(hook, &["r2@1.2.1+r2@1.2.2"])[SELF_CHECKS];
        assert_same(whole, both);
        let one = &listed(hook, &["r2@1.2.1"])[SELF_CHECKS];
        let of_head = |row: &&PatchRow| {
            (row.patched.attention_head, row.patched.position, row.patched.place)
                == (Some(1), whole.patched.position, whole.patched.place)
        };
        let of_head = swept.iter().find(of_head).unwrap();
        assert_same(one, of_head);
        assert!(
            (of_head.effect.kl - whole.effect.kl).abs() > 1e-6,
            "a head is not the whole state"
        );
    }
}

#[test]
fn a_window_is_its_layers_together() {
    let hook = Point::MlpOut;
    let windows = rows(&Patch {
        hook,
        window: 2,
        ..settings()
    });
    let iterations = rows(&Patch {
        hook,
        whole_iteration: true,
        ..settings()
    });
    let at = |rows: &[PatchRow], layer: usize| {
        let is_at = |row: &&PatchRow| {
            row.patched.restored == Extent::Window
                && row.patched.position == Some(Position::Relation(1))
                && row.patched.place.effective_layer == layer
        };
        rows.iter().find(is_at).cloned().unwrap()
    };
    let together = listed(hook, &["r1@2.1+r1@2.2", "r1@1.2+r1@2.1"]);
    assert_same(&at(&windows, 3), &together[SELF_CHECKS]);
    assert_same(&at(&iterations, 3), &together[SELF_CHECKS]);
    assert_same(&at(&windows, 2), &together[SELF_CHECKS + 1]);
    // 5 windows of 6 effective layers, or 3 iterations, at 3 positions.
    assert_eq!((windows.len(), iterations.len()), (SELF_CHECKS + 15, SELF_CHECKS + 9));
}

#[test]
fn what_is_put_in_the_other_way_takes_away_what_it_brought() {
    let at = |direction, row: usize| {
        let mut patch = settings();
        patch.pairing.direction = direction;
        rows(&patch)[row].effect.clone()
    };
    // The whole embedding of the source makes the base the source, whichever is which.
    for direction in [Direction::Denoise, Direction::Noise] {
        let all = at(direction, 0);
        assert!(all.kl.abs() < 1e-6, "{direction:?}: {all:?}");
        let nothing = at(direction, 1);
        assert!(nothing.kl > 1e-3 && nothing.flips == 0.0, "{direction:?}: {nothing:?}");
    }
}

// The logit difference of each base query with its states moved by a share of the way to the source's.
fn moved(model: &Model, set: &PairSet, run: &JointPatch, share: f32) -> Vec<f64> {
    let sites = run.states.iter().map(|state| state.site).collect();
    let recorded = |of: fn(&Sides) -> &[u32]| States::of(model, set.sides.iter().map(of), &sites, 3).unwrap();
    let (source, base) = (recorded(|sides| &sides.source), recorded(|sides| &sides.base));
    let edit = |query: usize, state: &State| {
        let of = |recorded: &States| recorded.states(state.site, state.column, state.head).unwrap()[query].clone();
        let mixed = of(&source).into_iter().zip(of(&base)).map(|(s, b)| b + share * (s - b));
        Edit {
            site: state.site,
            column: state.column,
            head: state.head,
            write: Write::Set(mixed.collect()),
        }
    };
    let branch = |query| Branch {
        query,
        edits: run.states.iter().map(|state| edit(query, state)).collect(),
    };
    let branches: Vec<Branch> = (0..set.sides.len()).map(branch).collect();
    let bases: Vec<&[u32]> = set.sides.iter().map(|sides| &*sides.base).collect();
    let logits = rows_of(&model.intervene(&bases, &branches, 3).unwrap().edited).unwrap();
    let difference = |(of, sides): (&Vec<f32>, &Sides)| {
        f64::from(of[sides.clean_answer as usize]) - f64::from(of[sides.corrupt_answer as usize])
    };
    logits.iter().zip(&set.sides).map(difference).collect()
}

// Held against the derivative of the logit difference as states go from the base's to the source's.
fn assert_estimates_are_derivatives(model: &Model, set: &PairSet, hook: Point, sites: &str) {
    let patch = Patch {
        hook,
        sites: vec![sites.parse().unwrap()],
        ..settings()
    };
    let extents = Bounds {
        iterations: 3,
        layers: 2,
        heads: 2,
        positions: &set.positions(model),
    };
    let together = patch.together(extents).unwrap();
    let found = Sweep::of(model, set, &together, 3.into(), true).unwrap();
    let (before, after) = (
        moved(model, set, &together[0], -0.01),
        moved(model, set, &together[0], 0.01),
    );
    for (pair, (before, after)) in before.iter().zip(&after).enumerate() {
        let (derivative, estimate) = ((after - before) / 0.02, found.of_pair(0, pair));
        assert!(
            (derivative - estimate).abs() < 0.02 * (1.0 + derivative.abs()),
            "{hook:?} {sites}, pair {pair}: {estimate} for {derivative}"
        );
    }
}

#[test]
fn first_order_estimates_are_derivatives() {
    let checkpoint = untrained_checkpoint(false);
    let group = Group {
        data: &checkpoint.data,
        checkpoints: vec![&checkpoint],
        seed: 1,
    };
    let mut out = Output::<PatchRow>::new("patch", Extras::default(), std::slice::from_ref(&checkpoint));
    let measured = settings().pairing.each(&group, &mut out, |set, checkpoint, _| {
        let check = |hook, sites| assert_estimates_are_derivatives(&checkpoint.model, set, hook, sites);
        check(Point::ResidPost, "r1@1.2");
        check(Point::MlpOut, "r2@2.1");
        check(Point::Z, "r2@2.1.2");
        check(Point::AttnPattern, "r2@2.1.1");
        Ok(())
    });
    measured.unwrap();
}

#[test]
fn sites_outside_the_model_or_its_queries_are_refused() {
    let refused = |hook, site: &str, says: &str| {
        let patch = Patch {
            hook,
            sites: vec![site.parse().unwrap()],
            ..settings()
        };
        let error = patch.run(&[untrained_checkpoint(false)]).err().unwrap();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(says), "{error}");
    };
    refused(
        Point::ResidPost,
        "r1@4.1",
        "site r1@4.1: there is no such iteration; allowed: 1 to 3",
    );
    refused(Point::ResidPost, "r1@1.3", "no such layer; allowed: 1 to 2");
    refused(Point::ResidPost, "r3@1.1", "no such position; allowed: head, r1, r2");
    refused(Point::ResidPost, "r1@1.1.1", "hook resid_post has no heads");
    refused(Point::Z, "r1@1.1.3", "no such head; allowed: 1 to 2");
    refused(Point::ResidPost, "r1@1.1+r1@1.1", "r1@1.1 is there twice");
    refused(Point::Z, "r1@1.1+r1@1.1.2", "r1@1.1.2 is there twice");
    refused(Point::Embed, "r1@1.1", "hook embed is at no layer");
    let refused = |patch: Patch, says: &str| {
        let error = patch.run(&[untrained_checkpoint(false)]).err().unwrap();
        assert!(error.to_string().contains(says), "{error}");
    };
    let window = |window, hook| Patch {
        hook,
        window,
        ..settings()
    };
    refused(window(7, Point::ResidPost), "--window 7; allowed: 1 to 6");
    refused(window(2, Point::Embed), "there is one embedding");
    let attribution = Patch {
        attribution: true,
        ..window(2, Point::MlpOut)
    };
    refused(attribution, "the estimate is of one");
}

#[test]
fn sites_of_several_points_are_put_in_together() {
    let one = &listed(Point::MlpOut, &["r1@2.1+z:r2@1.2.1"])[SELF_CHECKS];
    let other = &listed(Point::Z, &["r2@1.2.1+mlp_out:r1@2.1"])[SELF_CHECKS];
    assert_same(one, other);
    assert_eq!(one.patched.hook, None);
    let alone = &listed(Point::MlpOut, &["r1@2.1"])[SELF_CHECKS];
    assert!((one.effect.kl - alone.effect.kl).abs() > 1e-6);
}

#[test]
fn a_small_memory_changes_no_number() {
    for (hook, attribution) in [(Point::ResidPost, true), (Point::Z, false)] {
        let patch = Patch {
            hook,
            attribution,
            ..settings()
        };
        let run = |max_bytes| {
            let extras = Extras {
                max_bytes,
                ..Extras::default()
            };
            patch
                .run_with(extras, &[untrained_checkpoint(false)])
                .unwrap()
                .report
                .rows
        };
        let (whole, parts) = (run(1 << 31), run(1));
        assert_eq!(whole.len(), parts.len());
        for (whole, part) in whole.iter().zip(&parts) {
            assert_same(whole, part);
            assert_eq!(whole.estimate.is_some(), part.estimate.is_some());
            let difference = whole.estimate.unwrap_or_default() - part.estimate.unwrap_or_default();
            assert!(difference.abs() < 1e-4, "{whole:?}\n{part:?}");
        }
    }
}
