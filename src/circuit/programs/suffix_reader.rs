//! `suffix-reader`: the last s relations decide, and the head entity is never read.
//!
//! ```text
//! head i at r_j:  the relation at r_(j−i−1)                      →  relation i + 1 back
//! MLP at r_j:     (r_j, 1 back = r_(j−1), …, no answer)          →  answer    a memory for each suffix
//!                 relations that were gathered                   →  taken out
//! ```
//!
//! The answer to a suffix is the entity that most entities lead to along it (of equally frequent ones the first). In a query
//! of fewer than s relations all of them decide. Over many-to-one relations this shortcut is often right, because chains
//! forget where they began (Kohli et al. 2026, Appendix K); over permutations it is at chance.

use std::collections::BTreeMap;

use super::{Attends, Builder, Dataset, KnownGraph, Program, Subspace};
use crate::circuit::compile::expect_memories;
use crate::error::{Error, Result};
use crate::model::Readout;

pub(super) fn program(known: &KnownGraph, data: &Dataset, suffix: usize) -> Result<Program> {
    if !(1..=known.max_hops).contains(&suffix) {
        return Err(Error::input(format!(
            "--suffix {suffix}; allowed: 1 to {}, the relations of the longest query of the data",
            known.max_hops
        )));
    }
    let suffixes = (1..=suffix as u32).map(|length| (known.relations.len() as u128).saturating_pow(length));
    expect_memories(suffixes.fold(0, u128::saturating_add))?;
    let mut builder = Builder::new(known, &data.vocab, Readout::LastToken);
    let mut back: Vec<Subspace> = Vec::new();
    for distance in 1..suffix {
        let gathered = builder.relations();
        builder.head(Attends::Back(distance), &[(builder.relation, gathered)]);
        back.push(gathered);
    }
    let mut suffixes = vec![Vec::new()];
    for length in 1..=suffix {
        suffixes = suffixes
            .iter()
            .flat_map(|shorter: &Vec<u32>| known.relations.iter().map(|&r| [&[r], &shorter[..]].concat()))
            .collect();
        for relations in &suffixes {
            let Some(target) = most_frequent_end(known, relations) else {
                continue;
            };
            let mut key: Vec<_> = std::iter::once(&builder.relation)
                .chain(&back)
                .zip(relations.iter().rev())
                .map(|(&subspace, &relation)| builder.token(subspace, relation))
                .collect();
            // A shorter suffix is a whole query: the head entity stands before it.
            if length < suffix {
                key.push(builder.no_relation(back[length - 1]));
            }
            builder.write_once(&key, builder.answer, target);
        }
    }
    for subspace in back {
        builder.clear(subspace);
    }
    Ok(builder.finish(2))
}

/// Where most entities lead to along these relations; `None` where none leads anywhere.
fn most_frequent_end(known: &KnownGraph, relations: &[u32]) -> Option<u32> {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    for &head in &known.entities {
        if let Some(&end) = known
            .graph
            .walk(head, relations)
            .ok()
            .as_deref()
            .and_then(<[u32]>::last)
        {
            *counts.entry(end).or_default() += 1;
        }
    }
    // The first of equals: a later one must be greater.
    counts
        .into_iter()
        .reduce(|best, other| if other.1 > best.1 { other } else { best })
        .map(|(end, _)| end)
}
