//! `hop-per-iteration`: one hop an iteration.
//!
//! ```text
//! head 0 at r_j:  the entity at r_(j−1)            →  carried        previous-token head
//! MLP at r_j:     (carried e, r_j, answer pending) →  answer = t     a memory for each fact (e, r_j, t)
//!                 carried                          →  taken out
//!
//!              head    r1       r2
//! embedding    h       –        –
//! iteration 1  h       bridge   –          r2 looks up nothing: r1 had no entity when the head read it
//! iteration 2  h       bridge   target
//! iteration 3  h       bridge   target     an answer that is written stays
//! ```

use super::{Attends, Builder, Dataset, KnownGraph, Program, look_up_facts};
use crate::model::Readout;

pub(super) fn program(known: &KnownGraph, data: &Dataset) -> Program {
    let mut builder = Builder::new(known, &data.vocab, Readout::LastToken);
    let carried = builder.entities();
    builder.head(Attends::Back(1), &[(builder.answer, carried)]);
    look_up_facts(&mut builder, &known.facts, carried);
    builder.clear(carried);
    builder.finish(known.max_hops)
}
