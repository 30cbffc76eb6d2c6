//! A figure as data, for a page that draws it: the same panels as the files have, with the numbers in them.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::{Axis, Colour, Content, Estimate, Figure, Panel, Point, Series, Stroke};

impl Serialize for Figure {
    /// `{title, conditions, legend: [{name, colour, stroke}], panels: [[panel]]}`; a panel has `title`, `kind` and what is in it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let legend: Vec<Value> = self.legend.iter().map(|(name, line)| sample(name, line)).collect();
        let panels: Vec<Vec<Value>> = self.panels.iter().map(|row| row.iter().map(panel).collect()).collect();
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("title", &self.title)?;
        map.serialize_entry("conditions", &self.conditions)?;
        map.serialize_entry("legend", &legend)?;
        map.serialize_entry("panels", &panels)?;
        map.end()
    }
}

fn sample(name: &str, line: &Series) -> Value {
    json!({"name": name, "colour": hex(line.colour), "stroke": line.stroke.name()})
}

fn panel(panel: &Panel) -> Value {
    let title = &panel.title;
    match &panel.content {
        Content::Lines {
            x,
            y_label,
            y_range,
            series,
            marks,
        } => json!({
            "title": title,
            "kind": "lines",
            "x": axis(x),
            "y": {"label": y_label, "range": [number(y_range.0), number(y_range.1)]},
            "series": series.iter().map(line).collect::<Vec<_>>(),
            "marks": marks.iter().map(|(at, name)| json!([number(*at), name])).collect::<Vec<_>>(),
        }),
        Content::Cells {
            x_label,
            y_label,
            columns,
            rows,
            cells,
            behind,
            below,
        } => json!({
            "title": title,
            "kind": "cells",
            "x": x_label,
            "y": y_label,
            "columns": columns,
            "rows": rows,
            "cells": cells
                .iter()
                .map(|row| row.iter().map(|cell| cell.map(number)).collect::<Vec<_>>())
                .collect::<Vec<_>>(),
            "behind": behind,
            "below": below,
        }),
        Content::Estimates { x_label, rows } => json!({
            "title": title,
            "kind": "estimates",
            "x": x_label,
            "rows": rows.iter().map(estimate).collect::<Vec<_>>(),
        }),
    }
}

fn axis(axis: &Axis) -> Value {
    json!({"label": axis.label, "range": [number(axis.range.0), number(axis.range.1)], "log": axis.log})
}

fn line(line: &Series) -> Value {
    json!({
        "colour": hex(line.colour),
        "stroke": line.stroke.name(),
        "points": line.points.iter().map(point).collect::<Vec<_>>(),
    })
}

fn point(&(x, y, interval): &Point) -> Value {
    match interval {
        Some((low, high)) => json!([number(x), number(y), number(low), number(high)]),
        None => json!([number(x), number(y)]),
    }
}

fn estimate(estimate: &Estimate) -> Value {
    json!({
        "name": estimate.name,
        "colour": hex(estimate.colour),
        "value": number(estimate.value),
        "low": estimate.interval.map(|(low, _)| number(low)),
        "high": estimate.interval.map(|(_, high)| number(high)),
    })
}

// Four decimals are more than any interval of a result tells apart, and a third of the bytes; infinities become `null`.
fn number(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

fn hex(colour: Colour) -> String {
    format!("#{:02x}{:02x}{:02x}", colour.0, colour.1, colour.2)
}

impl Stroke {
    fn name(self) -> &'static str {
        match self {
            Self::Marked => "marked",
            Self::Solid => "solid",
            Self::Dashed => "dashed",
            Self::Dotted => "dotted",
            Self::Thin => "thin",
            Self::Bold => "bold",
            Self::Ticks => "ticks",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_written_with_the_numbers_of_its_panels() {
        let figure = Figure {
            title: "A".to_owned(),
            conditions: vec!["n = 3".to_owned()],
            legend: vec![("ID".to_owned(), Series::new(Colour::GREEN).stroke(Stroke::Dashed))],
            panels: vec![vec![
                Panel {
                    title: "B".to_owned(),
                    content: Content::Lines {
                        x: Axis {
                            label: "layer".to_owned(),
                            range: (0.0, 2.0),
                            log: false,
                        },
                        y_label: "top-1".to_owned(),
                        y_range: super::super::UNIT,
                        series: vec![
                            Series::new(Colour::GREEN).points([(1.0, 0.123_456, Some((0.1, 0.2))), (2.0, 0.5, None)]),
                        ],
                        marks: vec![(1.5, "mark".to_owned())],
                    },
                },
                Panel {
                    title: "C".to_owned(),
                    content: Content::Cells {
                        x_label: "x".to_owned(),
                        y_label: "y".to_owned(),
                        columns: vec!["1".to_owned()],
                        rows: vec!["r".to_owned()],
                        cells: vec![vec![None]],
                        behind: vec![1],
                        below: Vec::new(),
                    },
                },
            ]],
        };
        let json = serde_json::to_value(&figure).unwrap();
        assert_eq!(
            json["legend"][0],
            json!({"name": "ID", "colour": "#009e73", "stroke": "dashed"})
        );
        let lines = &json["panels"][0][0];
        assert_eq!(
            lines["series"][0]["points"],
            json!([[1.0, 0.1235, 0.1, 0.2], [2.0, 0.5]])
        );
        assert_eq!(lines["marks"], json!([[1.5, "mark"]]));
        assert_eq!(json["panels"][0][1]["cells"], json!([[null]]));
    }
}
