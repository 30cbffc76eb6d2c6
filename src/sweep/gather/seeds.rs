//! Which points of a plan are of one seed.

use std::collections::BTreeSet;

use crate::sweep::plan::Plan;
use crate::sweep::point::{Point, PointSeeds};

/// The number of each point's seed: the same for points that count as one, whatever their other values.
///
/// Where every point has three seeds of its own, or one kind alone varies, a seed is all three. Where seeds are crossed, as three data
/// sets with four initialisations each, points that share one are not independent: a seed is then that of the kind with the fewest,
/// and its runs count as one, by their mean: of twelve runs on three graphs three are independent graphs. An interval over them is
/// one for other seeds of that kind with these seeds of the other kinds, whose own differences are not in it.
pub(super) struct SeedNumbers {
    pub(super) of_each: Vec<usize>,
}

// A kind of seed, with the seed of a point.
type Kind = (&'static str, fn(&PointSeeds) -> Option<u64>);
const KINDS: [Kind; 3] = [
    ("data", |seeds| seeds.data),
    ("init", |seeds| Some(seeds.init)),
    ("order", |seeds| Some(seeds.order)),
];

impl SeedNumbers {
    /// The numbers of a plan's points, from 0, with a note where seeds are crossed.
    pub(super) fn of(plan: &Plan) -> (Self, Vec<String>) {
        let all: Vec<&PointSeeds> = plan.points.iter().map(|point: &Point| &point.seeds).collect();
        let triple = |seeds: &PointSeeds| (seeds.data, seeds.init, seeds.order);
        let triples: BTreeSet<_> = all.iter().map(|seeds| triple(seeds)).collect();
        let distinct =
            |of: fn(&PointSeeds) -> Option<u64>| all.iter().map(|seeds| of(seeds)).collect::<BTreeSet<_>>().len();
        let varied: Vec<(usize, Kind)> = (KINDS.into_iter())
            .map(|kind| (distinct(kind.1), kind))
            .filter(|(count, _)| *count > 1)
            .collect();
        let crossed = varied.iter().any(|(count, _)| *count < triples.len());
        let fewest = varied.iter().min_by_key(|(count, _)| *count);
        let (Some((count, (name, of))), true) = (fewest, crossed) else {
            return (Self::numbered(all.iter().map(|seeds| triple(seeds))), Vec::new());
        };
        let note = format!(
            "seeds are crossed: {} kinds of seeds vary, and runs that share one are not independent; the unit is the {name} seed \
             ({count}), of which several runs count as one, by their mean; what the other kinds of seeds change is not in the intervals",
            varied.len()
        );
        (Self::numbered(all.iter().map(|seeds| of(seeds))), vec![note])
    }

    fn numbered<T: PartialEq>(seeds: impl Iterator<Item = T>) -> Self {
        let mut known: Vec<T> = Vec::new();
        let number = |seed: T| {
            known.iter().position(|other| *other == seed).unwrap_or_else(|| {
                known.push(seed);
                known.len() - 1
            })
        };
        Self {
            of_each: seeds.map(number).collect(),
        }
    }
}
