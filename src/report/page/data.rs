//! What the script of a page reads: one JSON block.

use serde::Serialize;
use serde_json::{Map, Value};

use super::PageRun;
use super::moments::Moment;
use super::queries::Queries;
use crate::figure::split_colour_hex;
use crate::graph::Split;

/// The data of a page.
#[derive(Serialize)]
pub(super) struct PageData<'a> {
    pub(super) splits: Map<String, Value>,
    pub(super) runs: Vec<RunData<'a>>,
    pub(super) moments: &'a [Moment],
    /// By method, the curves under `training`.
    pub(super) results: Map<String, Value>,
    pub(super) queries: Option<&'a Queries<'a>>,
}

#[derive(Serialize)]
pub(super) struct RunData<'a> {
    name: &'a str,
    checkpoints: Vec<CheckpointData>,
}

#[derive(Serialize)]
struct CheckpointData {
    step: u64,
}

impl<'a> RunData<'a> {
    /// A set of values over its seeds.
    pub(super) fn of_group(name: &'a str) -> Self {
        Self {
            name,
            checkpoints: Vec::new(),
        }
    }

    pub(super) fn of(run: &'a PageRun) -> Self {
        let steps = run.checkpoints.iter().map(|checkpoint| CheckpointData {
            step: checkpoint.info.origin.step,
        });
        Self {
            name: &run.name,
            checkpoints: steps.collect(),
        }
    }
}

/// The splits of the data of these runs by name, each with its title and colour.
pub(super) fn splits(runs: &[PageRun]) -> Map<String, Value> {
    let mut known: Vec<&Split> = Vec::new();
    for split in runs
        .iter()
        .flat_map(|run| run.data().splits.iter().map(|(split, _)| split))
    {
        if !known.contains(&split) {
            known.push(split);
        }
    }
    split_data(&known)
}

/// These splits by name, each with its title and colour.
pub(super) fn split_data(splits: &[&Split]) -> Map<String, Value> {
    let of = splits.iter().enumerate().map(|(index, split)| {
        let data = serde_json::json!({"title": split.title(), "colour": split_colour_hex(split, index)});
        (split.to_string(), data)
    });
    of.collect()
}

/// Four decimals are more than the interval of any result tells apart, and a third of the bytes.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
