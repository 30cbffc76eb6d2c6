//! Which queries depend on each other, and what that leaves of their number.

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::components::Components;
use super::decisive::Decisive;
use super::quantile::{NORMAL, student};
use super::{Interval, mean, numbers, score_interval, share};
use crate::graph::Query;

/// What the queries behind an interval share, which the interval counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clustering {
    /// No two share anything: they are independent rows.
    Independent,
    /// The atomic facts of their chains, at whichever hop.
    Facts,
    /// Their first facts, (head, first relation); further facts are not known.
    FirstFacts,
    /// Not over queries: each value is a run's, and the runs differ in their seeds.
    OverSeeds,
}

impl Clustering {
    /// What tables and figures say of an interval.
    pub fn words(self) -> &'static str {
        match self {
            Self::Independent => "independent rows",
            Self::Facts => "clustered by fact",
            Self::FirstFacts => "clustered by first fact",
            Self::OverSeeds => "over seeds",
        }
    }
}

impl fmt::Display for Clustering {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// The clusters that each query of a set belongs to: a chain belongs to every fact on its way.
#[derive(Debug, Clone)]
pub struct Clusters {
    clustering: Clustering,
    /// The clusters of every query; a fact that a chain uses twice stands there twice.
    of_query: Vec<Vec<u32>>,
    count: usize,
    components: Components,
    decisive: Decisive,
}

// The facts (head, relation) of a query, as far as its bridges are known.
fn facts(query: &Query) -> Vec<(u32, u32)> {
    let head = |hop: usize| match hop {
        0 => Some(query.tokens[0]),
        _ => query.entity_after(hop),
    };
    (0..query.hops())
        .map_while(|hop| Some((head(hop)?, query.tokens[hop + 1])))
        .collect()
}

impl Clusters {
    /// The facts of each query, as far as its bridges are known: the first one, (head, first relation), always is.
    pub fn of_queries<'a>(queries: impl IntoIterator<Item = &'a Query>) -> Self {
        Self::of_groups(queries.into_iter().map(std::iter::once))
    }

    /// The facts of the queries that each number is of, as of a pair.
    pub fn of_groups<'a, G: IntoIterator<Item = &'a Query>>(groups: impl IntoIterator<Item = G>) -> Self {
        let mut ids: HashMap<(u32, u32), u32> = HashMap::new();
        let mut explained = false;
        let of_query: Vec<Vec<u32>> = groups
            .into_iter()
            .map(|group| {
                let mut of_group = Vec::new();
                for query in group {
                    let facts = facts(query);
                    explained |= facts.len() > 1;
                    for fact in facts {
                        let next = ids.len() as u32;
                        of_group.push(*ids.entry(fact).or_insert(next));
                    }
                }
                of_group
            })
            .collect();
        Self::of_ids(of_query, ids.len(), explained)
    }

    /// Of `n` units that share nothing.
    pub fn independent(n: usize) -> Self {
        Self::of_ids((0..n as u32).map(|unit| vec![unit]).collect(), n, false)
    }

    fn of_ids(of_query: Vec<Vec<u32>>, count: usize, explained: bool) -> Self {
        let components = Components::new(&of_query, count);
        let decisive = Decisive::new(&of_query, count);
        let clustering = match (components.any_shared(), explained) {
            (false, _) => Clustering::Independent,
            (true, true) => Clustering::Facts,
            (true, false) => Clustering::FirstFacts,
        };
        Self {
            clustering,
            of_query,
            count,
            components,
            decisive,
        }
    }

    /// What the queries share.
    pub fn clustering(&self) -> Clustering {
        self.clustering
    }

    /// Queries.
    pub fn len(&self) -> usize {
        self.of_query.len()
    }

    /// The clusters of every query.
    pub(super) fn of_each(&self) -> impl Iterator<Item = &[u32]> {
        self.of_query.iter().map(Vec::as_slice)
    }

    /// Whether there is no query.
    pub fn is_empty(&self) -> bool {
        self.of_query.is_empty()
    }

    /// The 95 % interval of the share of queries for which something holds: Wilson's at the effective sample size
    /// p (1 − p) / variance (Dean and Pagano 2015; Kish 1965) and Student's quantile; plain Wilson for independent rows.
    ///
    /// Few exceptions may be the work of one fact. As far as they can be the work of facts that decide alone the size
    /// is at most that of such facts; where all queries agree, it is that size. So the interval is too wide where data
    /// cannot tell and facts matter less. (0, 1) of no queries.
    pub fn share(&self, holds: &[bool]) -> Interval {
        self.share_at(holds, self.quantile_of_shares())
    }

    /// As [`Clusters::share`], as many standard errors wide as asked.
    pub(super) fn share_at(&self, holds: &[bool], quantile: f64) -> Interval {
        let n = self.len() as f64;
        if n == 0.0 {
            return (0.0, 1.0);
        }
        let share = share(holds);
        let effective = if self.clustering == Clustering::Independent {
            n
        } else {
            let max_rows = self.decisive.max_rows(&self.of_query, self.count, holds);
            match share * (1.0 - share) {
                0.0 => max_rows,
                binomial => (binomial / self.influence(&numbers(holds)).variance).min(max_rows),
            }
        };
        score_interval(share, effective, quantile)
    }

    /// Standard errors to either end of a share's interval: those of plain Wilson where rows are independent.
    pub(super) fn quantile_of_shares(&self) -> f64 {
        match self.clustering {
            Clustering::Independent => NORMAL,
            _ => student(self.degrees()),
        }
    }

    /// Whether there is a variance to be read off the queries: two or more that do not all share the same facts.
    pub(super) fn vary(&self) -> bool {
        self.len() > 1 && (self.clustering == Clustering::Independent || self.components.separable())
    }

    /// Degrees of freedom of a variance between clusters.
    pub(super) fn degrees(&self) -> usize {
        self.count.saturating_sub(1)
    }

    /// How many clusters there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// How much each cluster moves the mean of `values`, and that mean's variance.
    pub(super) fn influence(&self, values: &[f64]) -> Influence {
        let average = mean(values.iter().copied());
        let mut sums = vec![0.0; self.count];
        let mut squares = 0.0;
        for (value, clusters) in values.iter().zip(&self.of_query) {
            let deviation = value - average;
            squares += deviation * deviation;
            for &cluster in clusters {
                sums[cluster as usize] += deviation;
            }
        }
        let variance = self.components.variance_of_mean(&sums, squares);
        Influence { sums, variance }
    }
}

/// How much each cluster moves a mean.
pub(super) struct Influence {
    /// Of every cluster: the sum of its queries' deviations from the mean.
    pub(super) sums: Vec<f64>,
    /// The variance of the mean.
    pub(super) variance: f64,
}

#[cfg(test)]
mod tests {
    use super::super::wilson;
    use super::*;
    use crate::graph::Graph;

    // 1 –10→ 2, 2 –10→ 3, 2 –11→ 4; 5 –10→ 6
    fn graph() -> Graph {
        let mut graph = Graph::default();
        for (head, relation, tail) in [(1, 10, 2), (2, 10, 3), (2, 11, 4), (5, 10, 6)] {
            graph.insert(head, relation, tail);
        }
        graph
    }

    #[test]
    fn a_chain_belongs_to_every_fact_on_its_way() {
        let graph = graph();
        let queries = [
            Query::new(&[1, 10, 10], 3, &graph),
            Query::new(&[1, 10, 11], 4, &graph),
            Query::new(&[2, 11], 4, &graph),
        ];
        let clusters = Clusters::of_queries(&queries);
        assert_eq!(clusters.of_query, [vec![0, 1], vec![0, 2], vec![2]]);
        assert_eq!(clusters.clustering(), Clustering::Facts);
        assert_eq!(clusters.clustering().to_string(), "clustered by fact");
    }

    #[test]
    fn chains_without_a_known_bridge_share_their_first_fact_and_facts_alone_share_nothing() {
        let graph = graph();
        let unknown = [Query::new(&[5, 10, 10], 3, &graph), Query::new(&[5, 10, 11], 4, &graph)];
        assert_eq!(Clusters::of_queries(&unknown).clustering(), Clustering::FirstFacts);
        let facts = [Query::new(&[1, 10], 2, &graph), Query::new(&[2, 10], 3, &graph)];
        let clusters = Clusters::of_queries(&facts);
        assert_eq!(clusters.clustering(), Clustering::Independent);
        assert_eq!(clusters.share(&[true, false]), wilson(0.5, 2));
    }

    #[test]
    fn a_share_of_none_or_all_or_of_one_cluster_is_not_certain() {
        let none = Clusters::of_queries(&[] as &[Query]);
        assert!(none.is_empty());
        assert_eq!(none.share(&[]), (0.0, 1.0));

        // Two facts on the way of 40 equal chains: no more is known than of two rows.
        let one = vec![Query::new(&[1, 10, 10], 3, &graph()); 40];
        let clusters = Clusters::of_queries(&one);
        let (low, high) = clusters.share(&[true; 40]);
        assert!(low < 0.2 && high == 1.0, "{low}");
        let (low, high) = clusters.share(&[false; 40]);
        assert!(low == 0.0 && high > 0.8, "{high}");
        let half: Vec<bool> = (0..40).map(|i| i % 2 == 0).collect();
        let (low, high) = clusters.share(&half);
        assert!(low < 0.05 && high > 0.95, "{low} {high}");
    }
}
