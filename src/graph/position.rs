//! Positions of a chain.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::wording::did_you_mean;

/// A position of a query `<e_h><r_1>…<r_k>`: `head`, `r1`, `r2`, …, or `readout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Position {
    /// The head entity.
    Head,
    /// The relation with this index in the chain, from 1.
    Relation(usize),
    /// Where the answer is read: the `<pad>` column of models that answer there, else the last relation.
    Readout,
}

impl Position {
    /// The position with this index in the chain's tokens, the head at 0.
    pub fn of_index(index: usize) -> Self {
        match index {
            0 => Self::Head,
            n => Self::Relation(n),
        }
    }

    /// The positions of a chain of `hops` hops, first to last; `reads_apart`: whether the answer is read at a position of
    /// its own behind the last relation.
    pub fn of_chain(hops: usize, reads_apart: bool) -> Vec<Self> {
        let readout = reads_apart.then_some(Self::Readout);
        (0..=hops).map(Self::of_index).chain(readout).collect()
    }

    /// The index of its row in a chain of `hops` hops, the head at 0; `reads_apart` as in [`Position::of_chain`].
    pub fn column(self, hops: usize, reads_apart: bool) -> usize {
        match self {
            Self::Readout if reads_apart => hops + 1,
            other => other.index(hops),
        }
    }

    /// The index of the last of a chain's tokens that a state at this position depends on, for a chain of `hops` hops.
    pub fn index(self, hops: usize) -> usize {
        match self {
            Self::Head => 0,
            Self::Relation(n) => n,
            Self::Readout => hops,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Head => f.write_str("head"),
            Self::Relation(n) => write!(f, "r{n}"),
            Self::Readout => f.write_str("readout"),
        }
    }
}

impl FromStr for Position {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "head" => Ok(Self::Head),
            "readout" => Ok(Self::Readout),
            _ => text
                .strip_prefix('r')
                .and_then(|digits| digits.parse().ok())
                .filter(|&n| n > 0 && text == format!("r{n}"))
                .map(Self::Relation)
                .ok_or_else(|| {
                    let near = did_you_mean(text, ["head", "readout"]);
                    format!("position {text:?}; allowed: head, r1, r2, …, readout{near}")
                }),
        }
    }
}

text_conversions!(Position);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_others_refused() {
        for position in Position::of_chain(12, true) {
            assert_eq!(position.to_string().parse(), Ok(position));
        }
        for bad in ["", "r", "r0", "r01", "r+1", "x1", "Head"] {
            assert!(bad.parse::<Position>().unwrap_err().contains("allowed"), "{bad}");
        }
        let near = "Head".parse::<Position>().unwrap_err();
        assert!(near.ends_with("did you mean head?"), "{near}");
    }
}
