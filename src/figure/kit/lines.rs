//! Lines with their bands.

use super::canvas::{At, Canvas, Ink, Side, Type};
use super::colour::Colour;
use super::look::Sizes;
use super::panel::{Frame, Ground};
use super::ticks::Ticks;
use super::{Axis, Series, marks};

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

impl Axis {
    // The share of the axis at which a value is.
    fn share(&self, at: f64) -> f64 {
        (at - self.range.0) / (self.range.1 - self.range.0)
    }

    /// Whether iterations of several layers are marked on it.
    pub(super) fn marks_iterations(&self) -> bool {
        self.layers
            .is_some_and(|layers| layers > 1 && self.range.1 > layers as f64 + 1.0)
    }
}

/// The height of the numbers of iterations above a plot with this axis.
pub(super) fn iterations_height(sizes: &Sizes, x: &Axis) -> f64 {
    if x.marks_iterations() {
        Sizes::leading(sizes.text)
    } else {
        0.0
    }
}

/// The height of the names of marks above a plot of this width.
pub(super) fn marks_height(sizes: &Sizes, x: &Axis, marks: &[(f64, String)], width: f64) -> f64 {
    marks::height(sizes, &placed(x, marks), width)
}

// Marks at their shares of the width.
fn placed<'a>(x: &Axis, marks: &'a [(f64, String)]) -> Vec<(f64, &'a str)> {
    marks.iter().map(|(at, name)| (x.share(*at), name.as_str())).collect()
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
    let across = |at: f64| x.share(at);
    let up = |value: f64| (value - floor) / (ceiling - floor);
    let place = |at: f64, value: f64| frame.at(across(at), up(value));
    axes(canvas, frame, x, (y_label, (bottom, top)), series, (&across, &up));
    if let Some(layers) = x.layers.filter(|layers| *layers > 1) {
        let last = x.range.1.floor() as usize;
        let end =
            |layer: usize| (layer <= last.next_multiple_of(layers)).then(|| across(layer as f64 + 0.5).clamp(0.0, 1.0));
        if last > layers {
            frame.iterations(canvas, layers, &end, Ground::Page);
        }
    }
    let numbers = if frame.shown.iterations {
        iterations_height(frame.sizes, x)
    } else {
        0.0
    };
    marks::draw(canvas, frame, &placed(x, marks), numbers);
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
