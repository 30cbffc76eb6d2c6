//! The bar that says which number a colour of cells is.

use super::canvas::{Canvas, Ink, Side, Type};
use super::colour::Colour;
use super::look::Sizes;
use super::{Content, Figure};

/// The numbers of a figure's maps.
pub(super) struct Bar {
    /// What they are.
    pub(super) name: String,
    // 0, or −1 where there are numbers below.
    from: i32,
}

impl Bar {
    /// That of a figure with maps.
    pub(super) fn of(figure: &Figure) -> Option<Self> {
        let contents = figure.panels.iter().flatten().map(|panel| &panel.content);
        let mut bar: Option<Self> = None;
        for content in contents {
            let Content::Cells(cells) = content else {
                continue;
            };
            let bar = bar.get_or_insert(Self {
                name: String::new(),
                from: 0,
            });
            if cells.has_negative() {
                bar.from = -1;
            }
            if !bar.name.split("; ").any(|name| name == cells.value) {
                if !bar.name.is_empty() {
                    bar.name.push_str("; ");
                }
                bar.name.push_str(&cells.value);
            }
        }
        bar
    }

    fn length(&self, sizes: &Sizes) -> f64 {
        f64::from(1 - self.from) * 8.0 * sizes.text
    }

    /// Its width with its name.
    pub(super) fn width(&self, sizes: &Sizes) -> f64 {
        Type::of(sizes.text).width(&self.name) + self.length(sizes) + 2.6 * sizes.text
    }

    /// Draws it with its name, from the middle of its left end on.
    pub(super) fn draw(&self, canvas: &mut Canvas, sizes: &Sizes, (x, y): (f64, f64)) {
        // So fine that no step of colour can be seen.
        const STEPS: usize = 128;
        let style = Type::of(sizes.text);
        canvas.text((x, y), Side::Left, style, &self.name);
        let left = x + style.width(&self.name) + sizes.text;
        let half = 0.45 * sizes.text;
        let from = f64::from(self.from);
        let share = |value: f64| (value - from) / (1.0 - from);
        let value = |n: usize| from + (1.0 - from) * (n as f64 + 0.5) / STEPS as f64;
        let colours: Vec<Colour> = (0..STEPS).map(|n| Colour::of_cell(value(n))).collect();
        canvas.gradient((left, y - half), (self.length(sizes), 2.0 * half), &colours);
        let frame = Ink::stroke(Colour::FRAME, 0.6 * sizes.thin);
        canvas.rectangle((left, y - half), (self.length(sizes), 2.0 * half), &frame);
        for (value, label) in (super::Ticks { whole: false, max: 4 }).linear((from, 1.0)) {
            let x = left + share(value) * self.length(sizes);
            let ends = [(x, y + half), (x, y + half + 0.25 * sizes.text)];
            canvas.polyline(&ends, &Ink::stroke(Colour::FRAME, sizes.thin));
            canvas.text((x, y + half + 0.85 * sizes.text), Side::Centre, style, &label);
        }
    }
}
