//! Where the parts of a figure stand: heads, legend, and panels in lines whose plots have one size, with the labels that neighbours share
//! written once.

use super::canvas::{Canvas, Side, Type};
use super::head::Head;
use super::look::{Look, Sizes};
use super::pages::Blocks;
use super::panel::{Frame, Shown};
use super::titles::{Titles, letter};
use super::{Figure, Panel};

/// A page of a figure for a look.
pub(super) struct Layout<'a> {
    figure: &'a Figure,
    title: String,
    sizes: Sizes,
    width: f64,
    titles: Titles<'a>,
    lines: Vec<Line<'a>>,
    head: Head<'a>,
}

// Panels side by side.
struct Line<'a> {
    // Stands above all of them.
    head: String,
    slots: Vec<Slot<'a>>,
}

struct Slot<'a> {
    panel: &'a Panel,
    letter: String,
    title: String,
    shown: Shown,
}

// The heights of a line from the top: its head, its titles, iterations and names of marks, plots, and the labels below.
struct Heights {
    head: f64,
    titles: f64,
    above: f64,
    plot: f64,
    below: f64,
}

impl Heights {
    fn total(&self) -> f64 {
        self.head + self.titles + self.above + self.plot + self.below
    }
}

// The columns of panels.
struct Columns {
    // The widths of the labels left of each plot.
    left: Vec<f64>,
    // Right of each.
    right: f64,
    plot: f64,
}

impl<'a> Layout<'a> {
    /// The page `n` of `of` where there are several, with these panels.
    pub(super) fn of(
        figure: &'a Figure,
        look: &Look,
        sizes: Sizes,
        Blocks { blocks, is_grid }: &Blocks<'a>,
        page: Option<(usize, usize)>,
    ) -> Self {
        let title = page.map_or_else(
            || figure.title.clone(),
            |(n, of)| format!("{} ({n} of {of})", figure.title),
        );
        let all: Vec<Vec<&Panel>> = figure.panels.iter().map(|row| row.iter().collect()).collect();
        let titles = Titles::of(&all, *is_grid);
        let columns = blocks.iter().flatten().map(Vec::len).max().unwrap_or(1).max(1);
        let margins = 2.0 * sizes.gap;
        let width = (sizes.width).unwrap_or_else(|| (columns as f64 * sizes.panel + margins).max(1.9 * sizes.panel));
        let mut lines: Vec<Line> = Vec::new();
        for block in blocks {
            for (i, row) in block.iter().enumerate() {
                let slots = row.iter().enumerate().map(|(j, &panel)| {
                    let above = i.checked_sub(1).and_then(|i| block[i].get(j));
                    let below = block.get(i + 1).and_then(|row| row.get(j));
                    Slot {
                        panel,
                        letter: String::new(),
                        title: titles.of_panel(panel, i == 0),
                        shown: Shown {
                            x: !below.is_some_and(|below| below.shares_x(panel)),
                            y: !(j > 0 && row[j - 1].shares_y(panel)),
                            iterations: !above.is_some_and(|above| above.shares_x(panel)),
                            marks: !above.is_some_and(|above| above.shares_marks(panel)),
                        },
                    }
                });
                lines.push(Line {
                    head: titles.head(row),
                    slots: slots.collect(),
                });
            }
        }
        if lines.iter().map(|line| line.slots.len()).sum::<usize>() > 1 {
            for (n, slot) in lines.iter_mut().flat_map(|line| &mut line.slots).enumerate() {
                slot.letter = letter(n);
            }
        }
        let head = Head::of(figure, &title, look, &titles, width - margins);
        Self {
            figure,
            title,
            sizes,
            width,
            titles,
            lines,
            head,
        }
    }

    // The heights of its lines.
    fn all_heights(&self, columns: &Columns) -> Vec<Heights> {
        self.lines.iter().map(|line| self.heights(line, columns)).collect()
    }

    fn height_of(&self, heights: &[Heights]) -> f64 {
        2.0 * self.sizes.gap + self.head.height() + heights.iter().map(Heights::total).sum::<f64>()
    }

    pub(super) fn height(&self) -> f64 {
        self.height_of(&self.all_heights(&self.columns()))
    }

    /// Draws it.
    pub(super) fn draw(&self) -> String {
        let sizes = &self.sizes;
        let columns = self.columns();
        let heights = self.all_heights(&columns);
        let height = self.height_of(&heights);
        let mut canvas = Canvas::new(
            sizes,
            (self.width, height),
            &self.title,
            &self.figure.description(&self.titles),
        );
        self.head.draw(&mut canvas, (sizes.gap, sizes.gap));
        let mut y = sizes.gap + self.head.height();
        for (line, heights) in self.lines.iter().zip(&heights) {
            self.draw_line(&mut canvas, line, y, heights, &columns);
            y += heights.total();
        }
        canvas.finish()
    }

    fn draw_line(&self, canvas: &mut Canvas, line: &Line, top: f64, heights: &Heights, columns: &Columns) {
        let sizes = &self.sizes;
        let style = Type::of(sizes.head).bold();
        if !line.head.is_empty() {
            let at = (sizes.gap, top + heights.head - 0.6 * Sizes::leading(sizes.head));
            canvas.text(at, Side::Left, style, &line.head);
        }
        let mut left = sizes.gap;
        for (slot, labels) in line.slots.iter().zip(&columns.left) {
            let plot_left = left + labels;
            let titles_end = top + heights.head + heights.titles;
            let (letter, lines) = slot.lines(sizes, columns);
            let begin = titles_end - lines.len().max(1) as f64 * Sizes::leading(sizes.text);
            canvas.text(
                (left, begin + 0.5 * Sizes::leading(sizes.text)),
                Side::Left,
                style,
                &slot.letter,
            );
            for (i, text) in lines.iter().enumerate() {
                let y = begin + (i as f64 + 0.5) * Sizes::leading(sizes.text);
                canvas.text((left + letter, y), Side::Left, Type::of(sizes.text), text);
            }
            let frame = Frame {
                sizes,
                left: plot_left,
                top: titles_end + heights.above,
                width: columns.plot,
                height: heights.plot,
                labels: *labels,
                shown: slot.shown,
            };
            slot.panel.draw(canvas, &frame);
            left = plot_left + columns.plot + columns.right;
        }
    }

    fn columns(&self) -> Columns {
        let sizes = &self.sizes;
        let n = self.lines.iter().map(|line| line.slots.len()).max().unwrap_or(1).max(1);
        let room = self.width - 2.0 * sizes.gap;
        let height = plot_height(sizes, room / n as f64);
        let labels = |j: usize| {
            let slots = self.lines.iter().filter_map(|line| line.slots.get(j));
            let widths = slots.map(|slot| {
                if slot.shown.y {
                    slot.panel.width_of_labels(sizes, height, 0.6 * room / n as f64)
                } else {
                    sizes.gap
                }
            });
            widths.fold(0.0, f64::max)
        };
        let left: Vec<f64> = (0..n).map(labels).collect();
        let slots = self.lines.iter().flat_map(|line| &line.slots);
        let right = 1.5 * sizes.gap + slots.map(|slot| slot.panel.width_right(sizes)).fold(0.0, f64::max);
        let plot = (room - left.iter().sum::<f64>() - n as f64 * right) / n as f64;
        Columns { left, right, plot }
    }

    fn heights(&self, line: &Line, columns: &Columns) -> Heights {
        let sizes = &self.sizes;
        let n = columns.left.len() as f64;
        let lines_height = plot_height(sizes, (self.width - 2.0 * sizes.gap) / n);
        let most = |of: &dyn Fn(&Slot) -> f64| line.slots.iter().map(of).fold(0.0, f64::max);
        let titles = most(&|slot| {
            let (_, lines) = slot.lines(sizes, columns);
            let lines = lines.len().max(usize::from(!slot.letter.is_empty()));
            lines as f64 * Sizes::leading(sizes.text)
        });
        let head = if line.head.is_empty() {
            0.0
        } else {
            1.2 * Sizes::leading(sizes.head)
        };
        Heights {
            head,
            titles: titles + 0.3 * sizes.gap,
            above: most(&|slot| slot.panel.height_above(sizes, slot.shown, columns.plot)),
            plot: most(&|slot| slot.panel.height_of_plot(sizes, lines_height)),
            below: most(&|slot| {
                if slot.shown.x {
                    slot.panel.height_of_labels(sizes, columns.plot)
                } else {
                    1.2 * sizes.gap
                }
            }) + 0.6 * sizes.gap,
        }
    }
}

impl Slot<'_> {
    // The width of the letter, and the title in lines.
    fn lines(&self, sizes: &Sizes, columns: &Columns) -> (f64, Vec<String>) {
        let letter = match self.letter.as_str() {
            "" => 0.0,
            letter => Type::of(sizes.head).bold().width(letter) + 0.7 * sizes.text,
        };
        let narrowest = columns.left.iter().copied().fold(f64::INFINITY, f64::min);
        let width = columns.plot + narrowest - letter;
        (letter, Type::of(sizes.text).lines(&self.title, width))
    }
}

// The height of plots of lines, in panels of this width.
fn plot_height(sizes: &Sizes, panel: f64) -> f64 {
    (0.5 * panel).clamp(sizes.heights.0, sizes.heights.1)
}
