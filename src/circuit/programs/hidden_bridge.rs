//! `hidden-bridge`: the bridge is used through directions that the output matrix cannot read.
//!
//! ```text
//! head 0 at r_j:    the head's entity, or the hidden one at r_(j−1)  →  carried
//! MLP at r_j:       (carried e, r_j, hidden pending)                 →  hidden = t    a memory for each fact (e, r_j, t)
//! head 1 at <pad>:  the hidden entity at the last relation           →  found
//! MLP at <pad>:     (found e, answer pending)                        →  answer = e
//!                   carried, found                                   →  taken out
//!
//!              head    r1               r2               <pad>
//! iteration 1  h       (bridge)         –                –
//! iteration 2  h       (bridge)         (target)         –
//! iteration 3  h       (bridge)         (target)         target     (…): hidden
//! ```
//!
//! No relation knows whether it is the last one, so an answer at r_k would be a visible bridge of every longer query. So it
//! is read at the `<pad>` behind the query, to which nothing attends.

use super::{Attends, Builder, Dataset, KnownGraph, Memory, Program};
use crate::model::Readout;

pub(super) fn program(known: &KnownGraph, data: &Dataset) -> Program {
    let mut builder = Builder::new(known, &data.vocab, Readout::LastColumn);
    let hidden = builder.hidden_entities();
    // The head's own entity is the embedding, which is the output matrix; so it arrives apart from hidden ones.
    let (from_head, carried, found) = (builder.entities(), builder.entities(), builder.entities());
    builder.head(Attends::Back(1), &[(builder.answer, from_head), (hidden, carried)]);
    builder.head(Attends::LastToken, &[(hidden, found)]);
    let (hidden_pending, is_pad) = (builder.pending(hidden), builder.is_pad());
    for fact in &known.facts {
        builder.remember(Memory {
            key: vec![
                (builder.token(builder.relation, fact.relation), 2),
                (hidden_pending, 2),
                // One of the two suffices, and both cannot stand in for a condition.
                (builder.token(from_head, fact.head), 1),
                (builder.token(carried, fact.head), 1),
            ],
            min: 5,
            value: vec![(builder.token(hidden, fact.tail), 1), (hidden_pending, -1)],
        });
    }
    for &entity in &known.entities {
        let key = [builder.token(found, entity), is_pad];
        builder.write_once(&key, builder.answer, entity);
    }
    for subspace in [from_head, carried, found] {
        builder.clear(subspace);
    }
    builder.finish(known.max_hops + 1)
}
