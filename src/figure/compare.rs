//! Runs side by side (Kohli et al. 2026, Figures 3 and 4 in one picture).

use super::kit::{Axis, Content, Figure, Panel, Series, Stroke, UNIT};
use super::lens;
use super::{conditions, distinct, patch, split_colour, split_legend, split_name};
use crate::measure::{Comparison, RunSummary, SubjectInfo, position_name};

/// A column a run: accuracy over training, the lens at its last checkpoint, patching there.
pub fn compare(comparison: &Comparison) -> Figure {
    let splits = distinct(&comparison.lens.rows, |row| row.split.clone());
    let mut curves: Vec<String> = vec!["train".to_owned()];
    curves.extend(
        splits
            .iter()
            .filter(|split| *split != "train" && *split != "train_inferred")
            .cloned(),
    );
    let columns: Vec<_> = comparison.runs.iter().zip(&comparison.subjects).collect();
    let mut panels: Vec<Vec<Panel>> = vec![columns.iter().map(|(run, _)| training(run, &curves)).collect()];
    let readings = distinct(&comparison.lens.rows, lens::reading);
    // Every entity at the relation that leads to it; what the lens does not see elsewhere is the lens figure's matter.
    let own = |(hops, label, position): &&(usize, String, String)| {
        *hops > 1 && (label == "target" || *position != position_name(*hops))
    };
    for key in readings.iter().filter(own) {
        let panel = |(run, subject): &(&RunSummary, &SubjectInfo)| Panel {
            title: format!("{}: lens", run.name),
            content: lens::panel(&comparison.lens.rows, subject, key, &splits),
        };
        panels.push(columns.iter().map(panel).collect());
    }
    for split in distinct(&comparison.patch.rows, |row| row.split.clone()) {
        let panel = |(run, subject): &(&RunSummary, &SubjectInfo)| Panel {
            title: format!("{}: patching, {}", run.name, split_name(&split)),
            content: patch::cells(&comparison.patch.rows, subject, &split),
        };
        panels.push(columns.iter().map(panel).collect());
    }
    let mut all = splits.clone();
    // Training rows and their 2-hop sample share a colour, so one of the two is named.
    all.extend(
        curves
            .iter()
            .filter(|curve| !splits.contains(curve) && *curve != "train")
            .cloned(),
    );
    Figure {
        title: "Runs side by side: training, logit lens and patching at the last checkpoint".to_owned(),
        conditions: vec![
            conditions(&comparison.subjects, &comparison.data_hash),
            format!(
                "curves: training rows, ID and OOD test; dashed: stages reached; lens: {}",
                lens::sample_sizes(&comparison.lens.rows)
            ),
            format!(
                "bands: 95 % intervals (Wilson); cells: recovery of the clean answer, at most {} pairs",
                comparison.patch.settings.pairs
            ),
        ],
        legend: split_legend(&all),
        panels,
    }
}

fn training(run: &RunSummary, splits: &[String]) -> Panel {
    let first = run
        .metrics
        .iter()
        .map(|line| line.step)
        .find(|&step| step > 0)
        .unwrap_or(1);
    let log = |step: u64| (step.max(1) as f64).log10();
    let line = |(place, split): (usize, &String)| {
        let points = run
            .metrics
            .iter()
            .filter(|line| line.step > 0)
            .filter_map(|line| Some((log(line.step), *line.accuracy.get(split)?, None)));
        Series::new(split_colour(split, place))
            .stroke(Stroke::Solid)
            .points(points)
    };
    let marks = run
        .stages
        .iter()
        .enumerate()
        .filter_map(|(place, outcome)| Some((log(outcome.reached.as_ref()?.step), (place + 1).to_string())));
    Panel {
        title: format!("{}: L {}, R {}", run.name, run.model.layers, run.model.iterations),
        content: Content::Lines {
            x: Axis {
                label: "training steps".to_owned(),
                range: (log(first), log(run.steps) + 0.02),
                log: true,
            },
            y_label: "accuracy".to_owned(),
            y_range: UNIT,
            series: splits.iter().enumerate().map(line).collect(),
            marks: marks.collect(),
        },
    }
}
