//! Accuracy over training: a line for each seed, and the median of each set of values.

use std::collections::BTreeMap;

use super::super::kit::{Colour, Content, Figure, Panel, Point, Series, Stroke, UNIT};
use super::super::{distinct, wrapped};
use super::{Steps, group_colour, group_line};
use crate::graph::Split;
use crate::measure::seeds::{RunGroup, SeededRun};
use crate::wording::counted;

/// A panel a split with a colour for each group of runs; `None` where no run was evaluated after its first step.
pub fn training_curves(groups: &[RunGroup], log_steps: bool) -> Option<Figure> {
    let runs: Vec<&SeededRun> = groups.iter().flat_map(|group| &group.runs).collect();
    let evaluated = runs
        .iter()
        .flat_map(|run| &run.run.metrics)
        .filter(|line| line.step > 0);
    let evaluated: Vec<u64> = evaluated.map(|line| line.step).collect();
    let (first, last) = (*evaluated.iter().min()? as f64, *evaluated.iter().max()? as f64);
    let steps = Steps::spanning(first, last, log_steps);
    let mut splits = distinct(
        &runs.iter().flat_map(|run| run.run.accuracy.keys()).collect::<Vec<_>>(),
        |split| (*split).clone(),
    );
    splits.sort_by_key(Split::order_in_legends);
    let panel = |split: &Split| {
        let mut series = Vec::new();
        for (n, group) in groups.iter().enumerate() {
            let colour = group_colour(n);
            let lines = group.runs.iter().map(|run| of_run(run, split, steps));
            series.extend(lines.map(|points| Series::new(colour).stroke(Stroke::Thin).points(points)));
        }
        for (n, group) in groups.iter().enumerate() {
            series.push(group_line(n).bold().points(median(group, split, steps)));
        }
        let thresholds = thresholds(&runs, split);
        let ends = [steps.place(first), steps.place(last)];
        series.extend(
            thresholds
                .iter()
                .map(|(_, accuracy)| threshold_line().points(ends.map(|x| (x, *accuracy, None)))),
        );
        Panel {
            title: panel_title(split, &thresholds).into(),
            content: Content::Lines {
                x: steps.axis(first, last),
                y_label: "accuracy".to_owned(),
                y_range: UNIT,
                series,
                marks: Vec::new(),
            },
        }
    };
    let mut legend: Vec<(String, Series)> = (groups.iter().enumerate())
        .map(|(n, group)| (format!("median, {}", group.counted()), group_line(n).bold()))
        .collect();
    legend.push(("one seed".to_owned(), Series::new(Colour::GREY).stroke(Stroke::Thin)));
    legend.push(("threshold of a stage".to_owned(), threshold_line()));
    Some(Figure {
        title: "Accuracy over training".to_owned(),
        conditions: vec![conditions(groups)],
        legend,
        panels: wrapped(splits.iter().map(panel).collect()),
    })
}

fn threshold_line() -> Series {
    Series::new(Colour::GREY).stroke(Stroke::Dotted)
}

fn conditions(groups: &[RunGroup]) -> String {
    let runs: usize = groups.iter().map(|group| group.runs.len()).sum();
    let unfinished = groups
        .iter()
        .flat_map(|group| &group.runs)
        .filter(|run| !run.run.finished)
        .count();
    let unfinished = match unfinished {
        0 => String::new(),
        n => format!("; {} of them NOT finished", counted(n, "run")),
    };
    format!(
        "{} of {}{unfinished}; thin: each seed; thick: the median over seeds, where all seeds of a set have been evaluated",
        counted(runs, "run"),
        match groups.len() {
            1 => "one set of values".to_owned(),
            n => format!("{n} sets of values"),
        }
    )
}

// The stages that watch a split, with the accuracy that each asks for.
fn thresholds(runs: &[&SeededRun], split: &Split) -> Vec<(String, f64)> {
    let of_split = runs
        .iter()
        .flat_map(|run| &run.run.stages)
        .filter(|outcome| outcome.stage.split == *split);
    let all: Vec<(String, f64)> = of_split
        .map(|outcome| (outcome.stage.name.clone(), outcome.stage.accuracy))
        .collect();
    distinct(&all, Clone::clone)
}

fn panel_title(split: &Split, thresholds: &[(String, f64)]) -> String {
    let stages: Vec<String> = thresholds
        .iter()
        .map(|(name, accuracy)| format!("stage {name}: {accuracy}"))
        .collect();
    if stages.is_empty() {
        return split.title().to_owned();
    }
    format!("{} ({})", split.title(), stages.join(", "))
}

fn of_run(run: &SeededRun, split: &Split, steps: Steps) -> Vec<Point> {
    let lines = run.run.metrics.iter().filter(|line| line.step > 0);
    lines
        .filter_map(|line| Some((steps.place(line.step as f64), *line.accuracy.get(split)?, None)))
        .collect()
}

// At the steps at which every run of the group was evaluated.
fn median(group: &RunGroup, split: &Split, steps: Steps) -> Vec<Point> {
    let mut by_step: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for line in group
        .runs
        .iter()
        .flat_map(|run| &run.run.metrics)
        .filter(|line| line.step > 0)
    {
        by_step.entry(line.step).or_default().extend(line.accuracy.get(split));
    }
    let whole = by_step
        .into_iter()
        .filter(|(_, values)| values.len() == group.runs.len());
    whole
        .map(|(step, values)| (steps.place(step as f64), middle(values), None))
        .collect()
}

// The median; of an even number the mean of the middle two.
fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let n = values.len();
    f64::midpoint(values[(n - 1) / 2], values[n / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_between_the_middle_two() {
        assert_eq!(middle(vec![0.9, 0.1, 0.3]), 0.3);
        assert_eq!(middle(vec![1.0, 0.0, 0.25, 0.75]), 0.5);
    }
}
