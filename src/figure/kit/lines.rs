//! Lines with their bands.

use super::canvas::{At, Canvas, Ink, Side, Type};
use super::colour::Colour;
use super::look::Sizes;
use super::panel::Frame;
use super::ticks::Ticks;
use super::{Axis, Series};

/// The ticks of the vertical axis of a plot of this height.
pub(super) fn y_ticks(sizes: &Sizes, range: (f64, f64), height: f64) -> Vec<(f64, String)> {
    let max = (height / (2.2 * sizes.text)) as usize;
    Ticks {
        whole: false,
        max: max.clamp(2, 5),
    }
    .linear(range)
}

impl Axis {
    /// Whether it counts effective layers or something else that these lines have at whole numbers alone.
    pub(super) fn is_whole(&self, series: &[Series]) -> bool {
        let mut places = series
            .iter()
            .flat_map(|line| &line.points)
            .map(|(at, ..)| self.written(*at));
        self.layers.is_some() || places.all(|at| at.fract() == 0.0)
    }
}

// Ticks of the horizontal axis at their places, as many as have room.
fn x_ticks(sizes: &Sizes, x: &Axis, series: &[Series], width: f64) -> Vec<(f64, String)> {
    let (low, high) = x.range;
    if x.log {
        let ticks = Ticks::logarithmic((10_f64.powf(low), 10_f64.powf(high)));
        return ticks.into_iter().map(|(value, label)| (value.log10(), label)).collect();
    }
    let whole = x.is_whole(series);
    let style = Type::of(sizes.text);
    let fitting = (1..=8)
        .rev()
        .map(|max| Ticks { whole, max }.linear(x.range))
        .find(|ticks| {
            let widest = ticks.iter().map(|(_, label)| style.width(label)).fold(0.0, f64::max);
            let between = ticks
                .windows(2)
                .map(|pair| pair[1].0 - pair[0].0)
                .fold(f64::INFINITY, f64::min);
            between / (high - low) * width >= widest + 0.8 * sizes.text
        });
    fitting.unwrap_or_default()
}

/// Draws lines on axes.
pub(super) fn draw(
    canvas: &mut Canvas,
    frame: &Frame,
    x: &Axis,
    (y_label, (bottom, top)): (&str, (f64, f64)),
    series: &[Series],
    marks: &[(f64, String)],
) {
    let margin = 0.03 * (top - bottom);
    let (floor, ceiling) = (bottom - margin, top + margin);
    let across = |at: f64| (at - x.range.0) / (x.range.1 - x.range.0);
    let up = |value: f64| (value - floor) / (ceiling - floor);
    let place = |at: f64, value: f64| frame.at(across(at), up(value));
    axes(canvas, frame, x, (y_label, (bottom, top)), series, (&across, &up));
    if let Some(layers) = x.layers.filter(|layers| *layers > 1) {
        let last = x.range.1.floor() as usize;
        let end =
            |layer: usize| (layer <= last.next_multiple_of(layers)).then(|| across(layer as f64 + 0.5).clamp(0.0, 1.0));
        if last > layers {
            frame.iterations(canvas, layers, &end);
        }
    }
    for (i, (at, name)) in marks.iter().enumerate() {
        mark(canvas, frame, across(*at), name, i);
    }
    for line in series {
        band(canvas, frame.sizes, line, &place);
    }
    for line in series {
        let places: Vec<At> = line.points.iter().map(|&(at, value, _)| place(at, value)).collect();
        line.draw(canvas, frame.sizes, &places);
    }
}

// Grid, ticks with labels, and the names of both axes. `to` gives shares of width and height.
fn axes(
    canvas: &mut Canvas,
    frame: &Frame,
    x: &Axis,
    (y_label, y_range): (&str, (f64, f64)),
    series: &[Series],
    (across, up): (&dyn Fn(f64) -> f64, &dyn Fn(f64) -> f64),
) {
    let sizes = frame.sizes;
    let thin = |colour| Ink::stroke(colour, sizes.thin);
    let style = Type::of(sizes.text);
    for (value, label) in y_ticks(sizes, y_range, frame.height) {
        let (left, y) = frame.at(0.0, up(value));
        canvas.polyline(&[(left, y), (frame.right(), y)], &thin(Colour::GRID));
        if frame.shown.y {
            canvas.text((left - 1.4 * frame.tick(), y), Side::Right, style, &label);
        }
    }
    for (at, label) in x_ticks(sizes, x, series, frame.width) {
        let (x, bottom) = frame.at(across(at), 0.0);
        canvas.polyline(&[(x, bottom), (x, bottom + frame.tick())], &thin(Colour::FRAME));
        if frame.shown.x {
            frame.x_tick(canvas, x, &label);
        }
    }
    let corner = [frame.at(0.0, 1.0), frame.at(0.0, 0.0), frame.at(1.0, 0.0)];
    canvas.polyline(&corner, &thin(Colour::FRAME));
    if frame.shown.x {
        frame.x_label(canvas, &x.label);
    }
    if frame.shown.y {
        frame.y_label(canvas, y_label);
    }
}

// A dashed line with the name of the n-th mark: names of marks that are near each other stand at heights of their own, and near the end
// before their line.
fn mark(canvas: &mut Canvas, frame: &Frame, at: f64, name: &str, n: usize) {
    let sizes = frame.sizes;
    canvas.polyline(&[frame.at(at, 0.0), frame.at(at, 1.0)], &mark_line(sizes));
    let space = 0.3 * sizes.text;
    let (x, bottom) = frame.at(at, 0.0);
    let y = bottom - (0.7 + 1.1 * (n % 4) as f64) * sizes.text;
    let (side, x) = if at > 0.7 {
        (Side::Right, x - space)
    } else {
        (Side::Left, x + space)
    };
    canvas.text((x, y), side, Type::of(sizes.text).coloured(Colour::FAINT_INK), name);
}

/// The line of a mark.
pub(super) fn mark_line(sizes: &Sizes) -> Ink {
    Ink::stroke(Colour::FAINT_INK, sizes.thin).dashed(&[3.0 * sizes.thin, 3.0 * sizes.thin])
}

// The intervals of a line: shaded between several points, a bar at one.
fn band(canvas: &mut Canvas, sizes: &Sizes, line: &Series, place: &dyn Fn(f64, f64) -> At) {
    let upper = line.points.iter().filter_map(|&(x, _, ends)| Some(place(x, ends?.1)));
    let lower = line
        .points
        .iter()
        .rev()
        .filter_map(|&(x, _, ends)| Some(place(x, ends?.0)));
    let outline: Vec<At> = upper.chain(lower).collect();
    if outline.len() > 2 {
        canvas.polygon(&outline, &Ink::fill(line.colour).pale(0.16));
    } else {
        canvas.polyline(&outline, &Ink::stroke(line.colour, sizes.stroke).pale(0.5));
    }
}
