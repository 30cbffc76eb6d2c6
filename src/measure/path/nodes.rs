//! The ends of a path, as users name them, and which of two comes first.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::SenderAt;
use crate::error::Error;
use crate::graph::text_conversions;
use crate::measure::component::Component;
use crate::measure::judged::Setting;
use crate::measure::place::Place;
use crate::model::{HeadInput, ModelConfig, Point, Site};

/// Where a path begins: what writes into the stream. Iterations, layers and heads count from 1: `embedding`,
/// `ITERATION.injection`, `ITERATION.LAYER.HEAD`, `ITERATION.LAYER.mlp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Sender {
    /// Token plus position embedding.
    Embedding,
    /// The embedding, added anew before an iteration.
    Injection {
        /// The iteration.
        iteration: usize,
    },
    /// A head of attention.
    Head(HeadAt),
    /// An MLP.
    Mlp(LayerAt),
}

/// Where a path ends: what reads the stream. Iterations, layers and heads count from 1: `ITERATION.LAYER.HEAD.q`, `.k` or `.v`,
/// `ITERATION.LAYER.mlp`, `logits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Receiver {
    /// One of the inputs of a head.
    Head(HeadAt, HeadInput),
    /// The input of an MLP.
    Mlp(LayerAt),
    /// The final layer norm and the output matrix, at the readout.
    Logits,
}

/// A layer at an iteration, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LayerAt {
    /// The iteration.
    pub iteration: usize,
    /// The layer.
    pub layer: usize,
}

/// A head of a layer at an iteration, all from 1. The same head at two iterations is two nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeadAt {
    /// The iteration and the layer.
    pub at: LayerAt,
    /// The head.
    pub head: usize,
}

impl LayerAt {
    /// The site of a point of this layer.
    pub(super) fn site(self, point: Point) -> Site {
        Site::new(point, self.iteration - 1, self.layer - 1)
    }

    // Refuses a layer that the loop does not have.
    fn check(self, config: &ModelConfig, iterations: usize) -> Result<(), String> {
        within("iteration", self.iteration, iterations)?;
        within("layer", self.layer, config.layers)
    }

    // The steps of a pass, four a layer: the embedding is injected (0), heads read (1) and write (2), the MLP reads (3), and writes
    // before the next layer's step 0.
    fn step(self, layers: usize, step: usize) -> usize {
        4 * ((self.iteration - 1) * layers + self.layer - 1) + step
    }
}

impl HeadAt {
    fn check(self, config: &ModelConfig, iterations: usize) -> Result<(), String> {
        self.at.check(config, iterations)?;
        within("head", self.head, config.heads)
    }
}

fn within(what: &str, number: usize, max: usize) -> Result<(), String> {
    if number > max {
        return Err(format!("{what} {number}; allowed: 1 to {max}"));
    }
    Ok(())
}

impl Sender {
    /// All senders of a model, in the order in which they write.
    pub(super) fn all(config: &ModelConfig, iterations: usize) -> Vec<Self> {
        let mut found = vec![Self::Embedding];
        for iteration in 1..=iterations {
            if config.injection && iteration > 1 {
                found.push(Self::Injection { iteration });
            }
            for at in (1..=config.layers).map(|layer| LayerAt { iteration, layer }) {
                found.extend((1..=config.heads).map(|head| Self::Head(HeadAt { at, head })));
                found.push(Self::Mlp(at));
            }
        }
        found
    }

    /// The component that it is, as results name it, in a block of `layers` layers.
    pub(super) fn component(self, layers: usize) -> SenderAt {
        let (component, attention_head, site) = match self {
            Self::Embedding => (Component::Embedding, None, Site::embed()),
            Self::Injection { iteration } => {
                let at = LayerAt { iteration, layer: 1 };
                (Component::Injection, None, at.site(Point::ResidPre))
            }
            Self::Head(HeadAt { head, .. }) => (Component::Head, Some(head), self.site()),
            Self::Mlp(_) => (Component::Mlp, None, self.site()),
        };
        let place = Place::of(site, layers);
        SenderAt {
            component,
            attention_head,
            effective_layer: place.effective_layer,
            iteration: place.iteration,
            layer: place.layer,
        }
    }

    /// Refuses a sender that the model does not have.
    pub(super) fn check(self, config: &ModelConfig, iterations: usize) -> Result<(), Error> {
        let checked = match self {
            Self::Embedding => Ok(()),
            Self::Injection { .. } if !config.injection => Err("the model has no input injection".to_owned()),
            Self::Injection { iteration: 1 } => Err("the embedding is injected from iteration 2 on".to_owned()),
            Self::Injection { iteration } => within("iteration", iteration, iterations),
            Self::Head(head) => head.check(config, iterations),
            Self::Mlp(at) => at.check(config, iterations),
        };
        checked.map_err(|reason| Error::input(format!("--from {self}: {reason}")))
    }

    /// Whether it writes into the stream before the receiver reads it.
    pub(super) fn precedes(self, receiver: Receiver, layers: usize) -> bool {
        let writes = match self {
            Self::Embedding => 0,
            Self::Injection { iteration } => LayerAt { iteration, layer: 1 }.step(layers, 0),
            Self::Head(head) => head.at.step(layers, 2),
            Self::Mlp(at) => at.step(layers, 4),
        };
        writes
            < match receiver {
                Receiver::Head(head, _) => head.at.step(layers, 1),
                Receiver::Mlp(at) => at.step(layers, 3),
                Receiver::Logits => usize::MAX,
            }
    }

    /// The site that holds what it writes.
    pub(super) fn site(self) -> Site {
        match self {
            Self::Embedding | Self::Injection { .. } => Site::embed(),
            Self::Head(head) => head.at.site(Point::Z),
            Self::Mlp(at) => at.site(Point::MlpOut),
        }
    }
}

impl Receiver {
    /// Everything that reads the stream.
    pub(super) fn all(setting: &Setting) -> Vec<Self> {
        let mut found = Vec::new();
        for iteration in 1..=setting.iterations {
            for at in (1..=setting.layers).map(|layer| LayerAt { iteration, layer }) {
                let inputs = [HeadInput::Query, HeadInput::Key, HeadInput::Value];
                let heads = (1..=setting.heads).map(|head| HeadAt { at, head });
                found.extend(heads.flat_map(|head| inputs.map(|input| Self::Head(head, input))));
                found.push(Self::Mlp(at));
            }
        }
        found.push(Self::Logits);
        found
    }

    /// Refuses a receiver that the model does not have.
    pub(super) fn check(self, config: &ModelConfig, iterations: usize) -> Result<(), Error> {
        let checked = match self {
            Self::Head(head, _) => head.check(config, iterations),
            Self::Mlp(at) => at.check(config, iterations),
            Self::Logits => Ok(()),
        };
        checked.map_err(|reason| Error::input(format!("--to {self}: {reason}")))
    }

    /// The site of the stream that it reads, in a pass of `iterations` iterations of `layers` layers.
    pub(super) fn site(self, iterations: usize, layers: usize) -> Site {
        match self {
            Self::Head(head, _) => head.at.site(Point::ResidPre),
            Self::Mlp(at) => at.site(Point::ResidMid),
            Self::Logits => Site::new(Point::ResidPost, iterations - 1, layers - 1),
        }
    }
}

impl fmt::Display for LayerAt {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}.{}", self.iteration, self.layer)
    }
}

impl fmt::Display for HeadAt {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}.{}", self.at, self.head)
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Embedding => f.write_str("embedding"),
            Self::Injection { iteration } => write!(f, "{iteration}.injection"),
            Self::Head(head) => write!(f, "{head}"),
            Self::Mlp(at) => write!(f, "{at}.mlp"),
        }
    }
}

impl fmt::Display for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Head(head, input) => {
                let input = match input {
                    HeadInput::Query => 'q',
                    HeadInput::Key => 'k',
                    HeadInput::Value => 'v',
                };
                write!(f, "{head}.{input}")
            }
            Self::Mlp(at) => write!(f, "{at}.mlp"),
            Self::Logits => f.write_str("logits"),
        }
    }
}

// A number from 1, written as this program writes it.
fn number(text: &str) -> Option<usize> {
    text.parse().ok().filter(|n: &usize| *n > 0 && n.to_string() == text)
}

fn layer_at(iteration: &str, layer: &str) -> Option<LayerAt> {
    Some(LayerAt {
        iteration: number(iteration)?,
        layer: number(layer)?,
    })
}

fn head_at(iteration: &str, layer: &str, head: &str) -> Option<HeadAt> {
    Some(HeadAt {
        at: layer_at(iteration, layer)?,
        head: number(head)?,
    })
}

impl FromStr for Sender {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = match *text.split('.').collect::<Vec<_>>() {
            ["embedding"] => Some(Self::Embedding),
            [iteration, "injection"] => number(iteration).map(|iteration| Self::Injection { iteration }),
            [iteration, layer, "mlp"] => layer_at(iteration, layer).map(Self::Mlp),
            [iteration, layer, head] => head_at(iteration, layer, head).map(Self::Head),
            _ => None,
        };
        found.ok_or_else(|| {
            format!(
                "sender {text:?}; allowed: embedding, ITERATION.injection, ITERATION.LAYER.HEAD, ITERATION.LAYER.mlp, each \
                 number from 1"
            )
        })
    }
}

impl FromStr for Receiver {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let of_head = |input| move |head| Self::Head(head, input);
        let found = match *text.split('.').collect::<Vec<_>>() {
            ["logits"] => Some(Self::Logits),
            [iteration, layer, "mlp"] => layer_at(iteration, layer).map(Self::Mlp),
            [iteration, layer, head, "q"] => head_at(iteration, layer, head).map(of_head(HeadInput::Query)),
            [iteration, layer, head, "k"] => head_at(iteration, layer, head).map(of_head(HeadInput::Key)),
            [iteration, layer, head, "v"] => head_at(iteration, layer, head).map(of_head(HeadInput::Value)),
            _ => None,
        };
        found.ok_or_else(|| {
            format!(
                "receiver {text:?}; allowed: logits, ITERATION.LAYER.mlp, ITERATION.LAYER.HEAD.q, .k or .v, each number from 1"
            )
        })
    }
}

text_conversions!(Sender);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_others_refused() {
        for text in ["embedding", "2.injection", "3.1.mlp", "12.2.4"] {
            assert_eq!(text.parse::<Sender>().unwrap().to_string(), text);
        }
        for text in ["logits", "3.1.mlp", "12.2.4.q", "1.1.1.k", "1.1.1.v"] {
            assert_eq!(text.parse::<Receiver>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "mlp",
            "1.mlp",
            "0.1.mlp",
            "1.01.mlp",
            "1.1.x",
            "1.1.1.q",
            "injection",
            "1.1.1.1",
        ] {
            assert!(bad.parse::<Sender>().unwrap_err().contains("allowed"), "{bad}");
        }
        for bad in ["", "1.1.1", "1.1.0.q", "1.1.1.z", "embedding", "1.1.mlp.q"] {
            assert!(bad.parse::<Receiver>().unwrap_err().contains("allowed"), "{bad}");
        }
    }

    #[test]
    fn a_sender_precedes_what_reads_the_stream_after_it_wrote() {
        let layers = 2;
        let precedes = |sender: &str, receiver: &str| {
            sender
                .parse::<Sender>()
                .unwrap()
                .precedes(receiver.parse().unwrap(), layers)
        };
        for (sender, receiver) in [
            ("embedding", "1.1.1.q"),
            ("1.1.1", "1.1.mlp"),
            ("1.1.1", "1.2.1.k"),
            ("1.1.mlp", "1.2.1.v"),
            ("1.2.mlp", "2.1.2.q"),
            // The same head, an iteration later.
            ("1.1.1", "2.1.1.q"),
            ("2.injection", "2.1.1.v"),
            ("1.2.mlp", "logits"),
        ] {
            assert!(precedes(sender, receiver), "{sender} → {receiver}");
        }
        for (sender, receiver) in [
            ("1.1.1", "1.1.1.q"),
            ("1.1.1", "1.1.2.v"),
            ("1.1.mlp", "1.1.mlp"),
            ("1.1.mlp", "1.1.1.k"),
            ("2.1.1", "1.2.mlp"),
            ("2.injection", "1.2.mlp"),
        ] {
            assert!(!precedes(sender, receiver), "{sender} → {receiver}");
        }
    }
}
