//! How figures are written: formats, width, and the sizes of type and strokes at that width.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use clap::{Args, ValueEnum};

/// How figures are written.
#[derive(Debug, Clone, PartialEq, Args)]
#[command(next_help_heading = "Figures")]
pub struct Look {
    /// Formats of figures, separated by commas
    #[arg(long, value_name = "FORMAT", value_delimiter = ',', default_values = ["svg", "png"])]
    format: Vec<Format>,
    /// Width of figures, in in, cm, mm, pt or px, as in 5.5in [default: that of their panels; for a paper 5.5in]
    #[arg(long, value_name = "LENGTH")]
    width: Option<Length>,
    /// Sizes of type and strokes
    #[arg(long, value_enum, default_value_t = Style::Screen)]
    style: Style,
    /// Leave title and conditions out of the picture, as --style paper does; SVG files keep them as their description
    #[arg(long)]
    no_caption: bool,
}

/// The name of the n-th page, from 1, of a figure that has several.
pub(super) fn page_name(name: &str, n: usize) -> String {
    format!("{name}-{n}")
}

/// A format of figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Svg,
    Png,
    Pdf,
}

impl Format {
    pub(super) fn ending(self) -> &'static str {
        match self {
            Self::Svg => "svg",
            Self::Png => "png",
            Self::Pdf => "pdf",
        }
    }
}

/// What a figure is looked at on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Style {
    /// A screen: large type, and a caption in the picture
    Screen,
    /// The column of a paper: type of 7 to 9 pt at the final width, thin strokes, no caption in the picture
    Paper,
}

/// A length on paper.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Length {
    inches: f64,
}

impl FromStr for Length {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const UNITS: [(&str, f64); 5] = [
            ("in", 1.0),
            ("cm", 1.0 / 2.54),
            ("mm", 1.0 / 25.4),
            ("pt", 1.0 / 72.0),
            ("px", 1.0 / 96.0),
        ];
        let parsed = UNITS.iter().find_map(|(unit, inches)| {
            let number: f64 = text.strip_suffix(unit)?.trim().parse().ok()?;
            Some(number * inches)
        });
        match parsed {
            Some(inches) if (Self::MIN..=Self::MAX).contains(&inches) => Ok(Self { inches }),
            _ => Err("allowed: 2in to 40in, as in 5.5in, 14cm, 140mm, 396pt or 528px".to_owned()),
        }
    }
}

impl Length {
    // A single panel with its labels needs the least; the most is a poster.
    const MIN: f64 = 2.0;
    const MAX: f64 = 40.0;
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}in", self.inches)
    }
}

impl Default for Look {
    fn default() -> Self {
        Self {
            format: vec![Format::Svg, Format::Png],
            width: None,
            style: Style::Screen,
            no_caption: false,
        }
    }
}

impl Look {
    /// The formats, each once.
    pub(super) fn formats(&self) -> impl Iterator<Item = Format> {
        let all = [Format::Svg, Format::Png, Format::Pdf];
        all.into_iter().filter(|format| self.format.contains(format))
    }

    /// The endings of the files of a figure, separated by commas: `svg,png`.
    pub fn endings(&self) -> String {
        let endings: Vec<&str> = self.formats().map(Format::ending).collect();
        endings.join(",")
    }

    /// The files of a figure, of which [`Figure::write`](super::Figure::write) gave this number of pages, as a shell expands them:
    /// `lens.{svg,png}`, of several pages `lens-{1..3}.{svg,png}`.
    pub fn files(&self, name: &str, pages: usize) -> String {
        let pages = if pages > 1 {
            format!("-{{1..{pages}}}")
        } else {
            String::new()
        };
        format!("{name}{pages}.{{{}}}", self.endings())
    }

    /// Whether a figure, or its first page, is there in all formats.
    pub fn is_written(&self, folder: &Path, name: &str) -> bool {
        [name.to_owned(), page_name(name, 1)].iter().any(|name| {
            self.formats()
                .all(|format| folder.join(format!("{name}.{}", format.ending())).is_file())
        })
    }

    /// Whether title and conditions are in the picture.
    pub(super) fn has_caption(&self) -> bool {
        !self.no_caption && self.style == Style::Screen
    }

    /// The sizes of everything in a figure.
    pub(super) fn sizes(&self) -> Sizes {
        let mut sizes = match self.style {
            Style::Screen => Sizes::SCREEN,
            Style::Paper => Sizes::PAPER,
        };
        sizes.width = self.width.map(|width| width.inches * sizes.per_inch).or(sizes.width);
        sizes.page = sizes.page.max(1.3 * sizes.width.unwrap_or(0.0));
        sizes
    }
}

/// Sizes in the unit of a figure: CSS pixels on a screen, points on paper.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sizes {
    pub(super) unit: &'static str,
    pub(super) per_inch: f64,
    /// Pixels of a PNG for one unit.
    pub(super) png_scale: f64,
    /// The width of a figure; absent where its panels give it.
    pub(super) width: Option<f64>,
    /// Type: the title of a figure, heads of panels, labels and ticks, and the conditions.
    pub(super) title: f64,
    pub(super) head: f64,
    pub(super) text: f64,
    pub(super) condition: f64,
    /// The widths of data lines, and of axes.
    pub(super) stroke: f64,
    pub(super) thin: f64,
    /// Half the width of a marker.
    pub(super) marker: f64,
    /// Between parts.
    pub(super) gap: f64,
    /// The least width of a panel with its labels, and the width that it has where there is room.
    pub(super) min_panel: f64,
    pub(super) panel: f64,
    /// The least and the largest height of the plot of lines.
    pub(super) heights: (f64, f64),
    /// The largest height of a figure of several rows: that of a page of its width, with room for a caption.
    pub(super) page: f64,
}

impl Sizes {
    const SCREEN: Self = Self {
        unit: "px",
        per_inch: 96.0,
        png_scale: 2.0,
        width: None,
        title: 16.0,
        head: 12.0,
        text: 11.0,
        condition: 10.5,
        stroke: 1.75,
        thin: 1.0,
        marker: 3.0,
        gap: 8.0,
        min_panel: 190.0,
        panel: 290.0,
        heights: (120.0, 240.0),
        // Twice as many pixels in a PNG, which not every viewer opens if it has many more.
        page: 4800.0,
    };
    const PAPER: Self = Self {
        unit: "pt",
        per_inch: 72.0,
        // 300 dots an inch.
        png_scale: 300.0 / 72.0,
        width: Some(5.5 * 72.0),
        title: 9.0,
        head: 8.0,
        text: 7.0,
        condition: 7.0,
        stroke: 0.9,
        thin: 0.5,
        marker: 1.6,
        gap: 4.0,
        min_panel: 88.0,
        panel: 130.0,
        heights: (56.0, 130.0),
        page: 8.5 * 72.0,
    };

    /// With panels as small as can still be read.
    pub(super) fn dense(self) -> Self {
        Self {
            min_panel: 0.65 * self.min_panel,
            heights: (0.65 * self.heights.0, self.heights.1),
            ..self
        }
    }

    /// From one line of text to the next.
    pub(super) fn leading(size: f64) -> f64 {
        1.35 * size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_has_a_unit_and_bounds() {
        let inches = |text: &str| text.parse::<Length>().map(|length| length.inches);
        for text in ["5.5in", "13.97cm", "139.7 mm", "396pt", "528px"] {
            assert!((inches(text).unwrap() - 5.5).abs() < 1e-9, "{text}");
        }
        for text in ["5.5", "in", "1in", "41in", "NaNin", "-3in", "5 parsecs", ""] {
            assert!(inches(text).unwrap_err().contains("5.5in"), "{text}");
        }
    }
}
