//! `memorizer`: looks trained queries up as a whole; there is no bridge anywhere.
//!
//! ```text
//! head i at <pad>:  the token at position i                    →  token i
//! MLP at <pad>:     (token 0 = h, token 1 = r1, …, no answer)  →  answer    a memory for each row of train.json
//!                   every token i                              →  taken out
//! ```
//!
//! The answer is read at the `<pad>` behind the query. At r1, the answer to `<h><r1>` would be a bridge of `<h><r1><r2>`. A
//! query that is not in train.json is not answered: `<pad>` stays the most likely token.

use std::collections::HashSet;

use super::{Builder, Dataset, KnownGraph, Program, gather_query, whole_query};
use crate::circuit::compile::expect_memories;
use crate::error::Result;
use crate::graph::{Bridges, Split};
use crate::model::Readout;

pub(super) fn program(known: &KnownGraph, data: &Dataset) -> Result<Program> {
    let rows = data.split(Split::train())?;
    let mut seen = HashSet::new();
    let trained = rows
        .iter()
        .filter(|query| matches!(query.bridges, Bridges::Known(_)) && seen.insert(&query.tokens));
    let trained: Vec<_> = trained.collect();
    expect_memories(trained.len() as u128)?;
    let mut builder = Builder::new(known, &data.vocab, Readout::LastColumn);
    let gathered = gather_query(&mut builder, known);
    for query in trained {
        let mut key = whole_query(&builder, &gathered, &query.tokens);
        key.push(builder.is_pad());
        builder.write_once(&key, builder.answer, query.target);
    }
    for subspace in gathered {
        builder.clear(subspace);
    }
    Ok(builder.finish(2))
}
