//! The vocabulary: `<pad>` at id 0, entities `<e_i>`, relations `<r_j>`, special tokens.

use std::collections::HashMap;

use crate::error::{Error, Result};

/// The id of `<pad>`.
pub const PAD: u32 = 0;

const PAD_TOKEN: &str = "<pad>";
const SPECIAL: [&str; 6] = ["<mask>", "<sep>", "<a>", "</a>", "<q>", "</q>"];

/// The kind of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// An entity, `<e_i>`.
    Entity,
    /// A relation, `<r_j>`.
    Relation,
    /// `<pad>` and the special tokens.
    Other,
}

/// The tokens of a data set or a model; the id of a token is its index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocab {
    tokens: Vec<String>,
    ids: HashMap<String, u32>,
}

impl Vocab {
    /// The published vocabulary of a graph with `entities` entities and `relations` relations.
    pub fn of_graph(entities: usize, relations: usize) -> Self {
        let tokens = std::iter::once(PAD_TOKEN.to_owned())
            .chain((0..entities).map(|i| format!("<e_{i}>")))
            .chain((0..relations).map(|j| format!("<r_{j}>")))
            .chain(SPECIAL.map(str::to_owned));
        let tokens: Vec<String> = tokens.collect();
        let ids = (0..).zip(&tokens).map(|(id, token)| (token.clone(), id)).collect();
        Self { tokens, ids }
    }

    /// A vocabulary from its tokens in order; `<pad>` is put in front where it is absent.
    ///
    /// # Errors
    /// When a token occurs twice, or `<pad>` occurs and is not the first.
    pub fn from_tokens(mut tokens: Vec<String>) -> Result<Self> {
        if tokens.first().is_none_or(|first| first != PAD_TOKEN) {
            tokens.insert(0, PAD_TOKEN.to_owned());
        }
        let mut ids = HashMap::with_capacity(tokens.len());
        for (id, token) in tokens.iter().enumerate() {
            if ids.insert(token.clone(), id as u32).is_some() {
                return Err(Error::input(format!(
                    "vocabulary: the token {token} occurs twice; each must occur once, <pad> first or not at all"
                )));
            }
        }
        Ok(Self { tokens, ids })
    }

    /// The tokens, by id.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// The number of tokens, `<pad>` included.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Always false, because every vocabulary has `<pad>`.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The id of `token`.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.ids.get(token).copied()
    }

    /// The kind of the token with this id.
    pub fn kind(&self, id: u32) -> TokenKind {
        let numbered = |prefix: &str| {
            self.tokens
                .get(id as usize)
                .and_then(|token| token.strip_prefix(prefix)?.strip_suffix('>'))
                .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
        };
        if numbered("<e_") {
            TokenKind::Entity
        } else if numbered("<r_") {
            TokenKind::Relation
        } else {
            TokenKind::Other
        }
    }

    /// The ids of the tokens of `text`, as in `<e_5><r_1><r_9>`.
    ///
    /// # Errors
    /// With the first part of the text that is not a token of the vocabulary.
    pub fn encode(&self, text: &str) -> std::result::Result<Vec<u32>, String> {
        let mut ids = Vec::with_capacity(4);
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.find('>').map_or(rest.len(), |i| i + 1);
            let (token, after) = rest.split_at(end);
            ids.push(self.id(token).ok_or_else(|| token.to_owned())?);
            rest = after;
        }
        Ok(ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_vocabulary_has_pad_entities_relations_and_six_specials() {
        let vocab = Vocab::of_graph(2000, 200);
        assert_eq!(vocab.len(), 2207);
        assert_eq!(vocab.id("<pad>"), Some(PAD));
        assert_eq!(vocab.encode("<e_0><r_3></a>"), Ok(vec![1, 2004, 2204]));
        assert_eq!(vocab.kind(1), TokenKind::Entity);
        assert_eq!(vocab.kind(2004), TokenKind::Relation);
        assert_eq!(vocab.kind(2204), TokenKind::Other);
        assert_eq!(vocab.encode("<e_0><r_999>"), Err("<r_999>".to_owned()));
    }

    #[test]
    fn pad_is_put_in_front_where_absent_and_repeats_are_refused() {
        let tokens = |names: &[&str]| names.iter().map(|&t| t.to_owned()).collect::<Vec<_>>();
        let with = Vocab::from_tokens(tokens(&["<pad>", "<e_0>"])).unwrap();
        assert_eq!(with, Vocab::from_tokens(tokens(&["<e_0>"])).unwrap());
        assert!(Vocab::from_tokens(tokens(&["<e_0>", "<e_0>"])).is_err());
        assert!(Vocab::from_tokens(tokens(&["<e_0>", "<pad>"])).is_err());
    }
}
