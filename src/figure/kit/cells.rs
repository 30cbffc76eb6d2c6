//! Maps: a number in each cell as its colour, and in figures where there is room.

use super::canvas::{Canvas, Ink, Side, Type};
use super::colour::Colour;
use super::look::Sizes;
use super::panel::{Frame, Ground, boundary, casing};
use super::ticks::signed;
use super::{Cell, Cells};

/// What is hardly below 0 has no colour of its own.
pub(super) const BELOW_0: f64 = -0.05;

impl Cells {
    /// The layers of an iteration where columns are of several of both.
    pub(super) fn marked_layers(&self) -> Option<usize> {
        several(self.layers, &self.columns)
    }

    /// The layers of an iteration where rows are of several of both.
    pub(super) fn marked_row_layers(&self) -> Option<usize> {
        several(self.row_layers, &self.rows)
    }

    /// Whether some number is so far below 0 that it is drawn so.
    pub(super) fn has_negative(&self) -> bool {
        self.numbers
            .iter()
            .flatten()
            .flatten()
            .any(|(value, _)| *value < BELOW_0)
    }

    /// Whether some cell has no number.
    pub(super) fn has_missing(&self) -> bool {
        self.numbers.iter().flatten().any(Option::is_none)
    }

    /// Whether some interval goes from below 0 to above it.
    pub(super) fn has_undecided(&self) -> bool {
        self.numbers.iter().flatten().flatten().any(is_undecided)
    }

    /// Draws it.
    pub(super) fn draw(&self, canvas: &mut Canvas, frame: &Frame) {
        let (columns, rows) = (self.columns.len().max(1) as f64, self.rows.len().max(1) as f64);
        let (width, height) = (frame.width / columns, frame.height / rows);
        // Between few cells; without a gap they overlap by a little, so that no light comes through between them.
        let gap = if self.columns.len() <= 24 {
            0.6 * frame.sizes.thin
        } else {
            -0.2 * frame.sizes.thin
        };
        for (i, row) in self.numbers.iter().enumerate() {
            for (j, cell) in row.iter().enumerate() {
                let (left, top) = (frame.left + j as f64 * width, frame.top + i as f64 * height);
                let colour = cell.map_or(Colour::MISSING, |(value, _)| Colour::of_cell(value));
                let size = (width - gap, height - gap);
                canvas.rectangle((left + 0.5 * gap, top + 0.5 * gap), size, &Ink::fill(colour));
                draw_cell(canvas, frame.sizes, (left, top), (width, height), *cell);
            }
        }
        self.names(canvas, frame, width, height);
        if let Some(layers) = self.marked_layers() {
            let end = |layer: usize| {
                let of = |name: &String| name.parse::<usize>().ok();
                let until = self
                    .columns
                    .iter()
                    .filter(|name| of(name).is_some_and(|of| of <= layer))
                    .count();
                let last = self.columns.iter().filter_map(of).max().unwrap_or(0);
                (layer <= last).then_some(until as f64 / columns)
            };
            frame.iterations(canvas, layers, &end, Ground::Cells);
        }
        if let Some(layers) = self.marked_row_layers() {
            self.iterations_of_rows(canvas, frame, layers);
        }
        let bound = bound(frame.sizes);
        // Little of narrow cells is hidden.
        let casing = casing(frame.sizes).min(0.1 * width.min(height));
        for &n in &self.behind {
            let x = n as f64 / columns;
            canvas.cased(&[frame.at(x, 0.0), frame.at(x, 1.0)], &bound, casing);
        }
        for &n in &self.below {
            let y = 1.0 - n as f64 / rows;
            canvas.cased(&[frame.at(0.0, y), frame.at(1.0, y)], &bound, casing);
        }
    }

    // A line between each two iterations of this number of layers, and their numbers right of the plot.
    fn iterations_of_rows(&self, canvas: &mut Canvas, frame: &Frame, layers: usize) {
        let iteration = |row: &String| row.parse::<usize>().map_or(0, |layer| layer.div_ceil(layers));
        let style = Type::of(frame.sizes.text).coloured(Colour::FAINT_INK);
        let up = |row: usize| 1.0 - row as f64 / self.rows.len() as f64;
        let mut first = 0;
        for rows in self.rows.chunk_by(|a, b| iteration(a) == iteration(b)) {
            let end = first + rows.len();
            if first > 0 {
                let line = [frame.at(0.0, up(first)), frame.at(1.0, up(first))];
                canvas.cased(&line, &boundary(frame.sizes), casing(frame.sizes));
            }
            if iteration(&rows[0]) > 0 {
                let (x, y) = frame.at(1.0, f64::midpoint(up(first), up(end)));
                let at = (x + 0.4 * frame.sizes.text, y);
                canvas.text(at, Side::Left, style, &iteration(&rows[0]).to_string());
            }
            first = end;
        }
    }

    // The names of columns and rows: all where there is room, else every second, third, …
    fn names(&self, canvas: &mut Canvas, frame: &Frame, width: f64, height: f64) {
        let style = Type::of(frame.sizes.text);
        if frame.shown.x {
            let widest = self.columns.iter().map(|name| style.width(name)).fold(0.0, f64::max);
            let step = ((widest + 0.5 * style.size) / width).ceil().max(1.0) as usize;
            for (j, name) in self.columns.iter().enumerate().step_by(step) {
                frame.x_tick(canvas, frame.left + (j as f64 + 0.5) * width, name);
            }
            frame.x_label(canvas, &self.x_label);
        }
        if frame.shown.y {
            let step = (style.size / height).ceil().max(1.0) as usize;
            for (i, name) in self.rows.iter().enumerate().step_by(step) {
                let at = (frame.left - frame.tick(), frame.top + (i as f64 + 0.5) * height);
                canvas.text(at, Side::Right, style, name);
            }
            frame.y_label(canvas, &self.y_label);
        }
    }
}

// The layers of an iteration where effective layers with these names are of several of both.
fn several(layers: Option<usize>, names: &[String]) -> Option<usize> {
    let deepest = names.iter().filter_map(|name| name.parse::<usize>().ok()).max()?;
    layers.filter(|&layers| layers > 1 && deepest > layers)
}

fn is_undecided((_, interval): &Cell) -> bool {
    interval.is_some_and(|(low, high)| low < 0.0 && high > 0.0)
}

/// The dashed line behind a column or below a row.
pub(super) fn bound(sizes: &Sizes) -> Ink {
    Ink::stroke(Colour::VERMILION, 0.85 * sizes.stroke).dashed(&[2.4 * sizes.stroke, 1.6 * sizes.stroke])
}

/// What is in a cell beside its colour: a diagonal below 0, the number where it fits, its interval where that does too, else a dot
/// where the interval goes from below 0 to above it.
pub(super) fn draw_cell(
    canvas: &mut Canvas,
    sizes: &Sizes,
    (left, top): (f64, f64),
    (width, height): (f64, f64),
    cell: Option<Cell>,
) {
    let style = Type::of(sizes.text);
    let middle = (left + 0.5 * width, top + 0.5 * height);
    // Whatever the digits are, so that cells of one size have their numbers all or none.
    let fits = |text: &str, lines: f64| {
        let widest = text.replace(|c: char| c.is_ascii_digit(), "0");
        style.width(&widest) < 0.92 * width && lines * 1.15 * style.size < height
    };
    let Some((value, interval)) = cell else {
        if fits("0.00", 1.0) {
            canvas.text(middle, Side::Centre, style, "–");
        }
        return;
    };
    let ink = Colour::of_cell(value).ink();
    if value < BELOW_0 {
        let ends = [
            (left + 0.08 * width, top + 0.92 * height),
            (left + 0.92 * width, top + 0.08 * height),
        ];
        canvas.polyline(&ends, &Ink::stroke(Colour::INK, sizes.thin).pale(0.45));
    }
    let style = style.coloured(ink);
    let number = |value: f64| signed(format!("{value:.2}"));
    let text = number(value);
    let between = interval.map(|(low, high)| {
        let dash = if low < -0.005 { " to " } else { "–" };
        format!("{}{dash}{}", number(low), number(high))
    });
    match between {
        Some(between) if fits(&between, 2.2) => {
            canvas.text((middle.0, middle.1 - 0.6 * style.size), Side::Centre, style, &text);
            canvas.text((middle.0, middle.1 + 0.6 * style.size), Side::Centre, style, &between);
        }
        _ if fits(&text, 1.0) => canvas.text(middle, Side::Centre, style, &text),
        _ => {}
    }
    if is_undecided(&(value, interval)) {
        let corner = (left + width - 3.4 * sizes.thin, top + 3.4 * sizes.thin);
        canvas.circle(corner, 1.2 * sizes.thin, &Ink::fill(ink));
    }
}
