//! The drawing kit: a figure is a title, a legend, and a grid of panels with lines or cells, drawn the same way into SVG
//! and PNG. The fonts are embedded, so that text is drawn on a bare machine.

mod estimates;
mod layout;
mod panel;
mod scene;

use std::path::Path;
use std::sync::Once;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

pub use scene::{Scene, SceneAxis, SceneContent, SceneEstimate, SceneLine, ScenePanel, ScenePoint};

use crate::error::{Error, Result};
use crate::files;

const FONT: &str = "sans-serif";
static REGISTER: Once = Once::new();

fn register_fonts() {
    REGISTER.call_once(|| {
        let faces: [(FontStyle, &'static [u8]); 2] = [
            (FontStyle::Normal, include_bytes!("../fonts/Inter-Regular.otf")),
            (FontStyle::Bold, include_bytes!("../fonts/Inter-SemiBold.otf")),
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
    pub(super) const PURPLE: Self = Self(204, 121, 167);
    pub(super) const BLACK: Self = Self(40, 40, 40);
    pub(super) const GREY: Self = Self(120, 120, 120);

    /// How many colours [`Colour::cycle`] has.
    pub(super) const CYCLE: usize = 7;

    /// The n-th colour for things without one of their own.
    pub(super) fn cycle(n: usize) -> Self {
        [
            Self::PURPLE,
            Self::ORANGE,
            Self::SKY,
            Self::BLACK,
            Self::GREEN,
            Self::VERMILION,
            // Last, because training rows are blue wherever they are drawn.
            Self::BLUE,
        ][n % Self::CYCLE]
    }

    /// The n-th of `of` steps of an ordered quantity, dark to light (after viridis, van der Walt & Smith 2015).
    pub(super) fn ordered(n: usize, of: usize) -> Self {
        const STOPS: [Colour; 5] = [
            Colour(68, 1, 84),
            Colour(59, 82, 139),
            Colour(33, 145, 140),
            Colour(94, 190, 90),
            Colour(215, 190, 30),
        ];
        let at = n as f64 / of.saturating_sub(1).max(1) as f64 * (STOPS.len() - 1) as f64;
        let low = (at as usize).min(STOPS.len() - 2);
        let (a, b, t) = (STOPS[low], STOPS[low + 1], at - low as f64);
        let mix = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * t) as u8;
        Self(mix(a.0, b.0), mix(a.1, b.1), mix(a.2, b.2))
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
    /// Solid, thin and pale: one of many.
    Thin,
    /// Solid and thick: what many have in common.
    Bold,
    /// No line: a short vertical tick at each point.
    Ticks,
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

/// One estimate of a forest plot.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Estimate {
    pub(super) name: String,
    pub(super) colour: Colour,
    pub(super) value: f64,
    /// The ends of its interval where it has one.
    pub(super) interval: Option<(f64, f64)>,
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
    /// Lines.
    Lines {
        x: Axis,
        y_label: String,
        /// The ends of the vertical axis; [`UNIT`] for shares.
        y_range: (f64, f64),
        series: Vec<Series>,
        /// Vertical marks with their names.
        marks: Vec<(f64, String)>,
    },
    /// Cells between −1 and 1, `cells[row][column]`, the first row on top; a cell without a value is left grey.
    Cells {
        x_label: String,
        y_label: String,
        columns: Vec<String>,
        rows: Vec<String>,
        cells: Vec<Vec<Option<f64>>>,
        /// Numbers of columns with a dashed line behind them, and of rows with one below.
        behind: Vec<usize>,
        below: Vec<usize>,
    },
    /// Estimates with their intervals, the first on top.
    Estimates { x_label: String, rows: Vec<Estimate> },
}

/// The vertical axis of shares.
pub(super) const UNIT: (f64, f64) = (0.0, 1.0);

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
const TITLE_LINE: u32 = 20;
const LINE: u32 = 16;
const LEGEND: u32 = 26;
/// Half the height of a tick.
const TICK: i32 = 5;
/// Pixels of a PNG for one of an SVG: sharp on a dense screen and in print.
const PNG_SCALE: u32 = 2;

type Drawn = std::result::Result<(), String>;

fn text_of(e: impl std::fmt::Display) -> String {
    e.to_string()
}

impl Figure {
    /// The title.
    pub fn title(&self) -> &str {
        &self.title
    }

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

    fn draw<DB: DrawingBackend>(&self, root: &DrawingArea<DB, Shift>, scale: u32) -> Drawn {
        root.fill(&WHITE).map_err(text_of)?;
        let px = |n: u32| (n * scale) as i32;
        let title = style(15, scale, INK, true);
        for (i, line) in self.title_lines().into_iter().enumerate() {
            let at = (px(MARGIN), px(MARGIN + i as u32 * TITLE_LINE));
            root.draw(&Text::new(line, at, title.clone())).map_err(text_of)?;
        }
        let title_height = self.title_height();
        let conditions = self.condition_lines();
        for (i, line) in conditions.iter().enumerate() {
            let at = (px(MARGIN), px(MARGIN + title_height - 6 + i as u32 * LINE));
            root.draw(&Text::new(line.clone(), at, style(10, scale, FAINT_INK, false)))
                .map_err(text_of)?;
        }
        let top = MARGIN + title_height + conditions.len() as u32 * LINE + 2;
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
        if let Some(from) = self.colours_from() {
            panel::draw_scale(root, (px(MARGIN), px(MARGIN + self.header() - LEGEND)), from, scale)?;
        }
        let (_, below) = root
            .margin(px(MARGIN), px(MARGIN), px(MARGIN), px(MARGIN))
            .split_vertically(px(self.header()));
        let rows = self.rows();
        let height = below.dim_in_pixel().1 / rows.len().max(1) as u32;
        for (i, row) in rows.into_iter().enumerate() {
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

impl Stroke {
    // Width and colour of its lines.
    fn style(self, colour: Colour, scale: u32) -> ShapeStyle {
        let plain = colour.plain();
        match self {
            Self::Marked => plain.stroke_width(2 * scale),
            Self::Thin => plain.mix(0.45).stroke_width(scale),
            Self::Bold => plain.stroke_width(2 * scale + scale / 2),
            Self::Solid | Self::Dashed | Self::Dotted | Self::Ticks => plain.stroke_width(scale + scale / 2),
        }
    }
}

impl Series {
    fn draw_sample<DB: DrawingBackend>(&self, root: &DrawingArea<DB, Shift>, x: i32, y: i32, scale: u32) -> Drawn {
        let s = scale as i32;
        let line = self.stroke.style(self.colour, scale);
        let pieces: Vec<(i32, i32)> = match self.stroke {
            Stroke::Marked | Stroke::Solid | Stroke::Thin | Stroke::Bold => vec![(0, 26)],
            Stroke::Ticks => Vec::new(),
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
        if self.stroke == Stroke::Ticks {
            let half = TICK * s;
            let tick = PathElement::new(vec![(x + 13 * s, y - half), (x + 13 * s, y + half)], line);
            root.draw(&tick).map_err(text_of)?;
        }
        Ok(())
    }
}
