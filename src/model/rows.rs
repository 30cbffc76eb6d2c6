//! Packed rows: a batch is one row per token, not a padded rectangle.
//!
//! Causal attention needs of a row only its token, its position, and its *ancestors*: the rows that it attends to,
//! itself included. So chains of different length share a batch, and queries with a common prefix may share its rows.
//! This is exact in a causal model, for gradients too.

use std::sync::Arc;

use super::config::{ModelConfig, Positions, Readout};
use crate::error::{Error, Result};
use crate::graph::{PAD, Position};
use crate::kernels::{Ancestry, DistinctEmbeddings};

/// Whether queries with a common prefix share its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Queries with a common prefix share its rows.
    Prefixes,
    /// Every query has rows of its own, as replacing a state at one of them needs.
    Nothing,
}

/// A batch of queries as rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    /// The token of each row.
    pub(super) tokens: Vec<u32>,
    /// The position of each row in its chain.
    pub(super) positions: Vec<u32>,
    pub(super) ancestry: Arc<Ancestry>,
    /// The row at which each query's answer is read.
    pub(super) readout: Vec<u32>,
    // The rows of query q by position are `chains[chain_starts[q]..chain_starts[q + 1]]`.
    chains: Vec<u32>,
    chain_starts: Vec<u32>,
    sharing: Sharing,
}

impl Rows {
    /// Packs queries (token ids, head first) for a model with this config and `vocab` tokens.
    ///
    /// # Errors
    /// When a token is outside the vocabulary, or a query has more tokens than the model has positions or columns:
    /// nothing is ever cut.
    pub fn pack<'a>(
        queries: impl IntoIterator<Item = &'a [u32]>,
        config: &ModelConfig,
        vocab: usize,
        sharing: Sharing,
    ) -> Result<Self> {
        let queries: Vec<&[u32]> = queries.into_iter().collect();
        let mut rows = Self::empty(sharing);
        for tokens in &queries {
            let length = config.check_query(tokens, vocab)?;
            rows.chain_starts
                .push(rows.chain_starts[rows.queries()] + length as u32);
        }
        rows.chains = vec![0; rows.chain_starts[queries.len()] as usize];
        rows.readout = vec![0; queries.len()];
        let mut order: Vec<usize> = (0..queries.len()).collect();
        if sharing == Sharing::Prefixes {
            // Queries with a common prefix are neighbours, so that the rows of a tree are contiguous.
            order.sort_by_key(|&query| queries[query]);
        }
        // The rows of the query before, and their tokens.
        let mut before: Vec<(u32, u32)> = Vec::new();
        for query in order {
            let start = rows.chain_starts[query] as usize;
            let length = rows.chain_starts[query + 1] as usize - start;
            let tokens = queries[query].iter().copied().chain([PAD]).take(length);
            let shared = match sharing {
                Sharing::Prefixes => before.iter().zip(tokens.clone()).take_while(|(b, t)| b.1 == *t).count(),
                Sharing::Nothing => 0,
            };
            before.truncate(shared);
            for (index, token) in tokens.enumerate().skip(shared) {
                let is_pad = index == queries[query].len();
                let position = if is_pad { config.pad_column() } else { index };
                let parent = before.last().map(|&(row, _)| row);
                before.push((rows.push(parent, token, position, !is_pad), token));
            }
            for (of_query, &(row, _)) in rows.chains[start..].iter_mut().zip(&before) {
                *of_query = row;
            }
            rows.readout[query] = before.last().map_or(0, |&(row, _)| row);
        }
        Ok(rows)
    }

    /// Packs a right-padded rectangle so that every column is a row, `<pad>` too, and every row is read out: for
    /// comparison with code that pads.
    ///
    /// # Errors
    /// As [`Rows::pack`], and when a query begins with `<pad>`, which would have nothing to attend to.
    pub fn rectangle(tokens: &[Vec<u32>], config: &ModelConfig, vocab: usize) -> Result<Self> {
        let mut rows = Self::empty(Sharing::Nothing);
        for query in tokens {
            if query.first().is_none_or(|&token| token == PAD) {
                return Err(Error::input(
                    "a query begins with <pad>; tokens must be padded on the right",
                ));
            }
            let mut last = None;
            for (position, &token) in query.iter().enumerate() {
                config.check_token(token, position, vocab)?;
                let row = rows.push(last, token, position, token != PAD);
                rows.chains.push(row);
                rows.readout.push(row);
                // No row attends to a pad, so the next token's parent is the last real token.
                if token != PAD {
                    last = Some(row);
                }
            }
            rows.chain_starts.push(rows.chains.len() as u32);
        }
        Ok(rows)
    }

    fn empty(sharing: Sharing) -> Self {
        Self {
            tokens: Vec::new(),
            positions: Vec::new(),
            ancestry: Arc::default(),
            readout: Vec::new(),
            chains: Vec::new(),
            chain_starts: vec![0],
            sharing,
        }
    }

    // Adds a row behind `parent`; `is_key`: whether it attends to itself.
    fn push(&mut self, parent: Option<u32>, token: u32, position: usize, is_key: bool) -> u32 {
        self.tokens.push(token);
        self.positions.push(position as u32);
        // Nothing is copied, because packing is the only owner.
        Arc::make_mut(&mut self.ancestry).push(parent, is_key)
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The number of queries.
    pub fn queries(&self) -> usize {
        self.chain_starts.len() - 1
    }

    /// The rows that `row` attends to, oldest first.
    pub fn ancestors(&self, row: usize) -> &[u32] {
        self.ancestry.of(row)
    }

    /// The rows of a query by position, a readout `<pad>` last.
    pub fn of_query(&self, query: usize) -> &[u32] {
        &self.chains[self.chain_starts[query] as usize..self.chain_starts[query + 1] as usize]
    }

    /// The row of a query at a position of its chain.
    pub fn row_at(&self, query: usize, position: Position) -> u32 {
        match position {
            Position::Head => self.of_query(query)[0],
            Position::Relation(n) => self.of_query(query)[n],
            Position::Readout => self.readout[query],
        }
    }

    /// Whether queries share rows.
    pub fn sharing(&self) -> Sharing {
        self.sharing
    }

    /// The length of the longest list of ancestors.
    pub fn max_ancestors(&self) -> usize {
        self.ancestry.max_ancestors()
    }

    /// The distinct embeddings, where there are at most half as many as rows; with more, computing them once saves
    /// little. `by_position`: whether the embedding depends on the position.
    pub(super) fn distinct_embeddings(&self, by_position: bool) -> Option<DistinctEmbeddings> {
        let keys = self.tokens.iter().zip(&self.positions);
        let distinct =
            DistinctEmbeddings::new(keys.map(|(&token, &position)| (token, if by_position { position } else { 0 })));
        (2 * distinct.len() <= self.len()).then_some(distinct)
    }
}

impl ModelConfig {
    // The number of rows of a query: its tokens, and the `<pad>` at which a short one is read.
    fn check_query(&self, tokens: &[u32], vocab: usize) -> Result<usize> {
        if tokens.is_empty() {
            return Err(Error::input("a query without tokens has nothing to read"));
        }
        for (position, &token) in tokens.iter().enumerate() {
            self.check_token(token, position, vocab)?;
        }
        if self.readout == Readout::LastToken {
            return Ok(tokens.len());
        }
        let column = self.pad_column();
        if tokens.len() > column + 1 {
            return Err(Error::input(format!(
                "a query has {} tokens; the model's answers are read at column {}, so at most that many are allowed",
                tokens.len(),
                column + 1
            )));
        }
        if tokens.len() <= column {
            self.check_token(PAD, column, vocab)?;
            return Ok(tokens.len() + 1);
        }
        Ok(tokens.len())
    }

    /// Whether the answer to a query of `hops` hops is read at a `<pad>` behind its last relation.
    pub fn reads_apart(&self, hops: usize) -> bool {
        self.readout == Readout::LastColumn && hops < self.pad_column()
    }

    /// The column of right-padded tokens at which the answer to a query of `hops` hops is read.
    pub fn readout_column(&self, hops: usize) -> usize {
        if self.reads_apart(hops) {
            self.pad_column()
        } else {
            hops
        }
    }

    // The position of the `<pad>` at which short queries are read.
    fn pad_column(&self) -> usize {
        self.columns.unwrap_or(1) - 1
    }

    fn check_token(&self, token: u32, position: usize, vocab: usize) -> Result<()> {
        if token as usize >= vocab {
            return Err(Error::input(format!(
                "token {token} is outside the model's vocabulary; allowed: 0 to {}",
                vocab - 1
            )));
        }
        if self.positions == Positions::Learned && position >= self.max_positions {
            return Err(Error::input(format!(
                "a query reaches position {position}; the model has learned positions 0 to {} (model.max_positions)",
                self.max_positions - 1
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::tests::tiny;
    use super::*;

    fn packed(queries: &[&[u32]], sharing: Sharing) -> Rows {
        Rows::pack(queries.iter().copied(), &tiny(), 10, sharing).unwrap()
    }

    #[test]
    fn common_prefixes_are_shared_and_lengths_mix() {
        let rows = packed(&[&[1, 5, 6], &[1, 5, 7], &[1, 5], &[2, 5]], Sharing::Prefixes);
        assert_eq!(rows.tokens, [1, 5, 6, 7, 2, 5]);
        assert_eq!(rows.positions, [0, 1, 2, 2, 0, 1]);
        assert_eq!(rows.readout, [2, 3, 1, 5]);
        assert_eq!(rows.ancestors(3), [0, 1, 3]);
        assert_eq!(rows.of_query(2), [0, 1]);
        assert_eq!(rows.max_ancestors(), 3);
        let apart = packed(&[&[1, 5, 6], &[1, 5, 7]], Sharing::Nothing);
        assert_eq!(apart.len(), 6);
    }

    #[test]
    fn the_last_column_is_a_pad_that_no_other_column_attends_to() {
        let config = ModelConfig {
            readout: Readout::LastColumn,
            columns: Some(3),
            ..tiny()
        };
        let queries: [&[u32]; 2] = [&[1, 5], &[1, 5, 6]];
        let rows = Rows::pack(queries, &config, 10, Sharing::Prefixes).unwrap();
        assert_eq!(rows.tokens, [1, 5, PAD, 6]);
        assert_eq!(rows.positions, [0, 1, 2, 2]);
        assert_eq!(rows.ancestors(2), [0, 1]);
        assert_eq!(rows.ancestors(3), [0, 1, 3]);
        assert_eq!(rows.readout, [2, 3]);
    }

    #[test]
    fn rows_with_the_same_token_at_the_same_position_have_one_embedding() {
        let rows = packed(&[&[1, 5, 6], &[1, 6, 5], &[1, 5, 5], &[1, 5, 6]], Sharing::Nothing);
        let distinct = rows.distinct_embeddings(true).unwrap();
        assert_eq!(distinct.first_rows, [0, 1, 2, 4, 5]);
        assert_eq!(distinct.of_row, [0, 1, 2, 0, 3, 4, 0, 1, 4, 0, 1, 2]);
        assert_eq!(distinct.rows(4), [5, 8]);
        assert_eq!(rows.distinct_embeddings(false).unwrap().len(), 3);
        // Every row has another embedding: computing each once saves nothing.
        assert_eq!(packed(&[&[1, 5, 6]], Sharing::Nothing).distinct_embeddings(true), None);
    }

    #[test]
    fn a_query_that_does_not_fit_is_an_error_never_cut() {
        let refused = |tokens: &[u32]| {
            Rows::pack([tokens], &tiny(), 10, Sharing::Prefixes)
                .unwrap_err()
                .to_string()
        };
        assert!(refused(&[1, 2, 3, 4, 5, 6]).contains("position 5"));
        assert!(refused(&[1, 10]).contains("token 10"));
    }
}
