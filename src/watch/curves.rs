//! The curves of a run on the screen of a terminal: accuracy by split, and loss.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use ratatui::symbols::Marker;
use ratatui::text::Line;
use ratatui::widgets::{Axis, Block, Chart, Dataset, GraphType, Paragraph};

use super::{View, WatchedRun};
use crate::graph::Split;
use crate::train::Evaluation;
use crate::wording::thousands;

/// The colours of splits: those of the terminal's theme, which are readable on its background.
const COLORS: [Color; 6] = [
    Color::Blue,
    Color::Green,
    Color::Magenta,
    Color::Yellow,
    Color::Cyan,
    Color::Red,
];

/// How the curve with an index is drawn: in a colour, by a letter where there are no colours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pub(super) style: Style,
    /// What stands before its name.
    pub(super) symbol: char,
    marker: Marker,
}

impl Mark {
    pub(super) fn of(index: usize, colors: bool) -> Self {
        if colors {
            let is_first = index < COLORS.len();
            return Self {
                style: Style::new().fg(COLORS[index % COLORS.len()]),
                symbol: if is_first { '━' } else { '•' },
                marker: if is_first { Marker::Braille } else { Marker::Dot },
            };
        }
        // Of more curves than letters, some share theirs.
        let letter = char::from(b'a' + (index % 26) as u8);
        Self {
            style: Style::new(),
            symbol: letter,
            marker: Marker::Custom(letter),
        }
    }
}

// A curve in the coordinates of its chart.
struct Curve {
    mark: Mark,
    points: Vec<(f64, f64)>,
}

/// The axis of training steps, on which a place is a step or its logarithm.
#[derive(Debug, Clone, Copy)]
struct Steps {
    first: f64,
    last: f64,
    log: bool,
}

impl Steps {
    // `None` before there are two places on it.
    fn of(metrics: &[Evaluation], log: bool) -> Option<Self> {
        let last = metrics.last()?.step;
        let first = metrics.iter().map(|line| line.step).find(|&step| !log || step > 0)?;
        (first < last).then_some(Self {
            first: first as f64,
            last: last as f64,
            log,
        })
    }

    fn place(self, step: f64) -> f64 {
        if self.log { step.log10() } else { step }
    }

    fn bounds(self) -> [f64; 2] {
        [self.place(self.first), self.place(self.last)]
    }

    fn axis(self) -> Axis<'static> {
        let middle = if self.log {
            (self.first * self.last).sqrt()
        } else {
            f64::midpoint(self.first, self.last)
        };
        let labels = [self.first, middle, self.last].map(|step| thousands(step.round() as u64));
        Axis::default().bounds(self.bounds()).labels(labels)
    }

    fn holds(self, step: u64) -> bool {
        !self.log || step > 0
    }
}

/// Draws accuracy by split with the stages that were reached, each a vertical line.
pub(super) fn accuracy(frame: &mut Frame, area: Rect, run: &WatchedRun, splits: &[&Split], view: &View) {
    let title = if view.log_steps {
        "accuracy by step (log)"
    } else {
        "accuracy by step"
    };
    let curve = |(index, split): (usize, &&Split)| Curve {
        mark: Mark::of(index, view.colors),
        points: points(run, view, |line| line.accuracy.get(*split).copied()),
    };
    let curves: Vec<Curve> = splits.iter().enumerate().map(curve).collect();
    chart(frame, area, run, view, title, [0.0, 1.0], &curves);
}

/// Draws the training loss.
pub(super) fn loss(frame: &mut Frame, area: Rect, run: &WatchedRun, view: &View) {
    let points = points(run, view, |line| line.loss);
    let top = points.iter().map(|(_, loss)| *loss).fold(0.0, f64::max);
    let mark = Mark {
        style: Style::new(),
        symbol: ' ',
        marker: if view.colors {
            Marker::Braille
        } else {
            Marker::Custom('*')
        },
    };
    let curves = [Curve { mark, points }];
    let top = if top > 0.0 { top } else { 1.0 };
    chart(frame, area, run, view, "training loss, nats", [0.0, top], &curves);
}

fn points(run: &WatchedRun, view: &View, value: impl Fn(&Evaluation) -> Option<f64>) -> Vec<(f64, f64)> {
    let Some(steps) = Steps::of(&run.metrics, view.log_steps) else {
        return Vec::new();
    };
    let shown = run.metrics.iter().filter(|line| steps.holds(line.step));
    shown
        .filter_map(|line| Some((steps.place(line.step as f64), value(line)?)))
        .collect()
}

fn chart(
    frame: &mut Frame,
    area: Rect,
    run: &WatchedRun,
    view: &View,
    title: &str,
    [low, high]: [f64; 2],
    curves: &[Curve],
) {
    let block = Block::bordered().title(Line::from(format!(" {title} ")));
    let Some(steps) = Steps::of(&run.metrics, view.log_steps) else {
        let nothing = Paragraph::new("it has curves from the second evaluation on").block(block);
        frame.render_widget(nothing, area);
        return;
    };
    let reached = run.stages.iter().filter_map(|outcome| outcome.reached.as_ref());
    let stages: Vec<[(f64, f64); 2]> = reached
        .filter(|reached| steps.holds(reached.step))
        .map(|reached| [low, high].map(|y| (steps.place(reached.step as f64), y)))
        .collect();
    // What is drawn last is on top.
    let of_stages = stages.iter().map(|line| {
        Dataset::default()
            .marker(Marker::Custom('│'))
            .graph_type(GraphType::Line)
            .data(line)
    });
    let of_curves = curves.iter().map(|curve| {
        Dataset::default()
            .marker(curve.mark.marker)
            .graph_type(GraphType::Line)
            .style(curve.mark.style)
            .data(&curve.points)
    });
    let labels = [low, f64::midpoint(low, high), high].map(|value| format!("{value:.1}"));
    let chart = Chart::new(of_stages.chain(of_curves).collect())
        .block(block)
        .legend_position(None)
        .x_axis(steps.axis())
        .y_axis(Axis::default().bounds([low, high]).labels(labels));
    frame.render_widget(chart, area);
}
