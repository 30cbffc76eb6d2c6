//! A page of SVG: shapes and text at places in the unit of the figure, y downwards.

use std::sync::OnceLock;

use plotters::prelude::{DrawingBackend, SVGBackend};
use ttf_parser::Face;

use super::colour::Colour;
use super::look::Sizes;
use super::shape::{Shape, whole_length};

/// The typeface, compiled in.
pub(super) const REGULAR: &[u8] = include_bytes!("../fonts/Inter-Regular.otf");
pub(super) const BOLD: &[u8] = include_bytes!("../fonts/Inter-SemiBold.otf");
/// What it is called, and what a reader without it has instead.
pub(super) const FAMILY: &str = "Inter";
pub(super) const FAMILIES: &str = "Inter, Helvetica, Arial, sans-serif";
/// The bold face is a family of its own by its name table.
pub(super) const BOLD_FAMILIES: &str = "Inter Semi Bold, Inter, Helvetica, Arial, sans-serif";

/// A place: x, y.
pub(super) type At = (f64, f64);

/// Where a text stands at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Centre,
    Right,
}

/// How text is set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Type {
    pub(super) size: f64,
    pub(super) bold: bool,
    pub(super) colour: Colour,
}

impl Type {
    pub(super) fn of(size: f64) -> Self {
        Self {
            size,
            bold: false,
            colour: Colour::INK,
        }
    }

    pub(super) fn bold(self) -> Self {
        Self { bold: true, ..self }
    }

    pub(super) fn coloured(self, colour: Colour) -> Self {
        Self { colour, ..self }
    }

    /// The width of a text. Kerning, which would make it a little narrower, is left out.
    pub(super) fn width(self, text: &str) -> f64 {
        static FACES: OnceLock<Option<[Face<'static>; 2]>> = OnceLock::new();
        let faces = FACES.get_or_init(|| Some([Face::parse(REGULAR, 0).ok()?, Face::parse(BOLD, 0).ok()?]));
        let Some(face) = faces.as_ref().map(|faces| &faces[usize::from(self.bold)]) else {
            return 0.6 * self.size * text.chars().count() as f64;
        };
        let advance = |c: char| face.glyph_index(c).and_then(|glyph| face.glyph_hor_advance(glyph));
        let total: u32 = text.chars().filter_map(advance).map(u32::from).sum();
        f64::from(total) / f64::from(face.units_per_em()) * self.size
    }

    /// A text broken into lines of at most this width, at spaces.
    pub(super) fn lines(self, text: &str, width: f64) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for word in text.split(' ').filter(|word| !word.is_empty()) {
            match lines.last_mut() {
                Some(line) if self.width(&format!("{line} {word}")) <= width => {
                    line.push(' ');
                    line.push_str(word);
                }
                _ => lines.push(word.to_owned()),
            }
        }
        lines
    }
}

/// How a shape is filled and stroked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ink {
    pub(super) colour: Colour,
    pub(super) opacity: f64,
    /// The width of a stroke; absent where the shape is filled.
    pub(super) stroke: Option<f64>,
    /// Lengths that are drawn and left out in turn; none for an unbroken line.
    pub(super) dashes: Vec<f64>,
}

impl Ink {
    pub(super) fn fill(colour: Colour) -> Self {
        Self {
            colour,
            opacity: 1.0,
            stroke: None,
            dashes: Vec::new(),
        }
    }

    pub(super) fn stroke(colour: Colour, width: f64) -> Self {
        Self {
            stroke: Some(width),
            ..Self::fill(colour)
        }
    }

    pub(super) fn pale(self, opacity: f64) -> Self {
        Self { opacity, ..self }
    }

    pub(super) fn dashed(self, dashes: &[f64]) -> Self {
        Self {
            dashes: dashes.to_vec(),
            ..self
        }
    }
}

/// A page in the making, drawn by plotters.
pub(super) struct Canvas {
    shapes: Vec<Shape>,
    size: (f64, f64),
    unit: &'static str,
    title: String,
    description: String,
}

impl Canvas {
    /// A white page of this size. A screen reader reads its title and description.
    pub(super) fn new(sizes: &Sizes, size: (f64, f64), title: &str, description: &str) -> Self {
        let mut canvas = Self {
            shapes: Vec::new(),
            size,
            unit: sizes.unit,
            title: title.to_owned(),
            description: description.to_owned(),
        };
        canvas.rectangle((0.0, 0.0), size, &Ink::fill(Colour::WHITE));
        canvas
    }

    /// The page as SVG.
    pub(super) fn finish(self) -> String {
        let mut svg = String::new();
        let (width, height) = self.size;
        {
            let mut backend = SVGBackend::with_string(&mut svg, (whole_length(width), whole_length(height)));
            for shape in &self.shapes {
                shape.draw(&mut backend);
            }
            // Writing into a string cannot fail.
            let _ = backend.present();
        }
        // Of plotters' own head, whose size is in pixels, one in the unit of the figure, with its title and description.
        let head = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}{unit}\" height=\"{}{unit}\" viewBox=\"0 0 {} {}\" \
             stroke-linejoin=\"round\"><title>{}</title><desc>{}</desc>",
            short(width),
            short(height),
            whole_length(width),
            whole_length(height),
            escaped(&self.title),
            escaped(&self.description),
            unit = self.unit
        );
        let end = svg.find('>').map_or(0, |end| end + 1);
        svg.replace_range(..end, &head);
        svg
    }

    pub(super) fn text(&mut self, at: At, side: Side, style: Type, text: &str) {
        self.turned_text(at, side, style, text, false);
    }

    /// A text from the bottom to the top.
    pub(super) fn vertical_text(&mut self, at: At, style: Type, text: &str) {
        self.turned_text(at, Side::Centre, style, text, true);
    }

    fn turned_text(&mut self, at: At, side: Side, style: Type, text: &str, is_vertical: bool) {
        self.shapes.push(Shape::Text {
            at,
            side,
            style,
            text: text.to_owned(),
            is_vertical,
        });
    }

    pub(super) fn polyline(&mut self, places: &[At], ink: &Ink) {
        if places.len() > 1 {
            self.shapes.push(Shape::Line(places.to_vec(), ink.clone()));
        }
    }

    /// A line with white of this width on each side, which sets it off from whatever is below.
    pub(super) fn cased(&mut self, places: &[At], ink: &Ink, casing: f64) {
        let width = ink.stroke.unwrap_or(0.0) + 2.0 * casing;
        self.polyline(places, &Ink::stroke(Colour::WHITE, width));
        self.polyline(places, ink);
    }

    pub(super) fn polygon(&mut self, corners: &[At], ink: &Ink) {
        if ink.stroke.is_some() {
            let closed: Vec<At> = corners.iter().chain(corners.first()).copied().collect();
            self.polyline(&closed, ink);
        } else {
            self.shapes.push(Shape::Area(corners.to_vec(), ink.clone()));
        }
    }

    pub(super) fn rectangle(&mut self, (x, y): At, (width, height): (f64, f64), ink: &Ink) {
        let (right, bottom) = (x + width, y + height);
        self.polygon(&[(x, y), (right, y), (right, bottom), (x, bottom)], ink);
    }

    /// A rectangle whose colour goes through these from left to right.
    pub(super) fn gradient(&mut self, (x, y): At, (width, height): (f64, f64), colours: &[Colour]) {
        // Each strip goes to the right end, so that none has a seam beside it.
        for (n, colour) in colours.iter().enumerate() {
            let left = n as f64 / colours.len() as f64 * width;
            self.rectangle((x + left, y), (width - left, height), &Ink::fill(*colour));
        }
    }

    pub(super) fn circle(&mut self, at: At, radius: f64, ink: &Ink) {
        self.shapes.push(Shape::Circle(at, radius, ink.clone()));
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

// Two decimals: a hundredth of a point cannot be seen.
fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0" } else { text }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_measured_and_broken_at_spaces() {
        let style = Type::of(10.0);
        let width = style.width("effective layer");
        assert!((60.0..80.0).contains(&width), "{width}");
        assert!(style.bold().width("effective layer") > width);
        let lines = style.lines("what the output matrix reads off the residual stream", width);
        assert!(
            lines.len() > 2 && lines.iter().all(|line| style.width(line) <= width),
            "{lines:?}"
        );
        assert_eq!(lines.join(" "), "what the output matrix reads off the residual stream");
        assert!(style.lines("", width).is_empty());
    }

    #[test]
    fn text_is_escaped() {
        let sizes = super::super::Look::default().sizes();
        let mut canvas = Canvas::new(&sizes, (10.0, 10.0), "a < b & c", "");
        canvas.text((1.0, 1.0), Side::Left, Type::of(8.0), "<e_5> & \"r\"");
        let svg = canvas.finish();
        assert!(
            svg.contains("a &lt; b &amp; c") && svg.contains("&lt;e_5&gt; &amp; &quot;r&quot;"),
            "{svg}"
        );
    }
}
