//! What stands above the panels: title and conditions, and a legend that explains every line and every mark below it.

use super::bar::Bar;
use super::canvas::{At, Canvas, Ink, Side, Type};
use super::cells::draw_cell;
use super::colour::Colour;
use super::look::{Look, Sizes};
use super::panel::boundary;
use super::titles::Titles;
use super::{Content, Figure, Panel, Series};

/// The head of a figure.
pub(super) struct Head<'a> {
    sizes: Sizes,
    title: Vec<String>,
    // What all panels show.
    subject: Vec<String>,
    conditions: Vec<String>,
    // Lines of entries, each with its distance from the left.
    legend: Vec<Vec<(f64, Entry<'a>)>>,
    height: f64,
}

// An entry of the legend.
enum Entry<'a> {
    Line(&'a str, &'a Series),
    Band,
    Whisker,
    Iterations,
    Bar(Bar),
    Missing,
    Negative,
    Undecided,
}

impl Figure {
    /// What it is in words, with everything that a caption says.
    pub(super) fn description(&self, titles: &Titles) -> String {
        let column = Some(titles.common_column()).filter(|column| !column.is_empty());
        let conditions = self.conditions.iter().map(String::as_str);
        column.into_iter().chain(conditions).collect::<Vec<_>>().join(". ")
    }

    // The marks that the kit puts into panels itself.
    fn marks<'a>(&self) -> Vec<Entry<'a>> {
        let panels = || self.panels.iter().flatten();
        let any = |of: &dyn Fn(&Panel) -> bool| panels().any(of);
        let has_band = |panel: &Panel| match &panel.content {
            Content::Lines { series, .. } => series
                .iter()
                .any(|line| line.points.iter().any(|(.., interval)| interval.is_some())),
            Content::Cells(_) | Content::Estimates { .. } => false,
        };
        let has_whisker = |panel: &Panel| match &panel.content {
            Content::Estimates { rows, .. } => rows.iter().any(|row| row.interval.is_some()),
            Content::Lines { .. } | Content::Cells(_) => false,
        };
        let cells =
            |of: fn(&super::Cells) -> bool| any(&|panel| matches!(&panel.content, Content::Cells(cells) if of(cells)));
        let bar = Bar::of(self).map(Entry::Bar);
        let marks = [
            (any(&has_band), Entry::Band),
            (any(&has_whisker), Entry::Whisker),
            (any(&Panel::marks_iterations), Entry::Iterations),
            (cells(super::Cells::has_negative), Entry::Negative),
            (cells(super::Cells::has_undecided), Entry::Undecided),
            (cells(super::Cells::has_missing), Entry::Missing),
        ];
        let marks = marks
            .into_iter()
            .filter(|(is_there, _)| *is_there)
            .map(|(_, entry)| entry);
        bar.into_iter().chain(marks).collect()
    }
}

impl<'a> Head<'a> {
    pub(super) fn of(figure: &'a Figure, title: &str, look: &Look, titles: &Titles, width: f64) -> Self {
        let sizes = look.sizes();
        let broken = |text: &str, style: Type| style.lines(text, width);
        let (title, conditions) = if look.has_caption() {
            let conditions = [titles.common_column()].into_iter().filter(|of| !of.is_empty());
            let conditions = conditions.chain(figure.conditions.iter().map(String::as_str));
            let style = Type::of(sizes.condition);
            (
                broken(title, Type::of(sizes.title).bold()),
                conditions.flat_map(|line| broken(line, style)).collect(),
            )
        } else {
            (Vec::new(), Vec::new())
        };
        let subject = broken(titles.common_row(), Type::of(sizes.head).bold());
        let lines = figure.legend.iter().map(|(name, series)| Entry::Line(name, series));
        let legend = flowed(lines.chain(figure.marks()), &sizes, width);
        let height = |lines: &[String], size: f64| lines.len() as f64 * Sizes::leading(size);
        let legend_height: f64 = legend.iter().map(|line| line_height(line, &sizes)).sum();
        let above = height(&title, sizes.title) + height(&conditions, sizes.condition) + height(&subject, sizes.head);
        let gaps = [above, legend_height].iter().filter(|height| **height > 0.0).count() as f64 * 0.7 * sizes.gap;
        Self {
            height: above + legend_height + gaps,
            sizes,
            title,
            subject,
            conditions,
            legend,
        }
    }

    pub(super) fn height(&self) -> f64 {
        self.height
    }

    pub(super) fn draw(&self, canvas: &mut Canvas, (x, mut y): At) {
        let sizes = &self.sizes;
        let faint = Type::of(sizes.condition).coloured(Colour::FAINT_INK);
        let parts = [
            (&self.title, Type::of(sizes.title).bold()),
            (&self.conditions, faint),
            (&self.subject, Type::of(sizes.head).bold()),
        ];
        for (lines, style) in parts {
            for line in lines {
                canvas.text((x, y + 0.5 * Sizes::leading(style.size)), Side::Left, style, line);
                y += Sizes::leading(style.size);
            }
        }
        if parts.iter().any(|(lines, _)| !lines.is_empty()) {
            y += 0.7 * sizes.gap;
        }
        for line in &self.legend {
            for (from, entry) in line {
                entry.draw(canvas, sizes, (x + from, y + 0.6 * sizes.text));
            }
            y += line_height(line, sizes);
        }
    }
}

fn line_height(line: &[(f64, Entry)], sizes: &Sizes) -> f64 {
    let has_bar = line.iter().any(|(_, entry)| matches!(entry, Entry::Bar(_)));
    (if has_bar { 2.6 } else { 1.6 }) * sizes.text
}

// Entries in lines of at most this width.
fn flowed<'a>(entries: impl Iterator<Item = Entry<'a>>, sizes: &Sizes, width: f64) -> Vec<Vec<(f64, Entry<'a>)>> {
    let mut lines: Vec<Vec<(f64, Entry)>> = Vec::new();
    let mut x = 0.0;
    for entry in entries {
        let needed = entry.width(sizes);
        match lines.last_mut() {
            Some(line) if x + needed <= width => line.push((x, entry)),
            _ => {
                x = 0.0;
                lines.push(vec![(x, entry)]);
            }
        }
        x += needed + 1.5 * sizes.text;
    }
    lines
}

impl Entry<'_> {
    // The width of a sample before its name.
    fn sample(sizes: &Sizes) -> f64 {
        2.6 * sizes.text
    }

    fn name(&self) -> &str {
        match self {
            Self::Line(name, _) => name,
            Self::Band | Self::Whisker => "95 % interval",
            Self::Iterations => "between iterations",
            Self::Bar(bar) => &bar.name,
            Self::Missing => "no value",
            Self::Negative => "below 0",
            Self::Undecided => "95 % interval on both sides of 0",
        }
    }

    fn width(&self, sizes: &Sizes) -> f64 {
        match self {
            Self::Bar(bar) => bar.width(sizes),
            _ => Self::sample(sizes) + 0.5 * sizes.text + Type::of(sizes.text).width(self.name()),
        }
    }

    fn draw(&self, canvas: &mut Canvas, sizes: &Sizes, (x, y): At) {
        let width = Self::sample(sizes);
        let half = 0.45 * sizes.text;
        let (corner, size) = ((x + 0.2 * width, y - half), (0.6 * width, 2.0 * half));
        match self {
            Self::Bar(bar) => return bar.draw(canvas, sizes, (x, y)),
            Self::Line(_, series) => series.draw_sample(canvas, sizes, (x, y), width),
            Self::Band => canvas.rectangle(corner, size, &Ink::fill(Colour::GREY).pale(0.3)),
            Self::Whisker => {
                let bar = [(x + 0.2 * width, y), (x + 0.8 * width, y)];
                canvas.polyline(&bar, &Ink::stroke(Colour::GREY, sizes.stroke));
            }
            Self::Iterations => {
                let middle = x + 0.5 * width;
                canvas.polyline(&[(middle, y - half), (middle, y + half)], &boundary(sizes));
            }
            Self::Missing => canvas.rectangle(corner, size, &Ink::fill(Colour::MISSING)),
            Self::Negative | Self::Undecided => {
                let (value, interval) = match self {
                    Self::Negative => (-0.5, None),
                    _ => (0.0, Some((-1.0, 1.0))),
                };
                canvas.rectangle(corner, size, &Ink::fill(Colour::of_cell(value)));
                canvas.rectangle(corner, size, &Ink::stroke(Colour::FRAME, 0.6 * sizes.thin));
                // Too narrow for a number: what is left of a cell is its mark.
                draw_cell(
                    canvas,
                    sizes,
                    corner,
                    (size.0.min(1.5 * sizes.text), size.1),
                    Some((value, interval)),
                );
            }
        }
        let at = (x + width + 0.5 * sizes.text, y);
        canvas.text(at, Side::Left, Type::of(sizes.text), self.name());
    }
}
