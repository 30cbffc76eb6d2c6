//! Edits of an untrained model, whose answers a plain pass gives too.

use super::*;
use crate::graph::{Dataset, Split};
use crate::measure::Iterations;
use crate::measure::tests::{sampling, untrained_checkpoint};
use crate::measure::{Per, rows_of};
use crate::model::{Model, Pass, Sharing};

fn settings() -> Edit {
    Edit {
        sampling: sampling(Split::depth_test(3), 20, Iterations::exactly(4)),
        label: None,
        hook: Point::ResidPost,
        kinds: vec![EditKind::Swap, EditKind::Remove, EditKind::Push],
        directions: vec![Changed::Output, Changed::Mean, Changed::Random],
        positions: Vec::new(),
        clamp: true,
        correct_only: false,
    }
}

fn logits(model: &Model, queries: &[&[u32]]) -> Vec<Vec<f32>> {
    let rows = model.pack(queries.iter().copied(), Sharing::Nothing).unwrap();
    rows_of(&model.forward(&rows, 4, &mut Pass::default()).unwrap()).unwrap()
}

#[test]
fn the_whole_state_at_the_last_layer_of_the_readout_gives_the_answer_of_the_source() {
    let checkpoint = untrained_checkpoint(false);
    let edit = settings();
    // What the sources and the queries are answered with, by plain passes.
    let group = Group {
        data: &checkpoint.data,
        checkpoints: vec![&checkpoint],
        seed: 1,
    };
    let population = group
        .populations(&edit.sampling.splits[0], Per::Hops, &mut Vec::new())
        .unwrap()
        .remove(0);
    let mut out = Output::new("edit", crate::measure::Extras::default(), &[]);
    let (population, _, drawn) = edit.draw(&population, &group, 1, &checkpoint, &mut out).unwrap();
    let sources: Vec<&[u32]> = drawn.iter().map(|drawn| &*drawn.source).collect();
    let queries: Vec<&[u32]> = drawn
        .iter()
        .map(|drawn| &*population.queries[drawn.place].tokens)
        .collect();
    let [source, base] = [sources, queries].map(|queries| logits(&checkpoint.model, &queries));
    let changes = drawn.iter().enumerate().map(|(query, drawn)| {
        let answer = drawn.answer as usize;
        f64::from(source[query][answer] - base[query][answer])
    });
    let expected = changes.sum::<f64>() / drawn.len() as f64;
    let report = edit.run(std::slice::from_ref(&checkpoint)).unwrap();
    let whole: Vec<&EditRow> = report
        .rows
        .iter()
        .filter(|row| row.form.direction == Changed::Whole)
        .collect();
    let at_readout: Vec<&&EditRow> = whole
        .iter()
        .filter(|row| row.position == Position::Relation(3) && row.place.layer == 2)
        .collect();
    assert_eq!(at_readout.len(), 8);
    let mut others = 0;
    for row in at_readout {
        // Held to the last iteration, the state that is read is the source's, wherever the edit began.
        let is_sources = row.form.clamped || row.place.iteration == 4;
        let difference = (row.counterfactual_logit.unwrap() - expected).abs();
        assert_eq!(difference < 1e-4, is_sources, "{row:?}, not {expected}");
        assert_eq!(row.by_construction, is_sources);
        if is_sources {
            assert_eq!(row.counterfactual, Some(row.source_accuracy));
            // It says nothing of the model.
            assert!(!row.largest.is_max);
        } else {
            others += 1;
        }
    }
    assert_eq!(others, 3);
}

#[test]
fn a_clamped_edit_differs_from_a_single_write_where_later_iterations_follow() {
    let report = settings().run(&[untrained_checkpoint(true)]).unwrap();
    let (clamped, once): (Vec<&EditRow>, Vec<&EditRow>) = report.rows.iter().partition(|row| row.form.clamped);
    // Three positions, eight layers, the whole state, two directions with three kinds, and the placebo of each.
    assert_eq!((clamped.len(), once.len()), (3 * 8 * 13, 3 * 8 * 13));
    for row in clamped {
        let is_same = |other: &&&EditRow| {
            let once = EditForm {
                clamped: false,
                ..row.form
            };
            (other.position, other.place, other.form) == (row.position, row.place, once)
        };
        let once = once.iter().find(is_same).unwrap();
        let is_last = row.place.iteration == 4;
        // Held to the last layer alone, where no other position reads it.
        let is_unread = (row.place.iteration, row.place.layer) == (3, 2) && row.position != Position::Relation(3);
        let is_equal = (row.counterfactual_logit, row.original_logit, row.original)
            == (once.counterfactual_logit, once.original_logit, once.original);
        assert_eq!(is_equal, is_last || is_unread, "{row:?}\n{once:?}");
        assert_eq!(row.distance, once.distance);
        let gain = match (row.counterfactual, once.counterfactual) {
            (Some(clamped), Some(once)) => clamped - once,
            _ => once.original - row.original,
        };
        assert_eq!(row.clamp_gain.is_none(), row.by_construction);
        if let Some(found) = row.clamp_gain {
            assert!((found - gain).abs() < 1e-12 && (!is_last || found == 0.0), "{row:?}");
        }
        assert_eq!(once.clamp_gain, None);
    }
}

#[test]
fn a_placebo_moves_as_far_as_the_edit_that_it_is_of() {
    let report = settings().run(&[untrained_checkpoint(false)]).unwrap();
    let mut compared = 0;
    for placebo in report.rows.iter().filter(|row| row.form.direction == Changed::Random) {
        let edit = EditForm {
            direction: placebo.form.matched_to.unwrap(),
            matched_to: None,
            ..placebo.form
        };
        let is_its_edit =
            |row: &&EditRow| (row.position, row.place, row.form) == (placebo.position, placebo.place, edit);
        let edit = report.rows.iter().find(is_its_edit).unwrap();
        assert!(
            edit.distance > 0.0 && (placebo.distance - edit.distance).abs() < 1e-4 * edit.distance,
            "{placebo:?}"
        );
        compared += 1;
    }
    assert_eq!(compared, 3 * 8 * 2 * 6);
    // Alone it is as long as an edit along the difference of means.
    let alone = forms(&[Changed::Random], &[EditKind::Swap], false);
    assert_eq!(alone[1].matched_to, Some(Changed::Mean));
}

#[test]
fn of_a_removal_the_layer_with_the_fewest_true_answers_is_shown_and_no_counterfactual_one() {
    let report = settings().run(&[untrained_checkpoint(false)]).unwrap();
    let shown = Edit::shown(&report);
    let mut compared = 0;
    for row in report.rows.iter().filter(|row| row.form.kind == Some(EditKind::Remove)) {
        assert_eq!(
            (row.counterfactual, row.low, row.counterfactual_logit),
            (None, None, None)
        );
        let shown = shown
            .iter()
            .find(|shown| (shown.position, shown.form) == (row.position, row.form));
        assert!(shown.unwrap().original <= row.original, "{row:?}");
        assert_eq!(row.min_original, row.largest.is_max.then_some(row.original));
        if let (Some(low), Some(high)) = (row.min_original_low, row.min_original_high) {
            assert!(low <= row.original && row.original <= high, "{row:?}");
            compared += 1;
        }
    }
    assert_eq!(compared, 3 * 2 * 4);
}

#[test]
fn a_position_that_is_named_twice_is_edited_once() {
    let mut edit = settings();
    edit.positions = vec![
        Position::Relation(3),
        Position::Relation(2),
        Position::Relation(3),
        Position::Readout,
    ];
    let positions = edit.positions(1, 3, &untrained_checkpoint(false)).unwrap();
    assert_eq!(positions, [Position::Relation(3), Position::Relation(2)]);
}

#[test]
fn a_smaller_budget_gives_the_same_numbers() {
    let checkpoint = [untrained_checkpoint(false)];
    let of_budget = |max_bytes| {
        let extras = crate::measure::Extras {
            max_bytes,
            ..crate::measure::Extras::default()
        };
        settings().run_with(extras, &checkpoint).unwrap().report.rows
    };
    let (all, few) = (of_budget(1 << 30), of_budget(1));
    assert_eq!(all.len(), few.len());
    for (a, b) in all.iter().zip(&few) {
        assert_eq!(
            (a.counterfactual, a.original, a.place, a.form),
            (b.counterfactual, b.original, b.place, b.form)
        );
        assert!((a.original_logit - b.original_logit).abs() < 1e-4, "{a:?}\n{b:?}");
        assert!((a.distance - b.distance).abs() < 1e-4, "{a:?}\n{b:?}");
    }
}

fn three_hops(data: &Dataset) -> (Vec<&crate::graph::Query>, FitSet<'_>) {
    let tested: Vec<&crate::graph::Query> = data.split("3hop_test").unwrap().iter().take(4).collect();
    let fit = FitSet::new(data, &tested, 2, 3, 1).unwrap();
    (tested, fit)
}

#[test]
fn directions_are_fitted_on_chains_whose_facts_no_tested_query_has() {
    let checkpoint = untrained_checkpoint(false);
    let (tested, fit) = three_hops(&checkpoint.data);
    let fact = |query: &crate::graph::Query| (query.entity_after(1).unwrap(), query.tokens[2]);
    let of_tested: Vec<(u32, u32)> = tested.iter().map(|query| fact(query)).collect();
    assert!(fit.is_apart);
    let trained = checkpoint
        .data
        .split("train")
        .unwrap()
        .iter()
        .filter(|query| query.hops() == 3);
    let kept = trained.filter(|query| !of_tested.contains(&fact(query))).count();
    assert_eq!(fit.chains.len(), kept);
    for (query, entity) in &fit.chains {
        assert!(!of_tested.contains(&fact(query)));
        assert_eq!(query.entity_after(2), Some(*entity));
    }
    let (fitted, held_out) = fit.chains.split_at(fit.held_out);
    assert!(!fitted.is_empty() && !held_out.is_empty());
    let facts: Vec<(u32, u32)> = fitted.iter().map(|(query, _)| fact(query)).collect();
    assert!(held_out.iter().all(|(query, _)| !facts.contains(&fact(query))));
}
