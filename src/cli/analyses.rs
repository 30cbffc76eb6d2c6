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
    /// Folder for tables and figures [default: figures/ and the path of what is looked at]
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
            out: self.out.clone().unwrap_or_else(|| default_out(&subjects, &here())),
            subjects,
            specimens,
        })
    }
}

/// The folder for what is made of these checkpoints, below the working folder `here`: `figures/runs/` and the path of the run
/// below `checkpoints/`; `figures/elsewhere/` and the path of one that is not there; `figures/outside/` and that of one outside
/// the working folder. So two runs never write into one folder, nor into one of `reproduce`.
fn default_out(subjects: &[Subject], here: &Path) -> PathBuf {
    let mut named: Vec<Vec<String>> = Vec::new();
    for subject in subjects {
        let (top, below) = match subject.folder.strip_prefix(here) {
            Ok(inside) => match inside.strip_prefix("checkpoints") {
                Ok(below) => ("runs", below),
                Err(_) => ("elsewhere", inside),
            },
            Err(_) => ("outside", subject.folder.as_path()),
        };
        let mut path = vec![top.to_owned()];
        path.extend(parts(below));
        // A checkpoint of a run that is named by itself; one that stands alone is its own folder.
        if subject.alone && subject.data.is_some() {
            path.push(subject.label.clone());
        }
        if !named.contains(&path) {
            named.push(path);
        }
    }
    let Some(first) = named.first() else {
        return "figures".into();
    };
    let shared = |&depth: &usize| {
        named
            .iter()
            .all(|path| path.len() > depth + 1 && path[depth] == first[depth])
    };
    let common = (0..first.len()).take_while(shared).count();
    let folder: PathBuf = Path::new("figures").join(first[..common].iter().collect::<PathBuf>());
    let rests: Vec<String> = named.iter().map(|path| path[common..].join(",")).collect();
    let name = rests.join("+");
    // Names of files end at 255 bytes in most file systems.
    if name.len() > 200 {
        let start: String = name.chars().take(60).collect();
        return folder.join(format!("{start}…{}", files::short_hash(name.as_bytes())));
    }
    folder.join(name)
}

fn here() -> PathBuf {
    std::env::current_dir()
        .and_then(|folder| folder.canonicalize())
        .unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn run(folder: &str, checkpoint: Option<&str>) -> Subject {
        Subject {
            run: "looped".to_owned(),
            label: checkpoint.unwrap_or("end of training").to_owned(),
            path: Path::new(folder).join("final.safetensors"),
            folder: folder.into(),
            alone: checkpoint.is_some(),
            data: Some("data".into()),
        }
    }

    #[test]
    fn no_two_runs_have_one_folder_for_their_results() {
        let of = |subjects: &[Subject]| default_out(subjects, Path::new("/here")).display().to_string();
        let alone = [
            of(&[run("/here/checkpoints/laptop/looped", None)]),
            of(&[run("/here/checkpoints/laptop/looped", Some("final"))]),
            of(&[run("/here/laptop/looped", None)]),
            of(&[run("/laptop/looped", None)]),
            of(&[run("/here/checkpoints/laptop/vanilla", None)]),
            of(&[
                run("/here/checkpoints/a/looped", None),
                run("/here/checkpoints/b/looped", None),
            ]),
            of(&[run("/here/checkpoints/a/looped", None), run("/here/a/looped", None)]),
        ];
        assert_eq!(alone[0], "figures/runs/laptop/looped");
        assert_eq!(alone[1], "figures/runs/laptop/looped/final");
        assert_eq!(alone[5], "figures/runs/a,looped+b,looped");
        for (i, folder) in alone.iter().enumerate() {
            assert!(!alone[..i].contains(folder), "{folder} twice");
        }
        let many: Vec<Subject> = (0..40)
            .map(|i| run(&format!("/here/checkpoints/a-long-name-{i}"), None))
            .collect();
        let name = of(&many);
        assert!(name.len() < 255 && name != of(&many[1..]), "{name}");
    }
}
