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

/// An axis of training steps, as numbers or as their logarithms.
#[derive(Debug, Clone, Copy)]
struct Steps {
    log: bool,
}

impl Steps {
    // Logarithms tell more where they are asked for and the steps span a decade.
    fn spanning(first: f64, last: f64, log: bool) -> Self {
        Self {
            log: log && last >= 10.0 * first,
        }
    }

    fn place(self, step: f64) -> f64 {
        if self.log { step.max(1.0).log10() } else { step / 1000.0 }
    }

    // From the first step to the last.
    fn axis(self, first: f64, last: f64) -> Axis {
        let label = if self.log {
            "training steps"
        } else {
            "thousand training steps"
        };
        let (from, to) = (self.place(if self.log { first } else { 0.0 }), self.place(last));
        let margin = if to > from { 0.02 * (to - from) } else { 0.5 };
        Axis {
            label: label.to_owned(),
            range: (from - margin, to + margin),
            log: self.log,
        }
    }
}
