//! Coverage of the intervals of means, ratios, differences and maxima.

use super::super::clusters::Clusters;
use super::super::resamples::Resamples;
use super::super::{Interval, differences, numbers, share};
use super::simulation::{AllOrNothing, Effects, Simulation, depth, logistic, ood};
use super::{Checks, NOMINAL, coverage, mean_width, oracle_width, simulate};
use crate::graph::Query;
use crate::random::Stream;

// Normal values: a chain's effects and noise of its own.
#[test]
fn means_ratios_and_differences_cover_what_they_say() {
    let mut checks = Checks::default();
    for (queries, hops) in [(ood(), 2), (depth(8), 8)] {
        let resamples = Resamples::new(Clusters::of_queries(&queries), 1);
        let of_facts = Effects::ALL
            .into_iter()
            .flat_map(|effects| [(effects, 1.0), (effects, 4.0)]);
        for (effects, strength) in std::iter::once((Effects::Shared, 0.0)).chain(of_facts) {
            let simulation = Simulation::new(&queries, effects, strength, 0.5);
            let value = |stream: &mut Stream| -> Vec<f64> {
                let sums = simulation.sums(stream);
                sums.into_iter().map(|sum| 10.0 + sum + stream.normal()).collect()
            };
            let plus = |a: &[f64], b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a + b).collect() };
            let found = simulate(|stream| {
                let (a, b, c) = (value(stream), value(stream), value(stream));
                // What is common to both sides of the difference does not widen it.
                let of_difference = resamples.mean(&differences(&plus(&a, &b), &plus(&c, &b)));
                [resamples.mean(&a), resamples.ratio(&plus(&a, &b), &b), of_difference].map(Option::unwrap)
            });
            for (i, (name, truth)) in [("mean", 10.0), ("ratio", 2.0), ("difference", 0.0)].iter().enumerate() {
                let covers = coverage(found.iter().map(|found| found[i]), *truth);
                let what = format!(
                    "{} chains of {hops} hops, {effects:?} {strength}, {name}",
                    queries.len()
                );
                println!("{what}: {covers:.3}");
                checks.coverage(covers, NOMINAL, &what);
            }
        }
    }
    checks.passed();
}

// What is asked for where few queries change. The interval covers up to 1.000 there, so its width is bounded instead. It has to
// hold both no change, which is what most data sets show, and the true change, and it allows for queries that were lost. That
// of the share of gained queries, which is right where nothing is lost, covers 0.95 to 0.97.
const CONSERVATIVE: (f64, f64) = (NOMINAL.0, 1.0);

// Some facts that are not known at first become known; then also as many known ones are forgotten.
#[test]
fn the_interval_of_a_difference_of_shares_covers_what_it_says_where_facts_decide_alone() {
    let mut checks = Checks::default();
    for (queries, hops) in [(ood(), 2), (depth(8), 8)] {
        let resamples = Resamples::new(Clusters::of_queries(&queries), 1);
        // How wide the interval may be, in widths of one that knows the distribution of the difference.
        for (before, learned, forgets, asked, wide) in [
            (0.98, 0.5, false, CONSERVATIVE, 3.9),
            (0.95, 0.5, false, CONSERVATIVE, 2.7),
            (0.8, 0.1, false, CONSERVATIVE, 3.1),
            (0.8, 0.5, false, (NOMINAL.0, 0.99), 1.5),
            (0.98, 0.5, true, CONSERVATIVE, 2.3),
            (0.8, 0.1, true, CONSERVATIVE, 1.8),
            (0.8, 0.5, true, NOMINAL, 1.15),
            (0.5, 0.5, true, NOMINAL, 1.1),
        ] {
            let facts = AllOrNothing::new(&queries, hops, before);
            let known = facts.known;
            // As many known facts are forgotten as unknown ones are learned.
            let forgotten = if forgets { learned * (1.0 - known) / known } else { 0.0 };
            let after = known * (1.0 - forgotten) + learned * (1.0 - known);
            let truth = facts.accuracy(after) - facts.accuracy(known);
            let found = simulate(|stream| {
                let first = facts.draw(known, stream);
                let learns = facts.draw(learned, stream);
                let keeps = facts.draw(1.0 - forgotten, stream);
                let second: Vec<bool> = (0..first.len())
                    .map(|i| if first[i] { keeps[i] } else { learns[i] })
                    .collect();
                let holds = [facts.answers(&first), facts.answers(&second)];
                let of_mean = resamples.mean(&differences(&numbers(&holds[1]), &numbers(&holds[0])));
                let found = resamples.max_difference(&holds, 0, 1..2).unwrap();
                let gained: Vec<bool> = (0..queries.len()).map(|i| holds[1][i] && !holds[0][i]).collect();
                (
                    share(&holds[1]) - share(&holds[0]),
                    of_mean.unwrap(),
                    (found.low, found.high),
                    resamples.share(&gained),
                )
            });
            let as_mean = coverage(found.iter().map(|found| found.1), truth);
            let covers = coverage(found.iter().map(|found| found.2), truth);
            let gained = coverage(found.iter().map(|found| found.3), truth);
            let wider = mean_width(found.iter().map(|found| found.2)) / oracle_width(found.iter().map(|found| found.0));
            let unchanged = coverage(found.iter().map(|found| (found.0, found.0)), 0.0);
            let what = format!(
                "{} chains, {before}, {learned} of the others learned, {forgotten:.3} forgotten",
                queries.len()
            );
            println!(
                "{what}: {covers:.3}, as a mean {as_mean:.3}, gained alone {gained:.3}; {wider:.2} times as wide as the oracle; \
                 none changed in {unchanged:.3}"
            );
            checks.coverage(covers, asked, &what);
            if !forgets {
                checks.coverage(gained, NOMINAL, &format!("gained alone, {what}"));
            }
            checks.within(wider, (0.9, wide), &format!("width, {what}"));
        }
    }
    checks.passed();
}

// Shares at several layers that have `common` of the variance of their facts' effects in common: the largest share that was
// found, the interval of that layer alone, and that of the maximum.
fn maxima(queries: &[Query], accuracies: &[f64], strength: f64, common: f64) -> Vec<(f64, Interval, Interval)> {
    let resamples = Resamples::new(Clusters::of_queries(queries), 1);
    let of_layers: Vec<(Simulation, f64)> = accuracies
        .iter()
        .map(|&accuracy| {
            let simulation = Simulation::new(queries, Effects::ByHop, strength, accuracy);
            let constant = simulation.constant();
            (simulation, constant)
        })
        .collect();
    simulate(|stream| {
        let shared = of_layers[0].0.sums(stream);
        let layers: Vec<Vec<bool>> = of_layers
            .iter()
            .map(|(simulation, constant)| {
                let own = simulation.sums(stream);
                let both = shared.iter().zip(own);
                both.map(|(shared, own)| common.sqrt() * shared + (1.0 - common).sqrt() * own)
                    .map(|sum| stream.uniform() < logistic(constant + sum))
                    .collect()
            })
            .collect();
        let found = resamples.max_share(&layers).unwrap();
        let best = &layers[found.index];
        (share(best), resamples.share(best), (found.low, found.high))
    })
}

// What is asked for where several means are about the largest: the largest of their upper ends is hardly ever below the
// truth, so that only the lower end misses.
const ONE_SIDED: (f64, f64) = (NOMINAL.0, 0.99);

#[test]
fn the_interval_of_a_maximum_counts_for_its_selection() {
    let mut checks = Checks::default();
    let queries = ood();
    // How wide the interval may be, in widths of that of the layer alone: of k intervals that hold together, quantiles of the
    // normal distribution for k independent means (Šidák 1967; 2.73 for 8, 2.63 for 6) over that of one; of a clear maximum, hardly wider.
    let (of_eight, of_six) = (2.73 / 1.96, 2.63 / 1.96);
    let equal = &[0.8; 8][..];
    let clear = &[0.2, 0.5, 0.8, 0.5, 0.3, 0.2][..];
    let near = &[0.6, 0.7, 0.76, 0.8, 0.78, 0.74][..];
    for (accuracies, strength, common, asked, wide) in [
        (equal, 0.0, 0.0, ONE_SIDED, of_eight),
        (equal, 2.0, 0.0, ONE_SIDED, of_eight),
        (equal, 2.0, 0.9, ONE_SIDED, of_eight),
        (clear, 2.0, 0.5, NOMINAL, 1.05),
        (near, 2.0, 0.9, ONE_SIDED, of_six),
    ] {
        let truth = accuracies.iter().copied().fold(0.0, f64::max);
        let found = maxima(&queries, accuracies, strength, common);
        let alone = coverage(found.iter().map(|found| found.1), truth);
        let selected = coverage(found.iter().map(|found| found.2), truth);
        let width = mean_width(found.iter().map(|found| found.2));
        let wider = width / mean_width(found.iter().map(|found| found.1));
        let oracle = width / oracle_width(found.iter().map(|found| found.0));
        let what = format!("{accuracies:?} {strength} {common}");
        println!(
            "{what}: alone {alone:.3}, selected {selected:.3}, {wider:.2} times as wide, {oracle:.2} times the oracle"
        );
        checks.coverage(selected, asked, &what);
        checks.within(wider, (1.0, wide), &format!("width, {what}"));
    }
    checks.passed();
}
