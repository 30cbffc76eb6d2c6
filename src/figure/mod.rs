//! Figures: one drawing kit, one file a figure. They take tables only and never run a model.

mod ablate;
mod attention;
mod attribute;
mod caption;
mod compare;
mod cone;
mod edit;
mod eval;
mod extrapolate;
mod found;
mod halt;
mod kit;
mod lens;
mod margin;
mod over_steps;
mod patch;
mod path;
mod probe;
mod reach;
mod routing;
mod seeds;
mod settle;
mod steps;
mod transplant;

use std::path::Path;

pub use compare::compare;
pub use found::{FoundFigure, FoundMethod, FoundSource, found_over_seeds, found_results, has_results, result_files};
pub use kit::{
    Cell, Figure, Look, Scene, SceneAxis, SceneContent, SceneEstimate, SceneLine, ScenePanel, ScenePoint, Ticks,
};
pub use over_steps::over_steps;
pub use seeds::{effects, survival, training_curves};

use crate::error::Result;
use crate::graph::{Role, Split};
use crate::measure::{self, CheckpointSummary, Effect, Method, Report};
use crate::registry::with_every_method;
use crate::wording::{counted, thousands};
use caption::{bands, conditions, intervals, pairs, sample_size, split_sizes, unit};
use kit::{Axis, Colour, Marker, Panel, Series, Stroke};
use steps::Steps;

/// A method whose result has a figure.
pub trait Draw: Method {
    /// Whether a figure is one over training, of all checkpoints of a run together.
    const OVER_TRAINING: bool = false;
    /// The number that is drawn against training steps, by the name of its field; where none is named, the first with an interval.
    const OVER_STEPS: Option<&'static str> = None;

    /// The figure of a result.
    fn draw(report: &Report<Self>) -> Figure;
}

macro_rules! draw_by_name {
    ($($module:ident::$Method:ident,)*) => {
        /// Draws the result of the method with this name that is in `folder`, beside its tables.
        ///
        /// # Errors
        /// When the result cannot be read or the figure not be written.
        pub fn draw_result(method: &str, folder: &Path, look: &Look) -> Result<()> {
            $(
                if method == <measure::$Method as Method>::NAME {
                    measure::$Method::draw(&Report::read(folder)?).write(folder, method, look)?;
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

/// The line of a split, without points, the same in every figure: apart from others by its stroke and marker too.
fn split_line(split: &Split, index: usize) -> Series {
    let line = Series::new(split_colour(split, index));
    match split.role() {
        Role::Train | Role::TrainChains => line,
        Role::InDistribution => line.stroke(Stroke::Dashed).marker(Marker::Square),
        Role::Ood => line.stroke(Stroke::DashDotted).marker(Marker::Triangle),
        Role::InDistributionFacts => line.stroke(Stroke::Dotted).marker(Marker::Diamond),
        Role::OodFacts => line.stroke(Stroke::Dotted).marker(Marker::Cross),
        _ => cycled_line(index),
    }
}

/// As [`split_colour`], as `#rrggbb`.
pub fn split_colour_hex(split: &Split, index: usize) -> String {
    split_colour(split, index).hex()
}

/// The n-th colour of things without colours of their own, as `#rrggbb`.
pub fn cycled_colour_hex(n: usize) -> String {
    Colour::cycle(n).hex()
}

/// The n-th of `of` steps of an ordered quantity such as hops, as `#rrggbb`.
pub fn ordered_colour_hex(n: usize, of: usize) -> String {
    Colour::ordered(n, of).hex()
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
        .map(|(index, split)| (split.title().to_owned(), split_line(split, index)))
        .collect()
}

/// Panels that are a sequence and no grid.
fn wrapped(panels: Vec<Panel>) -> Vec<Vec<Panel>> {
    panels.into_iter().map(|panel| vec![panel]).collect()
}

/// The n-th line of things without colours of their own; colours, markers and strokes begin anew at different numbers.
fn cycled_line(n: usize) -> Series {
    const STROKES: [Stroke; 4] = [Stroke::Solid, Stroke::Dashed, Stroke::DashDotted, Stroke::Dotted];
    let line = Series::new(Colour::cycle(n)).stroke(STROKES[n / Colour::CYCLE % STROKES.len()]);
    line.marker(Marker::ALL[n % Marker::ALL.len()])
}

/// The legend's entry for the dashed lines of maps.
fn bound_entry(name: &str) -> (String, Series) {
    (name.to_owned(), Series::new(Colour::VERMILION).stroke(Stroke::Dashed))
}

/// A recovery with its interval.
fn recovery(effect: &Effect) -> Option<Cell> {
    Some((effect.recovery?, effect.low.zip(effect.high)))
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
            (false, false) => split_line(split, n),
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
        layers: None,
    }
}

/// The least and the largest of finite values, the least not above `max_bottom`. Of a number with an interval, the ends of
/// the interval are to be among the values: a band is never cut off.
fn span(values: impl Iterator<Item = f64>, max_bottom: f64) -> (f64, f64) {
    let (low, high) = values
        .filter(|x| x.is_finite())
        .fold((max_bottom, f64::NEG_INFINITY), |(low, high), x| {
            (low.min(x), high.max(x))
        });
    if high > low { (low, high) } else { (low, low + 1.0) }
}

#[cfg(test)]
mod tests {
    use crate::checkpoint::CheckpointRole;
    use crate::measure::{CheckpointSummary, Method, Origin, Report};

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
            members: Vec::new(),
        };
        Report::made_up(settings, vec![checkpoint], rows)
    }
}
