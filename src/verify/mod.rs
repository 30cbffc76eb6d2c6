//! `verify`: every method of the registry, held against models whose mechanism is known.
//!
//! A method says of sites what it finds there ([`SiteScore`](crate::measure::SiteScore)): how strongly, and, at its own stated
//! threshold, whether. A circuit's truth says what is so. Methods that speak of no sites are held against what the circuit is
//! designed to do ([`Check`](crate::measure::Check)).
//!
//! # What is judged
//!
//! A *cell* is a method, a claim and a circuit. A *variant* is the circuit over one graph, in one rotation, at one level of
//! noise. In each variant all site scores of a cell make one AUROC, one balanced accuracy and one false-positive rate; where
//! the sites are all alike in truth, there is none.
//!
//! - A site is *used* where its interchange alone changes the answer, or its interchange together with another one where neither
//!   does so alone. The second covers backups, which the model uses where another part fails.
//! - Edits are made on held-out queries, a quarter of all. The share of these that give the counterfactual answer is their
//!   *sufficiency* at sites where the entity is used alone, and at the others what lacks in *selectivity*.
//! - Scores of use that rank all that is added to the residual stream name a circuit: see [`Faithfulness`]. No mark is set for it.
//! - A mark must be held in *every* variant: the worst one counts, not the mean.
//! - On controls there is nothing to find: each call is a false positive. Calls there come at a rate, since each rests on a
//!   95 % interval, so that the mark is held by the rate over all controls of one kind. Only calls of entities that the chain
//!   leads to count: a model without the mechanism still depends on the tokens of its query.
//! - A cell that should fail ([`Limit`]) must miss a mark in every variant.
//!
//! The marks and limits are those of `marks.toml`.

mod control;
mod marks;
mod matrix;
#[cfg(test)]
mod pages;
mod score;
mod subject;
mod suite;
mod table;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use self::marks::{Limit, Marks, MarksFile};
pub use self::score::{Agreement, Judged};
use self::subject::{Kind, Subject};
pub use self::table::{COLUMNS, Cell, Found, Verdict};
use crate::error::{Error, Result};
use crate::files;
pub use crate::measure::Faithfulness;
use crate::measure::{self, Claim, LoadedCheckpoint, Method, Progress, Report, SiteScore, csv};
use crate::registry::with_every_method;

/// The result of `verify`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verification {
    /// The version of loopscope.
    pub loopscope: String,
    /// The cells of the table.
    pub cells: Vec<Cell>,
    /// What each method says of each variant of each model.
    pub found: Vec<Found>,
}

/// Runs every method on every circuit and control of the suite; `short`: on one variant of each. `progress` is called, by one
/// thread at a time, whenever a model is done.
///
/// # Errors
/// When a circuit cannot be built.
pub fn suite(short: bool, progress: Option<fn(&Progress)>) -> Result<Verification> {
    Ok(verification(
        &suite::subjects(short)?,
        &MarksFile::built_in()?,
        progress,
    ))
}

/// Runs every method on someone's checkpoint, of which the truth is in a file as `circuit` writes them, and on its controls.
///
/// # Errors
/// When a file cannot be read, or the truth does not fit the checkpoint or the data.
pub fn checkpoint(path: &Path, data: &Path, truth: &Path) -> Result<Verification> {
    let (subjects, limits) = suite::of_checkpoint(path, data, truth)?;
    let mut marks = MarksFile::built_in()?;
    marks.limits.extend(limits);
    Ok(verification(&subjects, &marks, None))
}

// Runs every method on these models.
fn verification(subjects: &[Subject], marks: &MarksFile, progress: Option<fn(&Progress)>) -> Verification {
    let n_done = Mutex::new(0);
    let all_methods = |subject: &Subject| {
        let found = every_method(subject);
        if let Some(progress) = progress {
            let mut done = n_done.lock().unwrap_or_else(PoisonError::into_inner);
            *done += 1;
            progress(&Progress {
                method: "verify",
                done: *done,
                total: subjects.len(),
            });
        }
        found
    };
    let found: Vec<Vec<Found>> = subjects.par_iter().map(all_methods).collect();
    let found: Vec<Found> = found.into_iter().flatten().collect();
    Verification {
        loopscope: env!("CARGO_PKG_VERSION").to_owned(),
        cells: table::cells(&found, marks),
        found,
    }
}

macro_rules! run_all {
    ($($module:ident::$Method:ident,)*) => {
        // What every method of the registry says of a model.
        fn every_method(subject: &Subject) -> Vec<Found> {
            vec![$(found::<measure::$Method>(subject)),*]
        }
    };
}

with_every_method!(run_all);

fn found<M: Method>(subject: &Subject) -> Found {
    let mut found = Found {
        method: M::NAME.to_owned(),
        model: subject.name.clone(),
        variant: subject.variant.clone(),
        sites: Vec::new(),
        checks: Vec::new(),
        faithfulness: Vec::new(),
        failure: None,
    };
    let begin = Instant::now();
    if let Err(error) = fill::<M>(subject, &mut found) {
        found.failure = Some(error.to_string());
    }
    tracing::debug!(
        "{} on {}, {}: {:.2} s",
        M::NAME,
        subject.name,
        subject.variant,
        begin.elapsed().as_secs_f64()
    );
    found
}

// What the method says of the model's queries, then what its edits of those that are held out give.
fn fill<M: Method>(subject: &Subject, found: &mut Found) -> Result<()> {
    let setting = subject.setting();
    let mut scores: Vec<SiteScore> = Vec::new();
    for settings in M::to_verify(&setting)? {
        let report = report(&settings, &subject.checkpoint)?;
        scores.extend(
            M::site_scores(&report)
                .into_iter()
                .filter(|score| score.claim != Claim::Counterfactual),
        );
        if subject.kind == Kind::Circuit {
            found.checks.extend(M::checks(&report, &*subject.queries));
        }
    }
    if subject.kind == Kind::Circuit && scores.iter().any(|score| score.claim == Claim::Used) {
        found.faithfulness = measure::faithfulness(&subject.held_out, &scores)?;
    }
    for settings in M::to_edit(&setting)? {
        let report = report(&settings, &subject.held_out)?;
        scores.extend(
            M::site_scores(&report)
                .into_iter()
                .filter(|score| score.claim == Claim::Counterfactual),
        );
    }
    found
        .sites
        .extend(scores.into_iter().filter_map(|score| subject.judge(score)));
    Ok(())
}

fn report<M: Method>(settings: &M, checkpoint: &LoadedCheckpoint) -> Result<Report<M>> {
    settings.run(std::slice::from_ref(checkpoint))
}

impl Verification {
    /// The cells that are not as they should be.
    pub fn red(&self) -> impl Iterator<Item = &Cell> {
        self.cells.iter().filter(|cell| !cell.is_green())
    }

    /// Writes `verify.json` (all) and `verify.csv` (the cells) into `folder`.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        files::write(&folder.join("verify.csv"), &csv(&self.cells)?)?;
        files::write_json(&folder.join("verify.json"), self)
    }

    /// The matrix of methods and models as a table of Markdown, which numbers of a machine's speed are not in.
    pub fn markdown(&self) -> String {
        matrix::markdown(&self.cells)
    }

    /// # Errors
    /// When a cell is not as it should be.
    pub fn expect_green(&self) -> Result<()> {
        match self.red().count() {
            0 => Ok(()),
            red => Err(Error::failed(format!(
                "{red} of {} cells are not as they should be",
                self.cells.len()
            ))),
        }
    }
}
