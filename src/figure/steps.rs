//! Axes of training steps.

use super::kit::Axis;

/// An axis of training steps: of their logarithms, of steps, or of thousands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Steps {
    Log,
    One,
    Thousand,
}

impl Steps {
    // Logarithms tell more where they are asked for and the steps span a decade.
    pub(super) fn spanning(first: f64, last: f64, log: bool) -> Self {
        const MANY: f64 = 10_000.0;
        match log && last >= 10.0 * first {
            true => Self::Log,
            false if last < MANY => Self::One,
            false => Self::Thousand,
        }
    }

    pub(super) fn place(self, step: f64) -> f64 {
        match self {
            Self::Log => step.max(1.0).log10(),
            Self::One => step,
            Self::Thousand => step / 1000.0,
        }
    }

    // From the first step to the last; of steps themselves from 0.
    pub(super) fn axis(self, first: f64, last: f64) -> Axis {
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
            layers: None,
        }
    }
}
