//! What methods find of when a circuit answers, and how its state moves.

use super::*;
use crate::measure::tests::loaded;
use crate::measure::{BeyondTraining, Iterations, Margin, MarginRow, Method, Rise, Settle};

const ITERATIONS: usize = 8;

// The rows of margins on chains of 2 to 4 hops that have the numbers of their line.
fn arrivals(name: Name) -> Vec<MarginRow> {
    let data = chains(4, Tails::Permutation, 3);
    let circuit = build(&Settings::of(name), &data);
    let margin = Margin {
        chains: beyond_training(),
    };
    let rows = margin.run(&[loaded(model(&circuit), data)]).unwrap().rows;
    let of_lines: Vec<MarginRow> = rows.into_iter().filter(|row| row.rise != Rise::default()).collect();
    assert_eq!(of_lines.iter().map(|row| row.hops).collect::<Vec<_>>(), [2, 3, 4]);
    of_lines
}

fn beyond_training() -> BeyondTraining {
    BeyondTraining {
        splits: Vec::new(),
        iterations: Iterations::up_to(ITERATIONS),
        seed: 1,
    }
}

#[test]
fn the_margin_jumps_in_the_iteration_in_which_a_circuit_ends_its_hops() {
    for (name, iterations_a_hop) in [(Name::HopPerIteration, 1), (Name::TwoIterationsPerHop, 2)] {
        for row in arrivals(name) {
            let (rise, designed) = (row.rise, Some((iterations_a_hop * row.hops) as f64));
            assert!(row.largest.is_max, "{row:?}");
            assert_eq!(
                (rise.never, rise.hit, rise.jump_iteration),
                (Some(0.0), designed, designed),
                "{row:?}"
            );
            // There is one jump, and it makes the answer right.
            assert_eq!((rise.hit_jump_n, rise.hit_jump), (Some(row.n), rise.jump), "{row:?}");
            assert!(rise.jump.unwrap() >= row.margin, "{row:?}");
        }
    }
}

#[test]
fn the_state_turns_in_the_last_hop_of_a_circuit_and_no_more_after_it() {
    let data = chains(4, Tails::Permutation, 3);
    let circuit = build(&Settings::of(Name::HopPerIteration), &data);
    let settle = Settle {
        chains: beyond_training(),
    };
    let rows = settle.run(&[loaded(model(&circuit), data)]).unwrap().rows;
    for row in &rows {
        if row.iteration == row.hops {
            assert!(row.angle > 1.0 && row.radial < 0.9, "{row:?}");
        } else if row.iteration > row.hops {
            assert!(row.angle < 1e-2, "{row:?}");
        }
    }
    assert_eq!(rows.len(), 3 * ITERATIONS);
}
