//! What a page says before everything else: runs that are not finished, and runs that do not share their data.

use super::PageRun;
use crate::checkpoint::RunLock;
use crate::wording::{shell_word, thousands};

/// A sentence for each run that is not finished: whether a process trains it, and how far it is.
pub(super) fn unfinished(runs: &[PageRun]) -> Vec<String> {
    let unfinished = runs.iter().filter(|run| !run.summary.finished);
    unfinished.map(unfinished_run).collect()
}

fn unfinished_run(run: &PageRun) -> String {
    let name = &run.name;
    let at = format!(
        "step {} of {}",
        thousands(run.summary.steps),
        thousands(run.config.train.steps)
    );
    let folder = &run.checkpoints[0].path.folder;
    match RunLock::holder(folder).filter(|holder| holder.alive != Some(false)) {
        Some(holder) => format!(
            "STILL IN TRAINING: {name} was last saved at {at}, and process {} on {} trains it. Every number of it is one so far, not of its \
             end; make the page again when it has ended.",
            holder.process, holder.host
        ),
        None => format!(
            "NOT FINISHED: {name} stopped at {at}, and no process trains it; loopscope train {} --resume continues it. Every number of it is one so \
             far, not of its end.",
            shell_word(&folder.to_string_lossy())
        ),
    }
}

/// A sentence for each run on other data than the first one.
pub(super) fn other_data(runs: &[PageRun]) -> Vec<String> {
    let Some((first, others)) = runs.split_first() else {
        return Vec::new();
    };
    let others = others.iter().filter(|run| run.data().hash != first.data().hash);
    let text = |run: &PageRun| {
        format!(
            "DIFFERENT DATA: {} was trained on other data ({}) than {} ({}). Its numbers are of other chains, so that differences beside \
             each other are not those of the models alone; single queries are not shown for it.",
            run.name,
            run.data().hash,
            first.name,
            first.data().hash
        )
    };
    others.map(text).collect()
}
