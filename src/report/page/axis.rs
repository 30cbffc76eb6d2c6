//! Axes with ticks at round numbers.

use serde::Serialize;

use super::data::rounded;

/// An axis as the page draws it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Axis {
    label: String,
    range: [f64; 2],
    ticks: Vec<(f64, String)>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    log: bool,
}

/// How the ticks of an axis are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ticks {
    /// Values are integers, and so are the ticks.
    pub(super) whole: bool,
    /// How many there are, at most.
    pub(super) max: usize,
}

impl Axis {
    /// A linear axis: ticks at multiples of 1, 2 or 5 times a power of ten.
    pub(super) fn linear(label: &str, (low, high): (f64, f64), ticks: Ticks) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        let span = high - low;
        let power = 10_f64.powf((span / ticks.max as f64).log10().floor());
        let fits = |step: &f64| step * ticks.max as f64 >= span * 0.999;
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|factor| factor * power)
            .into_iter()
            .find(fits)
            .unwrap_or(10.0 * power);
        let step = if ticks.whole { step.max(1.0) } else { step };
        let digits = (-(step.log10() + 1e-6).floor()).max(0.0) as usize;
        let first = (low / step - 1e-6).ceil() as i64;
        let last = (high / step + 1e-6).floor() as i64;
        let tick = |n: i64| {
            let value = n as f64 * step;
            let label = if step >= 500.0 {
                short(value)
            } else {
                signed(format!("{:.digits$}", value + 0.0))
            };
            (rounded(value), label)
        };
        Self {
            label: label.to_owned(),
            range: [rounded(low), rounded(high)],
            ticks: (first..=last).map(tick).collect(),
            log: false,
        }
    }

    /// A logarithmic axis of positive numbers: ticks at powers of ten, with 2 and 5 times these where there are few.
    pub(super) fn logarithmic(label: &str, (low, high): (f64, f64)) -> Self {
        let (low, high) = (low.max(1e-9), high.max(low * 1.01));
        let powers = (-9..=12).map(|exponent| 10_f64.powi(exponent));
        let inside = |value: &f64| *value >= low * 0.999 && *value <= high * 1.001;
        let decades: Vec<f64> = powers.clone().filter(inside).collect();
        let ticks = if decades.len() > 2 {
            decades
        } else {
            powers
                .flat_map(|power| [1.0, 2.0, 5.0].map(|factor| factor * power))
                .filter(inside)
                .collect()
        };
        Self {
            label: label.to_owned(),
            range: [rounded(low), rounded(high)],
            ticks: ticks.into_iter().map(|value| (value, short(value))).collect(),
            log: true,
        }
    }
}

// `5k` from 1,000 on.
fn short(value: f64) -> String {
    signed(match value.abs() {
        size if size >= 1e6 => format!("{}M", value / 1e6),
        size if size >= 1e3 => format!("{}k", value / 1e3),
        _ => format!("{value}"),
    })
}

// With a minus sign and not a hyphen, and none on what rounds to zero.
fn signed(text: String) -> String {
    match text.strip_prefix('-') {
        Some(digits) if digits.chars().all(|c| "0.".contains(c)) => digits.to_owned(),
        Some(digits) => format!("−{digits}"),
        None => text,
    }
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
