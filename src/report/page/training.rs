//! The curves of a page: accuracy and loss over training.

use super::PageRun;
use super::pictures::Drawn;
use crate::figure::{
    Scene, SceneAxis, SceneContent, SceneLine, ScenePanel, ScenePoint, ordered_colour_hex, split_colour_hex,
};
use crate::graph::Split;
use crate::train::Evaluation;

/// The most evaluations of a run that a page has; of more, those that are spread evenly over the logarithm of the step.
const MAX_EVALUATIONS: usize = 400;
const LOSS: &str = "#787878";

/// A figure a run: accuracy by split, and loss; nothing of runs that were never evaluated.
pub(super) fn curves(runs: &[PageRun]) -> Vec<Drawn> {
    runs.iter()
        .enumerate()
        .filter_map(|(index, run)| curve(index, run))
        .collect()
}

fn curve(index: usize, run: &PageRun) -> Option<Drawn> {
    let shown = thinned(&run.summary.metrics);
    let (last, first) = (shown.last()?, shown.iter().find(|line| line.step > 0)?);
    let mut splits: Vec<&Split> = last.accuracy.keys().collect();
    splits.sort_by_key(|split| split.order_in_legends());
    let max_hops = run.data().depths().into_iter().max().unwrap_or(2);
    let lines: Vec<(SceneLine, Vec<ScenePoint>)> = splits
        .iter()
        .enumerate()
        .map(|(n, split)| {
            let of_line = |line: &&Evaluation| Some((line.step as f64, *line.accuracy.get(*split)?, None));
            (
                legend_line(split, n, max_hops),
                shown.iter().filter_map(of_line).collect(),
            )
        })
        .collect();
    let loss: Vec<ScenePoint> = shown
        .iter()
        .filter_map(|line| Some((line.step as f64, line.loss?, None)))
        .collect();
    let reached = run.summary.stages.iter().filter_map(|outcome| {
        let reached = outcome.reached.as_ref()?;
        Some((reached.step as f64, outcome.stage.name.clone()))
    });
    let marks: Vec<(f64, String)> = reached.collect();
    let x = SceneAxis {
        label: "training step".to_owned(),
        range: (0.0, last.step as f64),
        log: false,
        whole: true,
    };
    let panel = |title: &str, label: &str, range, series| ScenePanel {
        title: title.to_owned(),
        note: String::new(),
        content: SceneContent::Lines {
            x: x.clone(),
            y: SceneAxis {
                label: label.to_owned(),
                range,
                log: false,
                whole: false,
            },
            series,
            marks: marks.clone(),
        },
    };
    let top = loss.iter().map(|(_, loss, _)| *loss).fold(0.0, f64::max);
    let loss_line = SceneLine {
        name: "training loss".to_owned(),
        colour: LOSS.to_owned(),
        stroke: "solid",
    };
    let legend = lines.iter().map(|(line, _)| line.clone()).chain([loss_line.clone()]);
    Some(Drawn {
        run: Some(index),
        checkpoint: None,
        column_title: String::new(),
        log_from: Some(first.step as f64),
        scene: Scene {
            title: "Training".to_owned(),
            conditions: vec![format!("{} evaluations of {}", shown.len(), run.name)],
            legend: legend.collect(),
            panels: vec![
                panel("Accuracy", "accuracy", (0.0, 1.0), lines),
                panel("Loss", "training loss, nats", (0.0, top), vec![(loss_line, loss)]),
            ],
        },
    })
}

// Chains by depth are coloured by their hops.
fn legend_line(split: &Split, n: usize, max_hops: usize) -> SceneLine {
    SceneLine {
        name: split.title().to_owned(),
        colour: match split.depth() {
            Some(hops) => ordered_colour_hex(hops.saturating_sub(2), max_hops.saturating_sub(1)),
            None => split_colour_hex(split, n),
        },
        stroke: "marked",
    }
}

// The first and the last are among them.
fn thinned(metrics: &[Evaluation]) -> Vec<&Evaluation> {
    let Some(last) = metrics.last().filter(|_| metrics.len() > MAX_EVALUATIONS) else {
        return metrics.iter().collect();
    };
    let place = |line: &Evaluation| (line.step.max(1) as f64).ln();
    let (end, mut next) = (place(last), 0.0);
    let mut shown = Vec::new();
    for line in metrics {
        if place(line) >= next || line.step == last.step {
            shown.push(line);
            next = place(line) + end / MAX_EVALUATIONS as f64;
        }
    }
    shown
}
