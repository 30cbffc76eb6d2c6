//! The positions of the stage slider: moments of training that runs have in common.

use serde::Serialize;

use super::PageRun;
use crate::checkpoint::CheckpointRole;
use crate::wording::thousands;

/// One moment of training.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Moment {
    pub(super) label: String,
    pub(super) short: String,
    at: Vec<Shown>,
}

/// What is shown of a run at a moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Shown {
    checkpoint: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// The moments of these runs in the order of training: every stage that any of them reached, then the end. A checkpoint that was named
/// by itself and is none of these is a moment of its own.
pub(super) fn moments(runs: &[PageRun]) -> Vec<Moment> {
    let roles = roles(runs);
    roles.into_iter().map(|role| moment(role, runs)).collect()
}

fn roles(runs: &[PageRun]) -> Vec<CheckpointRole> {
    let mut roles: Vec<CheckpointRole> = Vec::new();
    for checkpoint in runs.iter().flat_map(|run| &run.checkpoints) {
        if !roles.contains(&checkpoint.info.role) {
            roles.push(checkpoint.info.role);
        }
    }
    roles.sort_by_key(|role| match role {
        CheckpointRole::Initial => 0,
        CheckpointRole::Stage(number) => *number,
        CheckpointRole::Other => usize::MAX - 1,
        CheckpointRole::End => usize::MAX,
    });
    roles
}

fn moment(role: CheckpointRole, runs: &[PageRun]) -> Moment {
    let stage = |run: &PageRun| match role {
        CheckpointRole::Stage(number) => run
            .summary
            .stages
            .get(number - 1)
            .map(|outcome| outcome.stage.name.clone()),
        _ => None,
    };
    let name = runs.iter().find_map(stage);
    let name = name.map_or_else(|| role.to_string(), |name| format!("{role}: {name}"));
    let checkpoint = |run: &PageRun| run.checkpoints.iter().position(|it| it.info.role == role);
    // The slider says the step of the first run that has it.
    let step = runs
        .iter()
        .find_map(|run| Some(run.checkpoints[checkpoint(run)?].info.origin.step));
    let at = |run: &PageRun| {
        let checkpoint = checkpoint(run);
        Shown {
            why: checkpoint.is_none().then(|| match role {
                CheckpointRole::Stage(_) => format!(
                    "{} did not reach {role} in {} steps",
                    run.name,
                    thousands(run.summary.steps)
                ),
                _ => format!("{} has no such checkpoint", run.name),
            }),
            checkpoint,
        }
    };
    Moment {
        label: format!("step {}, {name}", thousands(step.unwrap_or_default())),
        short: match role {
            CheckpointRole::End => "end".to_owned(),
            _ => role.to_string(),
        },
        at: runs.iter().map(at).collect(),
    }
}
