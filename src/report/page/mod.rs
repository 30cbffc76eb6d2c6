//! The page of `loopscope report`: one self-contained HTML file with everything that there is of some runs.
//!
//! The text is a template that escapes by default; the pictures are drawn by a script from one block of data, which are the figures
//! of the registry's methods, and traces of single queries.

mod axis;
mod claims;
mod data;
mod depths;
mod facts;
mod moments;
mod pictures;
mod places;
mod queries;
mod summary;
mod sweep;
mod text;
mod training;
mod views;
mod warnings;

use std::ops::Range;
use std::path::PathBuf;

use crate::error::Result;
use crate::figure::{FoundMethod, found_results};
use crate::graph::Dataset;
use crate::measure::{CheckpointSummary, Eval, LoadedCheckpoint, Method, RunSummary};
use crate::train::RunConfig;
use crate::wording::counted;
use data::{PageData, RunData};
use pictures::{Drawn, Pictures};
use queries::Queries;
use text::{Parts, Text};

pub use queries::asked_query;
pub use sweep::{PageSweep, sweep_page};

/// A run of a page.
pub struct PageRun {
    /// Its name, unlike that of the others.
    pub name: String,
    /// Its config.
    pub config: RunConfig,
    /// What was recorded while it was trained.
    pub summary: RunSummary,
    /// Its checkpoints in the order of training, one or more, all with the data that they are looked at on.
    pub checkpoints: Vec<LoadedCheckpoint>,
}

/// What a page shows.
pub struct PageSettings {
    /// The title.
    pub title: String,
    /// The command line that makes it.
    pub command: String,
    /// Folders below which results are found.
    pub results: Vec<PathBuf>,
    /// The JSON files below these folders.
    pub files: Vec<PathBuf>,
    /// The number of queries; absent: the largest that keeps the page small.
    pub queries: Option<usize>,
    /// Queries that are shown whatever the sample, as `e_5 r_1 r_9`.
    pub asked: Vec<String>,
    /// Seed of the sample of queries.
    pub seed: u64,
}

impl PageRun {
    fn data(&self) -> &Dataset {
        &self.checkpoints[0].data
    }

    fn last(&self) -> Option<&LoadedCheckpoint> {
        self.checkpoints.last()
    }

    fn kind(&self) -> String {
        let model = &self.summary.model;
        match model.iterations {
            1 => format!("vanilla, {}", counted(model.layers, "layer")),
            iterations => format!("{} × {iterations} iterations", counted(model.layers, "layer")),
        }
    }
}

/// The page of these runs.
///
/// # Errors
/// When a query of the command line is not in the data, or the device fails.
pub fn page(runs: &[PageRun], settings: &PageSettings) -> Result<String> {
    let checkpoints: Vec<CheckpointSummary> = runs
        .iter()
        .flat_map(|run| run.checkpoints.iter().map(|checkpoint| checkpoint.info.clone()))
        .collect();
    let found = found_results(&settings.files, &checkpoints, &ranges(runs));
    let queries = Queries::of(runs, settings)?;
    let mut warnings = warnings::unfinished(runs);
    warnings.extend(warnings::other_data(runs));
    warnings.extend(found.iter().flat_map(|method| method.left_out.clone()));
    let moments = moments::moments(runs);
    let shown = found.iter().filter(|method| !method.figures.is_empty());
    let shown: Vec<(&FoundMethod, Pictures)> = shown
        .map(|method| (method, pictures_of(method, &found, runs)))
        .collect();
    let training = Pictures::of(&training::curves(runs));
    let text = Text::of(Parts {
        runs,
        settings,
        found: shown.iter().map(|(method, pictures)| (*method, pictures)).collect(),
        training: &training,
        moments: &moments,
        queries: queries.as_ref(),
        summary: summary::summary(runs, &found, &ranges(runs)),
        warnings,
    });
    let results = shown.iter().map(|(method, pictures)| (method.name, pictures));
    let named = [("training", &training)].into_iter().chain(results);
    let data = PageData {
        splits: data::splits(runs),
        runs: runs.iter().map(RunData::of).collect(),
        moments: &moments,
        results: named
            .map(|(name, pictures)| (name.to_owned(), pictures.json()))
            .collect(),
        queries: queries.as_ref(),
    };
    text.render(&data)
}

// A method's figures, each under the run and checkpoint that it is of.
fn pictures_of(method: &FoundMethod, all: &[FoundMethod], runs: &[PageRun]) -> Pictures {
    let ranges = ranges(runs);
    let drawn = method.figures.iter().filter_map(|found| {
        // All checkpoints of a figure are of one run.
        let first = *found.checkpoints.first()?;
        let run = ranges.iter().position(|range| range.contains(&first))?;
        let place = first - ranges[run].start;
        let mut scene = found.figure.scene();
        if method.name == Eval::NAME {
            let info = &runs[run].checkpoints[place].info;
            depths::name_rows(&mut scene, info.learned_hops, depths::answered(all, &info.origin));
        }
        Some(Drawn {
            run: Some(run),
            checkpoint: (found.checkpoints.len() == 1).then_some(place),
            scene,
            column_title: found.column_title.clone(),
            log_from: None,
        })
    });
    Pictures::of(&drawn.collect::<Vec<_>>())
}

// The checkpoints of each run in the list of all.
fn ranges(runs: &[PageRun]) -> Vec<Range<usize>> {
    let mut end = 0;
    let range = |run: &PageRun| {
        let start = end;
        end += run.checkpoints.len();
        start..end
    };
    runs.iter().map(range).collect()
}
