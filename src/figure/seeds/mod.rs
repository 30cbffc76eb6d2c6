//! Runs that differ in their seeds, side by side.

mod curves;
mod effects;
mod survival;

pub use curves::training_curves;
pub use effects::effects;
pub use survival::survival;

use super::kit::{Colour, Series, Stroke};
use super::steps::Steps;

/// The colour of the n-th group of runs; after as many as can be told apart they begin anew.
fn group_colour(n: usize) -> Colour {
    // Blue first: it is the training rows' only where lines are splits.
    const COLOURS: [Colour; Colour::CYCLE] = [
        Colour::BLUE,
        Colour::VERMILION,
        Colour::GREEN,
        Colour::PURPLE,
        Colour::ORANGE,
        Colour::SKY,
        Colour::BLACK,
    ];
    COLOURS[n % COLOURS.len()]
}

/// The line of the n-th group of runs, without points: groups of one colour have strokes of their own.
fn group_line(n: usize) -> Series {
    const STROKES: [Stroke; 4] = [Stroke::Solid, Stroke::Dashed, Stroke::Dotted, Stroke::DashDotted];
    Series::new(group_colour(n)).stroke(STROKES[n / Colour::CYCLE % STROKES.len()])
}
