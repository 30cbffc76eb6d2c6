//! What numbers are taken over together: a split, or its queries of one number of hops.

use std::cell::OnceCell;

use super::checkpoint::LoadedCheckpoint;
use super::statistics::{Clusters, Resamples};
use crate::error::Result;
use crate::graph::{Dataset, Query, Split};
use crate::random::Stream;

/// Checkpoints that are looked at on one data set.
pub struct Group<'a> {
    /// The data.
    pub data: &'a Dataset,
    /// The checkpoints that share it.
    pub checkpoints: Vec<&'a LoadedCheckpoint>,
    // Seed of the bootstrap.
    pub(super) seed: u64,
}

/// Which queries of a split are one population.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Per {
    /// All of the split.
    Split,
    /// Those of one number of hops, each number by itself.
    Hops,
}

/// Queries that numbers are taken over together: a split, or its queries of one number of hops.
pub struct Population<'a> {
    /// The split that the queries are from.
    pub split: &'a Split,
    /// The hops that all its queries have; `None` where they differ.
    pub hops: Option<usize>,
    /// The queries.
    pub queries: Vec<&'a Query>,
    // The place of each query in its split.
    pub(super) rows: Vec<usize>,
    // The other query of each pair, where numbers are of pairs.
    others: Vec<Query>,
    seed: u64,
    resamples: OnceCell<Resamples>,
}

impl<'a> Population<'a> {
    fn new(split: &'a Split, members: Vec<(usize, &'a Query)>, seed: u64) -> Self {
        let (rows, queries): (Vec<usize>, Vec<&Query>) = members.into_iter().unzip();
        let hops = queries.first().map(|query| query.hops());
        let same = queries.iter().all(|query| Some(query.hops()) == hops);
        Self {
            split,
            hops: hops.filter(|_| same),
            queries,
            rows,
            others: Vec::new(),
            seed,
            resamples: OnceCell::new(),
        }
    }

    /// Those of its queries that `keep` keeps.
    #[must_use]
    pub fn only(&self, keep: impl Fn(&Query) -> bool) -> Self {
        let all = self.rows.iter().copied().zip(self.queries.iter().copied());
        Self::new(self.split, all.filter(|(_, query)| keep(query)).collect(), self.seed)
    }

    /// At most `n` of its queries, drawn without replacement.
    #[must_use]
    pub fn sample(&self, stream: &mut Stream, n: usize) -> Self {
        let all: Vec<(usize, &Query)> = self.rows.iter().copied().zip(self.queries.iter().copied()).collect();
        Self::new(self.split, stream.sample(&all, n), self.seed)
    }

    /// Its queries at these places.
    #[must_use]
    pub fn at(&self, places: impl Iterator<Item = usize>) -> Self {
        let members = places.map(|place| (self.rows[place], self.queries[place]));
        Self::new(self.split, members.collect(), self.seed)
    }

    /// These queries as the first of pairs: numbers depend on the facts of the second ones, `others`, too.
    #[must_use]
    pub fn paired_with(self, others: Vec<Query>) -> Self {
        Self {
            others,
            resamples: OnceCell::new(),
            ..self
        }
    }

    /// Which facts its queries share, or its pairs.
    pub fn clusters(&self) -> Clusters {
        let pair = |(index, query): (usize, &&'a Query)| std::iter::once(*query).chain(self.others.get(index));
        Clusters::of_groups(self.queries.iter().enumerate().map(pair))
    }

    /// Its resamples, drawn once.
    pub fn resamples(&self) -> &Resamples {
        self.resamples
            .get_or_init(|| Resamples::new(self.clusters(), self.seed))
    }
}

impl<'a> Group<'a> {
    /// The populations of a split, fewest hops first; that it has no rows is noted.
    ///
    /// # Errors
    /// When there is no such split.
    pub fn populations(&self, split: &'a Split, per: Per, notes: &mut Vec<String>) -> Result<Vec<Population<'a>>> {
        let queries = self.data.split(split)?;
        if queries.is_empty() {
            notes.push(format!("split {split} has no rows; it is left out"));
            return Ok(Vec::new());
        }
        let all = queries.iter().enumerate();
        if per == Per::Split {
            return Ok(vec![Population::new(split, all.collect(), self.seed)]);
        }
        let mut hops: Vec<usize> = queries.iter().map(Query::hops).collect();
        hops.sort_unstable();
        hops.dedup();
        let of_length = |hops| all.clone().filter(|(_, query)| query.hops() == hops).collect();
        Ok(hops
            .into_iter()
            .map(|hops| Population::new(split, of_length(hops), self.seed))
            .collect())
    }
}
