//! What stands above the panels of every figure: what was looked at, on which data, and what intervals and numbers count.

use super::distinct;
use crate::graph::Split;
use crate::measure::statistics::{Clustering, intervals_in_words};
use crate::measure::{CheckpointSummary, Method, Report, Row};
use crate::wording::counted;

/// Runs, seeds, checkpoints and data, as every figure states them; where runs are looked at on different data, which run on
/// which, and which was trained on others.
pub(super) fn conditions(checkpoints: &[CheckpointSummary]) -> String {
    if checkpoints.iter().any(|checkpoint| !checkpoint.members.is_empty()) {
        return conditions_over_seeds(checkpoints);
    }
    let mut seeds: Vec<String> = checkpoints
        .iter()
        .filter_map(|s| match s.seeds {
            Some(seeds) => Some(format!("{} (initial weights) / {} (order)", seeds.init, seeds.order)),
            None => s.seed.map(|seed| seed.to_string()),
        })
        .collect();
    seeds.dedup();
    let runs = distinct(checkpoints, |s| s.origin.run.clone()).join(", ");
    let sets = distinct(checkpoints, |s| s.origin.data_hash.clone());
    let data = if let [one] = sets.as_slice() {
        one.clone()
    } else {
        let of_runs = distinct(checkpoints, |s| {
            (s.origin.run.clone(), short(&s.origin.data_hash).to_owned())
        });
        let of_runs: Vec<String> = of_runs.iter().map(|(run, hash)| format!("{hash} ({run})")).collect();
        format!("DIFFERS: {}", of_runs.join(", "))
    };
    let elsewhere = checkpoints.iter().filter_map(|s| Some((s, s.trained_elsewhere()?)));
    let elsewhere = elsewhere.map(|(s, trained_on)| {
        let (run, looked_at) = (&s.origin.run, short(&s.origin.data_hash));
        format!(
            "; {run} LOOKED AT on data {looked_at}, TRAINED on {}",
            short(trained_on)
        )
    });
    let elsewhere = distinct(&elsewhere.collect::<Vec<_>>(), String::clone).concat();
    // Where there are many, the table names them all.
    let (first, more) = checkpoints.split_at(checkpoints.len().min(6));
    let mut checkpoints: Vec<&str> = first.iter().map(|s| short(&s.origin.checkpoint_hash)).collect();
    if !more.is_empty() {
        checkpoints.push("…");
    }
    let seeds = if seeds.is_empty() {
        "unknown".to_owned()
    } else {
        seeds.join(", ")
    };
    format!(
        "run {runs}; data {data}{elsewhere}; seed {seeds}; checkpoints {}",
        checkpoints.join(" ")
    )
}

// The first digits of a hash; all of one that somebody shortened.
pub(super) fn short(hash: &str) -> &str {
    hash.get(..8).unwrap_or(hash)
}

// The seeds of a group's runs.
fn seeds_of(group: &CheckpointSummary) -> String {
    let list = |of: &dyn Fn(&CheckpointSummary) -> Option<u64>| {
        let seeds: Vec<u64> = group.members.iter().filter_map(of).collect();
        let seeds: Vec<String> = distinct(&seeds, u64::to_string);
        seeds.join(", ")
    };
    if group.members.iter().all(|member| member.seeds.is_none()) {
        return format!("seeds {}", list(&|member| member.seed));
    }
    format!(
        "seeds of initial weights {} and of order {}",
        list(&|member| member.seeds.map(|seeds| seeds.init).or(member.seed)),
        list(&|member| member.seeds.map(|seeds| seeds.order).or(member.seed))
    )
}

// Of groups of runs that differ in their seeds.
fn conditions_over_seeds(groups: &[CheckpointSummary]) -> String {
    let same = distinct(groups, seeds_of);
    let runs = if let [seeds] = same.as_slice() {
        let names: Vec<&str> = groups.iter().map(|group| group.origin.run.as_str()).collect();
        format!("{}, each with {seeds}", names.join("; "))
    } else {
        let name = |group: &CheckpointSummary| format!("{} with {}", group.origin.run, seeds_of(group));
        groups.iter().map(name).collect::<Vec<_>>().join("; ")
    };
    let members: Vec<&CheckpointSummary> = groups.iter().flat_map(|group| &group.members).collect();
    let sets = distinct(&members, |member| member.origin.data_hash.clone());
    let data = match sets.as_slice() {
        [one] => one.clone(),
        several => format!("{} sets ({}, …)", several.len(), short(&several[0])),
    };
    format!("means over seeds, intervals over seeds and not over test rows; runs: {runs}; data {data}")
}

/// What the rows' intervals are, from each one's split and clustering: `95 % intervals (clustered by fact)`.
pub(super) fn intervals<'a, R: 'a>(rows: &'a [R], of: impl Fn(&'a R) -> (&'a Split, Clustering)) -> String {
    intervals_in_words(rows.iter().map(|row| {
        let (split, clustering) = of(row);
        (split.title().to_owned(), clustering)
    }))
}

/// What the bands are, and how many queries there are.
pub(super) fn bands<'a, M: Method>(
    report: &'a Report<M>,
    of: impl Fn(&'a M::Row) -> (&'a Split, usize, usize),
) -> String {
    let samples = sample_size(&report.rows, of);
    let clusterings = report.rows.iter().filter_map(Row::clustering);
    let intervals = intervals_in_words(clusterings.map(|(split, clustering)| (split.title().to_owned(), clustering)));
    format!("bands: {intervals}; {samples}")
}

/// How many queries or pairs there are of each split.
pub(super) fn split_sizes<R: Row>(rows: &[R], of: impl Fn(&R) -> (Split, usize)) -> String {
    let (sizes, unit) = (distinct(rows, of), unit(rows));
    let sizes: Vec<String> = sizes
        .iter()
        .map(|(split, n)| format!("{} n = {n}{unit}", split.title()))
        .collect();
    sizes.join(", ")
}

/// How many pairs there are of each split, or how many seeds.
pub(super) fn pairs<R: Row>(rows: &[R], of: impl Fn(&R) -> (Split, usize)) -> String {
    let what = if unit(rows).is_empty() { "pairs: " } else { "" };
    format!("{what}{}", split_sizes(rows, of))
}

/// How many queries there are of each split and number of hops, in few words.
pub(super) fn sample_size<'a, R: Row>(rows: &'a [R], of: impl Fn(&'a R) -> (&'a Split, usize, usize)) -> String {
    let mut sizes: Vec<(&Split, usize, usize)> = Vec::new();
    for row in rows {
        let size = of(row);
        if !sizes.contains(&size) {
            sizes.push(size);
        }
    }
    sizes_in_words(&sizes, unit(rows))
}

// The sizes of splits with a number of hops each.
fn sizes_in_words(sizes: &[(&Split, usize, usize)], unit: &str) -> String {
    let by_depth = sizes.iter().all(|&(split, hops, _)| split.depth() == Some(hops));
    let same = sizes.windows(2).all(|pair| pair[0].2 == pair[1].2);
    match sizes.first() {
        Some((_, _, n)) if by_depth && same => format!("n = {n}{unit} at each depth"),
        _ => {
            let size = |(split, hops, n): &(&Split, usize, usize)| {
                format!("{}, {}: n = {n}{unit}", split.title(), counted(*hops, "hop"))
            };
            sizes.iter().map(size).collect::<Vec<_>>().join("; ")
        }
    }
}

/// What the numbers of rows count where these are not queries: ` seeds`.
pub(super) fn unit<R: Row>(rows: &[R]) -> &'static str {
    let over_seeds = |row: &R| row.clustering().is_some_and(|(_, of)| of == Clustering::OverSeeds);
    if rows.iter().any(over_seeds) { " seeds" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::super::tests::report;
    use crate::graph::Split;
    use crate::measure::{Iterations, Lens};

    #[test]
    fn one_hop_is_no_hops() {
        let rows = [(Split::from("id_atomic"), 1, 5), (Split::in_distribution(), 2, 9)];
        let sizes: Vec<(&Split, usize, usize)> = rows.iter().map(|(split, hops, n)| (split, *hops, *n)).collect();
        let text = super::sizes_in_words(&sizes, "");
        assert_eq!(text, "ID facts, 1 hop: n = 5; ID test, 2 hops: n = 9");
    }

    #[test]
    fn conditions_say_where_a_run_is_looked_at_on_data_that_it_was_not_trained_on() {
        let lens = Lens {
            splits: Vec::new(),
            iterations: Iterations::Trained,
            seed: 1,
        };
        let mut checkpoints = report(lens, Vec::new()).checkpoints;
        for same in [None, Some("fedcba9876543210".to_owned())] {
            checkpoints[0].trained_on = same;
            assert!(!super::conditions(&checkpoints).contains("TRAINED"));
        }
        checkpoints[0].trained_on = Some("0011223344556677".to_owned());
        checkpoints.push(checkpoints[0].clone());
        let text = super::conditions(&checkpoints);
        let says = "run LOOKED AT on data fedcba98, TRAINED on 00112233";
        assert_eq!(text.matches(says).count(), 1, "{text}");
    }

    #[test]
    fn a_result_over_seeds_names_its_seeds_and_no_query() {
        let lens = Lens {
            splits: Vec::new(),
            iterations: Iterations::Trained,
            seed: 1,
        };
        let mut group = report(lens, Vec::new()).checkpoints.remove(0);
        let members = [3, 5].map(|seed| crate::measure::CheckpointSummary {
            seed: Some(seed),
            ..group.clone()
        });
        group.origin.run = "iterations = 2".to_owned();
        group.seed = None;
        group.members = members.into();
        let text = super::conditions(&[group]);
        assert_eq!(
            text,
            "means over seeds, intervals over seeds and not over test rows; runs: iterations = 2, each with seeds 3, 5; data \
             fedcba9876543210"
        );
    }
}
