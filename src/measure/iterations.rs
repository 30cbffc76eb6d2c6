//! Inference iterations, as a flag, a file or a preset names them.

use serde::{Deserialize, Serialize};

use super::checkpoint::LoadedCheckpoint;

/// The most iterations that a pass may be asked for, so that a typing mistake does not run for days.
pub const MAX_ITERATIONS: usize = 4096;

/// The iterations at which analyses beyond training end by default (Kohli et al. 2026, Section 6).
pub const BEYOND_TRAINING: &str = "40";

// Those that each model was trained with.
const TRAINED: &str = "trained";

/// Numbers of inference iterations: one, a list, or all up to a maximum; each from 1 to [`MAX_ITERATIONS`].
///
/// JSON has `"trained"` or a list of numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Numbers", try_from = "Numbers")]
pub enum Iterations {
    /// Those that each model was trained with.
    Trained,
    /// These, in rising order, each once; at least one.
    These(Vec<usize>),
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Numbers {
    Word(String),
    List(Vec<usize>),
}

impl Iterations {
    /// This number alone.
    pub fn exactly(n: usize) -> Self {
        Self::These(vec![n])
    }

    /// 1 to `max`.
    pub fn up_to(max: usize) -> Self {
        Self::These((1..=max).collect())
    }

    /// Reads one number, as a number.
    ///
    /// # Errors
    /// When it is not from 1 to [`MAX_ITERATIONS`].
    pub fn number(text: &str) -> Result<usize, String> {
        text.trim()
            .parse()
            .ok()
            .filter(|n| (1..=MAX_ITERATIONS).contains(n))
            .ok_or_else(|| format!("allowed: 1 to {MAX_ITERATIONS}"))
    }

    /// Reads one number, or `trained`.
    ///
    /// # Errors
    /// When it is not from 1 to [`MAX_ITERATIONS`].
    pub fn parse_one(text: &str) -> Result<Self, String> {
        if text.trim() == TRAINED {
            return Ok(Self::Trained);
        }
        Self::number(text)
            .map(Self::exactly)
            .map_err(|allowed| format!("{allowed}, one number, or {TRAINED}"))
    }

    /// Reads a maximum: all from 1 to that number.
    ///
    /// # Errors
    /// As [`Iterations::parse_one`].
    pub fn parse_max(text: &str) -> Result<Self, String> {
        Self::number(text).map(Self::up_to)
    }

    /// Reads a list of numbers and ranges, as in `1,2,4` or `1..8`, or `trained`.
    ///
    /// # Errors
    /// As [`Iterations::parse_one`], and for a range that ends before it begins.
    pub fn parse_list(text: &str) -> Result<Self, String> {
        if text.trim() == TRAINED {
            return Ok(Self::Trained);
        }
        let allowed = |reason: String| format!("{reason}, or ranges such as 1..8");
        let mut list = Vec::new();
        for item in text.split(',') {
            match item.split_once("..") {
                None => list.push(Self::number(item).map_err(allowed)?),
                Some((first, last)) => {
                    let range = Self::number(first).map_err(allowed)?..=Self::number(last).map_err(allowed)?;
                    if range.is_empty() {
                        return Err(allowed("allowed: ranges that rise".to_owned()));
                    }
                    list.extend(range);
                }
            }
        }
        Ok(Self::of(list))
    }

    fn of(mut list: Vec<usize>) -> Self {
        list.sort_unstable();
        list.dedup();
        Self::These(list)
    }

    /// The numbers for a model that was trained with `trained` iterations, rising.
    pub fn list(&self, trained: usize) -> Vec<usize> {
        match self {
            Self::Trained => vec![trained],
            Self::These(list) => list.clone(),
        }
    }

    /// The largest of them; the only one where one was asked for.
    pub fn max(&self, trained: usize) -> usize {
        match self {
            Self::Trained => trained,
            // Never empty.
            Self::These(list) => list.last().copied().unwrap_or(trained),
        }
    }

    /// Puts numbers in the place of "those of training", where the checkpoints agree on them.
    pub(super) fn resolve(&mut self, checkpoints: &[LoadedCheckpoint]) {
        let mut trained = checkpoints.iter().map(|checkpoint| checkpoint.info.iterations);
        if let (Self::Trained, Some(first)) = (&self, trained.next())
            && trained.all(|other| other == first)
        {
            *self = Self::exactly(first);
        }
    }
}

impl From<Iterations> for Numbers {
    fn from(iterations: Iterations) -> Self {
        match iterations {
            Iterations::Trained => Self::Word(TRAINED.to_owned()),
            Iterations::These(list) => Self::List(list),
        }
    }
}

impl TryFrom<Numbers> for Iterations {
    type Error = String;

    fn try_from(numbers: Numbers) -> Result<Self, String> {
        match numbers {
            Numbers::Word(word) if word == TRAINED => Ok(Self::Trained),
            Numbers::List(list) if !list.is_empty() && list.iter().all(|n| (1..=MAX_ITERATIONS).contains(n)) => {
                Ok(Self::of(list))
            }
            _ => Err(format!(
                "iterations; allowed: \"trained\", or numbers from 1 to {MAX_ITERATIONS}"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_takes_one_number_a_list_or_a_maximum() {
        assert_eq!(
            Iterations::parse_list("1,4..6,2,5"),
            Ok(Iterations::These(vec![1, 2, 4, 5, 6]))
        );
        assert_eq!(Iterations::parse_max("3"), Ok(Iterations::These(vec![1, 2, 3])));
        assert_eq!(Iterations::parse_one(" 3"), Ok(Iterations::exactly(3)));
        assert_eq!(Iterations::parse_one("trained"), Ok(Iterations::Trained));
        for bad in ["0", "x", "4..2", "1..x", "5000", ""] {
            assert!(Iterations::parse_list(bad).unwrap_err().contains("allowed"), "{bad}");
        }
        assert!(Iterations::parse_one("1,2").is_err());
    }

    #[test]
    fn json_has_numbers_or_the_word() {
        for iterations in [Iterations::Trained, Iterations::up_to(3)] {
            let text = serde_json::to_string(&iterations).unwrap();
            assert_eq!(serde_json::from_str::<Iterations>(&text).unwrap(), iterations);
        }
        for bad in ["[]", "[0]", "[5000]", "\"all\"", "null"] {
            assert!(serde_json::from_str::<Iterations>(bad).is_err(), "{bad}");
        }
    }
}
