//! One panel: its plot, and the labels that it writes itself.

use super::canvas::{At, Canvas, Ink, Side, Type};
use super::colour::Colour;
use super::look::Sizes;
use super::{Content, Panel, lines};

/// Which labels a panel has; the others are those of its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each of the labels is there or not, whatever the others are"
)]
pub(super) struct Shown {
    pub(super) x: bool,
    pub(super) y: bool,
    /// The numbers of iterations above the plot.
    pub(super) iterations: bool,
    /// The names of marks above it.
    pub(super) marks: bool,
}

/// What a line is drawn on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ground {
    /// White paper.
    Page,
    /// Cells of any colour, from which the line is set off by a casing.
    Cells,
}

/// The plot of a panel on a page.
pub(super) struct Frame<'a> {
    pub(super) sizes: &'a Sizes,
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) width: f64,
    pub(super) height: f64,
    /// The width of what is left of it.
    pub(super) labels: f64,
    pub(super) shown: Shown,
}

impl Frame<'_> {
    pub(super) fn bottom(&self) -> f64 {
        self.top + self.height
    }

    pub(super) fn right(&self) -> f64 {
        self.left + self.width
    }

    /// A place from shares of width and height, from the lower left.
    pub(super) fn at(&self, x: f64, y: f64) -> At {
        (self.left + x * self.width, self.bottom() - y * self.height)
    }

    pub(super) fn tick(&self) -> f64 {
        tick(self.sizes)
    }

    /// A label below the plot, at a share of its width, and the label of the axis.
    pub(super) fn x_tick(&self, canvas: &mut Canvas, x: f64, label: &str) {
        let y = self.bottom() + self.tick() + 0.6 * Sizes::leading(self.sizes.text);
        canvas.text((x, y), Side::Centre, Type::of(self.sizes.text), label);
    }

    pub(super) fn x_label(&self, canvas: &mut Canvas, label: &str) {
        let style = Type::of(self.sizes.text);
        let leading = Sizes::leading(self.sizes.text);
        for (i, line) in style.lines(label, self.width + 2.0 * self.sizes.gap).iter().enumerate() {
            let y = self.bottom() + self.tick() + (1.65 + i as f64) * leading;
            canvas.text((self.left + 0.5 * self.width, y), Side::Centre, style, line);
        }
    }

    /// Left of everything else, from the bottom to the top.
    pub(super) fn y_label(&self, canvas: &mut Canvas, label: &str) {
        let style = Type::of(self.sizes.text);
        for (i, line) in style.lines(label, label_length(self.height)).iter().enumerate() {
            let x = self.left - self.labels + (0.6 + i as f64) * Sizes::leading(self.sizes.text);
            canvas.vertical_text((x, self.top + 0.5 * self.height), style, line);
        }
    }

    /// Numbers of iterations of this many layers above the plot, and a line between each two; `x` gives the share of the width at
    /// which an effective layer ends, absent where it is not in the plot.
    pub(super) fn iterations(
        &self,
        canvas: &mut Canvas,
        layers: usize,
        x: &dyn Fn(usize) -> Option<f64>,
        ground: Ground,
    ) {
        let style = Type::of(self.sizes.text).coloured(Colour::FAINT_INK);
        let ends = (1..).map_while(|n| Some((n, x((n - 1) * layers)?, x(n * layers)?)));
        let ends: Vec<(usize, f64, f64)> = ends.collect();
        let step = ends
            .len()
            .div_ceil((self.width / (2.2 * self.sizes.text)) as usize + 1)
            .max(1);
        for &(n, begin, end) in &ends {
            if n > 1 {
                let line = [self.at(begin, 0.0), self.at(begin, 1.0)];
                match ground {
                    Ground::Page => canvas.polyline(&line, &boundary(self.sizes)),
                    Ground::Cells => canvas.cased(&line, &boundary(self.sizes), casing(self.sizes)),
                }
            }
            if self.shown.iterations && (n - 1).is_multiple_of(step) {
                let y = self.top - 0.6 * Sizes::leading(self.sizes.text);
                let name = if n == 1 && (end - begin) * self.width > style.width("iteration 1") {
                    "iteration 1".to_owned()
                } else {
                    n.to_string()
                };
                canvas.text(
                    (self.at(f64::midpoint(begin, end), 0.0).0, y),
                    Side::Centre,
                    style,
                    &name,
                );
            }
        }
    }
}

/// The line between two iterations.
pub(super) fn boundary(sizes: &Sizes) -> Ink {
    Ink::stroke(Colour::BOUNDARY, sizes.thin)
}

/// The width of the white on each side of a line on cells.
pub(super) fn casing(sizes: &Sizes) -> f64 {
    1.2 * sizes.thin
}

/// The length of a tick.
pub(super) fn tick(sizes: &Sizes) -> f64 {
    0.3 * sizes.text
}

/// The length that the label of a vertical axis may have beside a plot of this height.
pub(super) fn label_length(height: f64) -> f64 {
    1.05 * height
}

impl Panel {
    /// Whether another panel has the same horizontal axis, with the same places on it.
    pub(super) fn shares_x(&self, other: &Self) -> bool {
        match (&self.content, &other.content) {
            (Content::Lines { x: a, .. }, Content::Lines { x: b, .. }) => a == b,
            (Content::Cells(a), Content::Cells(b)) => (&a.x_label, &a.columns) == (&b.x_label, &b.columns),
            (
                Content::Estimates {
                    x_label: a, x_range, ..
                },
                Content::Estimates {
                    x_label: b,
                    x_range: of_b,
                    ..
                },
            ) => a == b && x_range.is_some() && x_range == of_b,
            _ => false,
        }
    }

    /// Whether another panel has the same vertical axis, with the same places on it.
    pub(super) fn shares_y(&self, other: &Self) -> bool {
        match (&self.content, &other.content) {
            (
                Content::Lines {
                    y_label: a, y_range, ..
                },
                Content::Lines {
                    y_label: b,
                    y_range: of_b,
                    ..
                },
            ) => a == b && y_range == of_b,
            (Content::Cells(a), Content::Cells(b)) => (&a.y_label, &a.rows) == (&b.y_label, &b.rows),
            (Content::Estimates { rows: a, .. }, Content::Estimates { rows: b, .. }) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.name == b.name)
            }
            _ => false,
        }
    }

    /// Whether another panel has the same marks at the same places.
    pub(super) fn shares_marks(&self, other: &Self) -> bool {
        match (&self.content, &other.content) {
            (Content::Lines { marks: a, .. }, Content::Lines { marks: b, .. }) => self.shares_x(other) && a == b,
            _ => false,
        }
    }

    /// Whether iterations of several layers are marked in it.
    pub(super) fn marks_iterations(&self) -> bool {
        match &self.content {
            Content::Lines { x, .. } => x.marks_iterations(),
            Content::Cells(cells) => cells.marked_layers().is_some() || cells.marked_row_layers().is_some(),
            Content::Estimates { .. } => false,
        }
    }

    /// The height of what stands between its title and a plot of this width.
    pub(super) fn height_above(&self, sizes: &Sizes, shown: Shown, width: f64) -> f64 {
        match &self.content {
            Content::Lines { x, marks, .. } => {
                let numbers = if shown.iterations {
                    lines::iterations_height(sizes, x)
                } else {
                    0.0
                };
                let names = if shown.marks {
                    lines::marks_height(sizes, x, marks, width)
                } else {
                    0.0
                };
                numbers + names
            }
            Content::Cells(cells) if shown.iterations && cells.marked_layers().is_some() => Sizes::leading(sizes.text),
            Content::Cells(_) | Content::Estimates { .. } => 0.0,
        }
    }

    /// The width of what stands right of its plot.
    pub(super) fn width_right(&self, sizes: &Sizes) -> f64 {
        match &self.content {
            Content::Cells(cells) if cells.marked_row_layers().is_some() => 1.2 * sizes.text,
            _ => 0.0,
        }
    }

    /// The width of the labels left of a plot of this height; names take at most `room`.
    pub(super) fn width_of_labels(&self, sizes: &Sizes, height: f64, room: f64) -> f64 {
        let style = Type::of(sizes.text);
        let (label, names): (&str, Vec<String>) = match &self.content {
            Content::Lines { y_label, y_range, .. } => {
                let ticks = lines::y_ticks(sizes, *y_range, height).into_iter();
                (y_label, ticks.map(|(_, label)| label).collect())
            }
            Content::Cells(cells) => (&cells.y_label, cells.rows.clone()),
            Content::Estimates { rows, .. } => ("", rows.iter().map(|row| row.name.clone()).collect()),
        };
        let widest = names.iter().map(|name| style.width(name)).fold(0.0, f64::max);
        let label = style.lines(label, label_length(height)).len() as f64 * Sizes::leading(sizes.text);
        label + widest.min(room) + 2.0 * tick(sizes) + 0.2 * sizes.text
    }

    /// The height of the labels below a plot of this width.
    pub(super) fn height_of_labels(&self, sizes: &Sizes, width: f64) -> f64 {
        let label = match &self.content {
            Content::Lines { x, .. } => &x.label,
            Content::Cells(cells) => &cells.x_label,
            Content::Estimates { x_label, .. } => x_label,
        };
        let lines = Type::of(sizes.text).lines(label, width + 2.0 * sizes.gap).len();
        tick(sizes) + (1.2 + lines as f64) * Sizes::leading(sizes.text)
    }

    /// The height of the plot beside plots of lines of this height.
    pub(super) fn height_of_plot(&self, sizes: &Sizes, lines: f64) -> f64 {
        match &self.content {
            Content::Lines { .. } => lines,
            Content::Cells(cells) => {
                // Every row is named; few rows are not stretched.
                let row = Sizes::leading(sizes.text);
                let rows = cells.rows.len() as f64;
                (rows * 3.0 * row).min(lines).max(rows * row)
            }
            Content::Estimates { rows, .. } => (rows.len() as f64 * 1.5 * Sizes::leading(sizes.text)).max(0.4 * lines),
        }
    }

    /// Draws it.
    pub(super) fn draw(&self, canvas: &mut Canvas, frame: &Frame) {
        match &self.content {
            Content::Lines {
                x,
                y_label,
                y_range,
                series,
                marks,
            } => lines::draw(canvas, frame, x, (y_label, *y_range), series, marks),
            Content::Cells(cells) => cells.draw(canvas, frame),
            Content::Estimates { x_label, x_range, rows } => {
                super::estimates::draw(canvas, frame, x_label, *x_range, rows);
            }
        }
    }
}
