//! The pictures of a method: panels of its figures side by side, on axes that hold them at every moment.

use serde::Serialize;
use serde_json::{Value, json};

use super::axis::Axis;
use super::data::rounded;
use crate::figure::{Cell, Scene, SceneAxis, SceneContent, SceneEstimate, SceneLine, ScenePanel, ScenePoint, Ticks};

#[cfg(test)]
mod tests;

/// The figures of one method.
#[derive(Debug, Clone, PartialEq, Serialize, Default)]
pub(super) struct Pictures {
    legend: Vec<SceneLine>,
    figures: Vec<FigureData>,
    /// What every panel is of, in their order.
    #[serde(skip)]
    pub(super) places: Vec<Place>,
}

/// One figure: its panels in the order of the places, `null` where it has none.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct FigureData {
    run: Option<usize>,
    checkpoint: Option<usize>,
    conditions: String,
    panels: Vec<Value>,
}

/// What panels at the same place of several figures have in common.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Place {
    /// The heading above them; empty where the vertical axis says all.
    pub(super) title: String,
    /// What it is called where there is no heading.
    pub(super) name: String,
    /// Of cells, whether some are below 0; absent where no cells are drawn.
    pub(super) cells: Option<bool>,
    /// Whether it is a table without a picture.
    pub(super) is_rows: bool,
    /// Whether it is of all runs together.
    pub(super) is_shared: bool,
    kind: u8,
    axes: Axes,
}

/// A table without a picture.
pub(super) struct Rows {
    pub(super) title: String,
    pub(super) heads: Vec<String>,
    pub(super) lines: Vec<Vec<Value>>,
    pub(super) conditions: String,
}

// The ends of all panels of a place.
#[derive(Debug, Clone, PartialEq)]
struct Axes {
    x: SceneAxis,
    y: SceneAxis,
    marks: usize,
    log_x: Option<(f64, f64)>,
}

/// A figure of a run, and of one of its checkpoints or of all.
pub(super) struct Drawn {
    pub(super) run: Option<usize>,
    pub(super) checkpoint: Option<usize>,
    pub(super) scene: Scene,
    /// What panel titles say of the checkpoint, which the page says itself.
    pub(super) column_title: String,
    /// The first step, where the horizontal axis can be switched to a logarithmic one.
    pub(super) log_from: Option<f64>,
}

impl Pictures {
    /// The figures of one method.
    pub(super) fn of(drawn: &[Drawn]) -> Self {
        let mut places: Vec<Place> = Vec::new();
        let mut legend: Vec<SceneLine> = Vec::new();
        let mut owners: Vec<Vec<usize>> = Vec::new();
        for figure in drawn {
            for line in &figure.scene.legend {
                if legend.iter().all(|known| known != line) {
                    legend.push(line.clone());
                }
            }
            let mut taken = Vec::new();
            for panel in &figure.scene.panels {
                let place = Place::of(panel, figure);
                // The first place like it that this figure has not filled yet.
                let like = |(index, known): (usize, &Place)| {
                    (known.is_like(&place) && !taken.contains(&index)).then_some(index)
                };
                let found = places.iter().enumerate().find_map(like);
                let index = found.unwrap_or_else(|| {
                    places.push(place.clone());
                    places.len() - 1
                });
                places[index].widen(&place);
                taken.push(index);
            }
            owners.push(taken);
        }
        let figures = drawn.iter().zip(owners).map(|(figure, owners)| {
            let mut panels = vec![Value::Null; places.len()];
            for (panel, owner) in figure.scene.panels.iter().zip(owners) {
                panels[owner] = places[owner].draw(panel);
                if !panel.note.is_empty() {
                    panels[owner]["note"] = json!(format!(" ({})", panel.note));
                }
            }
            FigureData {
                run: figure.run,
                checkpoint: figure.checkpoint,
                conditions: figure.scene.conditions.join("; "),
                panels,
            }
        });
        Self {
            figures: figures.collect(),
            legend,
            places,
        }
    }

    /// A table alone, of all runs together.
    pub(super) fn of_rows(rows: Rows) -> Self {
        let mut pictures = Self::default();
        pictures.push_rows(rows);
        pictures
    }

    /// Adds a table that has rows behind the pictures, of all runs together as they are.
    pub(super) fn push_rows(&mut self, rows: Rows) {
        if rows.lines.is_empty() {
            return;
        }
        self.places.push(Place::of_rows(rows.title));
        if self.figures.is_empty() {
            self.figures.push(FigureData {
                run: None,
                checkpoint: None,
                conditions: String::new(),
                panels: Vec::new(),
            });
        }
        // What can be read at one place has a box, a heading, and rows of series, name, keys and numbers: here the keys alone.
        let stop = |cells: &Vec<Value>| json!({"box": [0, 0, 0, 0], "head": "", "rows": [[0, "", cells, []]]});
        let panel = json!({
            "kind": "rows",
            "nodes": [],
            "width": 0,
            "height": 0,
            "across": 1,
            "heads": rows.heads,
            "stops": rows.lines.iter().map(stop).collect::<Vec<_>>(),
        });
        for figure in &mut self.figures {
            let parts = [figure.conditions.as_str(), &rows.conditions];
            figure.conditions = parts
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join("; ");
            figure.panels.push(panel.clone());
        }
    }

    /// Whether the run has a picture at the place, at some checkpoint; a run without any results has one that says so.
    pub(super) fn has(&self, place: usize, run: &str) -> bool {
        let mut of_run = self
            .figures
            .iter()
            .filter(|figure| figure.run.is_some_and(|own| own.to_string() == run))
            .peekable();
        of_run.peek().is_none() || of_run.any(|figure| figure.panels.get(place).is_some_and(|panel| !panel.is_null()))
    }

    /// As the script of the page reads it.
    pub(super) fn json(&self) -> Value {
        // Plain data; nothing in it refuses to be JSON.
        serde_json::to_value(self).unwrap_or_default()
    }
}

impl Place {
    // A place of lines, whose axes hold nothing yet.
    fn titled(title: String, is_shared: bool) -> Self {
        let empty = SceneAxis {
            label: String::new(),
            range: (f64::INFINITY, f64::NEG_INFINITY),
            log: false,
            whole: true,
        };
        Self {
            name: title.clone(),
            title,
            cells: None,
            is_rows: false,
            is_shared,
            kind: 0,
            axes: Axes {
                x: empty.clone(),
                y: empty,
                marks: 0,
                log_x: None,
            },
        }
    }

    fn of_rows(title: String) -> Self {
        Self {
            is_rows: true,
            ..Self::titled(title, true)
        }
    }

    fn of(panel: &ScenePanel, figure: &Drawn) -> Self {
        let title = without(&panel.title, &figure.column_title);
        let mut place = Self::titled(title, figure.run.is_none());
        match &panel.content {
            SceneContent::Lines { x, y, marks, .. } => {
                if place.name.is_empty() {
                    place.name.clone_from(&y.label);
                }
                place.axes = Axes {
                    x: x.clone(),
                    y: y.clone(),
                    marks: marks.len(),
                    log_x: figure.log_from.map(|from| (from, x.range.1)),
                };
            }
            SceneContent::Cells { cells, y, .. } => {
                if place.name.is_empty() {
                    place.name.clone_from(y);
                }
                place.kind = 1;
                place.cells = Some(cells.iter().flatten().flatten().any(|&(value, _)| value < -0.005));
            }
            SceneContent::Estimates { x, rows } => {
                if place.name.is_empty() {
                    place.name.clone_from(x);
                }
                place.kind = 2;
                let ends = rows.iter().flat_map(|row| {
                    let (low, high) = row.interval.unwrap_or((row.value, row.value));
                    [row.value, low, high]
                });
                let (low, high) = ends
                    .filter(|end| end.is_finite())
                    .fold((0.0_f64, 0.0_f64), |(a, b), end| (a.min(end), b.max(end)));
                place.axes.x = SceneAxis {
                    label: x.clone(),
                    range: (low, high),
                    log: false,
                    whole: false,
                };
            }
        }
        place
    }

    // Panels of one kind that say the same of what they are.
    fn is_like(&self, other: &Self) -> bool {
        let kind = |place: &Self| (place.kind, place.is_shared, place.axes.x.log);
        (&self.title, &self.name, kind(self)) == (&other.title, &other.name, kind(other))
    }

    fn widen(&mut self, other: &Self) {
        let join = |a: (f64, f64), b: (f64, f64)| (a.0.min(b.0), a.1.max(b.1));
        self.cells = self.cells.max(other.cells);
        self.axes.x.range = join(self.axes.x.range, other.axes.x.range);
        self.axes.y.range = join(self.axes.y.range, other.axes.y.range);
        self.axes.x.whole &= other.axes.x.whole;
        self.axes.marks = self.axes.marks.max(other.axes.marks);
        self.axes.log_x = self.axes.log_x.zip(other.axes.log_x).map(|(a, b)| join(a, b));
    }

    fn x(&self) -> Axis {
        let axes = &self.axes;
        if axes.x.log {
            return Axis::logarithmic(&axes.x.label, axes.x.range);
        }
        Axis::linear(
            &axes.x.label,
            axes.x.range,
            Ticks {
                whole: axes.x.whole,
                max: 8,
            },
        )
    }

    fn draw(&self, panel: &ScenePanel) -> Value {
        let y = || Axis::linear(&self.axes.y.label, self.axes.y.range, Ticks { whole: false, max: 4 });
        match &panel.content {
            SceneContent::Lines { series, marks, .. } => {
                let mut lines = json!({
                    "kind": "lines",
                    "title": self.title,
                    "x": self.x(),
                    "y": y(),
                    "series": series.iter().map(line).collect::<Vec<_>>(),
                    "marks": marks.iter().map(|(at, name)| json!([rounded(*at), name])).collect::<Vec<_>>(),
                    "mark_rows": self.axes.marks,
                });
                if let Some(range) = self.axes.log_x {
                    lines["x_log"] = json!(Axis::logarithmic(&self.axes.x.label, range));
                }
                lines
            }
            SceneContent::Cells {
                x,
                y,
                columns,
                rows,
                cells,
                behind,
                below,
            } => {
                let of_each = |number: &dyn Fn(Cell) -> Option<f64>| -> Vec<Vec<Value>> {
                    let cell = |cell: &Option<Cell>| json!(cell.and_then(number).map(rounded));
                    cells.iter().map(|row| row.iter().map(cell).collect()).collect()
                };
                let mut map = json!({
                    "kind": "cells",
                    "title": self.title,
                    "x": x,
                    "y": y,
                    "columns": columns,
                    "rows": rows,
                    "cells": of_each(&|(value, _)| Some(value)),
                    "behind": behind,
                    "below": below,
                });
                if cells.iter().flatten().flatten().any(|(_, interval)| interval.is_some()) {
                    map["low"] = json!(of_each(&|(_, interval)| interval.map(|(low, _)| low)));
                    map["high"] = json!(of_each(&|(_, interval)| interval.map(|(_, high)| high)));
                }
                // A map whose rows speak for themselves has a table all the same, where every column has a head.
                if y.is_empty() {
                    map["heads"] = json!(["row", x, "value"]);
                }
                map
            }
            SceneContent::Estimates { x, rows } => self.estimates(x, rows),
        }
    }

    fn estimates(&self, x: &str, rows: &[SceneEstimate]) -> Value {
        let (low, high) = self.axes.x.range;
        let margin = 0.04 * (high - low);
        let axis = Axis::linear(x, (low - margin, high + margin), Ticks { whole: false, max: 5 });
        let column = |of: &dyn Fn(&SceneEstimate) -> Option<f64>| -> Vec<[Option<f64>; 1]> {
            rows.iter().map(|row| [of(row).map(rounded)]).collect()
        };
        json!({
            "kind": "estimates",
            "title": self.title,
            "x": axis,
            "y": "",
            "columns": [""],
            "rows": rows.iter().map(|row| &row.name).collect::<Vec<_>>(),
            "colours": rows.iter().map(|row| &row.colour).collect::<Vec<_>>(),
            "cells": column(&|row| Some(row.value)),
            "low": column(&|row| row.interval.map(|(low, _)| low)),
            "high": column(&|row| row.interval.map(|(_, high)| high)),
            "heads": ["of what", "", x],
            "behind": [],
            "below": [],
        })
    }
}

fn line((line, points): &(SceneLine, Vec<ScenePoint>)) -> Value {
    let point = |&(x, y, interval): &ScenePoint| match interval {
        Some((low, high)) => json!([rounded(x), rounded(y), rounded(low), rounded(high)]),
        None => json!([rounded(x), rounded(y)]),
    };
    json!({
        "name": if line.name.is_empty() { "value" } else { &line.name },
        "colour": line.colour,
        "stroke": line.stroke,
        "points": points.iter().map(point).collect::<Vec<_>>(),
    })
}

// A panel's title without what it says of the checkpoint.
fn without(title: &str, column: &str) -> String {
    if column.is_empty() {
        return title.to_owned();
    }
    let rest = title.replace(column, "");
    rest.trim_matches(|c: char| c.is_whitespace() || ",:·".contains(c))
        .to_owned()
}
