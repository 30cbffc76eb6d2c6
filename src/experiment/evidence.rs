//! What was measured on the runs of an experiment, by method and run.

use std::any::{Any, TypeId};
use std::path::Path;

use super::observer::{MeasuredResult, Observer};
use super::role::RunRole;
use crate::checkpoint::CheckpointRole;
use crate::error::Result;
use crate::measure::{CheckpointSummary, Extras, LoadedCheckpoint, Method, Report, Row, RunSummary};
use crate::model::ModelConfig;

/// A run of an experiment, by its place in the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RunId(usize);

/// A run of an experiment, as its plan and its folder know it.
#[derive(Debug, Clone, PartialEq)]
pub struct ExperimentRun {
    /// The name that the preset gives it.
    pub name: String,
    /// What it is in the experiment.
    pub role: RunRole,
    /// Its model.
    pub model: ModelConfig,
    /// Its checkpoints, the end of training last.
    pub checkpoints: Vec<CheckpointSummary>,
    /// Its training: stages, cost, every evaluation; absent before its folder was read.
    pub training: Option<RunSummary>,
}

/// The results of an experiment. Each is there once for all runs that it is of.
#[derive(Default)]
pub struct Evidence {
    runs: Vec<ExperimentRun>,
    results: Vec<StoredResult>,
}

struct StoredResult {
    method: TypeId,
    runs: Vec<RunId>,
    // A Report of the method.
    report: Box<dyn Any>,
}

impl Evidence {
    /// Adds a run; what is measured on it follows.
    pub fn add_run(&mut self, run: ExperimentRun) -> RunId {
        self.runs.push(run);
        RunId(self.runs.len() - 1)
    }

    /// The runs, in the order of the plan.
    pub fn runs(&self) -> impl Iterator<Item = RunView<'_>> {
        let ids = (0..self.runs.len()).map(RunId);
        ids.map(|id| RunView { evidence: self, id })
    }

    /// Adds a run's checkpoints, the end of training last.
    pub fn set_checkpoints(&mut self, run: RunId, checkpoints: Vec<CheckpointSummary>) {
        self.runs[run.0].checkpoints = checkpoints;
    }

    /// Adds what was recorded while a run was trained.
    pub fn set_training(&mut self, run: RunId, training: RunSummary) {
        self.runs[run.0].training = Some(training);
    }

    /// The result of a method on a run.
    pub fn get<M: Method + 'static>(&self, run: RunId) -> Option<&Report<M>> {
        self.results
            .iter()
            .find(|result| result.method == TypeId::of::<M>() && result.runs.contains(&run))
            .and_then(|result| result.report.downcast_ref())
    }

    /// Whether there is a result of this method on a run.
    pub fn has(&self, need: &Need, run: RunId) -> bool {
        let mut results = self.results.iter();
        results.any(|result| result.method == need.method && result.runs.contains(&run))
    }

    /// Adds a result of these runs. It takes the place of an earlier one of the same method.
    pub fn insert<M: Method + 'static>(&mut self, runs: &[RunId], report: Report<M>) {
        for result in &mut self.results {
            if result.method == TypeId::of::<M>() {
                result.runs.retain(|run| !runs.contains(run));
            }
        }
        self.results.push(StoredResult {
            method: TypeId::of::<M>(),
            runs: runs.to_vec(),
            report: Box::new(report),
        });
    }

    /// Measures the checkpoints of these runs into `folder`, unless the result with the same settings on the same
    /// checkpoints is there already; adds it, and tells the observer of it.
    ///
    /// # Errors
    /// When a setting does not fit, the device fails, a table cannot be written; those of the observer.
    pub fn measure<M: Method + 'static>(
        &mut self,
        runs: &[RunId],
        method: &M,
        checkpoints: &[LoadedCheckpoint],
        folder: &Path,
        observer: &dyn Observer,
    ) -> Result<()> {
        let settings = method.resolved(checkpoints)?;
        let found = Report::found(&settings, folder, checkpoints);
        let fresh = found.is_none();
        let report = if let Some(report) = found {
            report
        } else {
            let extras = Extras {
                progress: observer.progress(),
                ..Extras::default()
            };
            let report = settings.run_with(extras, checkpoints)?.report;
            report.write(folder)?;
            report
        };
        observer.measured(&MeasuredResult {
            method: M::NAME,
            folder,
            fresh,
            checkpoints: &report.checkpoints,
            notes: &report.notes,
        })?;
        self.insert(runs, report);
        Ok(())
    }
}

/// A method whose result a claim needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    method: TypeId,
    /// What the method is called.
    pub name: &'static str,
}

impl Need {
    /// The need of this method's result.
    pub const fn of<M: Method + 'static>() -> Self {
        Self {
            method: TypeId::of::<M>(),
            name: M::NAME,
        }
    }
}

/// A run with what was measured on it.
#[derive(Clone, Copy)]
pub struct RunView<'a> {
    evidence: &'a Evidence,
    id: RunId,
}

impl<'a> RunView<'a> {
    /// Its place in the plan.
    pub fn id(self) -> RunId {
        self.id
    }

    fn run(self) -> &'a ExperimentRun {
        &self.evidence.runs[self.id.0]
    }

    /// The other runs of its experiment.
    pub fn others(self) -> impl Iterator<Item = RunView<'a>> {
        self.evidence.runs().filter(move |other| other.id != self.id)
    }

    /// The name that the preset gives it.
    pub fn name(self) -> &'a str {
        &self.run().name
    }

    /// What it is in its experiment.
    pub fn role(self) -> RunRole {
        self.run().role
    }

    /// Its model.
    pub fn model(self) -> &'a ModelConfig {
        &self.run().model
    }

    /// What was recorded while it was trained.
    pub fn training(self) -> Option<&'a RunSummary> {
        self.run().training.as_ref()
    }

    /// Its checkpoint with this role.
    pub fn checkpoint(self, role: CheckpointRole) -> Option<&'a CheckpointSummary> {
        self.run().checkpoints.iter().find(|checkpoint| checkpoint.role == role)
    }

    /// Its checkpoint at the last stage that it reached; at the end of training where it reached none.
    pub fn last_reached(self) -> Option<&'a CheckpointSummary> {
        let checkpoints = &self.run().checkpoints;
        last_reached(checkpoints.iter().map(|checkpoint| checkpoint.role)).map(|place| &checkpoints[place])
    }

    /// Whether there is a result of this method on it.
    pub fn has(self, need: &Need) -> bool {
        self.evidence.has(need, self.id)
    }

    /// The result of a method on it, perhaps with other runs.
    pub fn get<M: Method + 'static>(self) -> Option<&'a Report<M>> {
        self.evidence.get(self.id)
    }

    /// The rows of a method's result that are of one of its checkpoints.
    pub fn rows_of<M: Method + 'static>(self, checkpoint: &'a CheckpointSummary) -> impl Iterator<Item = &'a M::Row> {
        let report = self.get::<M>();
        let rows = report.map_or(&[][..], |report| report.rows.as_slice());
        rows.iter().filter(|row| checkpoint.owns(row.origin()))
    }

    /// The rows of a method's result that are of its checkpoint with this role.
    pub fn rows_at<M: Method + 'static>(self, role: CheckpointRole) -> impl Iterator<Item = &'a M::Row> {
        let checkpoint = self.checkpoint(role);
        checkpoint
            .into_iter()
            .flat_map(move |checkpoint| self.rows_of::<M>(checkpoint))
    }

    /// The rows of a method's result that are of any of its checkpoints.
    pub fn rows<M: Method + 'static>(self) -> impl Iterator<Item = &'a M::Row> {
        let report = self.get::<M>();
        let rows = report.map_or(&[][..], |report| report.rows.as_slice());
        let checkpoints = &self.run().checkpoints;
        rows.iter()
            .filter(|row| checkpoints.iter().any(|checkpoint| checkpoint.owns(row.origin())))
    }
}

/// The place of the last stage among checkpoints of these roles, in the order in which they were reached; of the end of
/// training where there is no stage.
pub(super) fn last_reached(roles: impl Iterator<Item = CheckpointRole>) -> Option<usize> {
    let roles: Vec<CheckpointRole> = roles.collect();
    let stage = roles.iter().rposition(|role| matches!(role, CheckpointRole::Stage(_)));
    stage.or_else(|| roles.iter().position(|role| *role == CheckpointRole::End))
}
