//! Sets of receivers whose inputs are changed together.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::nodes::{HeadAt, LayerAt, Receiver, Sender};
use crate::error::Error;
use crate::graph::text_conversions;
use crate::model::{HeadInput, ModelConfig};

/// One receiver, or several that are joined by `+` (`3.1.1.v+3.1.2.v`): their inputs are changed together, as path patching has it
/// of a set of receivers (Wang et al. 2022, 2211.00593, Section 3.1). Sorted, each once; the logits, which end it,
/// are alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Receivers(Vec<Receiver>);

/// What is computed anew for a set of receivers: all inputs of one head together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Head(HeadAt, Vec<HeadInput>),
    Mlp(LayerAt),
    Logits,
}

impl Receivers {
    /// This one alone.
    pub(super) fn one(receiver: Receiver) -> Self {
        Self(vec![receiver])
    }

    /// The receivers.
    pub fn iter(&self) -> impl Iterator<Item = Receiver> {
        self.0.iter().copied()
    }

    /// Refuses receivers that the model does not have.
    pub(super) fn check(&self, config: &ModelConfig, iterations: usize) -> Result<(), Error> {
        self.iter().try_for_each(|receiver| receiver.check(config, iterations))
    }

    /// Whether a sender writes into the stream before each of them reads it.
    pub(super) fn follow(&self, sender: Sender, layers: usize) -> bool {
        self.iter().all(|receiver| sender.precedes(receiver, layers))
    }

    /// The columns at which all of them read, in queries of `columns` columns; `reads_apart`: whether the last of these is a `<pad>`,
    /// which no row attends to.
    pub(super) fn columns_read(&self, columns: usize, reads_apart: bool) -> Vec<usize> {
        let is_read = |column: &usize| {
            self.iter().all(|receiver| match receiver {
                Receiver::Logits => column + 1 == columns,
                Receiver::Mlp(_) | Receiver::Head(_, HeadInput::Query) => true,
                Receiver::Head(_, HeadInput::Key | HeadInput::Value) => !reads_apart || column + 1 < columns,
            })
        };
        (0..columns).filter(is_read).collect()
    }

    /// The columns at which any of their outputs changes when their inputs at column `source` do.
    pub(super) fn destinations(&self, source: usize, columns: usize) -> Range<usize> {
        let ends = self
            .parts()
            .into_iter()
            .map(|part| part.destinations(source, columns).end);
        source..ends.max().unwrap_or(source)
    }

    /// What is computed anew.
    pub(super) fn parts(&self) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        for receiver in self.iter() {
            match (receiver, parts.last_mut()) {
                (Receiver::Head(head, input), Some(Part::Head(last, inputs))) if *last == head => inputs.push(input),
                (Receiver::Head(head, input), _) => parts.push(Part::Head(head, vec![input])),
                (Receiver::Mlp(at), _) => parts.push(Part::Mlp(at)),
                (Receiver::Logits, _) => parts.push(Part::Logits),
            }
        }
        parts
    }
}

impl Part {
    /// The columns at which its output changes when its inputs at column `source` do: with a key or a value among them, that and all
    /// later ones.
    pub(super) fn destinations(&self, source: usize, columns: usize) -> Range<usize> {
        let is_attended = |input: &HeadInput| *input != HeadInput::Query;
        match self {
            Self::Head(_, inputs) if inputs.iter().any(is_attended) => source..columns,
            _ => source..source + 1,
        }
    }
}

impl fmt::Display for Receivers {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let names: Vec<String> = self.iter().map(|receiver| receiver.to_string()).collect();
        f.write_str(&names.join("+"))
    }
}

impl FromStr for Receivers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut receivers: Vec<Receiver> = text.split('+').map(str::parse).collect::<Result<_, _>>()?;
        receivers.sort_unstable();
        receivers.dedup();
        if receivers.len() > 1 && receivers.contains(&Receiver::Logits) {
            return Err(format!(
                "receivers {text:?}: the logits end the pass, so that nothing is changed beside them; allowed: logits alone"
            ));
        }
        Ok(Self(receivers))
    }
}

text_conversions!(Receivers);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_sorted_and_has_each_receiver_once() {
        let read = |text: &str| text.parse::<Receivers>().map(|receivers| receivers.to_string());
        assert_eq!(read("3.1.2.v+3.1.1.v+3.1.2.v").unwrap(), "3.1.1.v+3.1.2.v");
        assert_eq!(read("logits+logits").unwrap(), "logits");
        for bad in ["", "3.1.1.v+", "3.1.1.v+3.1.1", "logits+3.1.1.v"] {
            assert!(read(bad).unwrap_err().contains("allowed"), "{bad}");
        }
    }

    #[test]
    fn a_head_is_computed_once_for_all_of_its_inputs() {
        let set: Receivers = "3.1.1.v+3.1.1.q+2.1.mlp+3.1.2.k".parse().unwrap();
        let heads: Vec<Option<usize>> = set
            .parts()
            .iter()
            .map(|part| match part {
                Part::Head(_, inputs) => Some(inputs.len()),
                _ => None,
            })
            .collect();
        assert_eq!(heads, [Some(2), Some(1), None]);
    }
}
