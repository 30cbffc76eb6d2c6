//! A page of SVG: shapes and text at places in the unit of the figure, y downwards.

use std::sync::OnceLock;

use ttf_parser::Face;
use xmlwriter::{Indent, Options, XmlWriter};

use super::colour::Colour;
use super::look::Sizes;

/// The typeface, compiled in.
pub(super) const REGULAR: &[u8] = include_bytes!("../fonts/Inter-Regular.otf");
pub(super) const BOLD: &[u8] = include_bytes!("../fonts/Inter-SemiBold.otf");
/// What it is called, and what a reader without it has instead.
pub(super) const FAMILY: &str = "Inter";
const FAMILIES: &str = "Inter, Helvetica, Arial, sans-serif";
/// The bold face is a family of its own by its name table.
const BOLD_FAMILIES: &str = "Inter Semi Bold, Inter, Helvetica, Arial, sans-serif";

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
    colour: Colour,
    opacity: f64,
    // The width of a stroke; absent where the shape is filled.
    stroke: Option<f64>,
    dashes: Vec<f64>,
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

/// A page in the making.
pub(super) struct Canvas {
    xml: XmlWriter,
}

impl Canvas {
    /// A white page of this size. What a reader who does not see it is told is its title and description.
    pub(super) fn new(sizes: &Sizes, (width, height): (f64, f64), title: &str, description: &str) -> Self {
        let mut xml = XmlWriter::new(Options {
            indent: Indent::None,
            ..Options::default()
        });
        xml.start_element("svg");
        xml.write_attribute("xmlns", "http://www.w3.org/2000/svg");
        xml.write_attribute_fmt("width", format_args!("{}{}", short(width), sizes.unit));
        xml.write_attribute_fmt("height", format_args!("{}{}", short(height), sizes.unit));
        xml.write_attribute_fmt("viewBox", format_args!("0 0 {} {}", short(width), short(height)));
        xml.write_attribute("font-family", FAMILIES);
        // A sharp turn of a thick line would be a long spike.
        xml.write_attribute("stroke-linejoin", "round");
        let mut canvas = Self { xml };
        for (name, text) in [("title", title), ("desc", description)] {
            canvas.xml.start_element(name);
            canvas.write_text(text);
            canvas.end();
        }
        canvas.rectangle((0.0, 0.0), (width, height), &Ink::fill(Colour::WHITE));
        canvas
    }

    /// The page as SVG.
    pub(super) fn finish(mut self) -> String {
        self.end();
        self.xml.end_document()
    }

    pub(super) fn text(&mut self, (x, y): At, side: Side, style: Type, text: &str) {
        self.turned_text((x, y), side, style, text, false);
    }

    /// A text from the bottom to the top.
    pub(super) fn vertical_text(&mut self, at: At, style: Type, text: &str) {
        self.turned_text(at, Side::Centre, style, text, true);
    }

    // The middle of its capitals is at y.
    fn turned_text(&mut self, (x, y): At, side: Side, style: Type, text: &str, is_vertical: bool) {
        // Half the height of Inter's capitals.
        let drop = 0.364 * style.size;
        let (x, y) = if is_vertical { (x + drop, y) } else { (x, y + drop) };
        self.xml.start_element("text");
        self.number("x", x);
        self.number("y", y);
        if is_vertical {
            let turned = format!("rotate(-90 {} {})", short(x), short(y));
            self.xml.write_attribute("transform", &turned);
        }
        self.number("font-size", style.size);
        if style.bold {
            self.xml.write_attribute("font-family", BOLD_FAMILIES);
            self.xml.write_attribute("font-weight", "600");
        }
        match side {
            Side::Left => {}
            Side::Centre => self.xml.write_attribute("text-anchor", "middle"),
            Side::Right => self.xml.write_attribute("text-anchor", "end"),
        }
        self.xml.write_attribute("fill", &style.colour.hex());
        self.write_text(text);
        self.end();
    }

    pub(super) fn polyline(&mut self, places: &[At], ink: &Ink) {
        if places.len() > 1 {
            self.through("polyline", places, ink);
        }
    }

    pub(super) fn polygon(&mut self, corners: &[At], ink: &Ink) {
        self.through("polygon", corners, ink);
    }

    fn through(&mut self, element: &str, places: &[At], ink: &Ink) {
        let places: Vec<String> = (places.iter())
            .map(|&(x, y)| format!("{},{}", short(x), short(y)))
            .collect();
        self.xml.start_element(element);
        self.xml.write_attribute("points", &places.join(" "));
        self.ink(ink);
        self.end();
    }

    pub(super) fn rectangle(&mut self, (x, y): At, (width, height): (f64, f64), ink: &Ink) {
        self.xml.start_element("rect");
        for (name, value) in [("x", x), ("y", y), ("width", width), ("height", height)] {
            self.number(name, value);
        }
        self.ink(ink);
        self.end();
    }

    /// A rectangle whose colour goes through these from left to right, each at its share of the width; one a page.
    pub(super) fn gradient(&mut self, (x, y): At, (width, height): (f64, f64), colours: &[(f64, Colour)]) {
        const NAME: &str = "colours";
        self.xml.start_element("linearGradient");
        self.xml.write_attribute("id", NAME);
        for (at, colour) in colours {
            self.xml.start_element("stop");
            self.xml.write_attribute("offset", &short(*at));
            self.xml.write_attribute("stop-color", &colour.hex());
            self.end();
        }
        self.end();
        self.xml.start_element("rect");
        for (name, value) in [("x", x), ("y", y), ("width", width), ("height", height)] {
            self.number(name, value);
        }
        self.xml.write_attribute_fmt("fill", format_args!("url(#{NAME})"));
        self.end();
    }

    pub(super) fn circle(&mut self, (x, y): At, radius: f64, ink: &Ink) {
        self.xml.start_element("circle");
        for (name, value) in [("cx", x), ("cy", y), ("r", radius)] {
            self.number(name, value);
        }
        self.ink(ink);
        self.end();
    }

    fn ink(&mut self, ink: &Ink) {
        let colour = ink.colour.hex();
        let opacity = match ink.stroke {
            None => {
                self.xml.write_attribute("fill", &colour);
                "fill-opacity"
            }
            Some(width) => {
                self.xml.write_attribute("fill", "none");
                self.xml.write_attribute("stroke", &colour);
                self.number("stroke-width", width);
                "stroke-opacity"
            }
        };
        if ink.opacity < 1.0 {
            self.number(opacity, ink.opacity);
        }
        if !ink.dashes.is_empty() {
            let dashes: Vec<String> = ink.dashes.iter().map(|&dash| short(dash)).collect();
            self.xml.write_attribute("stroke-dasharray", &dashes.join(" "));
        }
    }

    fn number(&mut self, name: &str, value: f64) {
        self.xml.write_attribute(name, &short(value));
    }

    // The writer escapes `<` alone.
    fn write_text(&mut self, text: &str) {
        self.xml.write_text(&text.replace('&', "&amp;"));
    }

    fn end(&mut self) {
        self.xml.end_element();
    }
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
            svg.contains("a &lt; b &amp; c") && svg.contains("&lt;e_5> &amp; \"r\""),
            "{svg}"
        );
    }
}
