//! A figure as data, for a page that draws it itself: the same panels as the files have, with the numbers in them.

use serde::Serialize;

use super::{Axis, Cell, Content, Estimate, Figure, Point, Series, Stroke};

/// What is in a figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    /// The title.
    pub title: String,
    /// The conditions: data, seed, checkpoints, sample sizes.
    pub conditions: Vec<String>,
    /// The names of lines.
    pub legend: Vec<SceneLine>,
    /// The panels, row by row.
    pub panels: Vec<ScenePanel>,
}

/// A line's name and how it is drawn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SceneLine {
    /// The name; empty where the legend has none.
    pub name: String,
    /// The colour, as `#rrggbb`.
    pub colour: String,
    /// The stroke: `marked`, `solid`, `dashed`, `dotted`, `thin`, `bold` or `ticks`.
    pub stroke: &'static str,
}

/// A panel.
#[derive(Debug, Clone, PartialEq)]
pub struct ScenePanel {
    /// The title.
    pub title: String,
    /// A number or a warning of this panel alone; empty where there is none.
    pub note: String,
    /// What it shows.
    pub content: SceneContent,
}

/// What a panel shows.
#[derive(Debug, Clone, PartialEq)]
pub enum SceneContent {
    /// Lines.
    Lines {
        /// The horizontal axis.
        x: SceneAxis,
        /// The vertical axis.
        y: SceneAxis,
        /// The lines, each with its points.
        series: Vec<(SceneLine, Vec<ScenePoint>)>,
        /// Vertical marks with their names.
        marks: Vec<(f64, String)>,
    },
    /// Cells between −1 and 1, `cells[row][column]`, the first row on top.
    Cells {
        /// What the columns are.
        x: String,
        /// What the rows are.
        y: String,
        /// The names of the columns.
        columns: Vec<String>,
        /// The names of the rows.
        rows: Vec<String>,
        /// The numbers with their intervals, if any; absent where there is none.
        cells: Vec<Vec<Option<Cell>>>,
        /// Numbers of columns with a dashed line behind them.
        behind: Vec<usize>,
        /// Numbers of rows with a dashed line below them.
        below: Vec<usize>,
    },
    /// Estimates with their intervals, the first on top.
    Estimates {
        /// What is estimated.
        x: String,
        /// Each with its name.
        rows: Vec<SceneEstimate>,
    },
}

/// An estimate.
#[derive(Debug, Clone, PartialEq)]
pub struct SceneEstimate {
    /// What it is of.
    pub name: String,
    /// The colour, as `#rrggbb`.
    pub colour: String,
    /// The value.
    pub value: f64,
    /// The ends of its interval where it has one.
    pub interval: Option<(f64, f64)>,
}

/// An axis. On a logarithmic one values and ends are powers of ten, as they are written.
#[derive(Debug, Clone, PartialEq)]
pub struct SceneAxis {
    /// What it is.
    pub label: String,
    /// Its ends.
    pub range: (f64, f64),
    /// Whether it is logarithmic.
    pub log: bool,
    /// Whether it counts, so that ticks are whole numbers.
    pub whole: bool,
}

/// A point (x, y) with the ends of its interval where it has one.
pub type ScenePoint = (f64, f64, Option<(f64, f64)>);

impl Figure {
    /// What is in it.
    pub fn scene(&self) -> Scene {
        let legend: Vec<SceneLine> = self
            .legend
            .iter()
            .map(|(name, line)| SceneLine {
                name: name.clone(),
                ..line.sample()
            })
            .collect();
        let panels = self.panels.iter().flatten().map(|panel| {
            let (title, note) = panel.title.parts();
            ScenePanel {
                title,
                note: note.to_owned(),
                content: content(&panel.content, &self.legend),
            }
        });
        Scene {
            title: self.title.clone(),
            conditions: self.conditions.clone(),
            panels: panels.collect(),
            legend,
        }
    }
}

impl Series {
    fn sample(&self) -> SceneLine {
        SceneLine {
            name: String::new(),
            colour: self.colour.hex(),
            stroke: match self.marker {
                Some(_) => "marked",
                None if self.is_bold && self.stroke == Stroke::Solid => "bold",
                None => self.stroke.name(),
            },
        }
    }
}

fn content(content: &Content, legend: &[(String, Series)]) -> SceneContent {
    match content {
        Content::Lines {
            x,
            y_label,
            y_range,
            series,
            marks,
        } => SceneContent::Lines {
            x: SceneAxis {
                label: x.label.clone(),
                range: (x.written(x.range.0), x.written(x.range.1)),
                log: x.log,
                whole: x.is_whole(series),
            },
            y: SceneAxis {
                label: y_label.clone(),
                range: *y_range,
                log: false,
                whole: false,
            },
            series: series
                .iter()
                .map(|line| (named(line, legend), points(line, x)))
                .collect(),
            marks: marks.iter().map(|(at, name)| (x.written(*at), name.clone())).collect(),
        },
        Content::Cells(map) => SceneContent::Cells {
            x: map.x_label.clone(),
            y: map.y_label.clone(),
            columns: map.columns.clone(),
            rows: map.rows.clone(),
            cells: map.numbers.clone(),
            behind: map.behind.clone(),
            below: map.below.clone(),
        },
        Content::Estimates { x_label, rows, .. } => SceneContent::Estimates {
            x: x_label.clone(),
            rows: rows.iter().map(estimate).collect(),
        },
    }
}

// A line under the name that the legend has for its look; where one entry explains its colour and another its stroke, under both.
fn named(line: &Series, legend: &[(String, Series)]) -> SceneLine {
    let name = |is: &dyn Fn(&Series) -> bool| legend.iter().find(|(_, entry)| is(entry)).map(|(name, _)| name.clone());
    let whole = name(&|entry| entry.looks_like(line));
    let parts = || {
        let colour = name(&|entry| entry.colour == line.colour);
        let stroke = name(&|entry| entry.stroke == line.stroke && entry.stroke != Stroke::Solid);
        [colour, stroke].into_iter().flatten().collect::<Vec<_>>().join("; ")
    };
    SceneLine {
        name: whole.unwrap_or_else(parts),
        ..line.sample()
    }
}

fn points(line: &Series, x: &Axis) -> Vec<ScenePoint> {
    let point = |&(at, y, interval): &Point| (x.written(at), y, interval);
    line.points.iter().map(point).collect()
}

fn estimate(estimate: &Estimate) -> SceneEstimate {
    SceneEstimate {
        name: estimate.name.clone(),
        colour: estimate.colour.hex(),
        value: estimate.value,
        interval: estimate.interval,
    }
}

impl Axis {
    // What is written at this place of the axis.
    pub(super) fn written(&self, at: f64) -> f64 {
        if self.log { 10_f64.powf(at) } else { at }
    }
}

impl Stroke {
    fn name(self) -> &'static str {
        match self {
            Self::Solid => "solid",
            Self::Dashed | Self::DashDotted => "dashed",
            Self::Dotted => "dotted",
            Self::Thin => "thin",
            Self::Ticks => "ticks",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Colour, Panel, UNIT};
    use super::*;

    #[test]
    fn a_scene_has_the_numbers_and_the_names_of_a_figure() {
        let line = Series::new(Colour::GREEN).stroke(Stroke::Dashed);
        let dotted = |colour| Series::new(colour).stroke(Stroke::Dotted);
        let random = dotted(Colour::GREEN).points([(2.0, 0.1, None)]);
        let figure = Figure {
            title: "A".to_owned(),
            conditions: vec!["n = 3".to_owned()],
            legend: vec![
                ("ID".to_owned(), line.clone()),
                ("dotted: random".to_owned(), dotted(Colour::BLACK)),
            ],
            panels: vec![vec![Panel {
                title: "B".into(),
                content: Content::Lines {
                    x: Axis {
                        label: "steps".to_owned(),
                        range: (1.0, 3.0),
                        log: true,
                        layers: None,
                    },
                    y_label: "top-1".to_owned(),
                    y_range: UNIT,
                    series: vec![line.points([(2.0, 0.5, Some((0.4, 0.6)))]), random],
                    marks: vec![(1.0, "mark".to_owned())],
                },
            }]],
        };
        let scene = figure.scene();
        let SceneContent::Lines { x, series, marks, .. } = &scene.panels[0].content else {
            panic!("lines");
        };
        assert_eq!((x.range, marks[0].0), ((10.0, 1000.0), 10.0));
        assert_eq!(series[0].0.name, "ID");
        assert_eq!(series[0].0.colour, "#009e73");
        assert_eq!(series[1].0.name, "ID; dotted: random");
        assert_eq!(series[0].1, [(100.0, 0.5, Some((0.4, 0.6)))]);
    }
}
