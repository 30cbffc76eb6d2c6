//! The positions of the stage slider: moments of training that runs have in common.

use serde::Serialize;

use super::PageRun;
use crate::checkpoint::CheckpointRole;
use crate::measure::LoadedCheckpoint;
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

impl Moment {
    /// The end of training of this many sets of values, over their seeds.
    pub(super) fn of_ends(groups: usize) -> Self {
        let of_group = Shown {
            checkpoint: None,
            why: None,
        };
        Self {
            label: "end of training, over seeds".to_owned(),
            short: "end".to_owned(),
            at: vec![of_group; groups],
        }
    }
}

/// The moments of these runs in the order of training: every stage that any of them reached, then the end; the newest checkpoint of runs
/// that are not finished. A checkpoint that was named by itself and is none of these is a moment of its own.
pub(super) fn moments(runs: &[PageRun]) -> Vec<Moment> {
    let mut kinds: Vec<Kind> = Vec::new();
    for checkpoint in runs.iter().flat_map(|run| &run.checkpoints) {
        let kind = Kind::of(checkpoint);
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    // By the step of the first run that comes there; the last of each run, whose steps differ, behind all.
    let step = |kind: &Kind| {
        let steps = runs
            .iter()
            .flat_map(|run| &run.checkpoints)
            .filter(|it| Kind::of(it) == *kind);
        match kind {
            Kind::Newest | Kind::End => u64::MAX,
            _ => steps.map(|it| it.info.origin.step).min().unwrap_or_default(),
        }
    };
    kinds.sort_by_key(|kind| (step(kind), *kind));
    let mut moments: Vec<Moment> = kinds.into_iter().map(|kind| moment(kind, runs)).collect();
    shorten(&mut moments);
    moments
}

// What stands under the slider: of many stages their numbers, and where these are too many too, the first and the last.
fn shorten(moments: &mut [Moment]) {
    const MAX_LETTERS: usize = 48;
    let is_long = |moments: &[Moment]| moments.iter().map(|moment| moment.short.len() + 2).sum::<usize>() > MAX_LETTERS;
    if is_long(moments) {
        for moment in moments.iter_mut() {
            if let Some(number) = moment.short.strip_prefix("stage ") {
                moment.short = number.to_owned();
            }
        }
    }
    if is_long(moments) {
        let last = moments.len() - 1;
        for moment in &mut moments[1..last] {
            moment.short.clear();
        }
    }
}

// What checkpoints of one moment have in common, in the order of training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Initial,
    Stage(usize),
    // A checkpoint that was named by itself, of this step.
    Step(u64),
    // The newest one of a run that is not finished.
    Newest,
    End,
}

impl Kind {
    fn of(checkpoint: &LoadedCheckpoint) -> Self {
        match (checkpoint.info.role, checkpoint.path.alone) {
            (CheckpointRole::Initial, true) => Self::Initial,
            (CheckpointRole::Stage(number), _) => Self::Stage(number),
            (CheckpointRole::Other, true) => Self::Step(checkpoint.info.origin.step),
            (CheckpointRole::Initial | CheckpointRole::Other, false) => Self::Newest,
            (CheckpointRole::End, _) => Self::End,
        }
    }
}

fn moment(kind: Kind, runs: &[PageRun]) -> Moment {
    let (name, short) = match kind {
        Kind::Initial => (CheckpointRole::Initial.to_string(), CheckpointRole::Initial.to_string()),
        Kind::Stage(number) => {
            let stage = |run: &PageRun| Some(run.summary.stages.get(number - 1)?.stage.name.clone());
            let role = CheckpointRole::Stage(number).to_string();
            // Runs of several tasks have stages of several names.
            let mut names: Vec<String> = Vec::new();
            for name in runs.iter().filter_map(stage) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            let label = match names.as_slice() {
                [] => role.clone(),
                names => format!("{role}: {}", names.join(" or ")),
            };
            (label, role)
        }
        Kind::Step(step) => (CheckpointRole::Other.to_string(), thousands(step)),
        Kind::Newest => ("newest checkpoint so far".to_owned(), "so far".to_owned()),
        Kind::End => (CheckpointRole::End.to_string(), "end".to_owned()),
    };
    let checkpoint = |run: &PageRun| run.checkpoints.iter().position(|it| Kind::of(it) == kind);
    let steps = runs
        .iter()
        .filter_map(|run| Some(run.checkpoints[checkpoint(run)?].info.origin.step));
    let at = |run: &PageRun| {
        let checkpoint = checkpoint(run);
        Shown {
            why: checkpoint.is_none().then(|| match kind {
                Kind::Stage(_) => format!(
                    "{} did not reach {short} in {} steps",
                    run.name,
                    thousands(run.summary.steps)
                ),
                Kind::End if !run.summary.finished => format!("{} is not finished", run.name),
                _ => format!("{} has no such checkpoint", run.name),
            }),
            checkpoint,
        }
    };
    Moment {
        label: format!("{}, {name}", told(steps)),
        at: runs.iter().map(at).collect(),
        short,
    }
}

// `step 12,500`; `steps 9,000 to 12,500` where runs come there at different ones.
fn told(steps: impl Iterator<Item = u64> + Clone) -> String {
    let first = steps.clone().min().unwrap_or_default();
    let last = steps.max().unwrap_or_default();
    if first == last {
        return format!("step {}", thousands(first));
    }
    format!("steps {} to {}", thousands(first), thousands(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shorts(names: &[&str]) -> String {
        let moment = |name: &&str| Moment {
            label: String::new(),
            short: (*name).to_owned(),
            at: Vec::new(),
        };
        let mut moments: Vec<Moment> = names.iter().map(moment).collect();
        shorten(&mut moments);
        let shorts: Vec<&str> = moments.iter().map(|moment| moment.short.as_str()).collect();
        shorts.join("|")
    }

    #[test]
    fn what_stands_under_the_slider_has_room_there() {
        assert_eq!(shorts(&["stage 1", "stage 2", "end"]), "stage 1|stage 2|end");
        let stages: Vec<String> = (1..=11).map(|number| format!("stage {number}")).collect();
        let stages: Vec<&str> = stages.iter().map(String::as_str).chain(["end"]).collect();
        assert_eq!(shorts(&stages), "1|2|3|4|5|6|7|8|9|10|11|end");
        assert_eq!(shorts(&["12,500"; 9]), "12,500||||||||12,500");
    }
}
