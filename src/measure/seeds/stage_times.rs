//! When stages are reached: survival curves over runs, in which those that are not there yet are censored.

use serde::{Deserialize, Serialize};

use super::RunGroup;
use crate::measure::compare::RunSummary;
use crate::measure::statistics::{LogRank, Observation, SurvivalStep, kaplan_meier, log_rank, median_time};
use crate::train::Stage;

/// The training steps at which the runs of each group reached a stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageTimes {
    /// The stage.
    pub stage: Stage,
    /// A curve for each group that has the stage.
    pub curves: Vec<StageCurve>,
    /// Whether the groups differ; absent with one group, or where no run of any reached the stage.
    pub log_rank: Option<LogRank>,
}

/// The steps of the runs of one group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageCurve {
    /// The group.
    pub group: String,
    /// Runs.
    pub runs: usize,
    /// Runs that reached the stage.
    pub reached: usize,
    /// The median step; absent where fewer than half of the runs have reached it as far as they were watched.
    pub median: Option<f64>,
    /// The Kaplan–Meier curve over training steps: the share of runs that have not reached the stage.
    pub curve: Vec<SurvivalStep>,
}

/// The survival curves of each stage that runs of `groups` have; relabelings of the test are drawn under `seed` where they are too
/// many to try all.
pub fn stage_times(groups: &[RunGroup], seed: u64) -> Vec<StageTimes> {
    let mut stages: Vec<Stage> = Vec::new();
    let runs = groups.iter().flat_map(|group| &group.runs);
    for outcome in runs.flat_map(|run| &run.run.stages) {
        if stages.iter().all(|stage| stage.name != outcome.stage.name) {
            stages.push(outcome.stage.clone());
        }
    }
    stages
        .into_iter()
        .map(|stage| {
            let observed: Vec<(&RunGroup, Vec<Observation>)> = groups
                .iter()
                .map(|group| {
                    let of_run = group.runs.iter().filter_map(|run| observe(&run.run, &stage.name));
                    (group, of_run.collect::<Vec<_>>())
                })
                .filter(|(_, runs)| !runs.is_empty())
                .collect();
            let curves = observed
                .iter()
                .map(|(group, runs)| StageCurve::new(group, runs))
                .collect();
            let runs: Vec<Vec<Observation>> = observed.into_iter().map(|(_, runs)| runs).collect();
            StageTimes {
                stage,
                curves,
                log_rank: log_rank(&runs, seed),
            }
        })
        .collect()
}

// When a run reached the stage, or until when it had not; `None` where it does not watch for it.
fn observe(run: &RunSummary, stage: &str) -> Option<Observation> {
    let outcome = run.stages.iter().find(|outcome| outcome.stage.name == stage)?;
    let reached = outcome.reached.as_ref();
    Some(Observation {
        time: reached.map_or(run.steps, |reached| reached.step) as f64,
        happened: reached.is_some(),
    })
}

impl StageCurve {
    fn new(group: &RunGroup, runs: &[Observation]) -> Self {
        let curve = kaplan_meier(runs);
        Self {
            group: group.title.clone(),
            runs: runs.len(),
            reached: runs.iter().filter(|run| run.happened).count(),
            median: median_time(&curve),
            curve,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::effects::tests::group;
    use super::super::metrics::tests::run;
    use super::*;

    #[test]
    fn runs_that_have_not_got_there_are_censored_and_counted() {
        let groups = [
            group("1", &[(1, run(&[30], 0.1)), (2, run(&[], 0.1)), (3, run(&[], 0.1))]),
            group(
                "2",
                &[(1, run(&[10, 20], 0.5)), (2, run(&[20], 0.5)), (3, run(&[30], 0.5))],
            ),
        ];
        let found = stage_times(&groups, 1);
        assert_eq!(found.len(), 3);
        let first = &found[0];
        assert_eq!(first.stage.name, "memorization");
        let told: Vec<(usize, usize, Option<f64>)> = (first.curves.iter())
            .map(|curve| (curve.runs, curve.reached, curve.median))
            .collect();
        assert_eq!(told, [(3, 1, None), (3, 3, Some(20.0))]);
        let last = first.curves[0].curve.last().unwrap();
        assert_eq!((last.time, last.censored), (100.0, 2));
        let test = first.log_rank.as_ref().unwrap();
        assert!(test.permutation.exact && test.permutation.relabelings == 20);
        // No run reached the last stage.
        assert_eq!(found[2].log_rank, None);
        assert_eq!(found[2].curves[0].curve[0].survival, 1.0);
    }
}
