//! The events of an experiment, for a terminal, a page or a test.

use std::path::Path;

use crate::error::Result;
use crate::measure::{CheckpointSummary, Comparison, Progress};
use crate::train::{self, Trainer};

/// Follows an experiment. Every method does nothing unless it is written.
pub trait Observer: Sync {
    /// A phase of the experiment begins.
    fn phase(&self, _phase: &Phase) {}

    /// The training of a run begins or is resumed: gives the observer of its steps, beside the run folder.
    fn watch(&self, _name: &str, _trainer: &Trainer) -> Box<dyn train::Observer + '_> {
        Box::new(Unwatched)
    }

    /// What is called while a method measures, with how far it is.
    fn progress(&self) -> Option<fn(&Progress)> {
        None
    }

    /// The result of a method is in its folder.
    ///
    /// # Errors
    /// Those of the observer; they end the experiment.
    fn measured(&self, _result: &MeasuredResult) -> Result<()> {
        Ok(())
    }

    /// The comparison of all runs is in this folder; `fresh`: whether it was made now.
    ///
    /// # Errors
    /// Those of the observer; they end the experiment.
    fn compared(&self, _comparison: &Comparison, _folder: &Path, _fresh: bool) -> Result<()> {
        Ok(())
    }
}

/// A part of an experiment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase {
    /// From 1.
    pub number: usize,
    /// Phases of the experiment.
    pub count: usize,
    /// What is done in it.
    pub title: String,
}

/// A result that was measured now, or found as it was measured before.
#[derive(Debug, Clone, Copy)]
pub struct MeasuredResult<'a> {
    /// What the method is called.
    pub method: &'static str,
    /// Where its tables are.
    pub folder: &'a Path,
    /// Whether it was measured now.
    pub fresh: bool,
    /// What was measured.
    pub checkpoints: &'a [CheckpointSummary],
    /// What was left out, and other things to know.
    pub notes: &'a [String],
}

/// An observer that does nothing.
pub struct Unobserved;

impl Observer for Unobserved {}

struct Unwatched;

impl train::Observer for Unwatched {}
