//! What the analysis commands share: from targets and flags to loaded checkpoints, and from a result to its files.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use crate::checkpoint::{Subject, Target, subjects};
use crate::error::Result;
use crate::figure::Figure;
use crate::files;
use crate::graph::Dataset;
use crate::measure::statistics::{Clustering, intervals_in_words};
use crate::measure::{Method, Report, Specimen, SubjectInfo};

#[derive(Args)]
pub(super) struct Inputs {
    /// Data folder [default: each run's own]
    #[arg(long)]
    data: Option<PathBuf>,
    /// Folder for tables and figures [default: figures/runs/ and the path of what is looked at]
    #[arg(long)]
    out: Option<PathBuf>,
    #[command(flatten)]
    device: super::DeviceArg,
}

/// Checkpoints, each with the data that it is looked at on.
pub(super) struct Loaded {
    pub(super) subjects: Vec<Subject>,
    pub(super) specimens: Vec<Specimen>,
    pub(super) out: PathBuf,
}

impl Inputs {
    /// Loads what `targets` (checkpoint files or run folders) stand for.
    pub(super) fn load(&self, targets: &[Target]) -> Result<Loaded> {
        self.load_subjects(subjects(targets)?)
    }

    /// Loads these checkpoints.
    pub(super) fn load_subjects(&self, subjects: Vec<Subject>) -> Result<Loaded> {
        let device = self.device.device.open()?;
        let mut known: HashMap<PathBuf, Arc<Dataset>> = HashMap::new();
        let mut specimens = Vec::new();
        for subject in &subjects {
            let folder = subject.data_folder(self.data.as_deref())?;
            let key = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
            if !known.contains_key(&key) {
                let data = Dataset::read(folder)?;
                for line in data.unexplained() {
                    tracing::warn!("{line}");
                }
                known.insert(key.clone(), Arc::new(data));
            }
            specimens.push(Specimen::load(subject, &known[&key], &device)?);
        }
        Ok(Loaded {
            out: self.out.clone().unwrap_or_else(|| default_out(&subjects)),
            subjects,
            specimens,
        })
    }
}

/// Where results of single commands go by default.
const FOLDER: &str = "figures/runs";

/// The folder for what is made of these checkpoints: `figures/runs/` and the path of the run folder or file, so that two runs
/// never write into one folder, nor into one of `reproduce`.
fn default_out(subjects: &[Subject]) -> PathBuf {
    let here = std::env::current_dir()
        .and_then(|folder| folder.canonicalize())
        .unwrap_or_default();
    let mut named: Vec<Vec<String>> = Vec::new();
    for subject in subjects {
        let inside = subject.folder.strip_prefix(&here);
        let mut path = parts(inside.unwrap_or(&subject.folder));
        if path.len() > 1 && path[0] == "checkpoints" {
            path.remove(0);
        }
        // A checkpoint of a run that is named by itself; one that stands alone is its own folder.
        if subject.alone && subject.data.is_some() {
            path.push(subject.label.clone());
        }
        if !named.contains(&path) {
            named.push(path);
        }
    }
    let Some(first) = named.first() else {
        return FOLDER.into();
    };
    let shared = |&depth: &usize| {
        named
            .iter()
            .all(|path| path.len() > depth + 1 && path[depth] == first[depth])
    };
    let common = (0..first.len()).take_while(shared).count();
    let folder: PathBuf = Path::new(FOLDER).join(first[..common].iter().collect::<PathBuf>());
    let rests: Vec<String> = named.iter().map(|path| path[common..].join(",")).collect();
    let name = rests.join("+");
    // Names of files end at 255 bytes in most file systems.
    if name.len() > 200 {
        let start: String = name.chars().take(60).collect();
        return folder.join(format!("{start}…{}", files::short_hash(name.as_bytes())));
    }
    folder.join(name)
}

fn parts(path: &Path) -> Vec<String> {
    let normal = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    });
    normal.collect()
}

/// Warns of what a result notes; what loading a checkpoint has said is not said again.
pub(super) fn say_notes<'a>(subjects: &[SubjectInfo], notes: impl IntoIterator<Item = &'a String>) {
    let said: Vec<String> = subjects.iter().filter_map(SubjectInfo::other_data).collect();
    for note in notes.into_iter().filter(|note| !said.contains(note)) {
        tracing::warn!("{note}");
    }
}

/// Writes a result's tables and figure.
pub(super) fn write<M: Method>(report: &Report<M, M::Row>, figure: &Figure, out: &Path) -> Result<()> {
    say_notes(&report.subjects, &report.notes);
    report.write(out, M::NAME)?;
    figure.write(out, M::NAME)
}

/// Says under a table what its intervals count for, from each row's split (or run) and clustering.
pub(super) fn say_intervals<'a>(rows: impl Iterator<Item = (&'a String, Clustering)>) {
    out!(
        "{}",
        intervals_in_words(rows.map(|(split, clustering)| (split.clone(), clustering)))
    );
}

/// `LOW–HIGH`, or – where an interval cannot be told.
pub(super) fn ends(low: Option<f64>, high: Option<f64>) -> String {
    low.zip(high)
        .map_or_else(|| "–".to_owned(), |(low, high)| format!("{low:.3}–{high:.3}"))
}

/// `LOW to HIGH` of numbers that may be negative, or – where an interval cannot be told.
pub(super) fn signed_ends(low: Option<f64>, high: Option<f64>) -> String {
    low.zip(high).map_or_else(
        || "–".to_owned(),
        |(low, high)| format!("{} to {}", fixed(low), fixed(high)),
    )
}

/// Says where a result is.
pub(super) fn say_where(out: &Path, name: &str) {
    out!("{}/{name}.{{csv,json,svg,png}}", out.display());
}

/// Three decimals, without a sign on what rounds to zero.
pub(super) fn fixed(x: f64) -> String {
    let rounded = (x * 1000.0).round() / 1000.0;
    format!("{:.3}", if rounded == 0.0 { 0.0 } else { rounded })
}

/// Of the rows that share a line of the figure, the one with the largest value; the first of equals.
pub(super) fn best_of<R, K: PartialEq>(rows: &[R], line: impl Fn(&R) -> K, value: impl Fn(&R) -> f64) -> Vec<&R> {
    let mut best: Vec<(K, &R)> = Vec::new();
    for row in rows {
        let key = line(row);
        match best.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) if value(row) > value(known) => *known = row,
            Some(_) => {}
            None => best.push((key, row)),
        }
    }
    best.into_iter().map(|(_, row)| row).collect()
}

/// Prints a table whose columns are as wide as their widest cell.
pub(super) fn print_table(header: &[&str], rows: &[Vec<String>]) {
    let width = |i: usize| {
        rows.iter()
            .map(|row| row[i].chars().count())
            .chain([header[i].chars().count()])
            .max()
    };
    let widths: Vec<usize> = (0..header.len()).filter_map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:<width$}"))
            .collect();
        out!("{}", padded.join("  ").trim_end());
    };
    line(&mut header.iter().copied());
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
}
