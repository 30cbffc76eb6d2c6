//! Facts that decide alone: how few independent rows a set of queries may then be worth.
//!
//! Where a model either knows a fact or does not, and a query is right if and only if all of its facts are known, few
//! exceptions (queries unlike most) may have one cause. Variance components cannot tell: of the facts that
//! they need to compare, one or none has failed. What can be told is whether facts may be the cause at all: each
//! exception must then have a fact that has no query but exceptions.

use std::ops::Range;

/// For a set of queries: the effective sample sizes of shares that facts decide alone.
#[derive(Debug, Clone)]
pub(super) struct Decisive {
    /// The hops whose facts decide, and the size: all hops, and each by itself.
    sizes: Vec<(Range<usize>, f64)>,
}

impl Decisive {
    /// Of queries with these clusters, in the order of their hops and numbered from 0 to below `count`.
    ///
    /// Where a fact is bad with a small probability q and a query has k, it fails with probability k q, and the
    /// variance of the share that fails is q Σ m² / n², over facts in m queries each: that of k n² / Σ m² independent rows.
    pub(super) fn new(of_query: &[Vec<u32>], count: usize) -> Self {
        let hops = of_query.iter().map(Vec::len).max().unwrap_or(0);
        let size = |which: &Range<usize>| {
            let mut members = vec![0.0_f64; count];
            for &cluster in of_query.iter().flat_map(|clusters| deciding(clusters, which)) {
                members[cluster as usize] += 1.0;
            }
            let squares: f64 = members.iter().map(|m| m * m).sum();
            of_query.len() as f64 * members.iter().sum::<f64>() / squares
        };
        let each = (0..hops).map(|hop| hop..hop + 1);
        let sizes = std::iter::once(0..hops)
            .chain(each)
            .map(|which| (which.clone(), size(&which)));
        Self { sizes: sizes.collect() }
    }

    /// The largest number of independent rows that the queries may be worth for the share of those that hold: as far as facts alone may
    /// have caused the exceptions the size is that of facts that decide, otherwise the number of queries.
    pub(super) fn max_rows(&self, of_query: &[Vec<u32>], count: usize, holds: &[bool]) -> f64 {
        let n = holds.len() as f64;
        let true_ones = holds.iter().filter(|&&holds| holds).count();
        let exception = 2 * true_ones < holds.len();
        let rare = if exception { true_ones } else { holds.len() - true_ones } as f64 / n;
        let exceptions: Vec<bool> = holds.iter().map(|&holds| holds == exception).collect();
        let caps = self.sizes.iter().map(|(which, size)| {
            let caused = caused_by_facts(of_query, count, which, &exceptions, rare);
            1.0 / (caused / size + (1.0 - caused) / n)
        });
        caps.fold(n, f64::min)
    }
}

fn deciding<'a>(clusters: &'a [u32], which: &Range<usize>) -> &'a [u32] {
    &clusters[which.start.min(clusters.len())..which.end.min(clusters.len())]
}

// The share of exceptions that have a fact without any other query, less those that have one by chance: 1 where each has
// one or there is nothing to tell from, near 0 where exceptions do not depend on facts.
//
// One exception more than there are is counted as caused by a fact: a few of another cause do not say that no fact is bad.
fn caused_by_facts(of_query: &[Vec<u32>], count: usize, which: &Range<usize>, exceptions: &[bool], rare: f64) -> f64 {
    // Of every cluster: its queries, and how many of them are exceptions.
    let mut sizes = vec![(0_i32, 0_i32); count];
    for (clusters, &exception) in of_query.iter().zip(exceptions) {
        for &cluster in deciding(clusters, which) {
            let (all, exceptional) = &mut sizes[cluster as usize];
            *all += 1;
            *exceptional += i32::from(exception);
        }
    }
    // Exceptions without such a fact, and how many those would be if each query were an exception independently.
    let (mut number, mut found, mut expected) = (0.0, 0.0, 0.0);
    for (clusters, _) in of_query.iter().zip(exceptions).filter(|(_, exception)| **exception) {
        let members = || deciding(clusters, which).iter().map(|&cluster| sizes[cluster as usize]);
        number += 1.0;
        found += f64::from(u8::from(members().all(|(all, exceptional)| exceptional < all)));
        expected += members().map(|(all, _)| 1.0 - rare.powi(all - 1)).product::<f64>();
    }
    let caused = if expected > 0.0 {
        (1.0 - found / expected).max(0.0)
    } else {
        1.0
    };
    (caused * number + 1.0) / (number + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_the_least_over_the_facts_of_all_hops_and_of_each() {
        let max_rows = |of_query: &[Vec<u32>], count| {
            let holds = vec![true; of_query.len()];
            Decisive::new(of_query, count).max_rows(of_query, count, &holds)
        };
        // First facts: 4 × 4 / (9 + 1); all: 4 × 8 / 14; second: 4.
        let first = max_rows(&[vec![0, 2], vec![0, 3], vec![0, 4], vec![1, 5]], 6);
        assert!((first - 1.6).abs() < 1e-12);
        // All facts: 3 × 6 / 12; of each hop: 3.
        let all = max_rows(&[vec![0, 1], vec![1, 2], vec![2, 0]], 3);
        assert!((all - 1.5).abs() < 1e-12);
        // Nothing shared.
        let none = max_rows(&[vec![0], vec![1], vec![2]], 3);
        assert!((none - 3.0).abs() < 1e-12);
    }

    #[test]
    fn exceptions_are_caused_by_facts_only_if_those_have_no_other_query() {
        // 20 facts of 5 queries each.
        let of_query: Vec<Vec<u32>> = (0..100).map(|query| vec![query / 5]).collect();
        let decisive = Decisive::new(&of_query, 20);
        let max_rows = |exceptions: &dyn Fn(usize) -> bool| {
            let holds: Vec<bool> = (0..100).map(|query| !exceptions(query)).collect();
            let opposite: Vec<bool> = holds.iter().map(|holds| !holds).collect();
            let found = decisive.max_rows(&of_query, 20, &holds);
            assert!((found - decisive.max_rows(&of_query, 20, &opposite)).abs() < 1e-12);
            found
        };
        assert!((max_rows(&|_| false) - 20.0).abs() < 1e-12);
        assert!((max_rows(&|query| query < 10) - 20.0).abs() < 1e-12);
        // One of 11: 1 / (1 / 11 / 20 + 10 / 11 / 100).
        assert!((max_rows(&|query| query % 10 == 0) - 220.0 / 3.0).abs() < 1e-9);
        // About half of them.
        let half = max_rows(&|query| query < 5 || (query >= 50 && query % 10 == 0));
        assert!((30.0..36.0).contains(&half), "{half}");
    }
}
