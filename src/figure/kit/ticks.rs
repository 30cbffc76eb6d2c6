//! Ticks at round numbers.

/// How the ticks of an axis are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ticks {
    /// Values are integers, and so are the ticks.
    pub whole: bool,
    /// How many there are, at most.
    pub max: usize,
}

impl Ticks {
    /// Of a linear axis: multiples of 1, 2 or 5 times a power of ten, each with its label.
    pub fn linear(self, (low, high): (f64, f64)) -> Vec<(f64, String)> {
        let span = if high > low { high - low } else { 1.0 };
        let max = self.max.max(1) as f64;
        let power = 10_f64.powf((span / max).log10().floor());
        let fits = |step: &f64| step * max >= span * 0.999;
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|factor| factor * power)
            .into_iter()
            .find(fits)
            .unwrap_or(10.0 * power);
        let step = if self.whole { step.max(1.0) } else { step };
        let digits = (-(step.log10() + 1e-6).floor()).max(0.0) as usize;
        let first = (low / step - 1e-6).ceil() as i64;
        let last = ((low + span) / step + 1e-6).floor() as i64;
        let tick = |n: i64| {
            let value = n as f64 * step;
            let label = if step >= 500.0 {
                short(value)
            } else {
                signed(format!("{:.digits$}", value + 0.0))
            };
            (value, label)
        };
        (first..=last).map(tick).collect()
    }

    /// Of a logarithmic axis of positive numbers: powers of ten, with 2 and 5 times these where there are few.
    pub fn logarithmic((low, high): (f64, f64)) -> Vec<(f64, String)> {
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
        ticks.into_iter().map(|value| (value, short(value))).collect()
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
pub(super) fn signed(text: String) -> String {
    match text.strip_prefix('-') {
        Some(digits) if digits.chars().all(|c| "0.".contains(c)) => digits.to_owned(),
        Some(digits) => format!("−{digits}"),
        None => text,
    }
}
