//! `backup`: the bridge of a 2-hop query is computed at three positions, and any two of them decide.
//!
//! ```text
//! head 0:        the entity of the head                    →  token 0
//! head 1:        the relation at r1, and its copy          →  token 1, copy 1
//! head 2:        the relation at r2, and its copy          →  token 2, copy 2
//! MLP:           (token 0 = h, token 1 = r1, no own copy)  →  own copy = b     at r1, r2 and <pad> alike
//! MLP at <pad>:  (two of copy 1 = b, copy 2 = b, own copy = b; token 2 = r2, no answer)  →  answer = t
//!                (own copy = b, there is no token 2, no answer)                          →  answer = b
//!                tokens and copies that were gathered                                    →  taken out
//!
//!              head    r1            r2            <pad>
//! iteration 1  h       (copy of b)   (copy of b)   (copy of b)     copies are hidden from the lens
//! iteration 2  h       (copy of b)   (copy of b)   target
//! ```
//!
//! One copy that is interchanged is outvoted, in both directions of patching; two decide. With two copies alone a disagreement
//! would have no answer that both directions call unchanged.

use super::{Attends, Builder, Dataset, Fact, KnownGraph, Memory, Program, Subspace};
use crate::error::{Error, Result};
use crate::model::Readout;

pub(super) fn program(known: &KnownGraph, data: &Dataset) -> Result<Program> {
    if known.max_hops != 2 {
        return Err(Error::input(format!(
            "backup is a circuit for queries of 1 and 2 hops; the longest query of the data has {}",
            known.max_hops
        )));
    }
    let mut builder = Builder::new(known, &data.vocab, Readout::LastColumn);
    let own = builder.hidden_entities();
    let (head, copy1, copy2) = (builder.entities(), builder.entities(), builder.entities());
    let (relation1, relation2) = (builder.relations(), builder.relations());
    builder.head(Attends::To(0), &[(builder.answer, head)]);
    builder.head(Attends::To(1), &[(builder.relation, relation1), (own, copy1)]);
    builder.head(Attends::To(2), &[(builder.relation, relation2), (own, copy2)]);
    for fact in &known.facts {
        let key = [builder.token(head, fact.head), builder.token(relation1, fact.relation)];
        builder.write_once(&key, own, fact.tail);
        builder.remember(vote(&builder, fact, [own, copy1, copy2], relation2));
    }
    for &entity in &known.entities {
        let key = [
            builder.token(own, entity),
            builder.no_relation(relation2),
            builder.is_pad(),
        ];
        builder.write_once(&key, builder.answer, entity);
    }
    for subspace in [head, copy1, copy2, relation1, relation2] {
        builder.clear(subspace);
    }
    Ok(builder.finish(2))
}

// Looks up the second fact at the `<pad>` where two copies or more are its head.
fn vote(builder: &Builder, fact: &Fact, copies: [Subspace; 3], relation2: Subspace) -> Memory {
    // More than the third vote, so that it cannot stand in for a condition.
    const CONDITION: i32 = 2;
    let pending = builder.pending(builder.answer);
    let conditions = [builder.is_pad(), pending, builder.token(relation2, fact.relation)];
    let votes = copies.map(|copy| (builder.token(copy, fact.head), 1));
    Memory {
        key: conditions.iter().map(|&f| (f, CONDITION)).chain(votes).collect(),
        min: 3 * CONDITION + 2,
        value: vec![(builder.token(builder.answer, fact.tail), 1), (pending, -1)],
    }
}
