//! One panel: lines or cells.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{
    Axis, Colour, Content, Drawn, FAINT_INK, FRAME, GRID, INK, LINE, PANEL_WIDTH, Panel, Series, Stroke, TICK, style,
    text_of,
};

// The width of the labels of the vertical axis, where they are short.
const Y_LABELS: u32 = 42;
// The width of a character of labels, on the wide side.
const CHARACTER: u32 = 6;

/// Pixels of a panel that labels of columns share.
const LABELLED_WIDTH: u32 = 230;

// The name of the n-th mark: names of marks that are near each other stand at heights of their own, and near the end before their line.
fn mark_name(
    name: &str,
    at: f64,
    n: usize,
    range: (f64, f64),
    (bottom, height): (f64, f64),
    scale: u32,
) -> Text<'static, (f64, f64), String> {
    let y = bottom + (0.1 + 0.08 * (n % 4) as f64) * height;
    let (side, name) = if at > range.0 + 0.75 * (range.1 - range.0) {
        (HPos::Right, format!("{name} "))
    } else {
        (HPos::Left, format!(" {name}"))
    };
    let text = style(10, scale, FAINT_INK, false).pos(Pos::new(side, VPos::Center));
    Text::new(name, (at, y), text)
}

impl Panel {
    // Title and margins, the same for every panel; the labels of the vertical axis take this width.
    pub(super) fn frame<'a, DB: DrawingBackend>(
        &self,
        area: &'a DrawingArea<DB, Shift>,
        scale: u32,
        y_labels: u32,
    ) -> ChartBuilder<'a, 'static, DB> {
        // A title that is too long for its panel is set smaller, never cut.
        const CHARACTERS: u32 = 46;
        let length = (self.title.chars().count() as u32).max(CHARACTERS);
        let size = (11 * CHARACTERS).div_ceil(length).max(6);
        let mut builder = ChartBuilder::on(area);
        builder
            .margin(6 * scale)
            .margin_right(12 * scale)
            .caption(&self.title, style(size, scale, INK, true))
            .x_label_area_size(34 * scale)
            .y_label_area_size(y_labels * scale);
        builder
    }

    // The width that names of rows take.
    pub(super) fn label_width(names: &[String]) -> u32 {
        let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0) as u32;
        (longest * CHARACTER + LINE).clamp(Y_LABELS, PANEL_WIDTH / 2)
    }

    pub(super) fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, scale: u32) -> Drawn {
        match &self.content {
            Content::Lines {
                x,
                y_label,
                y_range,
                series,
                marks,
            } => self.draw_lines(area, scale, x, (y_label, *y_range), series, marks),
            Content::Cells {
                x_label,
                y_label,
                columns,
                rows,
                cells,
                behind,
                below,
            } => self.draw_cells(area, scale, [x_label, y_label], [columns, rows], cells, [behind, below]),
            Content::Estimates { x_label, rows } => self.draw_estimates(area, scale, x_label, rows),
        }
    }

    fn draw_lines<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        scale: u32,
        x: &Axis,
        (y_label, (bottom, top)): (&str, (f64, f64)),
        series: &[Series],
        marks: &[(f64, String)],
    ) -> Drawn {
        let height = top - bottom;
        let (floor, ceiling) = (bottom - 0.03 * height, top + 0.03 * height);
        // Five labels over more than six are integers.
        let decimals = if height > 6.0 {
            0
        } else {
            1 + usize::from(height <= 2.0)
        };
        let mut chart = self
            .frame(area, scale, Y_LABELS)
            .build_cartesian_2d(x.range.0..x.range.1, floor..ceiling)
            .map_err(text_of)?;
        let tick = |value: &f64| match (x.log, value.fract().abs() < 1e-6) {
            (true, true) => power_of_ten(*value),
            (false, true) => format!("{value:.0}"),
            (_, false) => String::new(),
        };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .bold_line_style(GRID.stroke_width(scale))
            .light_line_style(TRANSPARENT)
            .axis_style(FRAME.stroke_width(scale))
            .x_desc(x.label.as_str())
            .y_desc(y_label)
            .x_labels(8)
            .y_labels(5)
            .x_label_formatter(&tick)
            .y_label_formatter(&|y| format!("{y:.decimals$}"))
            .label_style(style(10, scale, INK, false))
            .axis_desc_style(style(10, scale, INK, false))
            .draw()
            .map_err(text_of)?;
        for (i, (at, name)) in marks.iter().enumerate() {
            let ends = vec![(*at, floor), (*at, ceiling)];
            let dashed = DashedLineSeries::new(ends, 3 * scale, 3 * scale, FAINT_INK.stroke_width(scale));
            chart.draw_series(dashed).map_err(text_of)?;
            let text = mark_name(name, *at, i, x.range, (bottom, height), scale);
            chart.draw_series([text]).map_err(text_of)?;
        }
        for line in series {
            let band: Vec<(f64, f64)> = line.points.iter().filter_map(|&(x, _, i)| Some((x, i?.1))).collect();
            let back = line.points.iter().rev().filter_map(|&(x, _, i)| Some((x, i?.0)));
            let outline: Vec<(f64, f64)> = band.iter().copied().chain(back).collect();
            if band.len() > 1 {
                let fill = line.colour.plain().mix(0.15).filled();
                chart.draw_series([Polygon::new(outline, fill)]).map_err(text_of)?;
            } else if !band.is_empty() {
                // One point has no band: its interval is a bar.
                let bar = PathElement::new(outline, line.colour.plain().mix(0.5).stroke_width(2 * scale));
                chart.draw_series([bar]).map_err(text_of)?;
            }
        }
        for line in series {
            let points: Vec<(f64, f64)> = line.points.iter().map(|&(x, y, _)| (x, y)).collect();
            let colour = line.colour.plain();
            match line.stroke {
                Stroke::Ticks => {
                    let half = TICK * scale as i32;
                    let ticks = points.iter().map(|&at| {
                        EmptyElement::at(at)
                            + PathElement::new(vec![(0, -half), (0, half)], line.stroke.style(line.colour, scale))
                    });
                    chart.draw_series(ticks).map_err(text_of)?;
                }
                Stroke::Marked | Stroke::Solid | Stroke::Thin | Stroke::Bold => {
                    // Segment by segment: joined, a sharp turn of a thick line would be drawn as a long spike.
                    let segments = points
                        .windows(2)
                        .map(|ends| PathElement::new(ends, line.stroke.style(line.colour, scale)));
                    chart.draw_series(segments).map_err(text_of)?;
                }
                Stroke::Dashed | Stroke::Dotted => {
                    let (on, off) = if line.stroke == Stroke::Dashed { (6, 4) } else { (2, 4) };
                    let style = line.stroke.style(line.colour, scale);
                    chart
                        .draw_series(DashedLineSeries::new(points.clone(), on * scale, off * scale, style))
                        .map_err(text_of)?;
                }
            }
            // A line of one point would leave no mark: the point is hollow where its line has no markers.
            let dot = match line.stroke {
                Stroke::Marked => Some(colour.filled()),
                Stroke::Ticks => None,
                _ => (points.len() == 1).then(|| colour.stroke_width(scale)),
            };
            if let Some(dot) = dot {
                let dots = points.iter().map(|&at| Circle::new(at, 2 * scale as i32 + 1, dot));
                chart.draw_series(dots).map_err(text_of)?;
            }
        }
        Ok(())
    }

    fn draw_cells<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        scale: u32,
        [x_label, y_label]: [&str; 2],
        [columns, rows]: [&[String]; 2],
        cells: &[Vec<Option<f64>>],
        [behind, below]: [&[usize]; 2],
    ) -> Drawn {
        let (width, height) = (columns.len() as f64, rows.len() as f64);
        let mut chart = self
            .frame(area, scale, Self::label_width(rows))
            .build_cartesian_2d(0.0..width, 0.0..height)
            .map_err(text_of)?;
        chart
            .configure_mesh()
            .disable_mesh()
            .x_labels(0)
            .y_labels(0)
            .axis_style(TRANSPARENT)
            .x_desc(x_label)
            .y_desc(y_label)
            .axis_desc_style(style(10, scale, INK, false))
            .draw()
            .map_err(text_of)?;
        // Every column is named where there is room, else every second, third, …
        let longest = columns.iter().map(|name| name.chars().count()).max().unwrap_or(1) as u32;
        let room = (LABELLED_WIDTH / ((longest + 1) * CHARACTER)).clamp(1, 16);
        let step = columns.len().div_ceil(room as usize).max(1);
        for (j, name) in columns.iter().enumerate().filter(|(j, _)| j.is_multiple_of(step)) {
            let text = style(10, scale, INK, false).pos(Pos::new(HPos::Center, VPos::Top));
            let at = chart.backend_coord(&(j as f64 + 0.5, 0.0));
            let (x0, y0) = area.get_base_pixel();
            area.draw(&Text::new(
                name.clone(),
                (at.0 - x0, at.1 - y0 + 3 * scale as i32),
                text,
            ))
            .map_err(text_of)?;
        }
        let step = rows.len().div_ceil(14).max(1);
        for (i, name) in rows.iter().enumerate().filter(|(i, _)| i.is_multiple_of(step)) {
            let text = style(10, scale, INK, false).pos(Pos::new(HPos::Right, VPos::Center));
            let at = chart.backend_coord(&(0.0, height - i as f64 - 0.5));
            let (x0, y0) = area.get_base_pixel();
            area.draw(&Text::new(
                name.clone(),
                (at.0 - x0 - 4 * scale as i32, at.1 - y0),
                text,
            ))
            .map_err(text_of)?;
        }
        // Between few cells; of many, some gaps would be a pixel wide and some none.
        let gap = if columns.len() <= 16 { 0.02 } else { 0.0 };
        for (i, row) in cells.iter().enumerate() {
            for (j, value) in row.iter().enumerate() {
                let (x, y) = (j as f64, height - i as f64 - 1.0);
                let colour = value.map_or(RGBColor(205, 205, 205), shade);
                let corners = [(x + gap, y + gap), (x + 1.0 - gap, y + 1.0 - gap)];
                chart
                    .draw_series([Rectangle::new(corners, colour.filled())])
                    .map_err(text_of)?;
                if columns.len() <= 10 && rows.len() <= 10 {
                    let ink = if value.is_some_and(|v| v.abs() > 0.55) {
                        WHITE
                    } else {
                        INK
                    };
                    let text = style(10, scale, ink, false).pos(Pos::new(HPos::Center, VPos::Center));
                    let label = value.map_or_else(
                        || "–".to_owned(),
                        |v| format!("{:.2}", if v.abs() < 0.005 { 0.0 } else { v }),
                    );
                    chart
                        .draw_series([Text::new(label, (x + 0.5, y + 0.5), text)])
                        .map_err(text_of)?;
                }
            }
        }
        let vertical = behind.iter().map(|&n| vec![(n as f64, 0.0), (n as f64, height)]);
        let horizontal = below.iter().map(|&n| {
            let y = height - n as f64;
            vec![(0.0, y), (width, y)]
        });
        for line in vertical.chain(horizontal) {
            let stroke = Colour::VERMILION.plain().stroke_width(scale + scale / 2);
            chart
                .draw_series(DashedLineSeries::new(line, 5 * scale, 3 * scale, stroke))
                .map_err(text_of)?;
        }
        Ok(())
    }
}

fn power_of_ten(exponent: f64) -> String {
    match exponent as i32 {
        n @ 0..3 => format!("{}", 10_i32.pow(n as u32)),
        n @ 3..6 => format!("{}k", 10_i32.pow(n as u32 - 3)),
        n @ 6..9 => format!("{}M", 10_i32.pow(n as u32 - 6)),
        n => format!("1e{n}"),
    }
}

/// The colours of cells, from 0 or −1 to 1.
pub(super) fn draw_scale<DB: DrawingBackend>(
    root: &DrawingArea<DB, Shift>,
    (x, y): (i32, i32),
    from: i32,
    scale: u32,
) -> Drawn {
    // Of the width from 0 to 1.
    const STEPS: i32 = 50;
    let s = scale as i32;
    let width = 2 * s;
    let zero = x + 16 * s - from * STEPS * width;
    let label = |number: i32, x: i32, side: HPos| {
        let text_style = style(10, scale, INK, false).pos(Pos::new(side, VPos::Center));
        root.draw(&Text::new(number.to_string(), (x, y), text_style))
            .map_err(text_of)
    };
    for step in from * STEPS..STEPS {
        let left = zero + step * width;
        let colour = shade((f64::from(step) + 0.5) / f64::from(STEPS));
        let corners = [(left, y - 5 * s), (left + width, y + 5 * s)];
        root.draw(&Rectangle::new(corners, colour.filled())).map_err(text_of)?;
    }
    label(from, x + 11 * s, HPos::Right)?;
    label(1, zero + STEPS * width + 5 * s, HPos::Left)
}

// White at 0, blue at 1, vermilion at −1; what is beyond is shown as 1 and −1.
fn shade(value: f64) -> RGBColor {
    let t = value.abs().min(1.0);
    let mix = |from: f64, to: f64| (from + (to - from) * t) as u8;
    let (red, green, blue) = if value < 0.0 {
        (213.0, 94.0, 0.0)
    } else {
        (8.0, 69.0, 148.0)
    };
    RGBColor(mix(247.0, red), mix(250.0, green), mix(253.0, blue))
}
