use super::*;
use crate::measure::pairs::Direction;
use crate::measure::tests::untrained_checkpoint;
use crate::measure::{Iterations, Patch};
use crate::model::{Hooks, Pass, Point, Sharing, Site};

// Pairs of chains of the same length, whatever their answers.
fn sides(checkpoint: &LoadedCheckpoint) -> Vec<Sides> {
    let queries = checkpoint.data.split("3hop_test").unwrap();
    let pair = |pair: &[crate::graph::Query]| Sides {
        source: pair[0].tokens.to_vec(),
        base: pair[1].tokens.to_vec(),
        source_answer: pair[0].target,
        clean_answer: pair[0].target,
        corrupt_answer: pair[1].target,
    };
    queries.chunks_exact(2).map(pair).collect()
}

#[track_caller]
fn expect_same(found: &Tensor, expected: &Tensor, what: &str) {
    for (found, expected) in rows_of(found).unwrap().iter().zip(rows_of(expected).unwrap()) {
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{what}: {found}, not {expected}");
        }
    }
}

fn source_after(checkpoint: &LoadedCheckpoint, sides: &[Sides], iterations: usize) -> Tensor {
    let tokens = sides.iter().map(|sides| &*sides.source);
    let rows = checkpoint.model.pack(tokens, Sharing::Nothing).unwrap();
    checkpoint
        .model
        .forward(&rows, iterations, &mut Pass::default())
        .unwrap()
}

#[test]
fn with_the_states_of_all_positions_the_run_goes_on_as_the_source_s_own() {
    let checkpoint = untrained_checkpoint(false);
    let (sides, moves) = (sides(&checkpoint), moves(4, 4));
    let found = transplant(&checkpoint.model, &sides, &moves, 4.into()).unwrap();
    for (index, of_move) in moves.iter().enumerate().filter(|(_, of_move)| of_move.column.is_none()) {
        for after in of_move.base..=4 {
            let expected = source_after(&checkpoint, &sides, of_move.source + after + 1 - of_move.base);
            let logits = found.logits(index, after).unwrap();
            expect_same(&logits, &expected, &format!("{of_move:?} after {after}"));
        }
    }
}

#[test]
fn a_query_s_own_state_of_the_iteration_before_changes_nothing() {
    for injection in [false, true] {
        let checkpoint = untrained_checkpoint(injection);
        let mut sides = sides(&checkpoint);
        for sides in &mut sides {
            sides.source.clone_from(&sides.base);
        }
        let moves = moves(3, 4);
        let found = transplant(&checkpoint.model, &sides, &moves, 3.into()).unwrap();
        let mut changed = 0;
        for (index, of_move) in moves.iter().enumerate() {
            let logits = found.logits(index, 3).unwrap();
            if of_move.source + 1 == of_move.base {
                expect_same(&logits, &found.base, &format!("{of_move:?}"));
            } else {
                let difference = (logits - &found.base).unwrap().abs().unwrap().max_all().unwrap();
                changed += usize::from(difference.to_scalar::<f32>().unwrap() > 1e-3);
            }
        }
        // Of five columns (all, and each) at nine places off the diagonal.
        assert_eq!(changed, 5 * 9, "injection: {injection}");
    }
}

#[test]
fn the_base_s_own_embedding_is_injected_after_a_transplant() {
    let checkpoint = untrained_checkpoint(true);
    let model = &checkpoint.model;
    let sides = sides(&checkpoint);
    let put = Move {
        source: 1,
        base: 3,
        column: Some(2),
    };
    let found = transplant(model, &sides, &[put], 4.into()).unwrap();
    // By hand: what the third iteration reads is the source's state after the first plus the embedding of the base.
    let record = |tokens: Vec<&[u32]>, site| {
        let rows = model.pack(tokens, Sharing::Nothing).unwrap();
        let mut pass = Pass {
            hooks: Hooks::none().record(site),
            ..Pass::default()
        };
        model.forward(&rows, 1, &mut pass).unwrap();
        pass.hooks.recorded(site).unwrap()
    };
    let sources = sides.iter().map(|sides| &*sides.source).collect();
    let bases: Vec<&[u32]> = sides.iter().map(|sides| &*sides.base).collect();
    let state = record(sources, Site::new(Point::ResidPost, 0, 1));
    let embedding = record(bases.clone(), Site::embed());
    let rows = model.pack(bases, Sharing::Nothing).unwrap();
    let at: Vec<u32> = (0..sides.len()).map(|query| rows.of_query(query)[2]).collect();
    let index = Tensor::new(at.as_slice(), model.device()).unwrap();
    let read = (state + embedding).unwrap().index_select(&index, 0).unwrap();
    let mut pass = Pass {
        hooks: Hooks::none().replace(Site::new(Point::ResidPre, 2, 0), at, read),
        ..Pass::default()
    };
    let expected = model.forward(&rows, 4, &mut pass).unwrap();
    expect_same(&found.logits(0, 4).unwrap(), &expected, "with injection");
}

fn pairing(direction: Direction) -> Pairing {
    Pairing {
        splits: vec![Split::depth_test(3)],
        corrupt: Corrupt::Prefix,
        direction,
        pairs: 20,
        correct_only: false,
        iterations: Iterations::exactly(3),
        seed: 1,
    }
}

#[test]
fn between_the_same_iterations_it_is_patching() {
    for direction in [Direction::Denoise, Direction::Noise] {
        let checkpoints = [untrained_checkpoint(false)];
        let transplant = Transplant {
            pairing: pairing(direction),
        };
        let rows = transplant.run(&checkpoints).unwrap().rows;
        // All positions and each of four, i from 0 to 3, j from 1 to 3.
        assert_eq!(rows.len(), 5 * 4 * 3);
        let patched = |hook| {
            let patch = Patch::sweep(pairing(direction), hook);
            patch.run(&checkpoints).unwrap().rows
        };
        let mut compared = 0;
        for (hook, is_embedding) in [(Point::Embed, true), (Point::ResidPost, false)] {
            for patch in patched(hook).iter().filter(|row| row.patched.position.is_some()) {
                let is_same = |row: &&TransplantRow| {
                    row.position == patch.patched.position
                        && row.source_iteration + 1 == row.base_iteration
                        && row.source_iteration * 2 == patch.patched.place.effective_layer
                        && (row.source_iteration == 0) == is_embedding
                };
                let Some(row) = rows.iter().find(is_same) else { continue };
                let numbers = |effect: &Effect| [effect.probability, effect.kl, effect.rank, effect.flips, effect.gap];
                for (found, expected) in numbers(&row.effect).into_iter().zip(numbers(&patch.effect)) {
                    assert!((found - expected).abs() < 1e-5, "{row:?}, not {patch:?}");
                }
                assert_eq!(row.iterations_left, 4 - row.base_iteration);
                compared += 1;
            }
        }
        assert_eq!(compared, 3 * 4);
    }
}

#[test]
fn the_depth_of_the_state_explains_what_comes_of_all_positions_together() {
    let pairing = Pairing {
        iterations: Iterations::exactly(4),
        ..pairing(Direction::Denoise)
    };
    let rows = Transplant { pairing }.run(&[untrained_checkpoint(false)]).unwrap().rows;
    let of = |position: Option<Position>| &rows.iter().find(|row| row.position == position).unwrap().explained;
    let all = of(None);
    for share in [all.by_depth, all.by_source_and_left] {
        assert!((share.unwrap() - 1.0).abs() < 1e-6, "{all:?}");
    }
    assert!(all.by_base_and_left.unwrap() < 0.99 && all.by_source_and_base.unwrap() < 0.99);
    // At one position the states of the others, which stay the base's, make a difference.
    let at_r1 = of(Some(Position::Relation(1)));
    assert!(at_r1.by_depth.unwrap() < 0.99, "{at_r1:?}");
}
