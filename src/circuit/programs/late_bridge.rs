//! `late-bridge`: a vanilla transformer (R = 1) whose facts are spread over its layers, each in one layer alone.
//!
//! ```text
//! in each layer, as in hop-per-iteration:
//! head 0 at r_j:  the entity at r_(j−1)            →  carried
//! MLP at r_j:     (carried e, r_j, answer pending) →  answer = t     a memory for each fact of this layer
//!                 carried                          →  taken out
//! ```
//!
//! A chain is answered right where each fact is in a later layer than the one before it. Otherwise its bridge comes too late:
//! the layer with the next fact has run when the bridge appears (Wang et al. 2024, Section 4: why grokked vanilla
//! transformers fail out of distribution). Every atomic fact is answered right.

use super::{Attends, Builder, Dataset, KnownGraph, Program, look_up_facts};
use crate::model::Readout;
use crate::random::Stream;

const LAYERS: usize = 4;

/// The layer of each fact, from 0: equally many in each, at random.
pub(crate) fn fact_layers(known: &KnownGraph, seed: u64) -> Vec<usize> {
    let mut layers: Vec<usize> = (0..known.facts.len()).map(|i| i % LAYERS).collect();
    Stream::new(seed, "layers of facts", 0).shuffle(&mut layers);
    layers
}

pub(super) fn program(known: &KnownGraph, data: &Dataset, seed: u64) -> Program {
    let mut builder = Builder::new(known, &data.vocab, Readout::LastToken);
    let carried = builder.entities();
    let layers = fact_layers(known, seed);
    for layer in 0..LAYERS {
        if layer > 0 {
            builder.next_layer();
        }
        builder.head(Attends::Back(1), &[(builder.answer, carried)]);
        let of_layer = known.facts.iter().zip(&layers).filter(|&(_, &of)| of == layer);
        look_up_facts(&mut builder, of_layer.map(|(fact, _)| fact), carried);
        builder.clear(carried);
    }
    builder.finish(1)
}
