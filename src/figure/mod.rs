//! Figures: one drawing kit, one file a figure. They take tables only and never run a model.

mod compare;
mod eval;
mod extrapolate;
mod halt;
mod kit;
mod lens;
mod margin;
mod patch;
mod probe;
mod reach;
mod settle;

pub use compare::compare;
pub use eval::eval;
pub use extrapolate::extrapolate;
pub use halt::halt;
pub use kit::Figure;
pub use lens::lens;
pub use margin::margin;
pub use patch::patch;
pub use probe::probe;
pub use reach::reach;
pub use settle::settle;

use crate::measure::SubjectInfo;
use kit::{Axis, Colour, Panel, Series, Stroke};

/// The columns of most figures: a checkpoint each.
fn column_title(subject: &SubjectInfo, several_runs: bool) -> String {
    let step = format!("step {}", thousands(subject.step));
    if several_runs {
        format!("{}, {}, {step}", subject.run, subject.checkpoint)
    } else {
        format!("{}, {step}", subject.checkpoint)
    }
}

fn several_runs(subjects: &[SubjectInfo]) -> bool {
    subjects.windows(2).any(|pair| pair[0].run != pair[1].run)
}

/// Seeds and data, as every figure states them.
fn conditions(subjects: &[SubjectInfo], data_hash: &str) -> String {
    let mut seeds: Vec<String> = subjects
        .iter()
        .filter_map(|s| s.seed)
        .map(|seed| seed.to_string())
        .collect();
    seeds.dedup();
    let runs = distinct(subjects, |s| s.run.clone()).join(", ");
    // Where there are many, the table names them all.
    let (first, more) = subjects.split_at(subjects.len().min(6));
    let mut checkpoints: Vec<&str> = first.iter().map(|s| &s.hash[..8]).collect();
    if !more.is_empty() {
        checkpoints.push("…");
    }
    let seeds = if seeds.is_empty() {
        "unknown".to_owned()
    } else {
        seeds.join(", ")
    };
    format!(
        "run {runs}; data {data_hash}; seed {seeds}; checkpoints {}",
        checkpoints.join(" ")
    )
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
fn split_colour(split: &str, place: usize) -> Colour {
    match split {
        "train" | "train_inferred" => Colour::BLUE,
        "test_inferred_iid" => Colour::GREEN,
        "test_inferred_ood" => Colour::VERMILION,
        "id_atomic" => Colour::SKY,
        "ood_atomic" => Colour::ORANGE,
        _ => Colour::cycle(place),
    }
}

/// What a split is called in a legend.
fn split_name(split: &str) -> String {
    match split {
        "train" => "train".to_owned(),
        "train_inferred" => "train chains".to_owned(),
        "test_inferred_iid" => "ID test".to_owned(),
        "test_inferred_ood" => "OOD test".to_owned(),
        "id_atomic" => "ID facts".to_owned(),
        "ood_atomic" => "OOD facts".to_owned(),
        other => other.to_owned(),
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
fn split_legend(splits: &[String]) -> Vec<(String, Series)> {
    splits
        .iter()
        .enumerate()
        .map(|(place, split)| (split_name(split), Series::new(split_colour(split, place))))
        .collect()
}

/// Panels of equal standing, so many in a row that a figure stays readable.
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

/// How many queries there are by hops, in few words.
fn sample_size<R>(rows: &[R], of: impl Fn(&R) -> (usize, usize)) -> String {
    let sizes = distinct(rows, of);
    match sizes.as_slice() {
        [(_, n), rest @ ..] if rest.iter().all(|(_, other)| other == n) => format!("n = {n} at each depth"),
        _ => {
            let sizes: Vec<String> = sizes.iter().map(|(hops, n)| format!("{hops}: {n}")).collect();
            format!("n by hops: {}", sizes.join(", "))
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

/// One legend entry a number of hops.
fn hop_legend(hops: &[usize]) -> Vec<(String, Series)> {
    let entry = |(n, hop): (usize, &usize)| (format!("{hop} hops"), ordered_line(n, hops.len()));
    hops.iter().enumerate().map(entry).collect()
}

/// Iterations from 1 on.
fn iteration_axis(most: usize) -> Axis {
    Axis {
        label: "inference iterations".to_owned(),
        range: (0.8, most as f64 + 0.2),
        log: false,
    }
}

/// The least and the largest of finite values, the least not above `most_bottom`.
fn span(values: impl Iterator<Item = f64>, most_bottom: f64) -> (f64, f64) {
    let (low, high) = values
        .filter(|x| x.is_finite())
        .fold((most_bottom, f64::NEG_INFINITY), |(low, high), x| {
            (low.min(x), high.max(x))
        });
    if high > low { (low, high) } else { (low, low + 1.0) }
}
