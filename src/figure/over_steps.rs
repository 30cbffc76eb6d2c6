//! Any method over training: what it measures at every checkpoint, against the training step. The figure for grokking.

use serde_json::{Map, Value};

use super::kit::{Cells, Content, Figure, Panel, Point, Series, Title, UNIT};
use super::steps::Steps;
use super::{Draw, bound_entry, conditions, distinct, several_runs, span, split_legend, thousands};
use crate::checkpoint::CheckpointRole;
use crate::error::{Error, Result};
use crate::graph::Split;
use crate::measure::{CheckpointSummary, Column, Report, Row, fields};

/// The most panels of such a figure, which are 20 pages of a paper.
const MAX_PANELS: usize = 480;
/// What places a state in the loop.
const LAYER: &str = "effective_layer";
const PLACE: [&str; 3] = [LAYER, "iteration", "layer"];
// Attention goes from a position to that of a key.
const KEY: &str = "key_position";

/// The number of a method that [`Draw::OVER_STEPS`] names, against training steps on a logarithmic axis.
///
/// Where a method measures along the loop and marks the largest number (the lens over effective layers, accuracy over iterations), that
/// maximum is drawn, a line a split; where it measures single places (patching), a map of training step and effective layer, a column
/// of panels a split.
///
/// # Errors
/// When the method has no number with an interval, or there is no checkpoint after step 0.
pub fn over_steps<M: Draw>(report: &Report<M>) -> Result<Figure> {
    let mut with_interval = M::Row::COLUMNS.iter().filter(|column| column.interval().is_some());
    let column = with_interval.find(|column| M::OVER_STEPS.is_none_or(|name| column.field() == name));
    let Some((column, interval)) = column.and_then(|column| Some((column, column.interval()?))) else {
        return Err(Error::input(format!(
            "--over-steps: {} has no number with an interval",
            M::NAME
        )));
    };
    let has_maxima = !M::Row::ALONG.is_empty();
    let shown = if has_maxima {
        M::shown(report)
    } else {
        report.rows.iter().collect()
    };
    let mut rows = Vec::new();
    for row in shown.into_iter().filter(|row| row.origin().step > 0) {
        let all = fields(row)?;
        let number = |field: &str| all.get(field).and_then(Value::as_f64);
        rows.push(Dot {
            run: row.origin().run.clone(),
            step: row.origin().step,
            value: number(column.field()),
            interval: number(interval[0]).zip(number(interval[1])),
            layer: number(LAYER).map(|layer| layer as usize),
            split: all.get("split").and_then(Value::as_str).map(Split::from),
            of: of_what::<M>(&all, has_maxima),
        });
    }
    let is_map = !has_maxima && rows.iter().all(|row| row.layer.is_some());
    let has_controls = is_map && drop_controls(&mut rows);
    let shared = drop_shared(&mut rows);
    let steps = distinct(&rows, |row| row.step);
    let (Some(&first), Some(&last)) = (steps.iter().min(), steps.iter().max()) else {
        return Err(Error::input("--over-steps: there is no checkpoint after step 0"));
    };
    let axis = Scale {
        steps: Steps::spanning(first as f64, last as f64, true),
        ends: (first as f64, last as f64),
    };
    let mut panels = Vec::new();
    for run in distinct(&rows, |row| row.run.clone()) {
        let dots: Vec<&Dot> = rows.iter().filter(|row| row.run == run).collect();
        let splits = distinct(&dots, |row| row.split.clone());
        let is_of_run = |checkpoint: &&CheckpointSummary| checkpoint.origin.run == run;
        let of_run: Vec<&CheckpointSummary> = report.checkpoints.iter().filter(is_of_run).collect();
        for of in distinct(&dots, |row| row.of.clone()) {
            let of_panel: Vec<&Dot> = dots.iter().copied().filter(|row| row.of == of).collect();
            let title = title(&run, &of, several_runs(&report.checkpoints));
            panels.push(if is_map {
                let map = |split: &Option<Split>| map(&title, split.as_ref(), &of_panel, column, &of_run);
                splits.iter().map(map).collect()
            } else {
                vec![lines(title, &of_panel, &splits, column, &axis, &of_run)]
            });
        }
    }
    let left_out = truncate(&mut panels);
    if let Some(left_out) = &left_out {
        tracing::warn!("{}-over-steps: {left_out}", M::NAME);
    }
    Ok(Figure {
        title: format!("{}, over training", M::draw(&report.only(&[])).title),
        conditions: conditions_of(report, column, &shared, has_controls, left_out),
        legend: legend(&rows, is_map, &report.checkpoints),
        panels,
    })
}

// Takes away what is measured at one effective layer alone beside what is measured along the loop; whether there was any.
fn drop_controls(rows: &mut Vec<Dot>) -> bool {
    let of_each = distinct(rows, |row| row.of.clone());
    let is_along = |of: &Vec<(String, String)>| {
        let mut layers = rows.iter().filter(|row| row.of == *of).map(|row| row.layer);
        let first = layers.next();
        layers.any(|layer| Some(layer) != first)
    };
    let along: Vec<_> = of_each.iter().filter(|of| is_along(of)).collect();
    if along.is_empty() || along.len() == of_each.len() {
        return false;
    }
    rows.retain(|row| along.contains(&&row.of));
    true
}

// Takes away the rows of panels that are too many, and says how to get them.
fn truncate(panels: &mut Vec<Vec<Panel>>) -> Option<String> {
    let count = |panels: &[Vec<Panel>]| panels.iter().map(Vec::len).sum::<usize>();
    let all = count(panels);
    let mut so_far = 0;
    let is_shown = |row: &&Vec<Panel>| {
        so_far += row.len();
        so_far <= MAX_PANELS
    };
    let shown = panels.iter().take_while(is_shown).count();
    panels.truncate(shown.max(1));
    let left_out = all - count(panels);
    (left_out > 0).then(|| {
        format!(
            "{left_out} of {all} panels are left out: name fewer splits (--split) or runs to see them; the table has all"
        )
    })
}

// One number of one checkpoint.
struct Dot {
    run: String,
    step: u64,
    // Absent where it is not defined, as the recovery of pairs whose answers the model does not tell apart.
    value: Option<f64>,
    interval: Option<(f64, f64)>,
    layer: Option<usize>,
    split: Option<Split>,
    // What else the row is of.
    of: Vec<(String, String)>,
}

struct Scale {
    steps: Steps,
    ends: (f64, f64),
}

// The fields that say what was measured. Not among them are the split, and the place in the loop where it is an axis of the map or
// that of a maximum.
fn of_what<M: Draw>(all: &Map<String, Value>, has_maxima: bool) -> Vec<(String, String)> {
    const ORIGIN: [&str; 7] = [
        "run",
        "checkpoint",
        "step",
        "checkpoint_hash",
        "data_hash",
        "interval",
        "split",
    ];
    let is_measured = |name: &str| {
        let quantities = M::Row::QUANTITIES.iter().copied().flatten();
        quantities
            .into_iter()
            .any(|quantity| quantity.fields().any(|field| field == name))
    };
    let is_placed = has_maxima || all.get(LAYER).is_some_and(|layer| !layer.is_null());
    let tells = |name: &str| {
        let is_place = is_placed && PLACE.contains(&name);
        !ORIGIN.contains(&name) && !is_place && !M::Row::ALONG.contains(&name) && !is_measured(name)
    };
    let told = all.iter().filter(|(name, value)| tells(name) && !value.is_null());
    told.map(|(name, value)| {
        (
            name.clone(),
            value.as_str().map_or_else(|| value.to_string(), str::to_owned),
        )
    })
    .collect()
}

// Takes away what all rows have in common, and gives it in words: it is a condition and not a title.
fn drop_shared(rows: &mut [Dot]) -> String {
    let Some(first) = rows.first().map(|row| row.of.clone()) else {
        return String::new();
    };
    let is_shared = |field: &(String, String)| rows.iter().all(|row| row.of.contains(field));
    let shared: Vec<(String, String)> = first.into_iter().filter(is_shared).collect();
    for row in rows.iter_mut() {
        row.of.retain(|field| !shared.contains(field));
    }
    let words = shared.iter().map(|(name, value)| format!("{name} {value}"));
    words.collect::<Vec<_>>().join(", ")
}

fn title(run: &str, of: &[(String, String)], several_runs: bool) -> String {
    let mut parts: Vec<String> = several_runs.then(|| run.to_owned()).into_iter().collect();
    for (name, value) in of {
        match parts.last_mut() {
            Some(position) if name == KEY => {
                position.push_str(" to ");
                position.push_str(value);
            }
            _ if value.parse::<f64>().is_ok() => parts.push(format!("{} {value}", name.replace('_', " "))),
            _ => parts.push(value.clone()),
        }
    }
    parts.join(", ")
}

// The steps at which the stages of a run were reached, with their names.
fn stages<'a>(of_run: &'a [&CheckpointSummary]) -> impl Iterator<Item = (u64, String)> + 'a {
    let reached = of_run.iter().filter(|it| matches!(it.role, CheckpointRole::Stage(_)));
    reached.map(|it| (it.origin.step, it.role.to_string()))
}

fn lines(
    title: String,
    rows: &[&Dot],
    splits: &[Option<Split>],
    column: &Column,
    axis: &Scale,
    of_run: &[&CheckpointSummary],
) -> Panel {
    let known: Vec<Split> = splits.iter().flatten().cloned().collect();
    let lines = split_legend(&known);
    let of_split = |split: &Split| -> Vec<Point> {
        let of_split = rows.iter().filter(|row| row.split.as_ref() == Some(split));
        let mut points: Vec<Point> = of_split
            .filter_map(|row| Some((axis.steps.place(row.step as f64), row.value?, row.interval)))
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points
    };
    let series = known
        .iter()
        .zip(lines)
        .map(|(split, (_, line))| line.points(of_split(split)));
    let values = || rows.iter().filter_map(|row| row.value);
    let ends = rows
        .iter()
        .filter_map(|row| row.interval)
        .flat_map(|(low, high)| [low, high]);
    let y_range = if values().all(|value| (0.0..=1.0).contains(&value)) {
        UNIT
    } else {
        span(values().chain(ends), 0.0)
    };
    let marks = stages(of_run).map(|(step, name)| (axis.steps.place(step as f64), name));
    Panel {
        title: title.into(),
        content: Content::Lines {
            x: axis.steps.axis(axis.ends.0, axis.ends.1),
            y_label: column.heading().to_owned(),
            y_range,
            series: series.collect(),
            marks: marks.collect(),
        },
    }
}

fn map(title: &str, split: Option<&Split>, rows: &[&Dot], column: &Column, of_run: &[&CheckpointSummary]) -> Panel {
    let of_panel: Vec<&Dot> = rows.iter().copied().filter(|row| row.split.as_ref() == split).collect();
    let mut steps = distinct(&of_panel, |row| row.step);
    steps.sort_unstable();
    let mut layers = distinct(&of_panel, |row| row.layer.unwrap_or_default());
    layers.sort_unstable_by(|a, b| b.cmp(a));
    let cell = |layer: usize, step: u64| {
        let found = of_panel.iter().find(|row| row.layer == Some(layer) && row.step == step);
        found.and_then(|row| Some((row.value?, row.interval)))
    };
    // A stage ends with the checkpoint that is measured at its step.
    let until = |step: u64| steps.iter().filter(|other| **other <= step).count();
    let ends = stages(of_run).map(|(step, _)| until(step)).filter(|n| *n < steps.len());
    Panel {
        title: Title::new(title, split.map_or("", Split::title)),
        content: Content::Cells(Cells {
            x_label: "training step".to_owned(),
            y_label: "effective layer".to_owned(),
            columns: steps.iter().map(|&step| thousands(step)).collect(),
            rows: layers.iter().map(ToString::to_string).collect(),
            numbers: layers
                .iter()
                .map(|&layer| steps.iter().map(|&step| cell(layer, step)).collect())
                .collect(),
            behind: ends.collect(),
            value: column.heading().to_owned(),
            row_layers: of_run.first().map(|checkpoint| checkpoint.layers),
            ..Cells::default()
        }),
    }
}

fn conditions_of<M: Draw>(
    report: &Report<M>,
    column: &Column,
    shared: &str,
    has_controls: bool,
    left_out: Option<String>,
) -> Vec<String> {
    let told = [column.heading(), shared].into_iter().filter(|part| !part.is_empty());
    let told = told.map(str::to_owned).chain([report.intervals()]);
    let mut lines = vec![conditions(&report.checkpoints), told.collect::<Vec<_>>().join("; ")];
    if report.checkpoints.iter().any(|checkpoint| checkpoint.origin.step == 0) {
        lines.push("the initial weights, at step 0, are in the table alone".to_owned());
    }
    if has_controls {
        lines.push("what is measured at one effective layer alone is in the table".to_owned());
    }
    lines.extend(left_out);
    lines
}

fn legend(rows: &[Dot], is_map: bool, checkpoints: &[CheckpointSummary]) -> Vec<(String, Series)> {
    let splits: Vec<Split> = distinct(rows, |row| row.split.clone()).into_iter().flatten().collect();
    let has_stages = checkpoints.iter().any(|it| matches!(it.role, CheckpointRole::Stage(_)));
    match (is_map, has_stages) {
        (true, true) => vec![bound_entry("stage reached")],
        (true, false) => Vec::new(),
        (false, _) => split_legend(&splits),
    }
}
