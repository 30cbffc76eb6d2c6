//! Runs that differ in their seeds, side by side.

mod curves;
mod effects;
mod survival;

pub use curves::training_curves;
pub use effects::effects;
pub use survival::survival;

use super::kit::{Axis, Colour};

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

/// An axis of training steps: of their logarithms, of steps, or of thousands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Steps {
    Log,
    One,
    Thousand,
}

impl Steps {
    // Logarithms tell more where they are asked for and the steps span a decade.
    fn spanning(first: f64, last: f64, log: bool) -> Self {
        const MANY: f64 = 10_000.0;
        match log && last >= 10.0 * first {
            true => Self::Log,
            false if last < MANY => Self::One,
            false => Self::Thousand,
        }
    }

    fn place(self, step: f64) -> f64 {
        match self {
            Self::Log => step.max(1.0).log10(),
            Self::One => step,
            Self::Thousand => step / 1000.0,
        }
    }

    // From the first step to the last; of steps themselves from 0.
    fn axis(self, first: f64, last: f64) -> Axis {
        let (label, first) = match self {
            Self::Log => ("training steps", first),
            Self::One => ("training steps", 0.0),
            Self::Thousand => ("thousand training steps", 0.0),
        };
        let (from, to) = (self.place(first), self.place(last));
        let margin = if to > from { 0.02 * (to - from) } else { 0.5 };
        Axis {
            label: label.to_owned(),
            range: (from - margin, to + margin),
            log: self == Self::Log,
        }
    }
}
