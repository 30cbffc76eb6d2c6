//! Runs that differ in their seeds, side by side.

mod curves;
mod effects;
mod survival;

pub use curves::training_curves;
pub use effects::effects;
pub use survival::survival;

use super::kit::Colour;
use super::steps::Steps;

/// The colour of the n-th of `of` groups of runs: apart from each other where they are few, else in order.
fn group_colour(n: usize, of: usize) -> Colour {
    if of <= Colour::CYCLE {
        // Blue first: it is the training rows' only where lines are splits.
        [
            Colour::BLUE,
            Colour::VERMILION,
            Colour::GREEN,
            Colour::PURPLE,
            Colour::ORANGE,
            Colour::SKY,
            Colour::BLACK,
        ][n]
    } else {
        Colour::ordered(n, of)
    }
}
