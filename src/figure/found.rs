//! Results on disk as figures, for a page: found by the checkpoints that they are of, whatever folder they are in.

use std::any::Any;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::{Draw, Figure, column_title};
use crate::error::{Error, Result};
use crate::files;
use crate::measure::{self, CheckpointSummary, Method, Report, ReportHeader, Row};
use crate::registry::with_every_method;
use crate::wording::{counted, listed};

/// Sets of values that a warning names, at most.
const MAX_LISTED: usize = 6;

/// What a method found on some checkpoints.
#[derive(Debug)]
pub struct FoundMethod {
    /// The name of the method.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub about: &'static str,
    /// How its result can mislead.
    pub misleads: &'static str,
    /// Its figures, each of one checkpoint; of all checkpoints of a run where it is one over training.
    pub figures: Vec<FoundFigure>,
    /// The results that are shown.
    pub sources: Vec<FoundSource>,
    /// Results of these checkpoints that are not shown, and why.
    pub left_out: Vec<String>,
}

/// A figure, and the checkpoints that it is of.
#[derive(Debug)]
pub struct FoundFigure {
    /// Their places in the list of checkpoints that was asked for.
    pub checkpoints: Vec<usize>,
    /// What the titles of its panels say of the checkpoint; empty where it is of several.
    pub column_title: String,
    /// The figure.
    pub figure: Figure,
    // The report of these checkpoints, of the type of its method.
    report: Box<dyn Any>,
}

impl FoundFigure {
    /// The report that it was drawn from, with these checkpoints alone; `None` where that is another method's.
    pub fn report<M: Method + 'static>(&self) -> Option<&Report<M>> {
        self.report.downcast_ref()
    }
}

/// A result that figures were drawn from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundSource {
    /// The JSON file.
    pub path: PathBuf,
    /// The command line that made it.
    pub command: Vec<String>,
    /// What was left out, and other things to know.
    pub notes: Vec<String>,
}

macro_rules! found_by_name {
    ($($module:ident::$Method:ident,)*) => {
        /// The results of every method of the registry on these checkpoints, in the order of the registry: of several results of a
        /// checkpoint that on the most of them, of these that with the most rows, of equals the first by path. `runs` are ranges of
        /// checkpoints, `files` those among which results are.
        pub fn found_results(
            files: &[PathBuf],
            checkpoints: &[CheckpointSummary],
            runs: &[std::ops::Range<usize>],
        ) -> Vec<FoundMethod> {
            let mut found = Vec::new();
            $(found.extend(found_of::<measure::$Method>(files, checkpoints, runs));)*
            found
        }

        /// The results over seeds of every method of the registry, in its order: of each method that of the most runs, of equals the
        /// first by path. `ends` are the hashes of the checkpoints at the end of all finished runs: a result with another checkpoint is
        /// of another sweep. `groups` are the sets of values with how many of their runs are finished: that a set lacks some in a
        /// result is said. The checkpoints of a figure are the place of its set.
        pub fn found_over_seeds(files: &[PathBuf], ends: &BTreeSet<&str>, groups: &[(&str, usize)]) -> Vec<FoundMethod> {
            let mut found = Vec::new();
            $(found.extend(over_seeds_of::<measure::$Method>(files, ends, groups));)*
            found
        }
    };
}

with_every_method!(found_by_name);

/// All JSON files below the folders, by path.
///
/// # Errors
/// When a folder cannot be read.
pub fn result_files(folders: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in folders {
        for entry in WalkDir::new(folder).sort_by_file_name() {
            let entry = entry.map_err(|error| Error::file(folder, error))?;
            if entry.file_type().is_file() && entry.path().extension().is_some_and(|end| end == "json") {
                files.push(entry.into_path());
            }
        }
    }
    Ok(files)
}

/// Whether a result among `files` has every one of these checkpoints, by the present code, and `holds` for its rows of that
/// checkpoint.
pub fn has_results<M: Method>(
    files: &[PathBuf],
    checkpoints: &[CheckpointSummary],
    holds: impl Fn(&CheckpointSummary, &[M::Row]) -> bool,
) -> bool {
    let (found, _) = reports::<M>(files, checkpoints, &mut Vec::new());
    let has = |wanted: &CheckpointSummary| {
        found.iter().any(|(_, report)| {
            let of_wanted = place(report, wanted).map(|place| report.only(&[place]));
            of_wanted.is_some_and(|report| holds(wanted, &report.rows))
        })
    };
    checkpoints.iter().all(has)
}

// The results of a method on any of these checkpoints with their files, and the files that may be some and cannot be read.
fn reports<'a, M: Method>(
    files: &'a [PathBuf],
    checkpoints: &[CheckpointSummary],
    left_out: &mut Vec<String>,
) -> (Vec<(&'a Path, Report<M>)>, Vec<String>) {
    let mut unreadable = Vec::new();
    let is_of_method = |path: &&PathBuf| path.file_stem().is_some_and(|name| name == M::NAME);
    let reports = files
        .iter()
        .filter(is_of_method)
        .filter_map(|path| Some((path.as_path(), read::<M>(path, checkpoints, left_out, &mut unreadable)?)));
    (reports.collect(), unreadable)
}

impl FoundMethod {
    // Nothing of a method yet.
    fn of<M: Method>() -> Self {
        Self {
            name: M::NAME,
            about: M::ABOUT,
            misleads: M::MISLEADS,
            figures: Vec::new(),
            sources: Vec::new(),
            left_out: Vec::new(),
        }
    }

    // Where there is anything to say.
    fn there(self) -> Option<Self> {
        (!self.figures.is_empty() || !self.left_out.is_empty()).then_some(self)
    }
}

impl FoundSource {
    fn of<M: Method>(path: &Path, report: &Report<M>) -> Self {
        Self {
            path: path.to_path_buf(),
            command: report.command.clone(),
            notes: report.notes.clone(),
        }
    }
}

fn over_seeds_of<M: Draw + 'static>(
    files: &[PathBuf],
    ends: &BTreeSet<&str>,
    groups: &[(&str, usize)],
) -> Option<FoundMethod> {
    let name = format!("{}-over-seeds.json", M::NAME);
    let mut found = FoundMethod::of::<M>();
    let mut best: Option<(usize, &Path, Report<M>)> = None;
    for path in files
        .iter()
        .filter(|path| path.file_name().is_some_and(|own| *own == *name))
    {
        let Ok(header): Result<ReportHeader> = files::read_json(path) else {
            found.left_out.push(format!(
                "{} cannot be read, perhaps of an earlier version",
                path.display()
            ));
            continue;
        };
        let runs = of_these_ends(&header, ends);
        if runs == 0 || best.as_ref().is_some_and(|(most, ..)| *most >= runs) {
            continue;
        }
        if let Some(report) = read_present::<M>(path, &header, &mut found.left_out) {
            best = Some((runs, path, report));
        }
    }
    if let Some((_, path, report)) = best {
        let mut lacking = Vec::new();
        for (index, checkpoint) in report.checkpoints.iter().enumerate() {
            let shown = report.only(&[index]);
            let group = groups.iter().position(|(title, _)| *title == checkpoint.origin.run);
            let (has, finished) = (checkpoint.members.len(), group.map_or(0, |group| groups[group].1));
            if has < finished {
                lacking.push(format!(
                    "{has} of {finished} finished runs of {}",
                    checkpoint.origin.run
                ));
            }
            found
                .figures
                .extend(group.filter(|_| !shown.rows.is_empty()).map(|group| FoundFigure {
                    checkpoints: vec![group],
                    column_title: column_title(checkpoint, false),
                    figure: M::draw(&shown),
                    report: Box::new(shown),
                }));
        }
        if !lacking.is_empty() {
            found.left_out.push(format!(
                "NOT ALL SEEDS: {} of {} has {}; its intervals are over these alone",
                path.display(),
                M::NAME,
                listed(&lacking, MAX_LISTED)
            ));
        }
        found.sources.push(FoundSource::of(path, &report));
    }
    found.there()
}

// How many of these runs a result is over; 0 where it is over another one too.
fn of_these_ends(header: &ReportHeader, ends: &BTreeSet<&str>) -> usize {
    let members = header.checkpoints.iter().flat_map(|checkpoint| &checkpoint.members);
    let hashes: BTreeSet<&str> = members.map(|member| member.origin.checkpoint_hash.as_str()).collect();
    if hashes.is_subset(ends) { hashes.len() } else { 0 }
}

fn found_of<M: Draw + 'static>(
    files: &[PathBuf],
    checkpoints: &[CheckpointSummary],
    runs: &[std::ops::Range<usize>],
) -> Option<FoundMethod> {
    let mut found = FoundMethod::of::<M>();
    let (reports, unreadable) = reports::<M>(files, checkpoints, &mut found.left_out);
    if let Some(first) = unreadable.first() {
        found.left_out.push(format!(
            "{} of {} cannot be read, perhaps of an earlier version, as {first}",
            counted(unreadable.len(), "result"),
            M::NAME
        ));
    }
    // The report that has the most of these checkpoints, of these that with the most rows of them, the first of equals.
    let best = |wanted: &[usize]| {
        let count = |report: &Report<M>| {
            let places: Vec<usize> = wanted.iter().filter_map(|&i| place(report, &checkpoints[i])).collect();
            let is_of = |row: &&M::Row| places.iter().any(|&i| report.checkpoints[i].owns(row.origin()));
            (places.len(), report.rows.iter().filter(is_of).count())
        };
        let all = reports.iter().rev().map(|(path, report)| (count(report), path, report));
        all.max_by_key(|(count, ..)| *count).filter(|(count, ..)| count.0 > 0)
    };
    for run in runs {
        let of_run: Vec<usize> = run.clone().collect();
        let groups: Vec<Vec<usize>> = if M::OVER_TRAINING {
            vec![of_run.clone()]
        } else {
            of_run.iter().map(|&i| vec![i]).collect()
        };
        // All checkpoints of a run from one result where there is one, so that they were measured alike.
        let of_all = best(&of_run);
        for group in groups {
            let has_group = |report: &Report<M>| group.iter().any(|&i| place(report, &checkpoints[i]).is_some());
            let Some((_, path, report)) = of_all
                .filter(|(_, _, report)| has_group(report))
                .or_else(|| best(&group))
            else {
                continue;
            };
            let places: Vec<usize> = group.iter().filter_map(|&i| place(report, &checkpoints[i])).collect();
            let shown = report.only(&places);
            if shown.rows.is_empty() {
                continue;
            }
            let source = FoundSource::of(path, report);
            if !found.sources.contains(&source) {
                found.sources.push(source);
            }
            found.figures.push(FoundFigure {
                checkpoints: group
                    .into_iter()
                    .filter(|&i| place(report, &checkpoints[i]).is_some())
                    .collect(),
                column_title: match shown.checkpoints.as_slice() {
                    [one] => column_title(one, false),
                    _ => String::new(),
                },
                figure: M::draw(&shown),
                report: Box::new(shown),
            });
        }
    }
    found.there()
}

// A result on any of these checkpoints.
fn read<M: Method>(
    path: &Path,
    checkpoints: &[CheckpointSummary],
    left_out: &mut Vec<String>,
    unreadable: &mut Vec<String>,
) -> Option<Report<M>> {
    let Ok(header): Result<ReportHeader> = files::read_json(path) else {
        // Whose it is, is not known; one of an early version may be of these checkpoints.
        unreadable.push(path.display().to_string());
        return None;
    };
    if header.method != M::NAME
        || !checkpoints
            .iter()
            .any(|wanted| header.checkpoints.iter().any(|it| same(it, wanted)))
    {
        return None;
    }
    read_present(path, &header, left_out)
}

// A result by a code that this one agrees with.
fn read_present<M: Method>(path: &Path, header: &ReportHeader, left_out: &mut Vec<String>) -> Option<Report<M>> {
    if header.format != M::FORMAT {
        left_out.push(format!(
            "{}: of another version (loopscope {}, format {} of {}, now {}); measure again",
            path.display(),
            header.loopscope,
            header.format,
            M::NAME,
            M::FORMAT
        ));
        return None;
    }
    let read = files::read_json(path);
    read.map_err(|error| left_out.push(error.to_string())).ok()
}

// By content: names depend on what else was named on the command line.
fn same(a: &CheckpointSummary, b: &CheckpointSummary) -> bool {
    (&a.origin.checkpoint_hash, &a.origin.data_hash) == (&b.origin.checkpoint_hash, &b.origin.data_hash)
}

fn place<M: Method>(report: &Report<M>, checkpoint: &CheckpointSummary) -> Option<usize> {
    report.checkpoints.iter().position(|it| same(it, checkpoint))
}
