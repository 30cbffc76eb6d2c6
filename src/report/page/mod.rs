//! The page of `loopscope report`: one self-contained HTML file with everything that there is of some runs.
//!
//! The text is a template that escapes by default; the pictures are drawn by a script from one block of data, which are the figures
//! of the registry's methods, and traces of single queries.

mod data;
mod moments;
mod queries;
mod text;

use std::ops::Range;
use std::path::PathBuf;

use crate::error::Result;
use crate::figure::found_results;
use crate::graph::Dataset;
use crate::measure::{CheckpointSummary, LoadedCheckpoint, RunSummary};
use crate::train::RunConfig;
use crate::wording::counted;
use data::{MethodData, PageData, RunData};
use queries::Queries;

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
    /// How many queries are shown; absent: as many as keep the page small.
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
/// When a folder of results cannot be read, a query of the command line is not in the data, or the device fails.
pub fn page(runs: &[PageRun], settings: &PageSettings) -> Result<String> {
    let checkpoints: Vec<CheckpointSummary> = runs
        .iter()
        .flat_map(|run| run.checkpoints.iter().map(|checkpoint| checkpoint.info.clone()))
        .collect();
    let found = found_results(&settings.results, &checkpoints, &ranges(runs))?;
    let mut notes = warnings(runs);
    let queries = Queries::of(runs, settings, &mut notes)?;
    notes.extend(found.iter().flat_map(|method| method.left_out.clone()));
    let moments = moments::moments(runs);
    let text = text::Text::of(runs, settings, &found, queries.len(), notes)?;
    let data = PageData {
        title: &settings.title,
        runs: runs.iter().map(RunData::of).collect(),
        moments: &moments,
        methods: found
            .iter()
            .filter(|method| !method.figures.is_empty())
            .map(|method| MethodData::of(method, runs))
            .collect(),
        queries,
    };
    text.render(&data)
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

fn warnings(runs: &[PageRun]) -> Vec<String> {
    let unfinished = runs.iter().filter(|run| !run.summary.finished);
    unfinished
        .map(|run| format!("{} is not finished: it stands at step {}", run.name, run.summary.steps))
        .collect()
}
