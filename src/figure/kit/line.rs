//! Lines: colour, stroke and marker, so that two of them differ in greyscale too.

use super::canvas::{At, Canvas, Ink};
use super::colour::Colour;
use super::look::Sizes;

/// How a line is stroked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stroke {
    Solid,
    Dashed,
    DashDotted,
    Dotted,
    /// Solid, thin and pale: one of many.
    Thin,
    /// No line: a short vertical tick at each point.
    Ticks,
}

/// The shape at each point of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marker {
    Circle,
    Square,
    Triangle,
    Diamond,
    Cross,
    Inverted,
}

impl Marker {
    /// All of them.
    pub(crate) const ALL: [Self; 6] = [
        Self::Circle,
        Self::Square,
        Self::Triangle,
        Self::Diamond,
        Self::Cross,
        Self::Inverted,
    ];

    // The corners around 0 of one of half width 1, all of the same weight to the eye; the circle has none.
    fn corners(self) -> &'static [At] {
        match self {
            Self::Circle => &[],
            Self::Square => &[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
            Self::Triangle => &[(0.0, -1.25), (1.15, 0.85), (-1.15, 0.85)],
            Self::Inverted => &[(0.0, 1.25), (1.15, -0.85), (-1.15, -0.85)],
            Self::Diamond => &[(0.0, -1.35), (1.2, 0.0), (0.0, 1.35), (-1.2, 0.0)],
            Self::Cross => &[
                (-1.2, -0.65),
                (-0.65, -1.2),
                (0.0, -0.55),
                (0.65, -1.2),
                (1.2, -0.65),
                (0.55, 0.0),
                (1.2, 0.65),
                (0.65, 1.2),
                (0.0, 0.55),
                (-0.65, 1.2),
                (-1.2, 0.65),
                (-0.55, 0.0),
            ],
        }
    }

    fn draw(self, canvas: &mut Canvas, (x, y): At, radius: f64, colour: Colour) {
        if self == Self::Circle {
            canvas.circle((x, y), radius, &Ink::fill(colour));
            return;
        }
        let corners: Vec<At> = (self.corners().iter())
            .map(|(dx, dy)| (x + dx * radius, y + dy * radius))
            .collect();
        canvas.polygon(&corners, &Ink::fill(colour));
    }
}

/// (x, y) with the ends of its interval where it has one.
pub(crate) type Point = (f64, f64, Option<(f64, f64)>);

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series {
    pub(crate) colour: Colour,
    pub(crate) stroke: Stroke,
    /// The shape at each point, where there is one.
    pub(crate) marker: Option<Marker>,
    /// Thick: what many have in common.
    pub(crate) is_bold: bool,
    pub(crate) points: Vec<Point>,
}

impl Series {
    /// A solid line with circles, without points.
    pub(crate) fn new(colour: Colour) -> Self {
        Self {
            colour,
            stroke: Stroke::Solid,
            marker: Some(Marker::Circle),
            is_bold: false,
            points: Vec::new(),
        }
    }

    /// With this stroke and no markers.
    #[must_use]
    pub(crate) fn stroke(mut self, stroke: Stroke) -> Self {
        self.stroke = stroke;
        self.marker = None;
        self
    }

    /// Thick.
    #[must_use]
    pub(crate) fn bold(mut self) -> Self {
        self.is_bold = true;
        self
    }

    /// With this marker at each point.
    #[must_use]
    pub(crate) fn marker(mut self, marker: Marker) -> Self {
        self.marker = Some(marker);
        self
    }

    #[must_use]
    pub(crate) fn points(mut self, points: impl IntoIterator<Item = Point>) -> Self {
        self.points = points.into_iter().collect();
        self
    }

    /// Whether another line looks the same.
    pub(crate) fn looks_like(&self, other: &Self) -> bool {
        let look = |line: &Self| (line.colour, line.stroke, line.marker, line.is_bold);
        look(self) == look(other)
    }

    /// How its line is stroked.
    pub(super) fn ink(&self, sizes: &Sizes) -> Ink {
        let width = if self.is_bold { 1.6 * sizes.stroke } else { sizes.stroke };
        let ink = |width: f64| Ink::stroke(self.colour, width);
        match self.stroke {
            Stroke::Solid if self.marker.is_some() => ink(width),
            Stroke::Solid | Stroke::Ticks => ink(0.8 * width),
            Stroke::Dashed => ink(0.9 * width).dashed(&[3.6 * width, 1.6 * width]),
            Stroke::DashDotted => ink(0.9 * width).dashed(&[4.5 * width, 1.5 * width, width, 1.5 * width]),
            Stroke::Dotted => ink(width).dashed(&[width, 1.8 * width]),
            Stroke::Thin => ink(0.55 * width).pale(0.5),
        }
    }

    /// Draws the line through places of the canvas.
    pub(super) fn draw(&self, canvas: &mut Canvas, sizes: &Sizes, places: &[At]) {
        if self.stroke == Stroke::Ticks {
            let half = 1.8 * sizes.marker;
            for &(x, y) in places {
                canvas.polyline(&[(x, y - half), (x, y + half)], &self.ink(sizes));
            }
            return;
        }
        canvas.polyline(places, &self.ink(sizes));
        if let Some(marker) = self.marker {
            for &place in places {
                marker.draw(canvas, place, sizes.marker, self.colour);
            }
        } else if let [place] = places {
            // A line of one point would leave no mark: the point is hollow where its line has no markers.
            canvas.circle(*place, sizes.marker, &Ink::stroke(self.colour, sizes.thin));
        }
    }

    /// A piece of it for a legend, this wide, from (x, y) on.
    pub(super) fn draw_sample(&self, canvas: &mut Canvas, sizes: &Sizes, (x, y): At, width: f64) {
        let middle = (x + width / 2.0, y);
        if self.stroke == Stroke::Ticks {
            self.draw(canvas, sizes, &[middle]);
            return;
        }
        canvas.polyline(&[(x, y), (x + width, y)], &self.ink(sizes));
        if let Some(marker) = self.marker {
            marker.draw(canvas, middle, sizes.marker, self.colour);
        }
    }
}
