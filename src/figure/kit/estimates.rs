//! A forest plot: estimates with their intervals, a row each, and a line where there is no effect.

use super::Estimate;
use super::canvas::{Canvas, Ink, Side, Type};
use super::colour::Colour;
use super::panel::Frame;
use super::ticks::Ticks;

/// Draws estimates one below the other.
pub(super) fn draw(canvas: &mut Canvas, frame: &Frame, x_label: &str, x_range: Option<(f64, f64)>, rows: &[Estimate]) {
    let sizes = frame.sizes;
    let (low, high) = range(x_range, rows);
    let across = |value: f64| (value - low) / (high - low);
    let thin = |colour| Ink::stroke(colour, sizes.thin);
    for (value, label) in ticks((low, high), frame.width / (4.0 * sizes.text)) {
        let (x, bottom) = frame.at(across(value), 0.0);
        let colour = if value == 0.0 { Colour::FAINT_INK } else { Colour::GRID };
        canvas.polyline(&[(x, bottom + frame.tick()), (x, frame.top)], &thin(colour));
        if frame.shown.x {
            frame.x_tick(canvas, x, &label);
        }
    }
    canvas.polyline(&[frame.at(0.0, 0.0), frame.at(1.0, 0.0)], &thin(Colour::FRAME));
    if frame.shown.x {
        frame.x_label(canvas, x_label);
    }
    for (i, row) in rows.iter().enumerate() {
        let y = 1.0 - (i as f64 + 0.5) / rows.len() as f64;
        if let Some((low, high)) = row.interval {
            let bar = [frame.at(across(low), y), frame.at(across(high), y)];
            canvas.polyline(&bar, &Ink::stroke(row.colour, sizes.stroke));
        }
        canvas.circle(
            frame.at(across(row.value), y),
            1.2 * sizes.marker,
            &Ink::fill(row.colour),
        );
        if frame.shown.y {
            let (left, y) = frame.at(0.0, y);
            canvas.text(
                (left - 1.4 * frame.tick(), y),
                Side::Right,
                Type::of(sizes.text),
                &row.name,
            );
        }
    }
}

// As many ticks as have room, and at least the two without which an axis has no scale.
fn ticks(range: (f64, f64), room: f64) -> Vec<(f64, String)> {
    const MAX: usize = 5;
    let max = (room as usize).clamp(2, MAX);
    let ticks = |max: usize| Ticks { whole: false, max }.linear(range);
    let found = (max..=MAX).map(ticks).find(|ticks| ticks.len() > 1);
    found.unwrap_or_else(|| ticks(2 * MAX))
}

// What was asked for, else both ends of every interval and 0; with a margin.
fn range(asked: Option<(f64, f64)>, rows: &[Estimate]) -> (f64, f64) {
    let ends = rows.iter().flat_map(|row| {
        let (low, high) = row.interval.unwrap_or((row.value, row.value));
        [low, high, row.value]
    });
    let (low, high) = asked.unwrap_or_else(|| {
        ends.filter(|x| x.is_finite())
            .fold((0.0_f64, 0.0_f64), |(low, high), x| (low.min(x), high.max(x)))
    });
    let margin = if high > low { 0.05 * (high - low) } else { 1.0 };
    (low - margin, high + margin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_two_ticks_however_narrow_it_is() {
        for range in [
            (-0.99, 0.05),
            (-15_200.0, 700.0),
            (-0.0006, 0.0011),
            (-0.05, 1.05),
            (-0.3, 6.3),
        ] {
            for room in [1.0, 2.8, 4.0, 9.0] {
                let ticks = ticks(range, room);
                assert!((2..=6).contains(&ticks.len()), "{range:?} {room}: {ticks:?}");
            }
        }
    }

    #[test]
    fn the_axis_holds_0_and_every_end_of_an_interval() {
        let row = |value, interval| Estimate {
            name: "a".to_owned(),
            colour: Colour::BLUE,
            value,
            interval,
        };
        let (left, right) = range(None, &[row(0.2, Some((-0.1, 0.5))), row(0.8, None)]);
        assert!(left < -0.1 && right > 0.8, "{left} {right}");
        let (left, right) = range(None, &[row(300.0, Some((200.0, 400.0)))]);
        assert!(left < 0.0 && right > 400.0);
        let (left, right) = range(Some((0.0, 1.0)), &[row(0.9, None)]);
        assert!(left < 0.0 && right > 1.0);
    }
}
