//! Intervals in steps or epochs.

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The interval between two evaluations: a number of steps, or of passes over the training rows. In a config it is `250`,
/// or `"10 epochs"`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Interval {
    /// A number of steps, 1 or more.
    Steps(u64),
    /// A number of epochs above 0, not always an integer. With a curriculum they are passes over the rows of the present
    /// stage, counted from its beginning.
    Epochs(f64),
}

impl Interval {
    /// The interval in steps, at least 1, where an epoch has `steps_per_epoch` steps.
    pub fn steps(self, steps_per_epoch: u64) -> u64 {
        match self {
            Self::Steps(steps) => steps,
            Self::Epochs(epochs) => ((epochs * steps_per_epoch as f64).round() as u64).max(1),
        }
    }
}

impl Serialize for Interval {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Steps(steps) => serializer.serialize_u64(steps),
            Self::Epochs(epochs) => serializer.serialize_str(&format!("{epochs} epochs")),
        }
    }
}

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IntervalVisitor)
    }
}

struct IntervalVisitor;

impl Visitor<'_> for IntervalVisitor {
    type Value = Interval;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("a number of steps, 1 or more, or a text such as \"10 epochs\"")
    }

    fn visit_u64<E: de::Error>(self, steps: u64) -> Result<Interval, E> {
        match steps {
            0 => Err(E::invalid_value(de::Unexpected::Unsigned(0), &self)),
            _ => Ok(Interval::Steps(steps)),
        }
    }

    fn visit_i64<E: de::Error>(self, steps: i64) -> Result<Interval, E> {
        match u64::try_from(steps) {
            Ok(steps) => self.visit_u64(steps),
            Err(_) => Err(E::invalid_value(de::Unexpected::Signed(steps), &self)),
        }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Interval, E> {
        let number = text.strip_suffix("epochs").or_else(|| text.strip_suffix("epoch"));
        let epochs = number.and_then(|number| number.trim().parse::<f64>().ok());
        match epochs {
            Some(epochs) if epochs.is_finite() && epochs > 0.0 => Ok(Interval::Epochs(epochs)),
            _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_steps_or_epochs() {
        let read = |text: &str| serde_json::from_str::<Interval>(text);
        for (text, steps) in [
            ("250", 250),
            ("\"2 epochs\"", 14),
            ("\"0.5 epochs\"", 4),
            ("\"0.01 epochs\"", 1),
        ] {
            let interval = read(text).unwrap();
            assert_eq!(interval.steps(7), steps, "{text}");
            assert_eq!(serde_json::to_string(&interval).unwrap(), text);
        }
        assert_eq!(read("\"1 epoch\"").unwrap(), Interval::Epochs(1.0));
        for bad in [
            "0",
            "-3",
            "\"0 epochs\"",
            "\"-1 epochs\"",
            "\"inf epochs\"",
            "\"ten epochs\"",
            "\"10\"",
            "2.5",
        ] {
            assert!(read(bad).unwrap_err().to_string().contains("10 epochs"), "{bad}");
        }
    }
}
