//! What the intervals cover, on data simulated with known fact effects.

use super::clusters::{Clustering, Clusters};
use super::resamples::Resamples;
use super::*;
use crate::graph::{Chains, Query, Systematic, Tails, hop_test};
use crate::random::Stream;

/// Which effects the facts of a chain have on whether it is answered right.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Effects {
    /// Each fact has one, whichever its hop.
    Shared,
    /// Each fact has another at every hop.
    ByHop,
    /// Only first facts have one.
    First,
}

/// A population of answers: the logit of a right one is a constant plus the effects of a chain's facts.
struct Simulation {
    // The facts of every chain.
    facts: Vec<Vec<usize>>,
    count: usize,
    effects: Effects,
    /// Standard deviation of the sum of a chain's effects, in logits.
    strength: f64,
    /// Mean over all facts that could have been.
    accuracy: f64,
}

impl Simulation {
    fn new(queries: &[Query], effects: Effects, strength: f64, accuracy: f64) -> Self {
        let mut known: Vec<(u32, u32)> = Vec::new();
        let mut facts_of = |query: &Query| -> Vec<usize> {
            let mut at = query.tokens[0];
            (1..=query.hops())
                .map(|hop| {
                    let fact = (at, query.tokens[hop]);
                    at = query.entity_after(hop).unwrap();
                    known.iter().position(|&other| other == fact).unwrap_or_else(|| {
                        known.push(fact);
                        known.len() - 1
                    })
                })
                .collect()
        };
        let facts: Vec<Vec<usize>> = queries.iter().map(&mut facts_of).collect();
        Self {
            facts,
            count: known.len(),
            effects,
            strength,
            accuracy,
        }
    }

    // The constant at which the mean over a normal sum of effects is the accuracy.
    fn constant(&self) -> f64 {
        let mean_at = |constant: f64| {
            let grid = (-600..=600).map(|i| f64::from(i) / 100.0);
            let (sum, weights) = grid.fold((0.0, 0.0), |(sum, weights), z| {
                let weight = libm::exp(-z * z / 2.0);
                (sum + weight * logistic(constant + self.strength * z), weights + weight)
            });
            sum / weights
        };
        let (mut low, mut high) = (-60.0, 60.0);
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            if mean_at(middle) < self.accuracy {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    }

    // The sum of the effects of each chain's facts, drawn anew.
    fn sums(&self, stream: &mut Stream) -> Vec<f64> {
        let hops = self.facts[0].len();
        let (tables, used) = match self.effects {
            Effects::Shared => (1, hops),
            Effects::ByHop => (hops, hops),
            Effects::First => (1, 1),
        };
        let scale = self.strength / (used as f64).sqrt();
        let effects: Vec<Vec<f64>> = (0..tables)
            .map(|_| (0..self.count).map(|_| scale * stream.normal()).collect())
            .collect();
        let sum = |facts: &Vec<usize>| {
            let by_hop = facts[..used].iter().enumerate();
            by_hop.map(|(hop, &fact)| effects[hop.min(tables - 1)][fact]).sum()
        };
        self.facts.iter().map(sum).collect()
    }

    fn answers(&self, constant: f64, stream: &mut Stream) -> Vec<bool> {
        let sums = self.sums(stream);
        sums.into_iter()
            .map(|sum| stream.uniform() < logistic(constant + sum))
            .collect()
    }

    // How often each of several intervals of a share holds the accuracy.
    fn coverage<const N: usize>(
        &self,
        sets: u64,
        intervals: impl Fn(&[bool], &mut Stream) -> [Interval; N],
    ) -> [f64; N] {
        let constant = self.constant();
        share_held(sets, self.accuracy, |stream| {
            let right = self.answers(constant, stream);
            intervals(&right, stream)
        })
    }
}

// How often each of several intervals holds the truth, over many sets of data.
fn share_held<const N: usize>(sets: u64, truth: f64, intervals: impl Fn(&mut Stream) -> [Interval; N]) -> [f64; N] {
    let mut held = [0_u32; N];
    for set in 0..sets {
        let of_set = intervals(&mut Stream::new(1, "coverage", set));
        for (held, (low, high)) in held.iter_mut().zip(of_set) {
            *held += u32::from((low..=high).contains(&truth));
        }
    }
    held.map(|held| f64::from(held) / sets as f64)
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-x))
}

// 211 chains of 100 facts.
fn ood() -> Vec<Query> {
    let settings = Systematic {
        entities: 50,
        relations: 20,
        out_degree: 20,
        ood_share: 0.1,
        held_out: 0.03,
        phi: 9.0,
        test_rows: 3000,
        seed: 1,
    };
    settings
        .generate()
        .unwrap()
        .split("test_inferred_ood")
        .unwrap()
        .to_vec()
}

fn depth(hops: usize) -> Vec<Query> {
    let settings = Chains {
        entities: 50,
        relations: 10,
        hops,
        train_rows: 10,
        test_rows: 500,
        seed: 1,
        tails: Tails::Permutation,
    };
    settings.generate().unwrap().split(&hop_test(hops)).unwrap().to_vec()
}

const EFFECTS: [Effects; 3] = [Effects::Shared, Effects::ByHop, Effects::First];

fn within(low: f64, high: f64, found: f64, what: &str) {
    assert!((low..=high).contains(&found), "{what}: covers {found:.3}");
}

// With 400 sets a coverage of 0.95 has a standard error of 0.011. Found: 0.92 to 0.98, 0.96 on average, and up to 0.99 at an
// accuracy of 0.97, where few wrong answers leave open whether facts decide alone and a wide interval is meant. Wilson's
// interval of as many independent rows: 0.62 to 0.81 with shared effects of 4 logits.
#[test]
fn the_interval_of_a_share_covers_what_it_says_whatever_the_facts_do() {
    for queries in [ood(), depth(3), depth(8)] {
        let clusters = Clusters::of_queries(&queries);
        assert_eq!(clusters.clustering(), Clustering::Facts);
        let mut all = Vec::new();
        for effects in EFFECTS {
            for (strength, accuracy) in [
                (0.0, 0.85),
                (1.0, 0.5),
                (2.0, 0.85),
                (2.0, 0.97),
                (4.0, 0.5),
                (4.0, 0.85),
            ] {
                let simulation = Simulation::new(&queries, effects, strength, accuracy);
                let [old, new] = simulation.coverage(400, |right, _| {
                    [wilson(share(right), right.len()), clusters.share(right)]
                });
                let what = format!("{} chains, {effects:?} {strength} at {accuracy}", queries.len());
                println!("{what}: {old:.3} {new:.3}");
                let most = if accuracy > 0.95 { 1.0 } else { 0.985 };
                within(0.915, most, new, &what);
                if strength == 4.0 && effects == Effects::Shared {
                    within(0.5, 0.85, old, &format!("Wilson, {what}"));
                }
                all.push(new);
            }
        }
        within(0.94, 0.965, mean(all), "the average");
    }
}

/// Facts that decide alone: each is known or not, and a chain is right if and only if all of its first `used` are known.
struct AllOrNothing {
    facts: Vec<Vec<usize>>,
    count: usize,
    /// The probability that a fact is known.
    known: f64,
}

impl AllOrNothing {
    /// A chain of `used` different facts is right with this probability.
    fn new(queries: &[Query], used: usize, right: f64) -> Self {
        let Simulation { facts, count, .. } = Simulation::new(queries, Effects::Shared, 0.0, right);
        Self {
            facts: facts.iter().map(|facts| facts[..used].to_vec()).collect(),
            count,
            known: libm::pow(right, 1.0 / used as f64),
        }
    }

    /// Instead of facts, what `unit` gives for each chain decides.
    fn by(queries: &[Query], unit: impl Fn(&Query) -> u32, right: f64) -> Self {
        let facts: Vec<Vec<usize>> = queries.iter().map(|query| vec![unit(query) as usize]).collect();
        let count = facts.iter().flatten().max().map_or(0, |last| last + 1);
        let known = right;
        Self { facts, count, known }
    }

    // The share of right answers over all draws, where each fact is known with this probability: a fact may be used twice.
    fn accuracy(&self, known: f64) -> f64 {
        mean(self.facts.iter().map(|facts| {
            let mut different = facts.clone();
            different.sort_unstable();
            different.dedup();
            known.powi(different.len() as i32)
        }))
    }

    fn answers(&self, known: &[bool]) -> Vec<bool> {
        self.facts
            .iter()
            .map(|facts| facts.iter().all(|&fact| known[fact]))
            .collect()
    }

    fn draw(&self, known: f64, stream: &mut Stream) -> Vec<bool> {
        (0..self.count).map(|_| stream.uniform() < known).collect()
    }
}

// Found: 0.94 to 0.98. With the variance components alone, and as many independent rows as there are facts where all chains
// agree, it was down to 0.45, for 16 hops at 0.98.
//
// Where 1 % of answers slip besides: 0.93 to 0.98 up to 8 hops. Of 500 chains of 16 hops one bad fact spoils 3 %; where
// none was drawn, a few slips hide that there are such facts: 0.77 at 0.95.
#[test]
fn the_interval_of_a_share_covers_what_it_says_where_facts_decide_alone() {
    let mut all = Vec::new();
    for (queries, hops) in [(ood(), 2), (depth(2), 2), (depth(8), 8), (depth(16), 16)] {
        let clusters = Clusters::of_queries(&queries);
        for (used, slips) in [(hops, 0.0), (hops, 0.01), (1, 0.0)] {
            for right in [0.5, 0.85, 0.95, 0.98] {
                let facts = AllOrNothing::new(&queries, used, right);
                let truth = facts.accuracy(facts.known) * (1.0 - slips);
                let [covers] = share_held(400, truth, |stream| {
                    let mut right = facts.answers(&facts.draw(facts.known, stream));
                    for right in &mut right {
                        *right &= stream.uniform() >= slips;
                    }
                    [clusters.share(&right)]
                });
                let what = format!(
                    "{} chains of {hops} hops, {used} decide at {right}, {slips} slips",
                    queries.len()
                );
                println!("{what}: {covers:.3}");
                let hidden = slips > 0.0 && hops == 16;
                all.push((if hidden { 0.7 } else { 0.925 }, covers, what));
            }
        }
    }
    for (least, covers, what) in all {
        within(least, 1.0, covers, &what);
    }
}

// Facts are taken as exchangeable; an entity or a relation that is known or not, whatever the fact, is not counted.
#[test]
fn the_interval_of_a_share_is_too_narrow_where_entities_or_relations_decide() {
    type Unit = fn(&Query) -> u32;
    let queries = ood();
    let clusters = Clusters::of_queries(&queries);
    let units: [(&str, Unit); 3] = [
        ("head", |query| query.tokens[0]),
        ("bridge", |query| query.entity_after(1).unwrap()),
        ("second relation", |query| query.tokens[2]),
    ];
    for (name, unit) in units {
        for right in [0.5, 0.85] {
            let units = AllOrNothing::by(&queries, unit, right);
            let [covers] = share_held(400, right, |stream| {
                [clusters.share(&units.answers(&units.draw(right, stream)))]
            });
            println!("{name} at {right}: {covers:.3}");
            within(0.4, 0.93, covers, name);
        }
    }
}

// Some facts that are not known at first become known.
#[test]
fn the_interval_of_a_difference_of_shares_covers_what_it_says_where_facts_decide_alone() {
    for (queries, hops) in [(ood(), 2), (depth(8), 8)] {
        let resamples = Resamples::new(Clusters::of_queries(&queries), 1);
        for (before, learned) in [(0.98, 0.5), (0.95, 0.5), (0.8, 0.1), (0.8, 0.5)] {
            let facts = AllOrNothing::new(&queries, hops, before);
            let after = facts.known + learned * (1.0 - facts.known);
            let truth = facts.accuracy(after) - facts.accuracy(facts.known);
            let [mean, shares] = share_held(300, truth, |stream| {
                let known = facts.draw(facts.known, stream);
                let more = facts.draw(learned, stream);
                let either: Vec<bool> = known.iter().zip(more).map(|(known, more)| *known || more).collect();
                let holds = [facts.answers(&known), facts.answers(&either)];
                let of_mean = resamples.mean(&differences(&numbers(&holds[1]), &numbers(&holds[0])));
                let found = resamples.max_difference(&holds, 0, 1..2).unwrap();
                [of_mean.unwrap(), (found.low, found.high)]
            });
            let what = format!("{} chains, {before}, {learned} of the others learned", queries.len());
            println!("{what}: as a mean {mean:.3}, as a difference of shares {shares:.3}");
            within(0.925, 1.0, shares, &what);
        }
    }
}

// The bootstrap of the pigeonhole as it is published.
fn pigeonhole(facts: &[Vec<usize>], count: usize, right: &[bool], stream: &mut Stream) -> Interval {
    let mut shares: Vec<f64> = (0..200)
        .map(|_| {
            let mut counts = [vec![0.0; count], vec![0.0; count]];
            for (hop, counts) in counts.iter_mut().enumerate() {
                let mut own: Vec<usize> = facts.iter().map(|facts| facts[hop]).collect();
                own.sort_unstable();
                own.dedup();
                for _ in 0..own.len() {
                    counts[own[stream.below(own.len())]] += 1.0;
                }
            }
            let weights = facts.iter().map(|facts| counts[0][facts[0]] * counts[1][facts[1]]);
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
    let queries = ood();
    for (strength, accuracy) in [(0.0, 0.85), (2.0, 0.85), (4.0, 0.85)] {
        let simulation = Simulation::new(&queries, Effects::ByHop, strength, accuracy);
        let [rows, both] = simulation.coverage(200, |right, stream| {
            let rows = rows_resampled(right, stream);
            [rows, pigeonhole(&simulation.facts, simulation.count, right, stream)]
        });
        println!("{strength}: rows {rows:.3} pigeonhole {both:.3}");
        if strength > 0.0 {
            within(0.75, 0.9, rows, "rows resampled");
        }
        within(0.97, 1.0, both, "the pigeonhole bootstrap");
    }
}

// Normal values: a chain's effects and noise of its own.
#[test]
fn means_ratios_and_differences_cover_what_they_say() {
    for queries in [ood(), depth(8)] {
        let resamples = Resamples::new(Clusters::of_queries(&queries), 1);
        for effects in EFFECTS {
            for strength in [0.0, 1.0, 4.0] {
                let simulation = Simulation::new(&queries, effects, strength, 0.5);
                let value = |stream: &mut Stream| -> Vec<f64> {
                    let sums = simulation.sums(stream);
                    sums.into_iter().map(|sum| 10.0 + sum + stream.normal()).collect()
                };
                let plus = |a: &[f64], b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a + b).collect() };
                let [of_mean, of_ratio, of_difference] = share_held(300, 0.0, |stream| {
                    let (a, b, c) = (value(stream), value(stream), value(stream));
                    let less = |interval: Option<Interval>, truth: f64| {
                        let (low, high) = interval.unwrap();
                        (low - truth, high - truth)
                    };
                    // What is common to both sides of the difference does not widen it.
                    [
                        less(resamples.mean(&a), 10.0),
                        less(resamples.ratio(&plus(&a, &b), &b), 2.0),
                        less(resamples.mean(&differences(&plus(&a, &b), &plus(&c, &b))), 0.0),
                    ]
                });
                let what = format!("{} chains, {effects:?} {strength}", queries.len());
                println!("{what}: {of_mean:.3} {of_ratio:.3} {of_difference:.3}");
                for found in [of_mean, of_ratio, of_difference] {
                    within(0.915, 0.985, found, &what);
                }
            }
        }
    }
}

// Shares at 8 layers that have `common` of the variance of their facts' effects in common.
fn max_coverage(queries: &[Query], accuracies: &[f64], strength: f64, common: f64, sets: u64) -> [f64; 2] {
    let resamples = Resamples::new(Clusters::of_queries(queries), 1);
    let of_layers: Vec<(Simulation, f64)> = accuracies
        .iter()
        .map(|&accuracy| {
            let simulation = Simulation::new(queries, Effects::ByHop, strength, accuracy);
            let constant = simulation.constant();
            (simulation, constant)
        })
        .collect();
    let truth = accuracies.iter().copied().fold(0.0, f64::max);
    share_held(sets, truth, |stream| {
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
        let best = resamples.share(&layers[found.index]);
        [best, (found.low, found.high)]
    })
}

#[test]
fn the_interval_of_a_maximum_counts_for_its_selection() {
    let queries = ood();
    for (accuracies, strength, common) in [
        (&[0.8; 8][..], 0.0, 0.0),
        (&[0.8; 8][..], 2.0, 0.0),
        (&[0.8; 8][..], 2.0, 0.9),
        (&[0.2, 0.5, 0.8, 0.5, 0.3, 0.2][..], 2.0, 0.5),
        (&[0.6, 0.7, 0.76, 0.8, 0.78, 0.74][..], 2.0, 0.9),
    ] {
        let [alone, selected] = max_coverage(&queries, accuracies, strength, common, 400);
        let what = format!("{accuracies:?} {strength} {common}");
        println!("{what}: {alone:.3} {selected:.3}");
        within(0.925, 1.0, selected, &what);
    }
}
