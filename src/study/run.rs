//! The work of a study: its points, then every seed's experiment.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use candle_core::Device;

use super::{Finding, Study};
use crate::error::{Error, Result};
use crate::experiment::{Evidence, Experiment, Folders, Observer, Outcome, Phase};
use crate::sweep::{PointOutcome, Runner, SweepData, default_jobs};
use crate::wording::counted;

impl Study {
    /// Trains all runs as far as they are not trained yet, as many at once as there are cores and memory for.
    ///
    /// # Errors
    /// When the plan cannot be made, a point fails or is trained by another process, or it was stopped.
    pub fn train(&self, folders: &Folders, device: &Device, observer: &dyn Observer, stop: &AtomicBool) -> Result<()> {
        let plan = self.plan(&folders.runs)?;
        let points: Vec<_> = plan.points.iter().collect();
        let data = Arc::new(SweepData::new(&folders.runs));
        let jobs = default_jobs(&data, &points)?;
        let runner = Runner::new(&folders.runs, device, stop, observer).with_data(data);
        let outcomes = runner.all(&points, jobs)?;
        let (mut failed, mut held) = (Vec::new(), Vec::new());
        let mut interrupted = false;
        for (point, outcome) in points.iter().zip(&outcomes) {
            match outcome {
                PointOutcome::WasDone | PointOutcome::Trained => {}
                PointOutcome::Interrupted => interrupted = true,
                PointOutcome::Held(holder) => held.push(format!("{}: {holder}", point.name)),
                PointOutcome::Failed(error) => failed.push(format!("{}: {error}", point.name)),
            }
        }
        let count = |of: &[String]| counted(of.len(), "point");
        match (failed.is_empty(), held.is_empty(), interrupted) {
            (false, ..) => Err(Error::failed(format!(
                "{} failed: {}",
                count(&failed),
                failed.join("; ")
            ))),
            (true, _, true) => Err(Error::Interrupted),
            (true, false, false) => Err(Error::failed(format!(
                "all others are trained; {} left to another process: {}; run the same command when it is done",
                count(&held),
                held.join("; ")
            ))),
            (true, true, false) => Ok(()),
        }
    }
}

/// What a study found.
pub struct StudyOutcome {
    /// Each seed of each experiment, in order.
    pub replicates: Vec<MeasuredReplicate>,
    /// The verdicts, in the order of the criteria.
    pub findings: Vec<Finding>,
}

/// One seed of one experiment, and what it gave.
pub struct MeasuredReplicate {
    /// The name of the experiment.
    pub name: String,
    /// Its seed.
    pub seed: u64,
    /// The experiment in its folders.
    pub experiment: Experiment,
    /// What it found.
    pub outcome: Outcome,
}

impl Study {
    /// Measures every seed's experiment, which are trained, and holds the criteria against all of them. What is measured is not
    /// measured again.
    ///
    /// # Errors
    /// Those of [`Experiment::run`].
    pub fn measure(
        &self,
        folders: &Folders,
        device: &Device,
        observer: &dyn Observer,
        stop: &AtomicBool,
    ) -> Result<StudyOutcome> {
        let mut replicates = Vec::new();
        let count = self.replicates().count();
        for (number, replicate) in (1..).zip(self.replicates()) {
            observer.phase(&Phase {
                number,
                count,
                title: format!("measuring {} with seed {}", replicate.experiment.name, replicate.seed),
            });
            let experiment = replicate.open(&folders.runs, &folders.figures, device)?;
            let outcome = experiment.run(observer, stop)?;
            replicates.push(MeasuredReplicate {
                name: replicate.experiment.name.clone(),
                seed: replicate.seed,
                experiment,
                outcome,
            });
        }
        let of = |name: &str| -> Vec<(u64, &Evidence)> {
            let of_name = replicates.iter().filter(|replicate| replicate.name == name);
            of_name
                .map(|replicate| (replicate.seed, &replicate.outcome.evidence))
                .collect()
        };
        let findings = self
            .criteria
            .iter()
            .map(|criterion| criterion.hold(&of(&criterion.experiment)));
        Ok(StudyOutcome {
            findings: findings.collect(),
            replicates,
        })
    }
}
