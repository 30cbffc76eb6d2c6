//! Shapes of a page, as plotters draws them.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::canvas::{At, BOLD_FAMILIES, FAMILIES, Ink, Side, Type};
use super::colour::Colour;

/// A shape at its places, in the unit of the figure.
pub(super) enum Shape {
    Line(Vec<At>, Ink),
    Area(Vec<At>, Ink),
    /// Of this radius.
    Circle(At, f64, Ink),
    Text {
        at: At,
        side: Side,
        style: Type,
        text: String,
        is_vertical: bool,
    },
}

impl Shape {
    pub(super) fn draw(&self, backend: &mut SVGBackend) {
        // Writing into a string cannot fail.
        let _ = match self {
            Self::Line(places, ink) if ink.dashes.is_empty() => backend.draw_path(pixels(places), &ink.style()),
            Self::Line(places, ink) => dashes(places, &ink.dashes)
                .iter()
                .try_for_each(|dash| backend.draw_path(pixels(dash), &ink.style())),
            Self::Area(corners, ink) => backend.fill_polygon(pixels(corners), &ink.style()),
            Self::Circle(at, radius, ink) => {
                backend.draw_circle(pixel(*at), whole_length(*radius), &ink.style(), ink.stroke.is_none())
            }
            Self::Text {
                at,
                side,
                style,
                text,
                is_vertical,
            } => {
                // The middle of its capitals, which are 0.728 of the size high, is at the place; plotters puts the baseline half an
                // ex below it, and an ex is half of the size.
                let drop = (0.364 - 0.25) * style.size;
                let (x, y) = *at;
                let at = if *is_vertical { (x + drop, y) } else { (x, y + drop) };
                backend.draw_text(text, &style.of_plotters(*side, *is_vertical), pixel(at))
            }
        };
    }
}

impl Ink {
    fn style(&self) -> ShapeStyle {
        ShapeStyle {
            color: self.colour.of_plotters(self.opacity),
            filled: self.stroke.is_none(),
            stroke_width: self.stroke.map_or(0, whole_length),
        }
    }
}

impl Type {
    fn of_plotters(self, side: Side, is_vertical: bool) -> TextStyle<'static> {
        // What plotters divides the size of type by.
        const SIZE: f64 = 1.24;
        let (families, style) = if self.bold {
            (BOLD_FAMILIES, FontStyle::Bold)
        } else {
            (FAMILIES, FontStyle::Normal)
        };
        let font = FontDesc::new(FontFamily::Name(families), SIZE * RESOLUTION * self.size, style);
        let font = if is_vertical {
            font.transform(FontTransform::Rotate270)
        } else {
            font
        };
        let side = match side {
            Side::Left => HPos::Left,
            Side::Centre => HPos::Center,
            Side::Right => HPos::Right,
        };
        let ink = self.colour.of_plotters(1.0);
        TextStyle {
            font,
            color: ink.to_backend_color(),
            pos: Pos::new(side, VPos::Center),
        }
    }
}

impl Colour {
    fn of_plotters(self, opacity: f64) -> RGBAColor {
        let (red, green, blue) = self.channels();
        RGBAColor(red, green, blue, opacity)
    }
}

// The stretches of a line that are drawn, of a pattern of lengths drawn and left out in turn.
fn dashes(places: &[At], pattern: &[f64]) -> Vec<Vec<At>> {
    let mut found = Vec::new();
    let mut n = 0;
    let mut left = pattern[0];
    let mut current: Vec<At> = places.first().copied().into_iter().collect();
    for pair in places.windows(2) {
        let (mut from, to) = (pair[0], pair[1]);
        loop {
            let (x, y) = (to.0 - from.0, to.1 - from.1);
            let length = x.hypot(y);
            if length <= left {
                left -= length;
                current.push(to);
                break;
            }
            from = (from.0 + x / length * left, from.1 + y / length * left);
            current.push(from);
            if n % 2 == 0 {
                found.push(std::mem::take(&mut current));
            }
            n += 1;
            left = pattern[n % pattern.len()].max(1.0 / RESOLUTION);
            current = vec![from];
        }
    }
    if n % 2 == 0 && current.len() > 1 {
        found.push(current);
    }
    found
}

// plotters takes integers: hundredths of the figure's unit, a step too small to be seen.
const RESOLUTION: f64 = 100.0;

pub(super) fn whole_length(length: f64) -> u32 {
    (RESOLUTION * length).round().max(0.0) as u32
}

fn pixel((x, y): At) -> (i32, i32) {
    let whole = |length: f64| (RESOLUTION * length).round() as i32;
    (whole(x), whole(y))
}

fn pixels(places: &[At]) -> Vec<(i32, i32)> {
    places.iter().copied().map(pixel).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_line_is_drawn_in_stretches_that_go_around_corners() {
        let corner = [(0.0, 0.0), (3.0, 0.0), (3.0, 4.0)];
        let found = dashes(&corner, &[2.0, 1.0]);
        assert_eq!(
            found,
            [
                vec![(0.0, 0.0), (2.0, 0.0)],
                vec![(3.0, 0.0), (3.0, 2.0)],
                vec![(3.0, 3.0), (3.0, 4.0)]
            ]
        );
        assert_eq!(dashes(&corner, &[9.0, 1.0]), [corner.to_vec()]);
    }
}
