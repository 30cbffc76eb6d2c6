//! Axes with ticks at round numbers.

use serde::Serialize;

use super::data::rounded;
use crate::figure::Ticks;

/// An axis as the page draws it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Axis {
    label: String,
    range: [f64; 2],
    ticks: Vec<(f64, String)>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    log: bool,
}

impl Axis {
    /// A linear axis: ticks at multiples of 1, 2 or 5 times a power of ten.
    pub(super) fn linear(label: &str, (low, high): (f64, f64), ticks: Ticks) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        Self {
            label: label.to_owned(),
            range: [rounded(low), rounded(high)],
            ticks: ticks.linear((low, high)).into_iter().map(placed).collect(),
            log: false,
        }
    }

    /// A logarithmic axis of positive numbers: ticks at powers of ten, with 2 and 5 times these where there are few.
    pub(super) fn logarithmic(label: &str, (low, high): (f64, f64)) -> Self {
        let (low, high) = (low.max(1e-9), high.max(low * 1.01));
        Self {
            label: label.to_owned(),
            range: [rounded(low), rounded(high)],
            ticks: Ticks::logarithmic((low, high)).into_iter().map(placed).collect(),
            log: true,
        }
    }
}

fn placed((value, label): (f64, String)) -> (f64, String) {
    (rounded(value), label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn ticks_are_round() {
        let ticks = |whole, max| Ticks { whole, max };
        let shares = Axis::linear("", (0.0, 1.0), ticks(false, 4));
        assert_eq!(labels(&shares), ["0.0", "0.5", "1.0"]);
        assert_eq!(
            labels(&Axis::linear("", (-0.15, 4.15), ticks(true, 8))),
            ["0", "1", "2", "3", "4"]
        );
        assert_eq!(
            labels(&Axis::linear("", (-6.2, 6.0), ticks(false, 4))),
            ["−5", "0", "5"]
        );
        assert_eq!(
            labels(&Axis::linear("", (0.0, 18_000.0), ticks(true, 8))),
            ["0", "5k", "10k", "15k"]
        );
        assert_eq!(labels(&Axis::logarithmic("", (50.0, 18_000.0))), ["100", "1k", "10k"]);
        assert_eq!(labels(&Axis::logarithmic("", (3.0, 60.0))), ["5", "10", "20", "50"]);
        // One value alone has an axis too.
        assert!(!labels(&Axis::linear("", (2.0, 2.0), ticks(true, 8))).is_empty());
    }
}
