//! The drawing kit: a figure is a title, a legend, and a grid of panels with lines or cells, drawn the same way into SVG
//! and PNG. The fonts are embedded, so that text is drawn on a bare machine.

use std::path::Path;
use std::sync::Once;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::error::{Error, Result};
use crate::files;

const FONT: &str = "sans-serif";
static REGISTER: Once = Once::new();

fn register_fonts() {
    REGISTER.call_once(|| {
        let faces: [(FontStyle, &'static [u8]); 2] = [
            (FontStyle::Normal, include_bytes!("fonts/Inter-Regular.otf")),
            (FontStyle::Bold, include_bytes!("fonts/Inter-SemiBold.otf")),
        ];
        for (style, bytes) in faces {
            // The bytes are compiled in; a font that cannot be parsed would fail every test that draws.
            let _ = plotters::style::register_font(FONT, style, bytes);
        }
    });
}

/// A colour of the palette of Okabe & Ito (2008), which colour-blind readers can tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Colour(pub(super) u8, pub(super) u8, pub(super) u8);

impl Colour {
    pub(super) const BLUE: Self = Self(0, 114, 178);
    pub(super) const GREEN: Self = Self(0, 158, 115);
    pub(super) const VERMILION: Self = Self(213, 94, 0);
    pub(super) const SKY: Self = Self(86, 180, 233);
    pub(super) const ORANGE: Self = Self(230, 159, 0);
    const PURPLE: Self = Self(204, 121, 167);
    pub(super) const GREY: Self = Self(120, 120, 120);

    /// The n-th colour for things without one of their own.
    pub(super) fn cycle(n: usize) -> Self {
        [
            Self::PURPLE,
            Self::ORANGE,
            Self::SKY,
            Self::BLUE,
            Self::GREEN,
            Self::VERMILION,
        ][n % 6]
    }

    fn plain(self) -> RGBColor {
        RGBColor(self.0, self.1, self.2)
    }
}

const INK: RGBColor = RGBColor(30, 30, 30);
const FAINT_INK: RGBColor = RGBColor(105, 105, 105);
const GRID: RGBColor = RGBColor(228, 228, 228);
const FRAME: RGBColor = RGBColor(150, 150, 150);

/// How a line is stroked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stroke {
    /// Solid, with a marker at each point.
    Marked,
    Solid,
    Dashed,
    Dotted,
}

/// (x, y) with the ends of its interval where it has one.
pub(super) type Point = (f64, f64, Option<(f64, f64)>);

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    pub(super) colour: Colour,
    pub(super) stroke: Stroke,
    pub(super) points: Vec<Point>,
}

impl Series {
    pub(super) fn new(colour: Colour) -> Self {
        Self {
            colour,
            stroke: Stroke::Marked,
            points: Vec::new(),
        }
    }

    #[must_use]
    pub(super) fn stroke(mut self, stroke: Stroke) -> Self {
        self.stroke = stroke;
        self
    }

    #[must_use]
    pub(super) fn points(mut self, points: impl IntoIterator<Item = Point>) -> Self {
        self.points = points.into_iter().collect();
        self
    }
}

/// A horizontal axis.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    pub(super) label: String,
    pub(super) range: (f64, f64),
    /// Whether values are powers of ten of what is written.
    pub(super) log: bool,
}

/// What one panel shows.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    /// Lines between 0 and 1.
    Lines {
        x: Axis,
        y_label: String,
        series: Vec<Series>,
        /// Vertical marks with their names.
        marks: Vec<(f64, String)>,
    },
    /// Cells between 0 and 1, `cells[row][column]`, the first row on top; a cell without a value is left grey.
    Cells {
        x_label: String,
        y_label: String,
        columns: Vec<String>,
        rows: Vec<String>,
        cells: Vec<Vec<Option<f64>>>,
    },
}

/// One panel of a figure.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) content: Content,
}

/// A figure, ready to be drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    pub(super) title: String,
    /// The conditions: data, seed, checkpoints, sample sizes.
    pub(super) conditions: Vec<String>,
    pub(super) legend: Vec<(String, Series)>,
    /// Rows of panels.
    pub(super) panels: Vec<Vec<Panel>>,
}

const PANEL_WIDTH: u32 = 300;
const PANEL_HEIGHT: u32 = 215;
const MARGIN: u32 = 16;
const TITLE: u32 = 30;
const LINE: u32 = 16;
const LEGEND: u32 = 26;
/// Pixels of a PNG for one of an SVG: sharp on a dense screen and in print.
const PNG_SCALE: u32 = 2;

type Drawn = std::result::Result<(), String>;

fn text_of(e: impl std::fmt::Display) -> String {
    e.to_string()
}

impl Figure {
    /// Writes `NAME.svg` and `NAME.png` into `folder`.
    ///
    /// # Errors
    /// When drawing or writing fails.
    pub fn write(&self, folder: &Path, name: &str) -> Result<()> {
        register_fonts();
        let (width, height) = self.size();
        let path = folder.join(format!("{name}.svg"));
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |reason: String| Error::Figure { path, reason }
        };
        let mut svg = String::new();
        self.draw(
            &SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area(),
            1,
        )
        .map_err(failed(&path))?;
        files::write(&path, svg.as_bytes())?;

        let path = folder.join(format!("{name}.png"));
        let staging = tempfile::Builder::new()
            .prefix(".drawing-")
            .suffix(".png")
            .tempfile_in(folder)
            .map_err(|e| Error::write(&path, e))?;
        let size = (width * PNG_SCALE, height * PNG_SCALE);
        self.draw(&BitMapBackend::new(staging.path(), size).into_drawing_area(), PNG_SCALE)
            .map_err(failed(&path))?;
        files::write(&path, &files::read(staging.path())?)
    }

    fn columns(&self) -> u32 {
        self.panels.iter().map(Vec::len).max().unwrap_or(1).max(1) as u32
    }

    fn header(&self) -> u32 {
        let legend = if self.legend.is_empty() {
            0
        } else {
            LEGEND * self.legend_lines().len() as u32
        };
        TITLE + self.conditions.len() as u32 * LINE + legend + 8
    }

    fn size(&self) -> (u32, u32) {
        let width = self.columns() * PANEL_WIDTH + 2 * MARGIN;
        let height = self.panels.len() as u32 * PANEL_HEIGHT + self.header() + 2 * MARGIN;
        (width.max(560), height)
    }

    // The legend's entries, broken into lines that fit the width.
    fn legend_lines(&self) -> Vec<Vec<(u32, &(String, Series))>> {
        let width = self.size_without_header();
        let mut lines = vec![Vec::new()];
        let mut x = 0;
        for entry in &self.legend {
            let needed = 34 + (entry.0.chars().count() as u32 * 72) / 10 + 18;
            if x + needed > width && x > 0 {
                lines.push(Vec::new());
                x = 0;
            }
            if let Some(line) = lines.last_mut() {
                line.push((x, entry));
            }
            x += needed;
        }
        lines
    }

    fn size_without_header(&self) -> u32 {
        (self.columns() * PANEL_WIDTH).max(560 - 2 * MARGIN)
    }

    fn draw<DB: DrawingBackend>(&self, root: &DrawingArea<DB, Shift>, scale: u32) -> Drawn {
        root.fill(&WHITE).map_err(text_of)?;
        let px = |n: u32| (n * scale) as i32;
        let title = style(15, scale, INK, true);
        root.draw(&Text::new(self.title.clone(), (px(MARGIN), px(MARGIN)), title))
            .map_err(text_of)?;
        for (i, line) in self.conditions.iter().enumerate() {
            let at = (px(MARGIN), px(MARGIN + TITLE - 6 + i as u32 * LINE));
            root.draw(&Text::new(line.clone(), at, style(10, scale, FAINT_INK, false)))
                .map_err(text_of)?;
        }
        let top = MARGIN + TITLE + self.conditions.len() as u32 * LINE + 2;
        for (i, line) in self.legend_lines().into_iter().enumerate() {
            for (x, (name, series)) in line {
                let y = px(top + i as u32 * LEGEND + 8);
                let x = px(MARGIN + x);
                series.draw_sample(root, x, y, scale)?;
                let text = style(11, scale, INK, false).pos(Pos::new(HPos::Left, VPos::Center));
                root.draw(&Text::new(name.clone(), (x + px(32), y), text))
                    .map_err(text_of)?;
            }
        }
        let (_, below) = root
            .margin(px(MARGIN), px(MARGIN), px(MARGIN), px(MARGIN))
            .split_vertically(px(self.header()));
        let height = below.dim_in_pixel().1 / self.panels.len().max(1) as u32;
        for (i, row) in self.panels.iter().enumerate() {
            for (j, panel) in row.iter().enumerate() {
                let (x, y) = (px(j as u32 * PANEL_WIDTH), i as i32 * height as i32);
                let area = below.clone().shrink((x, y), (px(PANEL_WIDTH), height as i32));
                panel.draw(&area, scale)?;
            }
        }
        root.present().map_err(text_of)
    }
}

fn style(size: u32, scale: u32, colour: RGBColor, bold: bool) -> TextStyle<'static> {
    let weight = if bold { FontStyle::Bold } else { FontStyle::Normal };
    FontDesc::new(FontFamily::SansSerif, f64::from(size * scale), weight).color(&colour)
}

impl Series {
    fn draw_sample<DB: DrawingBackend>(&self, root: &DrawingArea<DB, Shift>, x: i32, y: i32, scale: u32) -> Drawn {
        let s = scale as i32;
        let line = self.colour.plain().stroke_width(2 * scale);
        let pieces: Vec<(i32, i32)> = match self.stroke {
            Stroke::Marked | Stroke::Solid => vec![(0, 26)],
            Stroke::Dashed => vec![(0, 7), (10, 17), (20, 26)],
            Stroke::Dotted => vec![(0, 2), (6, 8), (12, 14), (18, 20), (24, 26)],
        };
        for (from, to) in pieces {
            root.draw(&PathElement::new(vec![(x + from * s, y), (x + to * s, y)], line))
                .map_err(text_of)?;
        }
        if self.stroke == Stroke::Marked {
            root.draw(&Circle::new((x + 13 * s, y), 3 * s, self.colour.plain().filled()))
                .map_err(text_of)?;
        }
        Ok(())
    }
}

impl Panel {
    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, scale: u32) -> Drawn {
        match &self.content {
            Content::Lines {
                x,
                y_label,
                series,
                marks,
            } => self.draw_lines(area, scale, x, y_label, series, marks),
            Content::Cells {
                x_label,
                y_label,
                columns,
                rows,
                cells,
            } => self.draw_cells(area, scale, [x_label, y_label], columns, rows, cells),
        }
    }

    fn draw_lines<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        scale: u32,
        x: &Axis,
        y_label: &str,
        series: &[Series],
        marks: &[(f64, String)],
    ) -> Drawn {
        let mut chart = ChartBuilder::on(area)
            .margin(6 * scale)
            .margin_right(12 * scale)
            .caption(&self.title, style(11, scale, INK, true))
            .x_label_area_size(34 * scale)
            .y_label_area_size(42 * scale)
            .build_cartesian_2d(x.range.0..x.range.1, -0.03..1.03)
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
            .y_label_formatter(&|y| format!("{y:.2}"))
            .label_style(style(10, scale, INK, false))
            .axis_desc_style(style(10, scale, INK, false))
            .draw()
            .map_err(text_of)?;
        for (at, name) in marks {
            let line = vec![(*at, -0.03), (*at, 1.03)];
            chart
                .draw_series(DashedLineSeries::new(
                    line,
                    3 * scale,
                    3 * scale,
                    FAINT_INK.stroke_width(scale),
                ))
                .map_err(text_of)?;
            let text = style(10, scale, FAINT_INK, false).pos(Pos::new(HPos::Left, VPos::Center));
            chart
                .draw_series([Text::new(format!(" {name}"), (*at, 0.1), text)])
                .map_err(text_of)?;
        }
        for line in series {
            let band: Vec<(f64, f64)> = line.points.iter().filter_map(|&(x, _, i)| Some((x, i?.1))).collect();
            let back = line.points.iter().rev().filter_map(|&(x, _, i)| Some((x, i?.0)));
            let outline: Vec<(f64, f64)> = band.iter().copied().chain(back).collect();
            if band.len() > 1 {
                let fill = line.colour.plain().mix(0.15).filled();
                chart.draw_series([Polygon::new(outline, fill)]).map_err(text_of)?;
            }
        }
        for line in series {
            let points: Vec<(f64, f64)> = line.points.iter().map(|&(x, y, _)| (x, y)).collect();
            let colour = line.colour.plain();
            match line.stroke {
                Stroke::Marked | Stroke::Solid => {
                    chart
                        .draw_series(LineSeries::new(points.clone(), colour.stroke_width(2 * scale)))
                        .map_err(text_of)?;
                }
                Stroke::Dashed | Stroke::Dotted => {
                    let (on, off) = if line.stroke == Stroke::Dashed { (6, 4) } else { (2, 4) };
                    let thin = colour.stroke_width(scale + scale / 2);
                    chart
                        .draw_series(DashedLineSeries::new(points.clone(), on * scale, off * scale, thin))
                        .map_err(text_of)?;
                }
            }
            if line.stroke == Stroke::Marked {
                let dots = points
                    .iter()
                    .map(|&at| Circle::new(at, 2 * scale as i32 + 1, colour.filled()));
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
        columns: &[String],
        rows: &[String],
        cells: &[Vec<Option<f64>>],
    ) -> Drawn {
        let (width, height) = (columns.len() as f64, rows.len() as f64);
        let mut chart = ChartBuilder::on(area)
            .margin(6 * scale)
            .margin_right(12 * scale)
            .caption(&self.title, style(11, scale, INK, true))
            .x_label_area_size(34 * scale)
            .y_label_area_size(42 * scale)
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
        let step = columns.len().div_ceil(16).max(1);
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
        for (i, name) in rows.iter().enumerate() {
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
        for (i, row) in cells.iter().enumerate() {
            for (j, value) in row.iter().enumerate() {
                let (x, y) = (j as f64, height - i as f64 - 1.0);
                let colour = value.map_or(RGBColor(205, 205, 205), shade);
                let corners = [(x + 0.02, y + 0.02), (x + 0.98, y + 0.98)];
                chart
                    .draw_series([Rectangle::new(corners, colour.filled())])
                    .map_err(text_of)?;
                if columns.len() <= 10 {
                    let ink = if value.is_some_and(|v| v > 0.55) { WHITE } else { INK };
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

// White to blue; what is beyond 0 and 1 is shown as 0 and 1.
fn shade(value: f64) -> RGBColor {
    let t = value.clamp(0.0, 1.0);
    let mix = |from: f64, to: f64| (from + (to - from) * t) as u8;
    RGBColor(mix(247.0, 8.0), mix(250.0, 69.0), mix(253.0, 148.0))
}
