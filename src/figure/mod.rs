//! Figures: one drawing kit, one file a figure. They take tables only and never run a model.

mod ablate;
mod attribute;
mod compare;
mod cone;
mod edit;
mod eval;
mod extrapolate;
mod halt;
mod kit;
mod lens;
mod margin;
mod patch;
mod path;
mod probe;
mod reach;
mod routing;
mod settle;
mod transplant;

use std::path::Path;

pub use compare::compare;
pub use kit::Figure;

use crate::error::Result;
use crate::graph::{Role, Split};
use crate::measure::statistics::{Clustering, intervals_in_words};
use crate::measure::{self, CheckpointSummary, Method, Report, Row};
use crate::registry::with_every_method;
use crate::wording::counted;
use kit::{Axis, Colour, Panel, Series, Stroke};

/// A method whose result has a figure.
pub trait Draw: Method {
    /// The figure of a result.
    fn draw(report: &Report<Self>) -> Figure;
}

macro_rules! draw_by_name {
    ($($module:ident::$Method:ident,)*) => {
        /// Draws the result of the method with this name that is in `folder`, beside its tables.
        ///
        /// # Errors
        /// When the result cannot be read or the figure not be written.
        pub fn draw_result(method: &str, folder: &Path) -> Result<()> {
            $(
                if method == <measure::$Method as Method>::NAME {
                    return measure::$Method::draw(&Report::read(folder)?).write(folder, method);
                }
            )*
            Ok(())
        }
    };
}

with_every_method!(draw_by_name);

/// The columns of most figures: a checkpoint each.
fn column_title(checkpoint: &CheckpointSummary, several_runs: bool) -> String {
    let origin = &checkpoint.origin;
    let step = format!("step {}", thousands(origin.step));
    if several_runs {
        format!("{}, {}, {step}", origin.run, origin.checkpoint)
    } else {
        format!("{}, {step}", origin.checkpoint)
    }
}

fn several_runs(checkpoints: &[CheckpointSummary]) -> bool {
    checkpoints
        .windows(2)
        .any(|pair| pair[0].origin.run != pair[1].origin.run)
}

/// Runs, seeds, checkpoints and data, as every figure states them; where runs are looked at on different data, which run on
/// which, and which was trained on others.
fn conditions(checkpoints: &[CheckpointSummary]) -> String {
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
fn short(hash: &str) -> &str {
    hash.get(..8).unwrap_or(hash)
}

fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The same colour for the same split in every figure.
fn split_colour(split: &Split, index: usize) -> Colour {
    match split.role() {
        Role::Train | Role::TrainChains => Colour::BLUE,
        Role::InDistribution => Colour::GREEN,
        Role::Ood => Colour::VERMILION,
        Role::InDistributionFacts => Colour::SKY,
        Role::OodFacts => Colour::ORANGE,
        _ => Colour::cycle(index),
    }
}

/// The distinct values of `key`, in the order in which they come.
fn distinct<R, K: PartialEq>(rows: &[R], key: impl Fn(&R) -> K) -> Vec<K> {
    let mut found = Vec::new();
    for row in rows {
        let value = key(row);
        if !found.contains(&value) {
            found.push(value);
        }
    }
    found
}

/// One legend entry a split.
fn split_legend(splits: &[Split]) -> Vec<(String, Series)> {
    splits
        .iter()
        .enumerate()
        .map(|(index, split)| (split.title().to_owned(), Series::new(split_colour(split, index))))
        .collect()
}

/// Panels that are no grid, four in a row.
fn wrapped(panels: Vec<Panel>) -> Vec<Vec<Panel>> {
    const IN_A_ROW: usize = 4;
    let mut rows = Vec::new();
    let mut row = Vec::new();
    for panel in panels {
        row.push(panel);
        if row.len() == IN_A_ROW {
            rows.push(std::mem::take(&mut row));
        }
    }
    if !row.is_empty() {
        rows.push(row);
    }
    rows
}

/// What the rows' intervals are, from each one's split and clustering: `95 % intervals (clustered by fact)`.
fn intervals<'a, R: 'a>(rows: &'a [R], of: impl Fn(&'a R) -> (&'a Split, Clustering)) -> String {
    intervals_in_words(rows.iter().map(|row| {
        let (split, clustering) = of(row);
        (split.title().to_owned(), clustering)
    }))
}

/// What the bands are, and how many queries there are.
fn bands<'a, M: Method>(report: &'a Report<M>, of: impl Fn(&'a M::Row) -> (&'a Split, usize, usize)) -> String {
    let samples = sample_size(&report.rows, of);
    let clusterings = report.rows.iter().filter_map(Row::clustering);
    let intervals = intervals_in_words(clusterings.map(|(split, clustering)| (split.title().to_owned(), clustering)));
    format!("bands: {intervals}; {samples}")
}

/// How many queries or pairs there are of each split.
fn split_sizes<R>(rows: &[R], of: impl Fn(&R) -> (Split, usize)) -> String {
    let sizes = distinct(rows, of);
    let sizes: Vec<String> = sizes
        .iter()
        .map(|(split, n)| format!("{} n = {n}", split.title()))
        .collect();
    sizes.join(", ")
}

/// How many queries there are of each split and number of hops, in few words.
fn sample_size<'a, R>(rows: &'a [R], of: impl Fn(&'a R) -> (&'a Split, usize, usize)) -> String {
    let mut sizes: Vec<(&Split, usize, usize)> = Vec::new();
    for row in rows {
        let size = of(row);
        if !sizes.contains(&size) {
            sizes.push(size);
        }
    }
    let by_depth = sizes.iter().all(|&(split, hops, _)| split.depth() == Some(hops));
    let same = sizes.windows(2).all(|pair| pair[0].2 == pair[1].2);
    match sizes.first() {
        Some((_, _, n)) if by_depth && same => format!("n = {n} at each depth"),
        _ => {
            let size = |(split, hops, n): &(&Split, usize, usize)| {
                format!("{}, {}: n = {n}", split.title(), counted(*hops, "hop"))
            };
            sizes.iter().map(size).collect::<Vec<_>>().join("; ")
        }
    }
}

/// The n-th line of things without colours of their own; dashed where the colours begin anew.
fn cycled_line(n: usize) -> Series {
    let line = Series::new(Colour::cycle(n));
    if n < Colour::CYCLE {
        line
    } else {
        line.stroke(Stroke::Dashed)
    }
}

/// The n-th line of an ordered quantity such as hops.
fn ordered_line(n: usize, of: usize) -> Series {
    Series::new(Colour::ordered(n, of)).stroke(Stroke::Solid)
}

/// The populations of a result, a split and number of hops each: no line of a figure joins two of them.
struct Populations(Vec<(Split, usize)>);

impl Populations {
    /// Those of the rows whose split and hops `of` gives; chains by depth in the order of their hops.
    fn of<R>(rows: &[R], of: impl Fn(&R) -> (&Split, usize)) -> Self {
        let mut found = distinct(rows, |row| {
            let (split, hops) = of(row);
            (split.clone(), hops)
        });
        if Self::by_depth(&found) {
            found.sort_by_key(|(_, hops)| *hops);
        }
        Self(found)
    }

    // Whether each split is one of the held-out chains of one depth.
    fn by_depth(found: &[(Split, usize)]) -> bool {
        found.iter().all(|(split, hops)| split.depth() == Some(*hops))
    }

    fn iter(&self) -> impl Iterator<Item = (&Split, usize)> {
        self.0.iter().map(|(split, hops)| (split, *hops))
    }

    /// What belongs on one axis of hops: all depths of one data set, else each split by itself.
    fn families(&self) -> Vec<Vec<(&Split, usize)>> {
        if Self::by_depth(&self.0) {
            return vec![self.iter().collect()];
        }
        let of_split = |split: Split| self.iter().filter(|(other, _)| **other == split).collect();
        distinct(&self.0, |(split, _)| split.clone())
            .into_iter()
            .map(of_split)
            .collect()
    }

    /// The line of each population, without points: by hops where the splits are depths, else in the split's colour.
    fn lines(&self) -> Vec<Series> {
        let several_hops = self.names_hops();
        let line = |(n, (split, _)): (usize, (&Split, usize))| match (Self::by_depth(&self.0), several_hops) {
            (true, _) => ordered_line(n, self.0.len()),
            (false, true) => cycled_line(n),
            (false, false) => Series::new(split_colour(split, n)),
        };
        self.iter().enumerate().map(line).collect()
    }

    // Whether a split's name alone would not tell its populations apart.
    fn names_hops(&self) -> bool {
        distinct(&self.0, |(split, _)| split.clone()).len() < self.0.len()
    }

    /// One legend entry a population.
    fn legend(&self) -> Vec<(String, Series)> {
        let name = |(split, hops): (&Split, usize)| match (Self::by_depth(&self.0), self.names_hops()) {
            (true, _) => counted(hops, "hop"),
            (false, true) => format!("{}, {}", split.title(), counted(hops, "hop")),
            (false, false) => split.title().to_owned(),
        };
        self.iter().map(name).zip(self.lines()).collect()
    }
}

/// Iterations from 1 on.
fn iteration_axis(max: usize) -> Axis {
    Axis {
        label: "inference iterations".to_owned(),
        range: (0.8, max as f64 + 0.2),
        log: false,
    }
}

/// The least and the largest of finite values, the least not above `most_bottom`. Of a number with an interval, the ends of
/// the interval are to be among the values: a band is never cut off.
fn span(values: impl Iterator<Item = f64>, most_bottom: f64) -> (f64, f64) {
    let (low, high) = values
        .filter(|x| x.is_finite())
        .fold((most_bottom, f64::NEG_INFINITY), |(low, high), x| {
            (low.min(x), high.max(x))
        });
    if high > low { (low, high) } else { (low, low + 1.0) }
}

#[cfg(test)]
mod tests {
    use crate::checkpoint::CheckpointRole;
    use crate::graph::Split;
    use crate::measure::{CheckpointSummary, Iterations, Lens, Method, Origin, Report};

    /// The checkpoint that made-up rows are of.
    pub(super) fn origin() -> Origin {
        Origin {
            run: "run".to_owned(),
            checkpoint: "end of training".to_owned(),
            step: 10,
            checkpoint_hash: "0123456789abcdef".to_owned(),
            data_hash: "fedcba9876543210".to_owned(),
        }
    }

    #[test]
    fn one_hop_is_no_hops() {
        let rows = [(Split::from("id_atomic"), 1, 5), (Split::in_distribution(), 2, 9)];
        let text = super::sample_size(&rows, |(split, hops, n)| (split, *hops, *n));
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

    /// A made-up result of one checkpoint.
    pub(super) fn report<M: Method>(settings: M, rows: Vec<M::Row>) -> Report<M> {
        let checkpoint = CheckpointSummary {
            origin: origin(),
            role: CheckpointRole::End,
            seed: Some(1),
            seeds: None,
            layers: 1,
            iterations: 4,
            learned_hops: None,
            trained_on: None,
        };
        Report::made_up(settings, vec![checkpoint], rows)
    }
}
