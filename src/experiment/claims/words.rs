//! Measured numbers in the words of a summary.

use crate::measure::{EvalRow, Fall, Largest};

/// `0.848 (0.746–0.914, n = 211)`.
pub(crate) fn accuracy(row: &EvalRow) -> String {
    format!("{:.3} ({:.3}–{:.3}, n = {})", row.accuracy, row.low, row.high, row.n)
}

/// The largest accuracy of its line, with the interval of that maximum.
pub(crate) fn max_accuracy(row: &EvalRow) -> String {
    let interval = max_interval(&row.largest).map_or(String::new(), |(low, high)| format!("{low:.3}–{high:.3}, "));
    format!("{:.3} ({interval}n = {})", row.accuracy, row.n)
}

/// The interval of the maximum, where it has one.
pub(crate) fn max_interval(largest: &Largest) -> Option<(f64, f64)> {
    largest.max_low.zip(largest.max_high)
}

/// `, a loss of 0.052 (0.010 to 0.100, paired)`; nothing where no loss is told.
pub(super) fn fall(fall: &Fall) -> String {
    match (fall.fall, fall.fall_low, fall.fall_high) {
        (Some(fall), Some(low), Some(high)) => format!(", a loss of {fall:.3} ({low:.3} to {high:.3}, paired)"),
        _ => String::new(),
    }
}

/// A dash in the place of what is absent.
pub(crate) fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "–".to_owned())
}
