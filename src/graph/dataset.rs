//! A data set: vocabulary, graph, and queries by split.

use smallvec::SmallVec;

use super::{Gap, Graph, Split, Vocab};
use crate::error::{Error, Result};
use crate::wording::choices;

/// The vocabulary ids of a chain. Up to 4 are stored inline, without an allocation: data sets have 10⁵ chains and more.
pub type Ids = SmallVec<[u32; 4]>;

/// The bridge entities of a query, as far as they follow from the atomic facts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Bridges {
    /// One entity for each relation but the last; none for an atomic fact.
    Known(Ids),
    /// A fact of the chain is not among the atomic facts.
    Unknown,
    /// A fact of the chain has several tails.
    Ambiguous,
    /// The facts lead to another entity than the answer of the row.
    Contradicted,
}

/// One row of a data set: the chain `<e_h><r_1>…<r_k>` and its answer, as vocabulary ids.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Query {
    /// Head entity, then the relations.
    pub tokens: Ids,
    /// The answer.
    pub target: u32,
    /// The entities between head and answer.
    pub bridges: Bridges,
}

impl Query {
    /// The query with these tokens and this answer; its bridges follow from the graph.
    pub fn new(tokens: &[u32], target: u32, graph: &Graph) -> Self {
        let bridges = match graph.walk(tokens[0], &tokens[1..]) {
            Err(Gap::Unknown) => Bridges::Unknown,
            Err(Gap::Ambiguous) => Bridges::Ambiguous,
            Ok(mut path) => {
                if path.pop() == Some(target) {
                    Bridges::Known(path.into())
                } else {
                    Bridges::Contradicted
                }
            }
        };
        Self {
            tokens: tokens.into(),
            target,
            bridges,
        }
    }

    /// The number of relations, k.
    pub fn hops(&self) -> usize {
        self.tokens.len() - 1
    }

    /// The entity after hop `hop`, from 1, where it is known; after the last hop it is the target.
    pub fn entity_after(&self, hop: usize) -> Option<u32> {
        if hop == self.hops() {
            return Some(self.target);
        }
        match &self.bridges {
            Bridges::Known(bridges) => bridges.get(hop.checked_sub(1)?).copied(),
            _ => None,
        }
    }
}

/// A data set: queries by split, with their vocabulary and the graph that they are chains of.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// The tokens.
    pub vocab: Vocab,
    /// The atomic facts of the training split.
    pub graph: Graph,
    /// The splits with their rows, `train` first, then those of `test.json` in order, `valid` last.
    pub splits: Vec<(Split, Vec<Query>)>,
    /// The content hash of the files, 16 hexadecimal digits.
    pub hash: String,
}

impl Dataset {
    /// The rows of `split`.
    ///
    /// # Errors
    /// When there is no such split; the message lists the splits of the data.
    pub fn split(&self, split: impl AsRef<str>) -> Result<&[Query]> {
        let split = split.as_ref();
        self.splits
            .iter()
            .find(|(known, _)| known.name() == split)
            .map(|(_, rows)| rows.as_slice())
            .ok_or_else(|| {
                Error::input(format!(
                    "no split named `{split}` in the data; it has: {}",
                    choices(split, &self.split_names().collect::<Vec<_>>())
                ))
            })
    }

    /// The names of the splits.
    pub fn split_names(&self) -> impl Iterator<Item = &str> {
        self.splits.iter().map(|(split, _)| split.name())
    }

    /// The numbers of hops that the data has held-out chains of, in rising order; empty where tests are not by depth.
    pub fn depths(&self) -> Vec<usize> {
        let mut depths: Vec<usize> = self.splits.iter().filter_map(|(split, _)| split.depth()).collect();
        depths.sort_unstable();
        depths
    }

    /// The number of tokens of the longest row.
    pub fn longest_row(&self) -> usize {
        self.splits
            .iter()
            .flat_map(|(_, rows)| rows)
            .map(|row| row.tokens.len())
            .max()
            .unwrap_or(0)
    }

    /// A sentence for each split with rows whose bridges are not known: their number by reason.
    pub fn unexplained(&self) -> Vec<String> {
        let count = |rows: &[Query], kind: &Bridges| rows.iter().filter(|row| row.bridges == *kind).count();
        self.splits
            .iter()
            .filter_map(|(name, rows)| {
                let (unknown, ambiguous, contradicted) = (
                    count(rows, &Bridges::Unknown),
                    count(rows, &Bridges::Ambiguous),
                    count(rows, &Bridges::Contradicted),
                );
                (unknown + ambiguous + contradicted > 0).then(|| {
                    format!(
                        "split `{name}`: of {} rows, {unknown} have an unknown bridge, {ambiguous} an ambiguous one, \
                         {contradicted} an answer that the atomic facts contradict; analyses of bridges leave them out",
                        rows.len()
                    )
                })
            })
            .collect()
    }
}
