//! `two-iterations-per-hop`: copies in one iteration, looks up in the next.
//!
//! ```text
//! head 0 at r_j:  the entity at r_(j−1)             →  arrived
//! MLP at r_j:     arrived                           →  carried       which the next iteration reads; hidden from the lens
//!                 (carried e, r_j, answer pending)  →  answer = t    a memory for each fact (e, r_j, t)
//!                 arrived, carried                  →  taken out
//!
//!              head    r1                 r2
//! iteration 1  h       carries h          –
//! iteration 2  h       bridge             –
//! iteration 3  h       bridge             carries the bridge
//! iteration 4  h       bridge             target
//! ```

use super::{Attends, Builder, Dataset, KnownGraph, Memory, Program, look_up_facts};
use crate::model::Readout;

pub(super) fn program(known: &KnownGraph, data: &Dataset) -> Program {
    let mut builder = Builder::new(known, &data.vocab, Readout::LastToken);
    let arrived = builder.entities();
    let carried = builder.hidden_entities();
    builder.head(Attends::Back(1), &[(builder.answer, arrived)]);
    look_up_facts(&mut builder, &known.facts, carried);
    for (from, to) in builder.features.of(arrived).zip(builder.features.of(carried)) {
        builder.remember(Memory::all(&[from], &[to], &[from]));
    }
    builder.clear(carried);
    builder.finish(2 * known.max_hops)
}
