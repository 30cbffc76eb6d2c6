//! The circuits, one file each: the program that it runs.

mod backup;
mod decoy_bridge;
mod hidden_bridge;
mod hop_per_iteration;
mod late_bridge;
mod memorizer;
mod suffix_reader;
mod two_iterations_per_hop;

use super::features::{Feature, Subspace};
use super::known::{Fact, KnownGraph};
use super::program::{Attends, Builder, Memory, Program};
use super::{Name, Settings};
use crate::error::Result;
use crate::graph::Dataset;

pub(super) use late_bridge::fact_layers;

/// The program of a circuit for these facts.
///
/// # Errors
/// When no supported width holds it.
pub(super) fn program(settings: &Settings, known: &KnownGraph, data: &Dataset) -> Result<Program> {
    match settings.name {
        Name::HopPerIteration => Ok(hop_per_iteration::program(known, data)),
        Name::TwoIterationsPerHop => Ok(two_iterations_per_hop::program(known, data)),
        Name::Memorizer => memorizer::program(known, data),
        Name::SuffixReader => suffix_reader::program(known, data, settings.suffix),
        Name::HiddenBridge => Ok(hidden_bridge::program(known, data)),
        Name::DecoyBridge => decoy_bridge::program(known, data),
        Name::Backup => backup::program(known, data),
        Name::LateBridge => Ok(late_bridge::program(known, data, settings.seed)),
    }
}

// One head for each position, which copies the token there: the entity of the head, then a relation each. Gives the
// subspaces that they write.
fn gather_query(builder: &mut Builder, known: &KnownGraph) -> Vec<Subspace> {
    let head = builder.entities();
    builder.head(Attends::To(0), &[(builder.answer, head)]);
    let mut gathered = vec![head];
    for index in 1..=known.max_hops {
        let relation = builder.relations();
        builder.head(Attends::To(index), &[(builder.relation, relation)]);
        gathered.push(relation);
    }
    gathered
}

// The features of a whole query in what `gather_query` has gathered. A position that it lacks is the head entity's, which is
// not a relation.
fn whole_query(builder: &Builder, gathered: &[Subspace], tokens: &[u32]) -> Vec<Feature> {
    let feature = |(index, &subspace): (usize, &Subspace)| match tokens.get(index) {
        Some(&token) => builder.token(subspace, token),
        None => builder.no_relation(subspace),
    };
    gathered.iter().enumerate().map(feature).collect()
}

// A memory for each fact (e, r_j, t): where `carried` holds e at a relation r_j whose answer is pending, the answer becomes t.
fn look_up_facts<'a>(builder: &mut Builder, facts: impl IntoIterator<Item = &'a Fact>, carried: Subspace) {
    for fact in facts {
        let key = [
            builder.token(carried, fact.head),
            builder.token(builder.relation, fact.relation),
        ];
        builder.write_once(&key, builder.answer, fact.tail);
    }
}
