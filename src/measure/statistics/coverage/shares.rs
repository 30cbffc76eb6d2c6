//! Coverage of the interval of a share.

use super::super::clusters::{Clustering, Clusters};
use super::super::{Interval, mean, quantile, share, wilson};
use super::simulation::{AllOrNothing, Effects, Simulation, depth, ood};
use super::{Checks, NOMINAL, coverage, equivalent_rows, mean_width, simulate, wilson_coverage};
use crate::graph::Query;
use crate::random::Stream;

// What is asked for at an accuracy of 0.97 and more: up to 0.991 is found, where rows are in truth independent. Few wrong
// answers cannot tell whether facts decide alone, which the interval then allows for, and the variance of facts is never taken
// to be negative. Discreteness (Brown, Cai and DasGupta 2001) explains less: Wilson's interval of as many independent
// rows covers 0.94 to 0.97 there, and 0.90 to 0.98 where facts decide alone and leave about 30 rows (`wilson_coverage`).
const NEAR_ONE: (f64, f64) = (NOMINAL.0, 0.99);

#[test]
fn the_interval_of_a_share_covers_what_it_says_whatever_the_facts_do() {
    let mut checks = Checks::default();
    for (queries, hops) in [(ood(), 2), (depth(3), 3), (depth(8), 8)] {
        let clusters = Clusters::of_queries(&queries);
        assert_eq!(clusters.clustering(), Clustering::Facts);
        let independent = [(Effects::Shared, 0.0, 0.85), (Effects::Shared, 0.0, 0.97)];
        let of_facts = Effects::ALL.into_iter().flat_map(|effects| {
            let settings = [(1.0, 0.5), (2.0, 0.85), (2.0, 0.97), (4.0, 0.5), (4.0, 0.85)];
            settings.map(|(strength, accuracy)| (effects, strength, accuracy))
        });
        for (effects, strength, accuracy) in independent.into_iter().chain(of_facts) {
            let simulation = Simulation::new(&queries, effects, strength, accuracy);
            let constant = simulation.constant();
            let found = simulate(|stream| {
                let right = simulation.answers(constant, stream);
                (
                    share(&right),
                    wilson(share(&right), right.len()),
                    clusters.share(&right),
                )
            });
            let old = coverage(found.iter().map(|found| found.1), accuracy);
            let new = coverage(found.iter().map(|found| found.2), accuracy);
            let shares: Vec<f64> = found.iter().map(|found| found.0).collect();
            let rows = equivalent_rows(&shares, accuracy);
            let exact = wilson_coverage(rows.round() as usize, accuracy);
            let what = format!(
                "{} chains of {hops} hops, {effects:?} {strength} at {accuracy}",
                queries.len()
            );
            println!("{what}: {new:.3}, rows taken for independent {old:.3}, Wilson of {rows:.0} {exact:.3}");
            checks.coverage(new, if accuracy >= 0.97 { NEAR_ONE } else { NOMINAL }, &what);
            if strength == 4.0 && effects == Effects::Shared {
                checks.coverage(old, (0.6, 0.8), &format!("{what}, rows taken for independent"));
            }
        }
    }
    checks.passed();
}

// Where 1 % of answers slip besides, a few slips can hide that there are bad facts. Of 500 chains of 16 hops one bad fact
// spoils 3 %: at an accuracy of 0.95 the interval covers no more than 0.77, which is a known fault.
#[test]
fn the_interval_of_a_share_covers_what_it_says_where_facts_decide_alone() {
    let mut checks = Checks::default();
    for (queries, hops) in [(ood(), 2), (depth(2), 2), (depth(8), 8), (depth(16), 16)] {
        let clusters = Clusters::of_queries(&queries);
        for (used, slips) in [(hops, 0.0), (hops, 0.01), (1, 0.0)] {
            for right in [0.5, 0.85, 0.95, 0.98] {
                let facts = AllOrNothing::new(&queries, used, right);
                let truth = facts.accuracy(facts.known) * (1.0 - slips);
                let found = simulate(|stream| {
                    let mut right = facts.answers(&facts.draw(facts.known, stream));
                    for right in &mut right {
                        *right &= stream.uniform() >= slips;
                    }
                    (share(&right), clusters.share(&right))
                });
                let covers = coverage(found.iter().map(|found| found.1), truth);
                let shares: Vec<f64> = found.iter().map(|found| found.0).collect();
                let rows = equivalent_rows(&shares, truth);
                let exact = wilson_coverage(rows.round() as usize, truth);
                let what = format!(
                    "{} chains of {hops} hops, {used} decide at {right}, {slips} slips",
                    queries.len()
                );
                println!("{what}: {covers:.3}, Wilson of {rows:.0} {exact:.3}");
                let asked = match (hops, right) {
                    (16, 0.95) if slips > 0.0 => (0.75, 0.8),
                    (_, 0.98) => NEAR_ONE,
                    _ => NOMINAL,
                };
                checks.coverage(covers, asked, &what);
            }
        }
    }
    checks.passed();
}

// Facts are taken as exchangeable; an entity or a relation that is known or not, whatever the fact, is not counted.
#[test]
fn the_interval_of_a_share_is_too_narrow_where_entities_or_relations_decide() {
    type Unit = fn(&Query) -> u32;
    let mut checks = Checks::default();
    let queries = ood();
    let clusters = Clusters::of_queries(&queries);
    let units: [(&str, Unit, (f64, f64)); 3] = [
        ("head", |query| query.tokens[0], (0.8, 0.88)),
        ("bridge", |query| query.entity_after(1).unwrap(), (0.8, 0.88)),
        ("second relation", |query| query.tokens[2], (0.67, 0.75)),
    ];
    for (name, unit, bounds) in units {
        for right in [0.5, 0.85] {
            let units = AllOrNothing::by(&queries, unit, right);
            let intervals = simulate(|stream| clusters.share(&units.answers(&units.draw(right, stream))));
            let covers = coverage(intervals, right);
            let what = format!("{name} at {right}");
            println!("{what}: {covers:.3}");
            checks.coverage(covers, bounds, &what);
        }
    }
    checks.passed();
}

// The bootstrap of the pigeonhole as it is published, over first and second facts.
fn pigeonhole(simulation: &Simulation, right: &[bool], stream: &mut Stream) -> Interval {
    let of_hop = |hop: usize| {
        let mut own: Vec<usize> = simulation.facts.iter().map(|facts| facts[hop]).collect();
        own.sort_unstable();
        own.dedup();
        own
    };
    let own = [of_hop(0), of_hop(1)];
    let mut shares: Vec<f64> = (0..200)
        .map(|_| {
            let mut counts = [vec![0.0; simulation.count], vec![0.0; simulation.count]];
            for (own, counts) in own.iter().zip(&mut counts) {
                for _ in 0..own.len() {
                    counts[own[stream.below(own.len())]] += 1.0;
                }
            }
            let weights = simulation
                .facts
                .iter()
                .map(|facts| counts[0][facts[0]] * counts[1][facts[1]]);
            let (top, all) = weights.zip(right).fold((0.0, 0.0), |(top, all), (weight, &right)| {
                (top + if right { weight } else { 0.0 }, all + weight)
            });
            top / all
        })
        .collect();
    quantile::middle(&mut shares)
}

// The percentile bootstrap over rows, as if they were independent.
fn rows_resampled(right: &[bool], stream: &mut Stream) -> Interval {
    let mut shares: Vec<f64> = (0..200)
        .map(|_| mean((0..right.len()).map(|_| f64::from(u8::from(right[stream.below(right.len())])))))
        .collect();
    quantile::middle(&mut shares)
}

#[test]
fn resampling_rows_is_too_narrow_and_the_pigeonhole_bootstrap_alone_too_wide() {
    let mut checks = Checks::default();
    let queries = ood();
    let clusters = Clusters::of_queries(&queries);
    for (strength, accuracy) in [(0.0, 0.85), (2.0, 0.85), (4.0, 0.85)] {
        let simulation = Simulation::new(&queries, Effects::ByHop, strength, accuracy);
        let constant = simulation.constant();
        let found = simulate(|stream| {
            let right = simulation.answers(constant, stream);
            let rows = rows_resampled(&right, stream);
            (rows, pigeonhole(&simulation, &right, stream), clusters.share(&right))
        });
        let rows = coverage(found.iter().map(|found| found.0), accuracy);
        let both = coverage(found.iter().map(|found| found.1), accuracy);
        let wider = mean_width(found.iter().map(|found| found.1)) / mean_width(found.iter().map(|found| found.2));
        println!("{strength}: rows {rows:.3}, pigeonhole {both:.3}, {wider:.2} times as wide");
        if strength > 0.0 {
            checks.coverage(rows, (0.8, 0.88), &format!("rows resampled, {strength}"));
        }
        checks.within(both, (0.975, 1.0), &format!("the pigeonhole bootstrap, {strength}"));
        checks.within(
            wider,
            (1.2, 2.0),
            &format!("the width of the pigeonhole bootstrap, {strength}"),
        );
    }
    checks.passed();
}
