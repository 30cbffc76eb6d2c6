//! Numbers in JSON, which has no infinity and would write `null`, as if there were no number.

use serde::{Deserialize, Serialize};

// A number as JSON has it.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Finite(f64),
    Word(Word),
}

#[derive(Serialize, Deserialize)]
enum Word {
    #[serde(rename = "infinity")]
    Infinity,
    #[serde(rename = "-infinity")]
    MinusInfinity,
}

impl From<f64> for Written {
    fn from(value: f64) -> Self {
        match value {
            f64::INFINITY => Self::Word(Word::Infinity),
            f64::NEG_INFINITY => Self::Word(Word::MinusInfinity),
            finite => Self::Finite(finite),
        }
    }
}

impl From<Written> for f64 {
    fn from(written: Written) -> Self {
        match written {
            Written::Finite(value) => value,
            Written::Word(Word::Infinity) => Self::INFINITY,
            Written::Word(Word::MinusInfinity) => Self::NEG_INFINITY,
        }
    }
}

/// A number, for `#[serde(with)]`.
pub(crate) mod finite_or_word {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Written;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    pub(crate) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        Written::from(*value).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Written::deserialize(deserializer).map(f64::from)
    }
}

/// A number where there is one, for `#[serde(with)]`.
pub(crate) mod finite_or_word_where_there {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Written;

    #[expect(clippy::ref_option, reason = "serde passes a reference")]
    pub(crate) fn serialize<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
        value.map(Written::from).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
        Option::<Written>::deserialize(deserializer).map(|value| value.map(f64::from))
    }
}
