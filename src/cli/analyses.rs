//! What the analysis commands share: from targets and flags to loaded checkpoints, and from a result to its files.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::checkpoint::{Subject, subjects};
use crate::error::{Error, Result};
use crate::figure::Figure;
use crate::graph::{Dataset, TRAIN, VALID, hops_of_split};
use crate::measure::{Method, Report, Specimen};

/// The splits of Figure 4 of the paper.
pub(super) const INSIDE_SPLITS: [&str; 3] = ["train_inferred", "test_inferred_iid", "test_inferred_ood"];

#[derive(Args)]
pub(super) struct Inputs {
    /// Data folder [default: the run's own]
    #[arg(long)]
    pub(super) data: Option<PathBuf>,
    /// Folder for tables and figures [default: figures/ and the run's name]
    #[arg(long)]
    out: Option<PathBuf>,
    #[command(flatten)]
    device: super::DeviceArg,
}

/// Checkpoints with the data they are looked at on.
pub(super) struct Loaded {
    pub(super) data: Dataset,
    pub(super) specimens: Vec<Specimen>,
    pub(super) out: PathBuf,
}

impl Inputs {
    /// Loads what `targets` (checkpoint files or run folders) stand for.
    pub(super) fn load(&self, targets: &[PathBuf]) -> Result<Loaded> {
        let mut found: Vec<Subject> = Vec::new();
        for target in targets {
            found.extend(subjects(target)?);
        }
        let data = self.read_data(&found)?;
        let device = self.device.device.open()?;
        let specimens = found
            .iter()
            .map(|subject| Specimen::load(subject, &data, &device))
            .collect::<Result<Vec<_>>>()?;
        Ok(Loaded {
            out: self.out(&found),
            data,
            specimens,
        })
    }

    pub(super) fn read_data(&self, found: &[Subject]) -> Result<Dataset> {
        let of_run = || found.iter().find_map(|subject| subject.data.clone());
        let folder = self.data.clone().or_else(of_run).ok_or_else(|| {
            Error::input("a checkpoint outside a run folder does not tell its data; name it with --data DIR")
        })?;
        let data = Dataset::read(&folder)?;
        for line in data.unexplained() {
            tracing::warn!("{line}");
        }
        Ok(data)
    }

    pub(super) fn device(&self) -> super::DeviceChoice {
        self.device.device
    }

    pub(super) fn out(&self, found: &[Subject]) -> PathBuf {
        let mut runs: Vec<&str> = found.iter().map(|subject| subject.run.as_str()).collect();
        runs.dedup();
        self.out
            .clone()
            .unwrap_or_else(|| PathBuf::from("figures").join(runs.join("-")))
    }
}

/// Checks that every named split exists; without any, takes those of `preferred` that do, or all but the training ones.
pub(super) fn splits(named: &[String], preferred: &[&str], data: &Dataset) -> Result<Vec<String>> {
    for split in named {
        data.split(split)?;
    }
    if !named.is_empty() {
        return Ok(named.to_vec());
    }
    let existing = |wanted: &dyn Fn(&str) -> bool| -> Vec<String> {
        data.split_names()
            .filter(|name| wanted(name))
            .map(str::to_owned)
            .collect()
    };
    let found = existing(&|name| preferred.contains(&name));
    Ok(if found.is_empty() { existing(&|_| true) } else { found })
}

/// The test splits that hold chains by depth; where there are none, all test splits.
pub(super) fn depth_splits(named: &[String], data: &Dataset) -> Result<Vec<String>> {
    let by_depth: Vec<&str> = data
        .split_names()
        .filter(|name| hops_of_split(name).is_some())
        .collect();
    let preferred = if by_depth.is_empty() {
        test_splits(data)
    } else {
        by_depth
    };
    splits(named, &preferred, data)
}

/// Those of `preferred` that the data has; where it has none, the chains by depth.
pub(super) fn inside_splits(named: &[String], preferred: &[&str], data: &Dataset) -> Result<Vec<String>> {
    if preferred.iter().any(|split| data.split(split).is_ok()) {
        splits(named, preferred, data)
    } else {
        depth_splits(named, data)
    }
}

/// All of `test.json`.
pub(super) fn test_splits(data: &Dataset) -> Vec<&str> {
    data.split_names()
        .filter(|name| *name != TRAIN && *name != VALID)
        .collect()
}

/// Writes a result's tables and figure.
pub(super) fn write<M: Method>(report: &Report<M, M::Row>, figure: &Figure, out: &Path) -> Result<()> {
    for note in &report.notes {
        tracing::warn!("{note}");
    }
    report.write(out, M::NAME)?;
    figure.write(out, M::NAME)
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
